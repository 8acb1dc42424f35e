import {
  appendFileSync,
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  appendLayer,
  asImage,
  bytesBlob,
  createLayout,
  type Descriptor,
  digestOf,
  type Execution,
  emptyImage,
  encodeJson,
  gunzip,
  type Image,
  type ImageConfig,
  type ImageIndex,
  type IndexEntry,
  InvalidDocumentError,
  InvalidLayoutError,
  InvalidOptionError,
  InvalidPlatformError,
  LayerSourceError,
  layerEncoder,
  mediaTypes,
  NoMatchingPlatformError,
  newIndex,
  parsePlatform,
  platformOf,
  type Ref,
  readConfig,
  readLayout,
  SizeMismatchError,
  sealImage,
  tarOf,
  UnknownTagError,
  verifyLayout,
  withExecution,
  writeLayer,
} from '../../src';
import { type BuildImage, type BuiltImage, buildImage } from '../../src/actions/build-image';
import type { ImageOptions } from '../../src/actions/image-options';
import { layoutSource } from '../../src/layout/source';
import {
  collect,
  failureOf,
  memorySink,
  snapshot,
  tarListing,
  temporaryDirectory,
  writeFiles,
  writtenLayout,
} from '../fixtures';

const workspace = (files: Readonly<Record<string, string | Uint8Array>> = { 'app/hello': 'hello\n' }) =>
  writeFiles(temporaryDirectory(), files);

/** Builds into a new directory unless another is given. */
function build(options: ImageOptions, more: Partial<BuildImage> = {}): Promise<BuiltImage> {
  return buildImage({ options, root: workspace(), output: join(temporaryDirectory(), 'image'), ...more });
}

async function readBuilt(path: string, tag?: string): Promise<{ image: Image; config: ImageConfig }> {
  const image = asImage(await readLayout(path, { tag }));
  return { image, config: await readConfig(image) };
}

const indexOf = (path: string) => JSON.parse(readFileSync(join(path, 'index.json'), 'utf8')) as ImageIndex;

const blobsIn = (path: string) => readdirSync(join(path, 'blobs/sha256'));

async function listedLayer(image: Image, position = 0): Promise<string[]> {
  const layer = image.manifest.layers[position] as Descriptor;
  const content = image.blob(layer).open();
  return tarListing(layer.mediaType.endsWith('gzip') ? gunzip(content) : content);
}

interface BaseParts {
  readonly platform?: string;
  readonly osVersion?: string;
  readonly execution?: Execution;
  readonly docker?: boolean;
  readonly manifest?: Record<string, unknown>;
}

/** An image to build on, with one layer that holds the file `base`. */
async function baseImage({ platform = 'linux/amd64', osVersion, execution = {}, docker, manifest }: BaseParts = {}) {
  const manifestType = docker ? mediaTypes.dockerManifest : mediaTypes.imageManifest;
  const content = Buffer.from(`base for ${platform}`);
  const file = { type: 'file', mode: 0o644, uid: 0, gid: 0, size: content.length, content: () => content } as const;
  const layer = await writeLayer(
    tarOf([{ name: 'base', ...file }]),
    memorySink,
    layerEncoder('gzip', { manifestType }),
  );
  const wanted = { ...parsePlatform(platform), ...(osVersion !== undefined && { 'os.version': osVersion }) };
  const draft = appendLayer(emptyImage(wanted), layer, { created_by: 'the base' });
  const configured = withExecution(draft, () => execution);
  return sealImage({ ...configured, manifest: { ...configured.manifest, mediaType: manifestType, ...manifest } });
}

const entry = async (ref: Ref, tag?: string): Promise<IndexEntry> => ({
  ref,
  platform: await platformOf(ref),
  ...(tag !== undefined && { annotations: { 'org.opencontainers.image.ref.name': tag } }),
});

const on = async (root: Ref | readonly IndexEntry[], tag?: string) =>
  layoutSource({ path: await writtenLayout(root), ...(tag !== undefined && { tag }) });

describe('determinism', () => {
  const options: ImageOptions = {
    layers: [
      { name: 'app', from: 'app', to: '/app', exclude: ['*.map'] },
      { name: 'config', from: 'etc/conf', to: '/etc/', mode: '0600', owner: '1000' },
    ],
    entrypoint: ['/app/run'],
    env: { HOME: '/app' },
    labels: { b: '1', a: '2' },
    tag: '1.0',
  };

  function sources(order: (names: string[]) => string[], mtime: number): string {
    const files = {
      'app/run': '#!/bin/sh\n',
      'app/é': 'é',
      'app/a-b': '',
      'app/a/b': 'x',
      'app/z.map': '',
      'etc/conf': '',
    };
    const root = temporaryDirectory();
    for (const name of order(Object.keys(files))) writeFiles(root, { [name]: files[name as keyof typeof files] });
    symlinkSync('run', join(root, 'app/link'));
    chmodSync(join(root, 'app/run'), 0o700);
    for (const name of Object.keys(files)) utimesSync(join(root, name), mtime, mtime);
    return root;
  }

  test('the digest is the same on every machine', async () => {
    const { digest } = await build(options, { root: sources((names) => names, 0) });
    expect(digest).toBe('sha256:5ccaa254e85b2765c42d13eb24041d6670e9a63d8c562d2376b408eed5191660');
  });

  test('other directories, times, orders of creation and umasks give the same bytes', async () => {
    const one = await build(options, { root: sources((names) => names, 1_000_000) });
    const umask = process.umask(0o077);
    try {
      const other = await build(options, { root: sources((names) => names.reverse(), 2_000_000) });
      expect(other).toEqual({ ...one, path: other.path });
      expect(snapshot(other.path)).toEqual(snapshot(one.path));
    } finally {
      process.umask(umask);
    }
  });

  test('what is built is complete, and as createLayout makes it (M8)', async () => {
    const { path, digest } = await build(options, { root: sources((names) => names, 0) });
    expect(await verifyLayout(path)).toMatchObject({ problems: [], manifests: 1, blobs: 3 });
    const { image } = await readBuilt(path);
    expect(image.digest).toBe(digest);
    const tree = await createLayout([await entry(image, '1.0')]);
    expect([...tree.keys(), 'digest'].sort()).toEqual(Object.keys(snapshot(path)).sort());
    expect(await collect((tree.get('index.json') ?? bytesBlob(Buffer.alloc(0))).open())).toEqual(
      readFileSync(join(path, 'index.json')),
    );
  });

  test.each([
    [0, '1970-01-01T00:00:00Z', '1970-01-01 00:00:00'],
    [1_700_000_000, '2023-11-14T22:13:20Z', '2023-11-14 22:13:20'],
    [4_102_444_800, '2100-01-01T00:00:00Z', '2100-01-01 00:00:00'],
  ])('SOURCE_DATE_EPOCH %i is the time of the image, its layers and its files', async (epoch, created, written) => {
    const { path } = await build({ layers: [{ from: 'app' }] }, { epoch });
    const { image, config } = await readBuilt(path);
    expect(config).toMatchObject({ created, history: [{ created }] });
    expect(await listedLayer(image)).toEqual([expect.stringContaining(` ${written} hello`)]);
  });

  test('created is the time of the image, not of its files', async () => {
    const { path } = await build({ layers: [{ from: 'app' }], created: '2026-01-31T12:00:00+01:00' }, { epoch: 1 });
    const { image, config } = await readBuilt(path);
    expect(config).toMatchObject({ created: '2026-01-31T11:00:00Z', history: [{ created: '2026-01-31T11:00:00Z' }] });
    expect(await listedLayer(image)).toEqual([expect.stringContaining(' 1970-01-01 00:00:01 hello')]);
  });
});

describe('layers', () => {
  test('mode, owner and place are those of the options', async () => {
    const root = workspace({ 'app/run': '', 'app/conf': '' });
    chmodSync(join(root, 'app/run'), 0o4750);
    const { path } = await build(
      {
        layers: [
          { from: 'app', to: '/opt', mode: 'preserve', include: ['run'] },
          { from: 'app', mode: '0640', owner: '1000' },
          { from: ['app/run', 'app/conf'], to: '/bin/', owner: '2097152:4294967294' },
        ],
      },
      { root },
    );
    const { image } = await readBuilt(path);
    const short = (lines: string[]) => lines.map((line) => line.replace(/ +0 1970-01-01 00:00:00/, ''));
    expect(short(await listedLayer(image, 0)).at(-1)).toBe('-rwsr-x--- 0/0 opt/run');
    expect(short(await listedLayer(image, 1))).toEqual(['-rw-r----- 1000/1000 conf', '-rw-r----- 1000/1000 run']);
    expect(short(await listedLayer(image, 2))).toEqual([
      'drwxr-xr-x 0/0 bin/',
      '-rw-r--r-- 2097152/4294967294 bin/conf',
      '-rwxr-xr-x 2097152/4294967294 bin/run',
    ]);
  });

  test('history and summary name them', async () => {
    const root = workspace({ 'a/x': '1', 'b/y': '2' });
    const { path, images } = await build({ layers: [{ name: 'first', from: 'a' }, { from: ['a', './b'] }] }, { root });
    const { image, config } = await readBuilt(path);
    expect(config.history?.map(({ created_by }) => created_by)).toEqual([
      'nx-oci image: layer first',
      'nx-oci image: layer a ./b',
    ]);
    const layers = image.manifest.layers.map(({ digest, size }) => ({ digest, size }));
    expect(images).toEqual([
      {
        platform: 'linux/amd64',
        tag: 'latest',
        digest: image.digest,
        size: layers.reduce((sum, { size }) => sum + size, 0),
        layers: [
          { name: 'first', ...layers[0] },
          { name: 'a ./b', ...layers[1] },
        ],
      },
    ]);
  });

  test('progress goes up to the whole of each layer', async () => {
    const root = workspace({ 'a/x': Buffer.alloc(9_000_000), 'b/y': 'y' });
    const seen: [layer: string, done: number, total: number][] = [];
    await build(
      { layers: [{ from: 'a' }, { name: 'bee', from: 'b' }] },
      { root, onProgress: ({ layer, done, total }) => void seen.push([layer, done, total]) },
    );
    const steps = seen.filter(([layer]) => layer === 'a').map(([, done]) => done);
    expect(steps).toEqual([...steps].sort((a, b) => a - b));
    expect(steps.length).toBeGreaterThan(3);
    expect(seen.filter(([layer]) => layer === 'a').at(-1)).toEqual(['a', 9_000_000, 9_000_000]);
    expect(seen.filter(([layer]) => layer === 'bee').at(-1)).toEqual(['bee', 1, 1]);
  });

  test.each<[ImageOptions, string, (bytes: Buffer) => Uint8Array]>([
    [{}, mediaTypes.layerGzip, gunzipSync],
    [{ compression: 'gzip', compressionLevel: 1 }, mediaTypes.layerGzip, gunzipSync],
    [{ compression: 'gzip', compressionLevel: 9 }, mediaTypes.layerGzip, gunzipSync],
    [{ compression: 'none' }, mediaTypes.layer, (bytes) => bytes],
  ])('%j gives %s', async (options, mediaType, decode) => {
    const { path } = await build({ ...options, layers: [{ from: 'app' }] });
    const { image, config } = await readBuilt(path);
    const [layer] = image.manifest.layers as [Descriptor];
    expect(layer.mediaType).toBe(mediaType);
    expect(digestOf(decode(await collect(image.blob(layer).open())))).toBe(config.rootfs.diff_ids[0]);
  });

  test('compressionLevel matters', async () => {
    const root = workspace({ 'app/text': 'The quick brown fox.\n'.repeat(10_000) });
    const sizes = [];
    for (const compressionLevel of [1, 9]) {
      const { images } = await build({ compressionLevel, layers: [{ from: 'app' }] }, { root });
      sizes.push(images[0]?.size ?? 0);
    }
    expect(sizes[1]).toBeLessThan(sizes[0] ?? 0);
  });

  test('a ready-made tar file stands between layers of files', async () => {
    const tar = await collect(tarOf([]));
    const root = workspace({ 'app/hello': 'x', 'amd64.tar.gz': gzipSync(tar) });
    const { path } = await build(
      { layers: [{ from: 'app' }, { name: 'ready', tar: '{arch}.tar.gz' }], compression: 'none' },
      { root },
    );
    const { image, config } = await readBuilt(path);
    expect(image.manifest.layers.map(({ mediaType }) => mediaType)).toEqual([mediaTypes.layer, mediaTypes.layerGzip]);
    expect(config.rootfs.diff_ids[1]).toBe(digestOf(tar));
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
  });

  test('ACCEPTANCE 11: an annotation named __proto__ is an annotation', async () => {
    const annotations = JSON.parse('{"__proto__":"x","own":"y"}') as Record<string, string>;
    const { path } = await build({ annotations });
    const { image } = await readBuilt(path);
    expect(Buffer.from(image.rawManifest).toString()).toContain('"annotations":{"__proto__":"x","own":"y"}');
    expect(Object.prototype).not.toHaveProperty('own');
  });

  test('ACCEPTANCE 50: shell metacharacters in names, paths and values are inert', async () => {
    const evil = '$(touch pwned); `touch pwned` & | > pwned "\' *';
    const root = workspace({ [`${evil}/${evil}`]: 'x' });
    const before = readdirSync(process.cwd());
    const { path, images } = await build(
      {
        layers: [{ name: evil, from: evil, to: `/${evil}` }],
        entrypoint: [evil],
        env: { [evil]: evil },
        labels: { [evil]: evil },
        user: evil,
      },
      { root, output: join(temporaryDirectory(), evil) },
    );
    const { image, config } = await readBuilt(path);
    expect(await listedLayer(image)).toEqual([expect.any(String), expect.stringMatching(/ x?\$\(touch pwned\).*\*$/)]);
    expect(config.config).toEqual({
      Entrypoint: [evil],
      Env: [`${evil}=${evil}`],
      Labels: { [evil]: evil },
      User: evil,
    });
    expect(images[0]?.layers[0]?.name).toBe(evil);
    expect(readdirSync(process.cwd())).toEqual(before);
    expect(Object.keys(snapshot(root))).toEqual([`${evil}/${evil}`]);
  });

  test('an image without layers is an image', async () => {
    const { path } = await build({ env: { A: '1' } });
    expect(await readBuilt(path)).toMatchObject({ image: { manifest: { layers: [] } }, config: { history: [] } });
    expect(await verifyLayout(path)).toMatchObject({ problems: [], blobs: 1 });
  });
});

describe('platforms', () => {
  test.each<[ImageOptions['platforms'], [platform: string, tag: string][]]>([
    [undefined, [['linux/amd64', '1.0']]],
    [['linux/arm64'], [['linux/arm64', '1.0']]],
    [['linux/amd64', 'linux/x86_64'], [['linux/amd64', '1.0']]],
    [
      ['linux/amd64', 'linux/arm64/v8', 'linux/arm', 'windows/amd64', 'linux/amd64/v3'],
      [
        ['linux/amd64', '1.0-linux-amd64'],
        ['linux/arm64', '1.0-linux-arm64'],
        ['linux/arm/v7', '1.0-linux-arm-v7'],
        ['windows/amd64', '1.0-windows-amd64'],
        ['linux/amd64/v3', '1.0-linux-amd64-v3'],
      ],
    ],
  ])('%j', async (platforms, expected) => {
    const { path, digest, images } = await build({ tag: '1.0', platforms, layers: [{ from: 'app' }] });
    expect(images.map(({ platform, tag }) => [platform, tag])).toEqual(expected);
    const index = indexOf(path);
    expect(index.manifests).toEqual(
      images.map((image) => ({
        mediaType: mediaTypes.imageManifest,
        digest: image.digest,
        size: expect.any(Number),
        platform: parsePlatform(image.platform),
        annotations: { 'org.opencontainers.image.ref.name': image.tag },
      })),
    );
    for (const { tag, platform } of images) {
      const { config } = await readBuilt(path, tag);
      expect(config).toMatchObject(parsePlatform(platform));
    }
    const only = images.length === 1 ? images[0]?.digest : digestOf(readFileSync(join(path, 'index.json')));
    expect(digest).toBe(only);
    expect(readFileSync(join(path, 'digest'), 'utf8')).toBe(digest);
  });

  test('tokens in "from" are those of the platform', async () => {
    const root = workspace({
      'dist/linux-arm-v7/x': '1',
      'dist/linux/arm/v7/y': '2',
      'dist/windows-amd64/x': '3',
      'dist/windows/amd64/y': '4',
    });
    const layers = [{ from: ['dist/{platform}/x', 'dist/{os}/{arch}/{variant}/y'] }];
    const { path } = await build({ platforms: ['linux/arm', 'windows/amd64'], layers }, { root });
    for (const [tag, size] of [
      ['latest-linux-arm-v7', 1],
      ['latest-windows-amd64', 1],
    ] as const) {
      const { image } = await readBuilt(path, tag);
      expect(await listedLayer(image)).toEqual([
        expect.stringMatching(new RegExp(` ${size} .* x$`)),
        expect.stringMatching(new RegExp(` ${size} .* y$`)),
      ]);
    }
  });

  test('share the layers that are the same, each built once', async () => {
    const root = workspace({ 'shared/x': 'x', 'amd64/y': 'amd64', 'arm64/y': 'arm64' });
    const built: string[] = [];
    const { path, images } = await build(
      { platforms: ['linux/amd64', 'linux/arm64'], layers: [{ from: 'shared' }, { from: '{arch}' }] },
      { root, onProgress: ({ layer, platform }) => void built.push(`${layer} ${platform}`) },
    );
    expect([...new Set(built)]).toEqual(['shared linux/amd64', '{arch} linux/amd64', '{arch} linux/arm64']);
    // Two manifests, two configs, the shared layer, and one layer for each platform.
    expect(blobsIn(path)).toHaveLength(7);
    const [amd64, arm64] = images;
    expect(amd64?.layers[0]).toEqual(arm64?.layers[0]);
    expect(amd64?.layers[1]?.digest).not.toBe(arm64?.layers[1]?.digest);
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
  });
});

describe('on a base', () => {
  test('keeps its layers, history and what the options do not say', async () => {
    const base = await baseImage({
      execution: { Env: ['PATH=/bin'], Cmd: ['sh'], User: 'app', Healthcheck: { Test: [] } },
    });
    const { path, images } = await build(
      { layers: [{ from: 'app' }], env: { PATH: '/app:$PATH' } },
      { base: await on(base) },
    );
    const { image, config } = await readBuilt(path);
    const before = await readConfig(base);
    expect(image.manifest.layers[0]).toEqual(base.manifest.layers[0]);
    expect(config.rootfs.diff_ids[0]).toBe(before.rootfs.diff_ids[0]);
    expect(config.history).toEqual([
      { created_by: 'the base' },
      { created: '1970-01-01T00:00:00Z', created_by: 'nx-oci image: layer app' },
    ]);
    expect(config.config).toEqual({ Env: ['PATH=/app:/bin'], Cmd: ['sh'], User: 'app', Healthcheck: { Test: [] } });
    expect(images[0]?.layers.map(({ name }) => name)).toEqual([undefined, 'app']);
    expect(await verifyLayout(path)).toMatchObject({ problems: [], blobs: 3 });
  });

  test('os, architecture, variant and os.version are those of the base', async () => {
    const base = await baseImage({ platform: 'windows/arm/v6', osVersion: '10.0.17763.1' });
    const { path, images } = await build({ layers: [{ from: 'app' }] }, { base: await on(base) });
    const platform = { os: 'windows', architecture: 'arm', variant: 'v6', 'os.version': '10.0.17763.1' };
    expect((await readBuilt(path)).config).toMatchObject(platform);
    expect(indexOf(path).manifests[0]?.platform).toEqual(platform);
    expect(images).toMatchObject([{ platform: 'windows/arm/v6', tag: 'latest' }]);
  });

  test.each([
    [false, mediaTypes.imageManifest, mediaTypes.imageConfig, mediaTypes.layerGzip, mediaTypes.layer],
    [true, mediaTypes.dockerManifest, mediaTypes.dockerConfig, mediaTypes.dockerLayerGzip, mediaTypes.dockerLayer],
  ])('the formats are those of the base (Docker: %p)', async (docker, manifest, config, gzip, plain) => {
    const root = workspace({ 'app/hello': 'x', 'layer.tgz': gzipSync(await collect(tarOf([]))) });
    for (const [compression, layer] of [
      ['gzip', gzip],
      ['none', plain],
    ] as const) {
      const layers = [{ from: 'app' }, { tar: 'layer.tgz' }];
      const { path } = await build({ compression, layers }, { root, base: await on(await baseImage({ docker })) });
      const { image } = await readBuilt(path);
      expect(indexOf(path).manifests[0]?.mediaType).toBe(manifest);
      expect(image.manifest).toMatchObject({ mediaType: manifest, config: { mediaType: config } });
      expect(image.manifest.layers.map(({ mediaType }) => mediaType)).toEqual([gzip, layer, gzip]);
      expect(await verifyLayout(path)).toMatchObject({ problems: [] });
    }
  });

  test("O3: zstd layers lie on a base of the OCI's format, and are refused on one of Docker's before any is built", async () => {
    const root = workspace({ 'app/hello': 'x' });
    const options: ImageOptions = { compression: 'zstd', compressionLevel: 19, layers: [{ from: 'app' }] };
    const { path } = await build(options, { root, base: await on(await baseImage()) });
    const { image } = await readBuilt(path);
    expect(image.manifest.layers.map(({ mediaType }) => mediaType)).toEqual([
      mediaTypes.layerGzip,
      mediaTypes.layerZstd,
    ]);
    expect(await verifyLayout(path)).toMatchObject({ problems: [], uncheckedDiffIds: [] });

    const output = join(temporaryDirectory(), 'image');
    const onDocker = { root, output, base: await on(await baseImage({ docker: true })) };
    const { message } = await failureOf(InvalidOptionError, () => build(options, onDocker));
    expect(message).toContain('option "compression": expected "gzip" or "none" on base');
    expect(message).toContain('copy --format oci');
    expect(existsSync(output)).toBe(false);
  });

  test('its annotations and its subject are not inherited, unknown fields are', async () => {
    const subject = { mediaType: mediaTypes.imageManifest, digest: digestOf(Buffer.from('x')), size: 1 };
    const base = await baseImage({ manifest: { annotations: { of: 'the base' }, subject, 'com.example': [1] } });
    const { path } = await build({ annotations: { own: 'yes' } }, { base: await on(base) });
    const { image } = await readBuilt(path);
    expect(image.manifest).toMatchObject({ annotations: { own: 'yes' }, 'com.example': [1] });
    expect(image.manifest).not.toHaveProperty('subject');
    expect(image.manifest.annotations).toEqual({ own: 'yes' });
    const { path: plain } = await build({}, { base: await on(base) });
    expect((await readBuilt(plain)).image.manifest).not.toHaveProperty('annotations');
  });

  describe('of several images', () => {
    const images = async () => ({
      amd64: await baseImage(),
      arm: await baseImage({ platform: 'linux/arm/v6' }),
      arm64: await baseImage({ platform: 'linux/arm64' }),
      windows: await baseImage({ platform: 'windows/amd64' }),
    });

    /** A layout with a nested index under the tag `multi`, one image under `single`, and an attestation. */
    async function layout() {
      const { amd64, arm, arm64, windows } = await images();
      const attestation: IndexEntry = { ref: amd64, platform: { os: 'unknown', architecture: 'unknown' } };
      const inner = newIndex([await entry(arm64), await entry(arm)]);
      const multi = newIndex([await entry(amd64), { ref: inner }, attestation]);
      const tag = (name: string) => ({ annotations: { 'org.opencontainers.image.ref.name': name } });
      return writtenLayout([{ ref: multi, ...tag('multi') }, await entry(windows, 'single')]);
    }

    test.each<[tag: string | undefined, ImageOptions['platforms'], platforms: string[]]>([
      ['multi', undefined, ['linux/amd64', 'linux/arm64', 'linux/arm/v6']],
      ['single', undefined, ['windows/amd64']],
      [undefined, undefined, ['linux/amd64', 'linux/arm64', 'linux/arm/v6', 'windows/amd64']],
      ['multi', ['linux/arm64'], ['linux/arm64']],
      ['multi', ['linux/arm/v7'], ['linux/arm/v7']],
      ['multi', ['linux/amd64', 'linux/amd64/v3'], ['linux/amd64', 'linux/amd64/v3']],
      [undefined, ['windows/amd64', 'linux/amd64/v2'], ['windows/amd64', 'linux/amd64/v2']],
    ])('the tag %s for %j gives %j', async (tag, platforms, expected) => {
      const builtOn: Record<string, string> = {
        'linux/arm/v7': 'linux/arm/v6',
        'linux/amd64/v2': 'linux/amd64',
        'linux/amd64/v3': 'linux/amd64',
      };
      const { path, images: built } = await build(
        { platforms, layers: [{ from: 'app' }] },
        { base: layoutSource({ path: await layout(), tag }) },
      );
      expect(built.map(({ platform }) => platform)).toEqual(expected);
      for (const { platform, tag: own } of built) {
        const { image } = await readBuilt(path, own);
        const base = builtOn[platform] ?? platform;
        expect(image.manifest.layers[0]).toEqual((await baseImage({ platform: base })).manifest.layers[0]);
      }
      expect(await verifyLayout(path)).toMatchObject({ problems: [] });
    });

    test.each<[tag: string | undefined, ImageOptions['platforms'], new (message: string) => Error, message: RegExp]>([
      ['none', undefined, UnknownTagError, /expected a manifest with the tag "none", found multi, single/],
      [
        'multi',
        ['linux/s390x'],
        NoMatchingPlatformError,
        /base .*: expected an image for linux\/s390x, found linux\/amd64, linux\/arm64, linux\/arm\/v6/,
      ],
      ['single', ['linux/amd64'], NoMatchingPlatformError, /expected an image for linux\/amd64, found windows\/amd64/],
    ])('the tag %s for %j is refused', async (tag, platforms, type, message) => {
      const output = join(temporaryDirectory(), 'image');
      const refused = build(
        { platforms, layers: [{ from: 'app' }] },
        { base: layoutSource({ path: await layout(), tag }), output },
      );
      await expect(refused).rejects.toThrow(type);
      await expect(refused).rejects.toThrow(message);
      expect(existsSync(output)).toBe(false);
    });

    test('two manifests with one tag are both there to build on', async () => {
      const { amd64, arm64 } = await images();
      const path = await writtenLayout([await entry(amd64, 'x'), await entry(arm64, 'x')]);
      await expect(readLayout(path, { tag: 'x' })).rejects.toThrow(AmbiguousManifestError);
      const { images: built } = await build({ platforms: ['linux/arm64'] }, { base: layoutSource({ path }) });
      expect(built).toMatchObject([{ platform: 'linux/arm64' }]);
    });
  });

  test('ACCEPTANCE 14: a base that names one digest with two sizes is refused', async () => {
    const base = await baseImage();
    const [layer] = base.manifest.layers as [Descriptor];
    const config = await readConfig(base);
    const rawConfig = encodeJson({
      ...config,
      rootfs: { type: 'layers', diff_ids: [...config.rootfs.diff_ids, ...config.rootfs.diff_ids] },
    });
    const manifest = encodeJson({
      ...base.manifest,
      config: { mediaType: mediaTypes.imageConfig, digest: digestOf(rawConfig), size: rawConfig.length },
      layers: [layer, { ...layer, size: layer.size + 1 }],
    });
    const output = join(temporaryDirectory(), 'image');
    const refused = build(
      { layers: [{ from: 'app' }] },
      { base: layoutSource({ path: handWritten(base, manifest, rawConfig) }), output },
    );
    await expect(refused).rejects.toThrow(SizeMismatchError);
    await expect(refused).rejects.toThrow(layer.digest);
    expect(existsSync(output)).toBe(false);
  });

  test('ACCEPTANCE 15: a base with another number of diffIDs than layers is refused', async () => {
    const base = await baseImage();
    const rawConfig = encodeJson({ ...(await readConfig(base)), rootfs: { type: 'layers', diff_ids: [] } });
    const config = { mediaType: mediaTypes.imageConfig, digest: digestOf(rawConfig), size: rawConfig.length };
    const path = handWritten(base, encodeJson({ ...base.manifest, config }), rawConfig);
    const output = join(temporaryDirectory(), 'image');
    for (const platforms of [undefined, ['linux/amd64']]) {
      const refused = build({ platforms }, { base: layoutSource({ path }), output });
      await expect(refused).rejects.toThrow(InvalidDocumentError);
      await expect(refused).rejects.toThrow(/expected as many diff_ids as manifest .* has layers \(1\), found 0/);
      expect(existsSync(output)).toBe(false);
    }
  });

  /** A layout with the base's layers, and a manifest and a config that nobody checked. */
  function handWritten(base: Image, manifest: Uint8Array, config: Uint8Array): string {
    const path = temporaryDirectory();
    const layer = (base.manifest.layers[0] as Descriptor).digest;
    const descriptor = { mediaType: mediaTypes.imageManifest, digest: digestOf(manifest), size: manifest.length };
    const blob = (digest: string) => `blobs/${digest.replace(':', '/')}`;
    return writeFiles(path, {
      'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
      'index.json': encodeJson({ schemaVersion: 2, manifests: [descriptor] }),
      [blob(digestOf(manifest))]: manifest,
      [blob(digestOf(config))]: config,
      [blob(layer)]: 'never read',
    });
  }
});

describe('a build that fails', () => {
  const app = { from: 'app' };
  let earlier = '';

  beforeAll(async () => {
    earlier = (await build({ layers: [app] })).path;
  });

  /** Fails into a fresh directory, which is absent then, and over an earlier layout, which stays as it was. */
  async function fails(
    options: ImageOptions,
    more: Partial<BuildImage>,
    type: new (message: string) => Error,
    message: RegExp | string,
  ) {
    const parent = temporaryDirectory();
    const fresh = join(parent, 'deep/er/image');
    const before = snapshot(earlier);
    for (const output of [fresh, earlier]) {
      const refused = build(options, { ...more, output });
      await expect(refused).rejects.toThrow(type);
      await expect(refused).rejects.toThrow(message);
    }
    expect(readdirSync(parent)).toEqual([]);
    expect(snapshot(earlier)).toEqual(before);
    expect(readdirSync(earlier).sort()).toEqual(['blobs', 'digest', 'index.json', 'oci-layout']);
  }

  test.each<[ImageOptions, new (message: string) => Error, message: string]>([
    [{ layers: [], compressionLevel: 10 }, InvalidOptionError, 'level of gzip: expected a whole number from 1 to 9'],
    [{ layers: [app, { name: 'x' }] }, InvalidOptionError, 'layer "x": expected "from" or "tar", found neither'],
    [{ layers: [app, { from: [] }] }, InvalidOptionError, 'layer "": expected "from" or "tar", found neither'],
    [
      { layers: [app, { tar: 'a.tar', from: 'app' }] },
      InvalidOptionError,
      'layer "a.tar": expected "tar" alone, found "from" beside it',
    ],
    [
      { layers: [app, { tar: 'a.tar', to: '/x', name: 'y' }] },
      InvalidOptionError,
      'layer "y": expected "tar" alone, found "to"',
    ],
    [{ layers: [app, { tar: 'a.tar', mode: '0644' }] }, InvalidOptionError, 'found "mode" beside it'],
    [
      { layers: [app, { from: 'app', owner: '4294967295' }] },
      InvalidOptionError,
      'option "owner": expected numbers up to 4294967294, found "4294967295"',
    ],
    [{ layers: [app, { from: 'app', owner: '0:9999999999' }] }, InvalidOptionError, 'option "owner"'],
    [{ layers: [app, { from: 'app', to: '../x' }] }, LayerSourceError, 'option "to"'],
    [{ layers: [app, { from: 'app', exclude: ['../x'] }] }, InvalidOptionError, 'option "exclude"'],
    [{ layers: [app, { from: ['app', 'app/hello'] }] }, LayerSourceError, 'hello: expected one source'],
    [{ layers: [app, { from: 'missing' }] }, Error, '/missing: expected a file or directory for the layer, found none'],
    [{ layers: [app, { tar: 'missing.tar' }] }, Error, '/missing.tar: could not read (ENOENT'],
    [{ layers: [app, { tar: '' }] }, Error, 'could not read (EISDIR'],
    [{ layers: [app, { tar: 'app/hello' }] }, LayerSourceError, 'app/hello: expected a tar file, plain, gzip or zstd'],
    [{ layers: [app, { from: '/dev/null' }] }, LayerSourceError, '/dev/null: expected a file'],
    [{ layers: [app], env: { 'A=B': '' } }, InvalidOptionError, 'option "env"'],
    [{ layers: [app], workingDir: 'relative' }, InvalidOptionError, 'option "workingDir"'],
    [{ layers: [app], volumes: ['relative'] }, InvalidOptionError, 'option "volumes"'],
    [{ layers: [app], exposedPorts: ['65536'] }, InvalidOptionError, 'option "exposedPorts"'],
    [{ layers: [app], created: 'yesterday' }, InvalidOptionError, 'option "created"'],
    [{ layers: [app], platforms: ['linux/../x'] }, InvalidPlatformError, '"linux/../x"'],
    [{ layers: [app], platforms: ['linux/amd64', 'a/b/c/d'] }, InvalidPlatformError, '"a/b/c/d"'],
  ])('%j', (options, type, message) => fails(options, {}, type, message));

  test.each([
    'a\nb',
    '1.0\n',
    '\n',
    '',
    '.hidden',
    '-rf',
    'a b',
    'a/b',
    'a:b',
    '$(id)',
    'a;id',
    '`id`',
    "a'b",
    'é',
    'x'.repeat(129),
  ])('ACCEPTANCE 50: the tag %j', (tag) =>
    fails(
      { tag, layers: [app] },
      {},
      InvalidOptionError,
      `option "tag": expected up to 128 letters, digits, ".", "_" and "-", the first no "." or "-", found ${JSON.stringify(tag)}`,
    ),
  );

  test('a tag that gets too long with its platform', () =>
    fails(
      { tag: 'x'.repeat(120), platforms: ['linux/amd64', 'linux/arm64'], layers: [app] },
      {},
      InvalidOptionError,
      'option "tag"',
    ));

  test('a base that is no layout', () =>
    fails(
      {},
      { base: layoutSource({ path: '/nonexistent' }) },
      InvalidLayoutError,
      '/nonexistent/oci-layout: expected the marker file',
    ));

  test('a base with a changed layer', async () => {
    const image = await baseImage();
    const path = await writtenLayout(image);
    const [{ digest }] = image.manifest.layers as [Descriptor];
    const blob = join(path, 'blobs', digest.replace(':', '/'));
    const content = readFileSync(blob);
    chmodSync(blob, 0o644);
    writeFileSync(blob, content.fill((content[20] ?? 0) ^ 1, 20, 21));
    await fails({ layers: [app] }, { base: layoutSource({ path }) }, Error, digest);
  });

  test('an output with a user’s files', async () => {
    const output = workspace({ precious: 'x' });
    const refused = build({ layers: [app] }, { output });
    await expect(refused).rejects.toThrow(InvalidLayoutError);
    await expect(refused).rejects.toThrow(`${output}: expected an empty directory or an OCI image layout`);
    expect(snapshot(output)).toEqual({ precious: Buffer.from('x').toString('base64') });
  });

  describe.each([
    ['small', 10],
    ['large', 5 * 1024 * 1024],
  ])('ACCEPTANCE 27: a %s file that', (_, size) => {
    test.each<[string, (path: string) => void]>([
      ['grows', (path) => appendFileSync(path, '+')],
      ['shrinks', (path) => truncateSync(path, 5)],
      [
        'is replaced',
        (path) => {
          writeFileSync(`${path}.new`, Buffer.alloc(size, 'y'));
          renameSync(`${path}.new`, path);
        },
      ],
    ])('%s while its layer is built', async (_, change) => {
      const parent = temporaryDirectory();
      const before = snapshot(earlier);
      for (const output of [join(parent, 'image'), earlier]) {
        const root = workspace({
          'app/hello': 'hello\n',
          'data/second': Buffer.alloc(size, 'x'),
        });
        const path = join(root, 'data/second');
        let changed = false;
        // The first progress of the layer: its files are listed, and none of them is read yet.
        const onProgress: BuildImage['onProgress'] = ({ layer }) => {
          if (layer !== 'data' || changed) return;
          changed = true;
          change(path);
        };
        const refused = build({ layers: [app, { from: 'data' }] }, { root, output, onProgress });
        await expect(refused).rejects.toThrow(LayerSourceError);
        await expect(refused).rejects.toThrow(`${path}: expected a file that stays as it is while it is read`);
      }
      expect(readdirSync(parent)).toEqual([]);
      expect(snapshot(earlier)).toEqual(before);
    });
  });
});
