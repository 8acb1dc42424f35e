import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  asImage,
  DigestMismatchError,
  emptyImage,
  emptyManifest,
  formatPlatform,
  type Image,
  type Index,
  InvalidOptionError,
  InvalidPlatformError,
  mediaTypes,
  NoMatchingPlatformError,
  newIndex,
  parsePlatform,
  type Ref,
  readLayout,
  readLayoutIndex,
  sealImage,
  tagOf,
  UnknownTagError,
  verifyLayout,
} from '../../src';
import { type BuildIndex, type BuiltIndex, buildIndex } from '../../src/actions/build-index';
import type { IndexOptions } from '../../src/actions/index-options';
import { blobFile } from '../../src/layout/paths';
import {
  archiveOf,
  canReflink,
  failureOf,
  sampleImage,
  snapshot,
  sourceOf,
  taggedLayout,
  temporaryDirectory,
  writtenLayout,
} from '../fixtures';

/** Builds into a new directory unless another is given. */
function build(
  images: readonly string[],
  options: Omit<IndexOptions, 'images'> = {},
  more: Partial<BuildIndex> = {},
): Promise<BuiltIndex> {
  return buildIndex({
    options: { ...options, images: [...images] },
    sources: images.map(sourceOf),
    output: join(temporaryDirectory(), 'index'),
    ...more,
  });
}

/** What an index lists, as digests behind platforms. */
const listOf = (index: Index) =>
  index.manifest.manifests.map(({ platform, digest }) => [platform && formatPlatform(platform), digest]);

async function builtFrom(...args: Parameters<typeof build>): Promise<Index> {
  return (await readLayout((await build(...args)).path)) as Index;
}

const imagesFor = (...platforms: string[]) =>
  Promise.all(platforms.map((platform) => sampleImage([platform], platform)));

/** A layout of one image per platform, such as the image executor writes, with the images. */
async function layoutFor(...platforms: string[]): Promise<{ path: string; images: Image[] }> {
  const images = await imagesFor(...platforms);
  const tagged = images.map((image, position) => [`latest-${position}`, image] as const);
  return { path: await taggedLayout(Object.fromEntries(tagged)), images };
}

describe('an index', () => {
  test('is the one root of a layout: tagged, with its digest beside it', async () => {
    const { path, images } = await layoutFor('linux/amd64', 'linux/arm64');
    const built = await build([path], { tag: 'v1', annotations: { a: 'b' } });
    const root = await readLayoutIndex(built.path);
    expect(root.children()).toEqual([
      {
        mediaType: mediaTypes.imageIndex,
        digest: built.digest,
        size: expect.any(Number),
        annotations: { 'org.opencontainers.image.ref.name': 'v1' },
      },
    ]);
    expect(readFileSync(join(built.path, 'digest'), 'utf8')).toBe(built.digest);
    const index = (await readLayout(built.path)) as Index;
    expect(index.manifest.annotations).toEqual({ a: 'b' });
    expect(listOf(index)).toEqual([
      ['linux/amd64', images[0]?.digest],
      ['linux/arm64', images[1]?.digest],
    ]);
    expect(built).toEqual({
      digest: index.digest,
      path: built.path,
      tag: 'v1',
      manifests: index.children().map(({ digest, mediaType, platform }) => ({
        digest,
        mediaType,
        platform: platform && formatPlatform(platform),
      })),
    });
    expect(await verifyLayout(built.path)).toMatchObject({ problems: [], manifests: 3 });
  });

  test('is tagged latest where nothing else is said, and the same every time', async () => {
    const { path } = await layoutFor('linux/amd64');
    const [one, other] = [await build([path]), await build([path])];
    expect(snapshot(one.path)).toEqual(snapshot(other.path));
    expect((await readLayoutIndex(one.path)).children().map(tagOf)).toEqual(['latest']);
  });

  test('has the whole platform of each config, variant, version and features too', async () => {
    const windows = { ...parsePlatform('windows/amd64'), 'os.version': '10.0.1', 'os.features': ['win32k'] };
    const arm = parsePlatform('linux/arm/v6');
    const refs = [windows, arm].map((platform) => ({ ref: sealImage(emptyImage(platform)) }));
    const index = await builtFrom([await writtenLayout(refs)]);
    expect(index.children().map(({ platform }) => platform)).toEqual([windows, arm]);
  });
});

describe('what it is made of', () => {
  test.each<[string, (path: string, images: readonly Image[]) => Promise<string> | string, number[]]>([
    ['a layout', (path) => path, [0, 1]],
    ['a tag', (path) => `${path}:latest-1`, [1]],
    ['a digest', (path, images) => `${path}@${images[1]?.digest}`, [1]],
    ['an archive', archiveOf, [0, 1]],
    ['a tag in an archive', async (path) => `${await archiveOf(path)}:latest-0`, [0]],
  ])('%s', async (_, name, expected) => {
    const { path, images } = await layoutFor('linux/amd64', 'linux/arm64');
    const index = await builtFrom([await name(path, images)]);
    expect(index.children().map(({ digest }) => digest)).toEqual(expected.map((position) => images[position]?.digest));
  });

  test('several sources, in their order, each manifest once', async () => {
    const [one, other] = [await layoutFor('linux/amd64'), await layoutFor('linux/arm64', 'linux/amd64')];
    const digests = [one, other].flatMap(({ images }) => images.map(({ digest }) => digest));
    const index = await builtFrom([one.path, other.path, `${one.path}:latest-0`, await archiveOf(other.path)]);
    expect(index.children().map(({ digest }) => digest)).toEqual([...new Set(digests)]);
    expect(new Set(digests).size).toBe(2);
  });

  test('one image for several platforms, listed for each', async () => {
    const image = await sampleImage();
    const platforms = ['linux/amd64', 'linux/arm64'];
    const path = await writtenLayout(
      newIndex(platforms.map((name) => ({ ref: image, platform: parsePlatform(name) }))),
    );
    expect(listOf(await builtFrom([path]))).toEqual(platforms.map((platform) => [platform, image.digest]));
  });

  test('annotations of descriptors stay, the tags of the sources do not', async () => {
    const annotations = { note: 'n', 'org.opencontainers.image.ref.name': 'old' };
    const path = await writtenLayout([{ ref: await sampleImage(), annotations }]);
    expect((await builtFrom([path])).children().map((child) => child.annotations)).toEqual([{ note: 'n' }]);
  });

  test('artifacts, which have no platform', async () => {
    const artifact = emptyManifest('application/x');
    const [child, ...more] = (await builtFrom([await writtenLayout(artifact)])).children();
    expect(child).toMatchObject({ digest: artifact.digest, artifactType: 'application/x' });
    expect(child).not.toHaveProperty('platform');
    expect(more).toEqual([]);
  });

  describe('an index', () => {
    const nestedLayout = async () => {
      const images = await imagesFor('linux/amd64', 'linux/arm64');
      const inner = newIndex(images.map((ref) => ({ ref })));
      const [alone] = await imagesFor('linux/riscv64');
      const path = await writtenLayout([{ ref: inner, annotations: { note: 'n' } }, { ref: alone as Ref }]);
      return { path, inner, images, alone };
    };

    test('is flattened', async () => {
      const { path, images, alone } = await nestedLayout();
      expect(listOf(await builtFrom([path]))).toEqual([
        ['linux/amd64', images[0]?.digest],
        ['linux/arm64', images[1]?.digest],
        ['linux/riscv64', alone?.digest],
      ]);
    });

    test('or kept, to the byte', async () => {
      const { path, inner, alone } = await nestedLayout();
      const index = await builtFrom([path], { nested: 'keep' });
      expect(index.children()).toMatchObject([
        { digest: inner.digest, mediaType: mediaTypes.imageIndex, annotations: { note: 'n' } },
        { digest: alone?.digest, platform: parsePlatform('linux/riscv64') },
      ]);
      const [first] = index.children();
      expect(Buffer.from((await index.ref(first as never)).rawManifest)).toEqual(Buffer.from(inner.rawManifest));
    });

    test('that is kept is taken for each platform that it holds', async () => {
      const { path, inner, alone } = await nestedLayout();
      const options = { nested: 'keep' as const, platforms: ['linux/arm64', 'linux/amd64'] };
      expect((await builtFrom([path], options)).children().map(({ digest }) => digest)).toEqual([inner.digest]);
      const other = { nested: 'keep' as const, platforms: ['linux/riscv64'] };
      expect((await builtFrom([path], other)).children().map(({ digest }) => digest)).toEqual([alone?.digest]);
    });
  });
});

describe('platforms', () => {
  test.each<[string[], string[], string[]]>([
    [
      ['linux/amd64', 'linux/arm64'],
      ['linux/arm64', 'linux/amd64'],
      ['linux/arm64', 'linux/amd64'],
    ],
    [['linux/amd64', 'linux/arm64'], ['linux/x86_64', 'amd64'], ['linux/amd64']],
    [['linux/arm/v5', 'linux/arm/v6', 'linux/arm64'], ['linux/arm/v7'], ['linux/arm/v6']],
    [
      ['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'],
      ['linux/amd64/v3', 'linux/amd64'],
      ['linux/amd64/v2', 'linux/amd64'],
    ],
  ])('of %j takes for %j only %j', async (there, platforms, expected) => {
    const { path } = await layoutFor(...there);
    expect(listOf(await builtFrom([path], { platforms })).map(([platform]) => platform)).toEqual(expected);
  });

  test('takes from each source what is for the platform', async () => {
    const [one, other] = [await sampleImage(['one']), await sampleImage(['other'])];
    const [arm] = await imagesFor('linux/arm64');
    const sources = [await writtenLayout([{ ref: one }, { ref: arm as Ref }]), await writtenLayout(other)];
    const index = await builtFrom(sources, { platforms: ['linux/amd64'] });
    expect(index.children().map(({ digest }) => digest)).toEqual([one.digest, other.digest]);
  });

  test('takes every version of Windows', async () => {
    const versions = ['10.0.1', '10.0.2'];
    const refs = versions.map((version) => ({
      ref: sealImage(emptyImage({ ...parsePlatform('windows/amd64'), 'os.version': version })),
    }));
    const index = await builtFrom([await writtenLayout(refs)], { platforms: ['windows/amd64'] });
    expect(index.children().map(({ platform }) => platform?.['os.version'])).toEqual(versions);
  });

  test('O14: that are not there: an error lists at most 10 that are', async () => {
    const there = Array.from({ length: 12 }, (_, position) => `linux/cpu${position}`);
    const { path } = await layoutFor(...there);
    const output = join(temporaryDirectory(), 'index');
    const error = await failureOf(NoMatchingPlatformError, () =>
      build([path], { platforms: ['linux/cpu1', 'linux/arm64'] }, { output }),
    );
    const found = `${there.slice(0, 10).join(', ')} and 2 more`;
    expect(error.message).toBe(`${path}: expected an image for linux/arm64, found ${found}`);
    expect(existsSync(output)).toBe(false);
  });
});

describe('refused, with the output as it was', () => {
  const rows: [string, new (...facts: never[]) => InvalidOptionError, Omit<IndexOptions, 'images'>, string, string][] =
    [
      ['ACCEPTANCE 50: a newline in a tag', InvalidOptionError, { tag: 'a\nb' }, '', 'found "a\\nb"'],
      ['a platform that is none', InvalidPlatformError, { platforms: ['linux/'] }, '', 'invalid platform "linux/"'],
      ['an unknown tag', UnknownTagError, {}, ':v2', 'expected a manifest with the tag "v2", found latest-0, latest-1'],
    ];
  test.each(rows)('%s', async (_, type, options, tag, message) => {
    const { path } = await layoutFor('linux/amd64', 'linux/arm64');
    const { path: output } = await build([path]);
    const before = snapshot(output);
    expect((await failureOf(type, () => build([path + tag], options, { output }))).message).toContain(message);
    expect(snapshot(output)).toEqual(before);
    expect(readdirSync(output).sort()).toEqual(['blobs', 'digest', 'index.json', 'oci-layout']);
  });

  test('ACCEPTANCE 20: a layer that was changed at the same size', async () => {
    const { path, images } = await layoutFor('linux/amd64');
    const { path: output } = await build([path]);
    const before = snapshot(output);
    const layer = images[0]?.manifest.layers[0];
    if (!layer) throw new Error('a layer');
    // Its blobs are read-only and may be shared with the output: another copy is damaged.
    const damaged = await writtenLayout(images[0] as Image);
    const file = blobFile(damaged, layer.digest);
    const bytes = readFileSync(file);
    rmSync(file);
    writeFileSync(file, Buffer.alloc(bytes.length));
    const { message } = await failureOf(DigestMismatchError, () => build([damaged], {}, { output }));
    expect(message).toContain(layer.digest);
    expect(snapshot(output)).toEqual(before);
  });
});

/** The bytes that this process handed to the system to be written, those that a copy in the kernel takes too. */
const bytesWritten = () => Number(/^wchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);

(existsSync('/proc/self/io') ? test : test.skip)('P8: an index over 50 images writes none of their bytes', async () => {
  const size = 100_000;
  const beforeImages = bytesWritten();
  const layouts = await Promise.all(
    Array.from({ length: 50 }, async (_, position) =>
      writtenLayout(await sampleImage([randomBytes(size).toString('base64')], `linux/cpu${position}`)),
    ),
  );
  const imageBytes = bytesWritten() - beforeImages;
  expect(imageBytes).toBeGreaterThan(50 * size);
  const before = bytesWritten();
  const built = await build(layouts);
  expect(bytesWritten() - before).toBeLessThan(imageBytes / 20);
  expect(built.manifests).toHaveLength(50);
  const reflinks = canReflink();
  for (const layout of layouts) {
    const image = asImage(await readLayout(layout));
    for (const digest of [image.digest, ...image.descriptors().map((descriptor) => descriptor.digest)]) {
      const [ours, theirs] = [built.path, layout].map((path) => statSync(blobFile(path, digest)));
      expect(ours?.size).toBe(theirs?.size);
      // A reflink is a file of its own, a hard link the same one.
      if (!reflinks) expect(ours?.ino).toBe(theirs?.ino);
    }
  }
  expect(await verifyLayout(built.path)).toMatchObject({ problems: [], manifests: 51 });
});
