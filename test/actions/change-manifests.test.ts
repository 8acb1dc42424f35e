import { existsSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  asImage,
  asIndex,
  convertRef,
  type Index,
  InvalidOptionError,
  mediaTypes,
  newIndex,
  type OciError,
  parsePlatform,
  readLayout,
  recompressRef,
  UnexpectedMediaTypeError,
  verifyLayout,
  zstdAnnotation,
} from '../../src';
import { type CopyOptions, copyManifests } from '../../src/actions/copy-manifests';
import { pushImages } from '../../src/actions/push-images';
import { stagingPrefix } from '../../src/layout/paths';
import { parseLayoutReference } from '../../src/layout/reference';
import { parseRegistryReference } from '../../src/registry/reference';
import {
  expectFailure,
  expectSuccess,
  failureOf,
  memorySink,
  nxOci,
  runAll,
  sampleImage,
  sourceOf,
  taggedLayout,
  temporaryDirectory,
} from '../fixtures';
import { clientOf, openRegistry, repositoryAt } from '../registry/clients';

const platforms = ['linux/amd64', 'linux/arm64'];

async function sampleIndex(): Promise<Index> {
  const images = await Promise.all(platforms.map((platform) => sampleImage(['shared', platform], platform)));
  return newIndex(images.map((ref, at) => ({ ref, platform: parsePlatform(platforms[at] as string) })));
}

/** The places for new layers that this process has open. */
const stages = () => readdirSync(tmpdir()).filter((name) => name.startsWith(`${stagingPrefix}${process.pid}-`));

const missing = () => join(temporaryDirectory(), 'out');
const copy = async (from: string, options: CopyOptions, to = missing()) => {
  await copyManifests(sourceOf(from), parseLayoutReference(to), options);
  return to;
};

const layerTypes = async (path: string) =>
  new Set(asImage(await readLayout(path)).manifest.layers.map(({ mediaType }) => mediaType));

describe('L11: what is copied', () => {
  test('is compressed as it is said, and no temporary file is left', async () => {
    const from = await taggedLayout({ v1: await sampleImage() });
    for (const [forceCompression, mediaType] of [
      ['zstd', mediaTypes.layerZstd],
      ['none', mediaTypes.layer],
      ['gzip', mediaTypes.layerGzip],
    ] as const) {
      const to = await copy(from, { forceCompression });
      expect(await layerTypes(to)).toEqual(new Set([mediaType]));
      expect(await verifyLayout(to)).toMatchObject({ problems: [], uncheckedDiffIds: [] });
      expect(stages()).toEqual([]);
    }
  });

  test('gets more instances, and lists them behind its own', async () => {
    const index = await sampleIndex();
    const to = await copy(await taggedLayout({ v1: index }), { addCompression: ['zstd'] });
    const children = asIndex(await readLayout(to)).children();
    expect(children.slice(0, 2)).toEqual(index.children());
    expect(children.slice(2)).toMatchObject(
      index.children().map(({ platform }) => ({ platform, annotations: { [zstdAnnotation]: 'true' } })),
    );
    expect(await verifyLayout(to)).toMatchObject({ problems: [], uncheckedDiffIds: [] });
  });

  test('can be forced to one compression, and get another, at one level', async () => {
    const from = await taggedLayout({ v1: await sampleIndex() });
    const options = { forceCompression: 'none', addCompression: ['zstd'], compressionLevel: 19 } as const;
    const [plain, , zstd] = asIndex(await readLayout(await copy(from, options))).children();
    const types = await Promise.all(
      [plain, zstd].map(async (child) => {
        const index = asIndex(await readLayout(await copy(from, options)));
        return asImage(await index.ref(child as never)).manifest.layers[0]?.mediaType;
      }),
    );
    expect(types).toEqual([mediaTypes.layer, mediaTypes.layerZstd]);
  });

  test('can go from zstd to the format of Docker and back', async () => {
    const zstd = await recompressRef(await sampleImage(), 'zstd', memorySink);
    const docker = await copy(await taggedLayout({ v1: zstd }), { format: 'docker', forceCompression: 'gzip' });
    expect(await layerTypes(docker)).toEqual(new Set([mediaTypes.dockerLayerGzip]));
    const back = await copy(docker, { format: 'oci', forceCompression: 'zstd' });
    expect((await readLayout(back)).digest).toBe(zstd.digest);
  });

  test.each<[string, CopyOptions, new (...facts: never[]) => OciError, string]>([
    [
      'zstd and the format of Docker',
      { format: 'docker', forceCompression: 'zstd' },
      InvalidOptionError,
      'format: expected oci',
    ],
    [
      'another instance in the format of Docker',
      { format: 'docker', addCompression: ['zstd'] },
      InvalidOptionError,
      'format',
    ],
    ['a level alone', { compressionLevel: 3 }, InvalidOptionError, 'expected a compression to force or to add'],
    [
      'a level that gzip does not have',
      { forceCompression: 'gzip', compressionLevel: 10 },
      InvalidOptionError,
      '1 to 9',
    ],
    ['an instance beside an image', { addCompression: ['zstd'] }, InvalidOptionError, 'expected an index'],
    [
      'zstd of what Docker made',
      { forceCompression: 'zstd' },
      UnexpectedMediaTypeError,
      'convert it with the format "oci"',
    ],
  ])('is refused with %s, and nothing is written', async (_, options, type, message) => {
    const to = missing();
    const from = await taggedLayout({ v1: await convertRef(await sampleImage(), 'docker') });
    expect((await failureOf(type, () => copy(from, options, to))).message).toContain(message);
    expect(existsSync(to)).toBe(false);
    expect(stages()).toEqual([]);
  });

  test.each([
    [['--force-compression', 'zstd', '--compression-level', '19'], 0, ''],
    [['--add-compression', 'zstd'], 1, 'expected an index'],
    [['--force-compression', 'lz4'], 1, "argument 'lz4' is invalid"],
    [['--add-compression', 'gzip'], 1, "argument 'gzip' is invalid"],
    [['--force-compression', 'gzip', '--compression-level', '10'], 1, 'expected a whole number from 1 to 9, found 10'],
    [['--force-compression', 'gzip', '--compression-level', '0'], 1, 'expected a whole number from 1 to 9, found 0'],
    [['--force-compression', 'zstd', '--compression-level', 'x'], 1, 'expected a whole number up to 19'],
  ])('on the command line, with %j', async (flags, code, message) => {
    const to = missing();
    const [finished] = await runAll([
      async () => nxOci(['copy', await taggedLayout({ v1: await sampleImage() }), to, ...flags]),
    ]);
    if (finished === undefined) throw new Error('expected a command, found none');
    if (code !== 0) return expectFailure(finished, message);
    expectSuccess(finished);
    expect(await layerTypes(to)).toEqual(new Set([mediaTypes.layerZstd]));
  });
});

describe('L11: what is pushed', () => {
  const push = async (from: string, options: CopyOptions & { dryRun?: boolean; onProgress?: () => void }) => {
    const registry = await openRegistry();
    const references = [parseRegistryReference(`${registry.host}/os:v1`)];
    const pushed = await pushImages({
      source: sourceOf(from),
      references,
      repository: clientOf().repository,
      ...options,
    });
    return { registry, pushed };
  };

  test('is compressed on the way, in a place that is removed', async () => {
    const image = await sampleImage(['a', 'b']);
    const seen = new Set<number>();
    const onProgress = () => seen.add(stages().length);
    const { registry, pushed } = await push(await taggedLayout({ v1: image }), {
      forceCompression: 'zstd',
      onProgress,
    });
    const found = asImage(await repositoryAt(registry).read({ tag: 'v1' }));
    expect(found.digest).toBe(pushed[0]?.digest);
    expect(found.manifest.config).toEqual(image.manifest.config);
    expect(found.manifest.layers.map(({ mediaType }) => mediaType)).toEqual([
      mediaTypes.layerZstd,
      mediaTypes.layerZstd,
    ]);
    expect([...seen]).toEqual([1]);
    expect(stages()).toEqual([]);
  });

  test('has instances with zstd, and its original ones keep their digests', async () => {
    const index = await sampleIndex();
    const { registry } = await push(await taggedLayout({ v1: index }), { addCompression: ['zstd'] });
    const found = asIndex(await repositoryAt(registry).read({ tag: 'v1' }));
    expect(found.children().slice(0, 2)).toEqual(index.children());
    expect(found.children()).toHaveLength(4);
  });

  test('is counted in a dry run as it would be pushed', async () => {
    const index = await sampleIndex();
    const from = await taggedLayout({ v1: index });
    const { registry, pushed } = await push(from, { addCompression: ['zstd'], dryRun: true });
    expect(pushed).toMatchObject([{ manifests: 5, blobs: { uploaded: 2 + 2 * 3 } }]);
    expect(await repositoryAt(registry).resolve({ tag: 'v1' })).toBeUndefined();
    expect(stages()).toEqual([]);
  });

  test('leaves no temporary file when the registry refuses', async () => {
    const from = await taggedLayout({ v1: await sampleImage() });
    const registry = await openRegistry();
    await registry.close();
    const references = [parseRegistryReference(`${registry.host}/os:v1`)];
    const refused = pushImages({
      source: sourceOf(from),
      references,
      repository: clientOf().repository,
      forceCompression: 'zstd',
    });
    await expect(refused).rejects.toThrow(registry.host);
    expect(stages()).toEqual([]);
  });
});
