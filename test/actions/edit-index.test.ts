import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  asImage,
  type Descriptor,
  descriptorOf,
  emptyImage,
  formatPlatform,
  type Image,
  type Index,
  InvalidDigestError,
  InvalidLayoutError,
  InvalidOptionError,
  InvalidPlatformError,
  LayerSourceError,
  mediaTypes,
  NoMatchingPlatformError,
  NotAnIndexError,
  newIndex,
  type OciError,
  parsePlatform,
  readLayout,
  readLayoutIndex,
  sealImage,
  thisPlatform,
  UnknownTagError,
  verifyLayout,
} from '../../src';
import {
  addArtifactToIndex,
  addToListedIndex,
  annotateIndex,
  annotateInstance,
  createIndex,
  removeInstance,
} from '../../src/actions/edit-index';
import { convertRef } from '../../src/convert';
import { parseLayoutReference } from '../../src/layout/reference';
import {
  archiveOf,
  failureOf,
  run,
  sampleImage,
  snapshot,
  sourceOf,
  taggedLayout,
  temporaryDirectory,
  writeFiles,
  writtenLayout,
} from '../fixtures';

const reference = parseLayoutReference;
const name = (path: string, tag = 'latest') => reference(`${path}:${tag}`);
const missing = () => join(temporaryDirectory(), 'out');

const indexIn = async (path: string, tag = 'latest') => (await readLayout(path, { tag })) as Index;

/** What an index lists, as digests behind platforms. */
const listOf = (index: Index) =>
  index.manifest.manifests.map(({ platform, digest }) => [platform && formatPlatform(platform), digest]);

/** An index over one image per platform. */
async function multiPlatform(...platforms: string[]): Promise<{ index: Index; images: Image[] }> {
  const images = await Promise.all(platforms.map((platform) => sampleImage([platform], platform)));
  const entries = images.map((ref, position) => ({ ref, platform: parsePlatform(platforms[position] as string) }));
  return { index: newIndex(entries), images };
}

describe('L1: an empty index under a name', () => {
  test('makes the layout', async () => {
    const path = missing();
    const annotations = { a: 'b' };
    const created = await createIndex(name(path), [], {}, { annotations, artifactType: 'application/x' });
    const index = await indexIn(path);
    expect(index.manifest).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.imageIndex,
      artifactType: 'application/x',
      manifests: [],
      annotations,
    });
    expect(created).toMatchObject({ digest: index.digest, artifactType: 'application/x' });
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
  });

  test('stands beside what is there', async () => {
    const image = await sampleImage();
    const path = await taggedLayout({ v1: image });
    await createIndex(name(path), [], {}, {});
    expect((await readLayout(path, { tag: 'v1' })).digest).toBe(image.digest);
    expect((await indexIn(path)).children()).toEqual([]);
  });
});

describe('L2: look up by name', () => {
  test.each<[string, (index: Index) => string]>([
    ['tag', () => ':latest'],
    ['digest', (index) => `@${index.digest}`],
    ['nothing, where there is only one', () => ''],
  ])('by %s', async (_, suffix) => {
    const { index, images } = await multiPlatform('linux/amd64', 'linux/arm64');
    const path = await taggedLayout({ latest: index });
    await removeInstance(reference(path + suffix(index)), 'linux/amd64');
    expect(listOf(await indexIn(path))).toEqual([['linux/arm64', images[1]?.digest]]);
  });

  test('what is no index has an error of its own', async () => {
    const image = await sampleImage();
    const path = await taggedLayout({ latest: image });
    const before = snapshot(path);
    const { message } = await failureOf(NotAnIndexError, () => addToListedIndex(name(path), sourceOf(path), {}, {}));
    expect(message).toContain(`manifest ${image.digest}: expected media type ${mediaTypes.imageIndex}`);
    expect(message).toContain(`found ${mediaTypes.imageManifest}`);
    expect(snapshot(path)).toEqual(before);
  });
});

test('L3: an image becomes an index of one', async () => {
  const image = await sampleImage(['a'], 'linux/arm/v6');
  const path = await taggedLayout({ single: image });
  await createIndex(name(path, 'list'), [sourceOf(`${path}:single`)], {}, {});
  expect(listOf(await indexIn(path, 'list'))).toEqual([['linux/arm/v6', image.digest]]);
});

describe('L4: the instance', () => {
  test.each<[string | undefined, string]>([
    ['linux/arm/v7', 'linux/arm/v6'],
    ['linux/riscv64', 'linux/riscv64'],
    [undefined, formatPlatform(thisPlatform())],
  ])('for %s is %s', async (wanted, expected) => {
    const there = [...new Set(['linux/arm/v5', 'linux/arm/v6', 'linux/riscv64', formatPlatform(thisPlatform())])];
    const { index } = await multiPlatform(...there);
    const path = missing();
    const choice = wanted === undefined ? {} : { platform: parsePlatform(wanted) };
    await createIndex(name(path), [sourceOf(await writtenLayout(index))], choice, {});
    expect(listOf(await indexIn(path)).map(([platform]) => platform)).toEqual([expected]);
  });

  test('that is not there: the error lists what is, and no layout is left behind', async () => {
    const { index } = await multiPlatform('linux/cpu1', 'linux/cpu2');
    const [path, source] = [missing(), await writtenLayout(index)];
    const error = await failureOf(NoMatchingPlatformError, () => createIndex(name(path), [sourceOf(source)], {}, {}));
    expect(error.message).toBe(
      `${source}: expected an image for ${formatPlatform(thisPlatform())}, found linux/cpu1, linux/cpu2`,
    );
    expect(existsSync(path)).toBe(false);
  });
});

/** An archive as older versions of `docker save` write it. */
async function dockerArchive(image: Image): Promise<string> {
  const [layer] = image.manifest.layers;
  const read = async (descriptor: Descriptor) => image.readBlobVerified(descriptor);
  const directory = writeFiles(temporaryDirectory(), {
    'manifest.json': JSON.stringify([{ Config: 'config.json', RepoTags: ['app:v1'], Layers: ['layer.tar'] }]),
    'config.json': await read(image.manifest.config),
    'layer.tar': await read(layer as Descriptor),
  });
  const file = join(temporaryDirectory(), 'saved.tar');
  const { code } = await run('tar', ['-cf', file, '-C', directory, ...readdirSync(directory)]);
  expect(code).toBe(0);
  return file;
}

describe('L6: add', () => {
  async function emptyList(): Promise<string> {
    const path = missing();
    await createIndex(name(path), [], {}, {});
    return path;
  }

  test.each<[string, (image: Image) => Promise<string>]>([
    ['a layout', (image) => writtenLayout(image)],
    ['a tag in a layout', async (image) => `${await taggedLayout({ a: await sampleImage(['x']), b: image })}:b`],
    [
      'a digest in a nested index',
      async (image) => `${await writtenLayout(newIndex([{ ref: image }]))}@${image.digest}`,
    ],
    ['an archive', async (image) => archiveOf(await writtenLayout(image))],
  ])('an image of %s, with all that it leads to', async (_, source) => {
    const path = await emptyList();
    const image = await sampleImage(['a'], 'linux/arm64');
    const added = await addToListedIndex(name(path), sourceOf(await source(image)), {}, {});
    const index = await indexIn(path);
    expect(added.digest).toBe(index.digest);
    expect(listOf(index)).toEqual([['linux/arm64', image.digest]]);
    expect(await verifyLayout(path)).toMatchObject({ problems: [], manifests: 2, blobs: 2 });
  });

  test('L13: an image of a docker save archive', async () => {
    const path = await emptyList();
    const image = await sampleImage(['a'], 'linux/arm64');
    await addToListedIndex(name(path), sourceOf(await dockerArchive(image)), {}, {});
    const [child] = (await indexIn(path)).children();
    expect(child).toMatchObject({ mediaType: mediaTypes.dockerManifest, platform: parsePlatform('linux/arm64') });
    const added = asImage(await (await indexIn(path)).ref(child as Descriptor));
    expect(added.descriptors().map(({ digest }) => digest)).toEqual(image.descriptors().map(({ digest }) => digest));
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
  });

  test('each image of an index, with --all, and what is there already once', async () => {
    const path = await emptyList();
    const { index, images } = await multiPlatform('linux/amd64', 'linux/arm64', 'linux/s390x');
    const source = sourceOf(await writtenLayout(index));
    await addToListedIndex(name(path), source, { platform: parsePlatform('linux/arm64') }, {});
    await addToListedIndex(name(path), source, { all: true }, {});
    expect(listOf(await indexIn(path))).toEqual([
      ['linux/arm64', images[1]?.digest],
      ['linux/amd64', images[0]?.digest],
      ['linux/s390x', images[2]?.digest],
    ]);
  });

  test('with words of its own', async () => {
    const path = await emptyList();
    const source = sourceOf(await writtenLayout(await sampleImage(['a'], 'linux/arm/v7')));
    const words = {
      variant: 'v6',
      osVersion: '1',
      osFeatures: ['a', 'b'],
      features: ['sse4'],
      annotations: { n: 'x' },
    };
    await addToListedIndex(name(path), source, {}, words);
    expect((await indexIn(path)).children()).toMatchObject([
      {
        platform: {
          architecture: 'arm',
          os: 'linux',
          variant: 'v6',
          'os.version': '1',
          'os.features': ['a', 'b'],
          features: ['sse4'],
        },
        annotations: { n: 'x' },
      },
    ]);
  });
});

describe('L7: add an artifact made of files', () => {
  const root = writeFiles(temporaryDirectory(), { 'sbom.json': '{}', 'config.json': '{"c":1}' });

  test('with its type, config, titles, annotations and subject', async () => {
    const image = await sampleImage();
    const path = await taggedLayout({ latest: newIndex([]), subject: image });
    const options = {
      artifactType: 'application/x',
      files: [{ from: 'sbom.json', mediaType: 'application/json' }],
      config: { from: 'config.json', mediaType: 'application/x.config' },
      annotations: { of: 'artifact' },
    };
    const words = { annotations: { of: 'index' } };
    await addArtifactToIndex(name(path), options, root, sourceOf(`${path}:subject`), words);
    const index = await indexIn(path);
    expect(index.children()).toMatchObject([{ artifactType: 'application/x', annotations: { of: 'index' } }]);
    const artifact = asImage(await index.ref(index.children()[0] as Descriptor));
    expect(artifact.manifest).toMatchObject({
      artifactType: 'application/x',
      config: { mediaType: 'application/x.config', size: 7 },
      layers: [{ mediaType: 'application/json', annotations: { 'org.opencontainers.image.title': 'sbom.json' } }],
      annotations: { of: 'artifact' },
      subject: descriptorOf(image),
    });
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
    expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
  });

  test.each<[string, new (...facts: never[]) => OciError, string, object]>([
    ['no type', InvalidOptionError, 'latest', { files: [{ from: 'sbom.json' }] }],
    ['an unknown index', UnknownTagError, 'other', { artifactType: 'a/b', files: [{ from: 'sbom.json' }] }],
    ['a file that is not there', LayerSourceError, 'latest', { artifactType: 'a/b', files: [{ from: 'gone' }] }],
  ])('leaves nothing behind: %s', async (_, type, tag, options) => {
    const path = await taggedLayout({ latest: newIndex([]) });
    const before = snapshot(path);
    await failureOf(type, () => addArtifactToIndex(name(path, tag), options, root, undefined, {}));
    expect(snapshot(path)).toEqual(before);
    expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
  });
});

describe('L8: annotate an instance', () => {
  const words = {
    os: 'windows',
    architecture: 'arm64',
    variant: 'v9',
    osVersion: '10.0.1',
    osFeatures: ['win32k'],
    features: ['sve'],
    annotations: { added: 'yes', changed: 'new' },
  };

  test('by its platform or its digest: everything that can be said', async () => {
    const { index, images } = await multiPlatform('linux/amd64', 'linux/arm64');
    for (const which of ['linux/x86_64', images[0]?.digest as string]) {
      const path = await taggedLayout({ latest: index });
      await annotateInstance(name(path), which, { annotations: { kept: 'yes', changed: 'old' } });
      const changed = await annotateInstance(name(path), which, words);
      const [first, second] = (await indexIn(path)).children();
      expect(first).toEqual({
        ...descriptorOf(images[0] as Image),
        platform: {
          architecture: 'arm64',
          os: 'windows',
          variant: 'v9',
          'os.version': '10.0.1',
          'os.features': ['win32k'],
          features: ['sve'],
        },
        annotations: { kept: 'yes', changed: 'new', added: 'yes' },
      });
      expect(second).toEqual(index.children()[1]);
      expect(changed.digest).toBe((await indexIn(path)).digest);
    }
  });

  test('only what is said changes', async () => {
    const path = await taggedLayout({ latest: (await multiPlatform('linux/arm/v7')).index });
    await annotateInstance(name(path), 'linux/arm', { variant: 'v6' });
    expect(listOf(await indexIn(path)).map(([platform]) => platform)).toEqual(['linux/arm/v6']);
  });

  test('a platform needs a system and an architecture', async () => {
    const image = await sampleImage();
    const path = await taggedLayout({ latest: newIndex([{ ref: image }]) });
    const before = snapshot(path);
    const { message } = await failureOf(InvalidOptionError, () =>
      annotateInstance(name(path), image.digest, { architecture: 'amd64' }),
    );
    expect(message).toContain('expected an operating system and an architecture');
    expect(snapshot(path)).toEqual(before);
    await annotateInstance(name(path), image.digest, { architecture: 'amd64', os: 'linux' });
    expect(listOf(await indexIn(path))).toEqual([['linux/amd64', image.digest]]);
  });

  test('of an image for several platforms, only the one that is named by its platform', async () => {
    const image = await sampleImage();
    const platforms = ['linux/amd64', 'linux/arm64'];
    const index = newIndex(platforms.map((platform) => ({ ref: image, platform: parsePlatform(platform) })));
    const path = await taggedLayout({ latest: index });
    await annotateInstance(name(path), 'linux/arm64', { annotations: { only: 'this' } });
    const said = (await indexIn(path)).children().map(({ annotations }) => annotations);
    expect(said).toEqual([undefined, { only: 'this' }]);
  });
});

test('L9: annotations and subject of the index itself', async () => {
  const image = await sampleImage();
  const path = await taggedLayout({ latest: newIndex([], { annotations: { kept: 'yes' } }), subject: image });
  await annotateIndex(name(path), { added: 'yes' }, sourceOf(`${path}:subject`));
  const changed = await annotateIndex(name(path), { added: 'again' }, undefined);
  const index = await indexIn(path);
  expect(index.manifest).toMatchObject({
    annotations: { kept: 'yes', added: 'again' },
    subject: descriptorOf(image),
  });
  expect(changed.digest).toBe(index.digest);
});

describe('L10: remove an instance', () => {
  test('by platform or digest, and nothing else', async () => {
    const { index, images } = await multiPlatform('linux/amd64', 'linux/arm64', 'linux/arm/v7');
    const path = await taggedLayout({ latest: index });
    await removeInstance(name(path), images[0]?.digest as string);
    await removeInstance(name(path), 'arm');
    expect(listOf(await indexIn(path))).toEqual([['linux/arm64', images[1]?.digest]]);
  });

  test('an image for several platforms: of one by its platform, of all by its digest', async () => {
    const image = await sampleImage();
    const platforms = ['linux/amd64', 'linux/arm64', 'linux/riscv64'];
    const index = newIndex(platforms.map((platform) => ({ ref: image, platform: parsePlatform(platform) })));
    const path = await taggedLayout({ latest: index });
    await removeInstance(name(path), 'linux/arm64');
    expect(listOf(await indexIn(path)).map(([platform]) => platform)).toEqual(['linux/amd64', 'linux/riscv64']);
    await removeInstance(name(path), image.digest);
    expect(listOf(await indexIn(path))).toEqual([]);
  });

  test('the words of the tag in index.json stay', async () => {
    const { index } = await multiPlatform('linux/amd64');
    const annotations = { 'org.opencontainers.image.ref.name': 'latest', note: 'n' };
    const path = await writtenLayout([{ ref: index, annotations }]);
    await removeInstance(name(path), 'linux/amd64');
    expect((await readLayoutIndex(path)).children().map((child) => child.annotations)).toEqual([annotations]);
  });

  test('L13: of a Docker manifest list, which stays one', async () => {
    const { index } = await multiPlatform('linux/amd64', 'linux/arm64');
    const path = await taggedLayout({ latest: await convertRef(index, 'docker') });
    await removeInstance(name(path), 'linux/amd64');
    const list = await indexIn(path);
    expect(list.mediaType).toBe(mediaTypes.dockerManifestList);
    expect(listOf(list).map(([platform]) => platform)).toEqual(['linux/arm64']);
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
  });
});

describe('refused, with the layout as it was', () => {
  const windows = (version: string) =>
    sealImage(emptyImage({ ...parsePlatform('windows/amd64'), 'os.version': version }));
  const many = Array.from({ length: 12 }, (_, position) => `linux/cpu${position}`);

  const rows: [string, new (...facts: never[]) => OciError, (path: string) => Promise<unknown>, string][] = [
    [
      'no tag for a new index',
      InvalidOptionError,
      (path) => createIndex(reference(path), [], {}, {}),
      'expected a tag for the index',
    ],
    [
      'a tag that is taken',
      InvalidOptionError,
      (path) => createIndex(name(path), [], {}, {}),
      'expected a tag that is not taken, found latest',
    ],
    [
      'ACCEPTANCE 50: a newline in a tag',
      InvalidOptionError,
      (path) => createIndex({ path, tag: 'a\nb' }, [], {}, {}),
      'found "a\\nb"',
    ],
    [
      'an unknown index',
      UnknownTagError,
      (path) => removeInstance(name(path, 'v9'), 'linux/cpu1'),
      'tag "v9", found latest, windows',
    ],
    [
      'no name among several',
      AmbiguousManifestError,
      (path) => removeInstance(reference(path), 'linux/cpu1'),
      'found latest, windows',
    ],
    [
      'an unknown platform',
      NoMatchingPlatformError,
      (path) => removeInstance(name(path), 'linux/arm64'),
      'linux/arm64 in the index, found 0 among linux/cpu0 (sha256:',
    ],
    ['ten of twelve', NoMatchingPlatformError, (path) => annotateInstance(name(path), 'linux/arm64', {}), 'and 2 more'],
    [
      'two of a platform',
      NoMatchingPlatformError,
      (path) => removeInstance(name(path, 'windows'), 'windows/amd64'),
      'found 2 among windows/amd64 (sha256:',
    ],
    [
      'no platform',
      InvalidPlatformError,
      (path) => removeInstance(name(path), 'a/b/c/d'),
      'invalid platform "a/b/c/d"',
    ],
    [
      'ACCEPTANCE 1: no digest',
      InvalidDigestError,
      (path) => removeInstance(name(path), 'sha256:../../x'),
      'sha256:../../x',
    ],
    [
      'an unknown digest',
      NoMatchingPlatformError,
      (path) => removeInstance(name(path), `sha256:${'0'.repeat(64)}`),
      `sha256:${'0'.repeat(64)}`,
    ],
  ];

  test.each(rows)('%s', async (_, type, action, message) => {
    const versions = ['1', '2'].map((version) => ({ ref: windows(version), platform: parsePlatform('windows/amd64') }));
    const path = await taggedLayout({ latest: (await multiPlatform(...many)).index, windows: newIndex(versions) });
    const before = snapshot(path);
    expect((await failureOf(type, () => action(path))).message).toContain(message);
    expect(snapshot(path)).toEqual(before);
    expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
  });

  test('ACCEPTANCE 22: a directory of other files', async () => {
    const path = writeFiles(temporaryDirectory(), { 'notes.txt': 'mine' });
    const { message } = await failureOf(InvalidLayoutError, () => createIndex(name(path), [], {}, {}));
    expect(message).toContain('found "notes.txt"');
    expect(snapshot(path)).toEqual({ 'notes.txt': Buffer.from('mine').toString('base64') });
  });
});
