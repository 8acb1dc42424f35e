import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  asImage,
  type Digest,
  digestOf,
  type Image,
  InvalidDocumentError,
  InvalidOptionError,
  InvalidPlatformError,
  LayerSourceError,
  type OciError,
  parsePlatform,
  readLayout,
  readLayoutIndex,
  readOsImage,
  tagOf,
  verifyLayout,
} from '../../src';
import { buildIndex } from '../../src/actions/build-index';
import { type BuildOsImage, buildOsImage } from '../../src/actions/build-os-image';
import type { OsImageOptions } from '../../src/actions/os-image-options';
import { blobFile } from '../../src/layout/paths';
import {
  canReflink,
  collect,
  directoryOnOtherDevice,
  failureOf,
  noise,
  snapshot,
  sourceOf,
  temporaryDirectory,
  writeFiles,
} from '../fixtures';

const text = Buffer.from('word after word '.repeat(100_000));
const productInfo = { id: 'os', name: 'OS', version: '1.0', variant: 'x86_64' };

const files = () =>
  writeFiles(temporaryDirectory(), {
    system: text,
    'linux-amd64/kernel.efi': 'amd64',
    'linux-arm64/kernel.efi': 'arm64',
    'linux-arm64/info.json': JSON.stringify({ ...productInfo, name: 'of arm64', more: 1 }),
    'linux-amd64/info.json': JSON.stringify({ ...productInfo, name: 'of amd64' }),
  });

const root = files();
const payloads = [{ from: 'system' }];
const both = ['linux/amd64', 'linux/arm64'];

const build = (options: Partial<OsImageOptions>, more: Partial<BuildOsImage> = {}) =>
  buildOsImage({
    options: { payloads, productInfo, ...options },
    root,
    output: join(temporaryDirectory(), 'os-image'),
    ...more,
  });

const imageAt = async (path: string, selection: Parameters<typeof readLayout>[1] = {}): Promise<Image> =>
  asImage(await readLayout(path, selection));

describe('M17: an OS image', () => {
  test('is the one root of its layout, with its digest beside it', async () => {
    const built = await build({ tag: 'v1', annotations: { a: 'b' } });
    const image = await imageAt(built.path, { tag: 'v1' });
    expect(image.manifest.annotations).toEqual({ a: 'b' });
    const { config, payload } = await readOsImage(image);
    expect(config.product_info).toEqual({ ...productInfo, commit_hash: '', commit_date: '', build_tree_dirty: false });
    expect(digestOf(await collect(payload('system').open()))).toBe(digestOf(text));
    const [layer] = image.manifest.layers;
    expect(built).toEqual({
      digest: image.digest,
      path: built.path,
      images: [
        {
          tag: 'v1',
          digest: image.digest,
          payloads: [{ name: 'system', size: text.length, storedSize: layer?.size, digest: layer?.digest }],
        },
      ],
    });
    expect(readFileSync(join(built.path, 'digest'), 'utf8')).toBe(image.digest);
    const [listed] = (await readLayoutIndex(built.path)).children();
    expect(listed).toMatchObject({ artifactType: 'application/vnd.monogon.os.image.v1' });
    expect(listed).not.toHaveProperty('platform');
    expect(await verifyLayout(built.path)).toMatchObject({ problems: [], manifests: 1, blobs: 2 });
  });

  test.each([0, 1, 2, 3, 4])('at level %d is the same each time, wherever its files are', async (compressionLevel) => {
    const elsewhere = files();
    chmodSync(join(elsewhere, 'system'), 0o755);
    utimesSync(join(elsewhere, 'system'), 1, 1);
    const [one, other] = await Promise.all([
      build({ compressionLevel }),
      build({ compressionLevel }, { root: elsewhere }),
    ]);
    expect(other.digest).toBe(one.digest);
    expect(snapshot(other.path)).toEqual(snapshot(one.path));
  });

  // Another encoder, or another level of it, would give everybody other digests.
  test.each([
    [0, 'sha256:0b35eecb343dbebdb67948554a07004625c3962ac83475cb850d8c160a504ad3'],
    [1, 'sha256:6fc6677fc43fb40729730d333622bdf5d26c6d5ec064622da504b4474701bf94'],
    [2, 'sha256:a4c7601d4392b5ca9cc1b306a2f82db6079df9b4ab50654254943ca6b67f0b33'],
    [3, 'sha256:ecc3795984bc7f2cce574db5f10128e5aa324b3d524af74f6a6cedc1a2a2259e'],
    [4, 'sha256:ecc3795984bc7f2cce574db5f10128e5aa324b3d524af74f6a6cedc1a2a2259e'],
  ])('at level %d has this digest on every machine', async (compressionLevel, digest) => {
    expect((await build({ compressionLevel })).digest).toBe(digest);
  });

  test('is one for each platform, and what they share is there once', async () => {
    const built = await build({
      platforms: [...both, 'linux/x86_64'],
      payloads: [{ from: '{os}-{arch}/kernel.efi' }, { name: 'root', from: 'system' }],
      productInfo: '{platform}/info.json',
    });
    const index = await readLayoutIndex(built.path);
    expect(index.children().map((child) => [tagOf(child), child.platform])).toEqual([
      ['latest-linux-amd64', { os: 'linux', architecture: 'amd64' }],
      ['latest-linux-arm64', { os: 'linux', architecture: 'arm64' }],
    ]);
    expect(built.digest).toBe(index.digest);
    expect(built.images.map(({ platform, tag }) => [platform, tag])).toEqual([
      ['linux/amd64', 'latest-linux-amd64'],
      ['linux/arm64', 'latest-linux-arm64'],
    ]);
    const shared = new Set<Digest | undefined>();
    for (const architecture of ['amd64', 'arm64']) {
      const image = await imageAt(built.path, { platform: parsePlatform(`linux/${architecture}`) });
      const { config, payload } = await readOsImage(image);
      expect(config.payloads.map(({ name }) => name)).toEqual(['kernel.efi', 'root']);
      expect((await collect(payload('kernel.efi').open())).toString()).toBe(architecture);
      expect(config.product_info.name).toBe(`of ${architecture}`);
      expect(config.product_info).not.toHaveProperty('more');
      shared.add(image.manifest.layers[1]?.digest);
    }
    expect(shared.size).toBe(1);
    // Two manifests, two configs, two kernels, one system.
    expect(Object.keys(snapshot(built.path)).filter((path) => path.startsWith('blobs/'))).toHaveLength(7);
  });

  test.each([
    [undefined, 'x86_64', 'aarch64'],
    ['{machine}-debug', 'x86_64-debug', 'aarch64-debug'],
    ['fixed', 'fixed', 'fixed'],
  ])('of the variant %s is %s or %s', async (variant, ...expected) => {
    const { id, name, version } = productInfo;
    const { path } = await build({
      platforms: both,
      productInfo: { id, name, version, ...(variant !== undefined && { variant }) },
    });
    const found: unknown[] = [];
    for (const platform of both.map(parsePlatform)) {
      found.push((await readOsImage(await imageAt(path, { platform }))).config.product_info.variant);
    }
    expect(found).toEqual(expected);
  });

  test('is listed by an index, with its platform', async () => {
    const { variant: _, ...anyMachine } = productInfo;
    const { path } = await build({ platforms: both, productInfo: anyMachine });
    const index = await buildIndex({
      options: { images: [path] },
      sources: [sourceOf(path)],
      output: join(temporaryDirectory(), 'index'),
    });
    expect(index.manifests.map(({ platform }) => platform)).toEqual(both);
    const { manifest } = await imageAt(index.path, { platform: parsePlatform('linux/arm64') });
    expect(manifest.artifactType).toBe('application/vnd.monogon.os.image.v1');
    expect(await verifyLayout(index.path)).toMatchObject({ problems: [], manifests: 3 });
  });

  test('says how far it is', async () => {
    const seen: number[] = [];
    await build(
      {},
      {
        onProgress: (payload, { done, total }) => {
          expect([payload, total]).toEqual(['system', text.length]);
          seen.push(done);
        },
      },
    );
    expect(seen.at(-1)).toBe(text.length);
  });
});

describe('M15: at level 0 a payload is linked, not copied', () => {
  const level0 = { compressionLevel: 0 };
  const storedIn = (path: string) => blobFile(path, digestOf(text));

  (canReflink() ? test.skip : test)('it is the same file', async () => {
    const own = files();
    const { path } = await build(level0, { root: own });
    expect(statSync(storedIn(path)).ino).toBe(statSync(join(own, 'system')).ino);
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
  });

  test('of a symbolic link what it leads to is linked', async () => {
    const own = files();
    symlinkSync('system', join(own, 'link'));
    const { path } = await build({ ...level0, payloads: [{ from: 'link' }] }, { root: own });
    expect(statSync(storedIn(path)).isFile()).toBe(true);
    if (!canReflink()) expect(statSync(storedIn(path)).ino).toBe(statSync(join(own, 'system')).ino);
    expect((await readOsImage(await imageAt(path))).config.payloads.map(({ name }) => name)).toEqual(['link']);
  });

  test('a second build over the first one succeeds, and the files stay', async () => {
    const own = files();
    const output = join(temporaryDirectory(), 'os-image');
    const first = await build(level0, { root: own, output });
    const before = snapshot(output);
    expect((await build(level0, { root: own, output })).digest).toBe(first.digest);
    expect(snapshot(output)).toEqual(before);
    expect(digestOf(readFileSync(join(own, 'system')))).toBe(digestOf(text));
    await build({ compressionLevel: 1 }, { root: own, output });
    expect(digestOf(readFileSync(join(own, 'system')))).toBe(digestOf(text));
  });

  const other = directoryOnOtherDevice();
  (other ? test : test.skip)('from another device it is copied', async () => {
    const { path } = await build(level0, { output: join(other as string, 'os-image') });
    expect(digestOf(readFileSync(storedIn(path)))).toBe(digestOf(text));
    expect(statSync(storedIn(path)).dev).not.toBe(statSync(join(root, 'system')).dev);
  });
});

describe('M17: what can not be built is refused, and the output stays as it was', () => {
  const own = files();
  mkdirSync(join(own, 'directory'));
  writeFiles(own, { 'wrong.json': '{"id":1}', 'broken.json': '{' });
  const { variant: _, ...withoutVariant } = productInfo;

  test.each<[string, Partial<OsImageOptions>, new (...facts: never[]) => OciError, string]>([
    [
      'a file that is not there',
      { payloads: [{ from: 'gone' }] },
      LayerSourceError,
      'gone: expected a file for the payload, found none',
    ],
    [
      'a directory',
      { payloads: [{ from: 'directory' }] },
      LayerSourceError,
      'directory: expected a file for the payload, found a directory',
    ],
    [
      'a file whose name is none of a payload',
      { payloads: [{ from: 'directory/.hidden' }] },
      InvalidOptionError,
      'payload ".hidden": expected a name of 1 to 80 letters',
    ],
    [
      'one name twice',
      { payloads: [{ from: 'system' }, { name: 'system', from: 'wrong.json' }] },
      InvalidOptionError,
      'option "payloads": expected each name once, found system twice',
    ],
    [
      'a token without a platform',
      { payloads: [{ from: '{arch}/system' }] },
      InvalidOptionError,
      'option "payloads": expected "platforms" for what is replaced in {arch}/system, found none',
    ],
    [
      'product info for a platform without one',
      { productInfo: '{platform}/info.json' },
      InvalidOptionError,
      'option "productInfo": expected "platforms"',
    ],
    [
      'no variant and no platform',
      { productInfo: withoutVariant },
      InvalidOptionError,
      'option "productInfo": expected a variant without {machine}, or "platforms"',
    ],
    [
      'product info of another shape',
      { productInfo: 'wrong.json' },
      InvalidDocumentError,
      'wrong.json: $.id: expected string, found 1',
    ],
    [
      'product info that is no JSON',
      { productInfo: 'broken.json' },
      InvalidDocumentError,
      'broken.json: expected JSON',
    ],
    ['a platform that is none', { platforms: ['a/b/c/d'] }, InvalidPlatformError, 'invalid platform "a/b/c/d"'],
    ['a tag that is none', { tag: '-' }, InvalidOptionError, 'option "tag"'],
  ])('%s', async (_, options, type, words) => {
    const output = join(temporaryDirectory(), 'os-image');
    const { message } = await failureOf(type, () => build(options, { root: own, output }));
    expect(message).toContain(words);
    expect(existsSync(output)).toBe(false);
  });

  test.each([0, 1])('ACCEPTANCE 27: a payload that changes while it is read, at level %d', async (compressionLevel) => {
    const changing = writeFiles(temporaryDirectory(), { system: noise(3 * 1024 * 1024) });
    const output = join(temporaryDirectory(), 'os-image');
    await build({ compressionLevel }, { output });
    const before = snapshot(output);
    const path = join(changing, 'system');
    const building = build(
      { compressionLevel },
      { root: changing, output, onProgress: () => truncateSync(path, 1024 * 1024) },
    );
    const { message } = await failureOf(LayerSourceError, () => building);
    expect(message).toContain(`${path}: expected a file that stays as it is while it is read`);
    expect(snapshot(output)).toEqual(before);
  });

  test('ACCEPTANCE 22: a directory of other files as output', async () => {
    const output = writeFiles(temporaryDirectory(), { mine: 'mine' });
    await expect(build({}, { output })).rejects.toThrow('found "mine"');
    expect(snapshot(output)).toEqual({ mine: Buffer.from('mine').toString('base64') });
  });

  test('ACCEPTANCE 21: a damaged payload in the output is repaired by the next build', async () => {
    const { path } = await build({});
    const before = snapshot(path);
    const blob = blobFile(path, (await imageAt(path)).manifest.layers[0]?.digest as Digest);
    chmodSync(blob, 0o644);
    writeFileSync(blob, noise(statSync(blob).size));
    await build({}, { output: path });
    expect(snapshot(path)).toEqual(before);
  });
});
