import { existsSync, linkSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  asImage,
  descriptorOf,
  digestOf,
  emptyDescriptor,
  FileSystemError,
  type Image,
  InvalidOptionError,
  LayerSourceError,
  newIndex,
  type OciError,
  readLayout,
  readLayoutIndex,
  tagOf,
  UnknownTagError,
  verifyLayout,
} from '../../src';
import type { ArtifactOptions } from '../../src/actions/artifact-options';
import { type BuildArtifact, buildArtifact } from '../../src/actions/build-artifact';
import { blobFile } from '../../src/layout/paths';
import { failureOf, sampleImage, snapshot, sourceOf, taggedLayout, temporaryDirectory, writeFiles } from '../fixtures';

const title = 'org.opencontainers.image.title';
const artifactType = 'application/x.test';

const root = writeFiles(temporaryDirectory(), {
  'docs/a.txt': 'a',
  'docs/deep/b.json': '{}',
  'docs/empty': '',
  'docs/same-as-a': 'a',
  'other/a.txt': 'other',
  'config.json': '{"c":1}',
});

const build = (options: ArtifactOptions, more: Partial<BuildArtifact> = {}) =>
  buildArtifact({ options, root, output: join(temporaryDirectory(), 'artifact'), ...more });

const builtFrom = async (...args: Parameters<typeof build>): Promise<Image> =>
  asImage(await readLayout((await build(...args)).path));

const titlesOf = (image: Image) => image.manifest.layers.map(({ annotations }) => annotations?.[title]);

describe('L7: an artifact made of files', () => {
  test('has everything that its options say', async () => {
    const built = await build({
      artifactType,
      files: [{ from: 'docs', mediaType: 'text/plain' }, { from: 'config.json' }],
      config: { from: 'config.json', mediaType: 'application/x.config' },
      annotations: { note: 'n' },
      tag: 'v1',
    });
    const image = asImage(await readLayout(built.path, { tag: 'v1' }));
    const layer = (name: string, content: string, mediaType = 'text/plain') => ({
      mediaType,
      digest: digestOf(Buffer.from(content)),
      size: content.length,
      annotations: { [title]: name },
    });
    expect(image.manifest).toEqual({
      schemaVersion: 2,
      mediaType: image.mediaType,
      artifactType,
      config: { mediaType: 'application/x.config', digest: digestOf(Buffer.from('{"c":1}')), size: 7 },
      layers: [
        layer('a.txt', 'a'),
        layer('deep/b.json', '{}'),
        layer('empty', ''),
        layer('same-as-a', 'a'),
        layer('config.json', '{"c":1}', 'application/octet-stream'),
      ],
      annotations: { note: 'n' },
    });
    expect(readFileSync(blobFile(built.path, digestOf(Buffer.from('a'))), 'utf8')).toBe('a');
    expect(built).toEqual({
      digest: image.digest,
      path: built.path,
      tag: 'v1',
      artifactType,
      layers: image.manifest.layers.map(({ digest, size, annotations }) => ({
        digest,
        size,
        title: annotations?.[title],
      })),
    });
    expect(readFileSync(join(built.path, 'digest'), 'utf8')).toBe(image.digest);
    expect(await verifyLayout(built.path)).toMatchObject({ problems: [], manifests: 1 });
  });

  test('is the one root of its layout, listed with its type', async () => {
    const { path, digest } = await build({ artifactType, files: [{ from: 'docs' }] });
    const children = (await readLayoutIndex(path)).children();
    expect(children).toMatchObject([{ digest, artifactType }]);
    expect(children.map(tagOf)).toEqual(['latest']);
    expect(children[0]).not.toHaveProperty('platform');
  });

  test.each<[string, NonNullable<ArtifactOptions['files']>, (string | undefined)[]]>([
    ['a directory', [{ from: 'docs' }], ['a.txt', 'deep/b.json', 'empty', 'same-as-a']],
    ['what matches', [{ from: 'docs', include: ['**/*.json', '*.txt'] }], ['a.txt', 'deep/b.json']],
    ['what is not left out', [{ from: 'docs', exclude: ['deep', 'e*'] }], ['a.txt', 'same-as-a']],
    ['a file', [{ from: 'docs/deep/b.json' }], ['b.json']],
    ['without titles', [{ from: 'docs', include: ['a.txt'], titles: false }, { from: 'other' }], [undefined, 'a.txt']],
  ])('of %s', async (_, files, titles) => {
    expect(titlesOf(await builtFrom({ artifactType, files }))).toEqual(titles);
  });

  test('takes each file that is a link to another', async () => {
    const linked = writeFiles(temporaryDirectory(), { 'files/a': 'a' });
    linkSync(join(linked, 'files/a'), join(linked, 'files/hard'));
    symlinkSync('a', join(linked, 'files/soft'));
    const image = await builtFrom({ artifactType, files: [{ from: 'files' }] }, { root: linked });
    expect(titlesOf(image)).toEqual(['a', 'hard', 'soft']);
    expect(new Set(image.manifest.layers.map(({ digest }) => digest)).size).toBe(1);
  });

  test('without files has the empty layer, and of its config its type', async () => {
    const config = { from: 'config.json', mediaType: 'application/x.config' };
    const built = await build({ config });
    expect(built.artifactType).toBe('application/x.config');
    const { manifest } = asImage(await readLayout(built.path));
    expect(manifest).not.toHaveProperty('artifactType');
    expect(manifest.layers).toEqual([emptyDescriptor]);
  });

  test('is the same every time', async () => {
    const options = { artifactType, files: [{ from: 'docs' }] };
    expect(snapshot((await build(options)).path)).toEqual(snapshot((await build(options)).path));
  });
});

describe('the subject of an artifact', () => {
  test('is the one manifest of a layout, or the one of a tag or a digest, at any depth', async () => {
    const [image, other] = [await sampleImage(['a']), await sampleImage(['b'])];
    const index = newIndex([{ ref: image }]);
    const only = await taggedLayout({ v1: index });
    const several = await taggedLayout({ v1: index, v2: other });
    const subjects = [only, `${several}:v2`, `${several}@${image.digest}`];
    const found = await Promise.all(
      subjects.map((subject) => builtFrom({ artifactType }, { subject: sourceOf(subject) })),
    );
    expect(found.map(({ manifest }) => manifest.subject)).toEqual([index, other, image].map(descriptorOf));
  });

  test('does not come into the layout with it', async () => {
    const subject = sourceOf(await taggedLayout({ v1: await sampleImage() }));
    const { path } = await build({ artifactType }, { subject });
    expect(await verifyLayout(path)).toMatchObject({ problems: [], manifests: 1, blobs: 1 });
  });

  test.each<[string, new (...facts: never[]) => OciError, string, string]>([
    ['several manifests', AmbiguousManifestError, '', 'expected one manifest, found 2 (v1, v2)'],
    ['an unknown tag', UnknownTagError, ':v3', 'expected a manifest with the tag "v3", found v1, v2'],
  ])('must be there: %s', async (_, type, tag, message) => {
    const path = await taggedLayout({ v1: await sampleImage(['a']), v2: await sampleImage(['b']) });
    const subject = sourceOf(path + tag);
    expect((await failureOf(type, () => build({ artifactType }, { subject }))).message).toContain(message);
  });
});

describe('refused, with nothing written', () => {
  const rows: [string, new (...facts: never[]) => OciError, ArtifactOptions, string][] = [
    ['no type', InvalidOptionError, { files: [{ from: 'docs' }] }, 'expected an artifactType'],
    [
      'two files of one name',
      LayerSourceError,
      { artifactType, files: [{ from: 'docs' }, { from: 'other' }] },
      'a.txt',
    ],
    ['a directory without files', InvalidOptionError, { artifactType, files: [{ from: 'none' }] }, 'files in none'],
    [
      'a pattern that matches nothing',
      LayerSourceError,
      { artifactType, files: [{ from: 'docs', include: ['*.md'] }] },
      '"*.md"',
    ],
    [
      'a file that is not there',
      LayerSourceError,
      { artifactType, files: [{ from: 'gone' }] },
      `${join(root, 'gone')}: `,
    ],
    ['a config that is not there', FileSystemError, { config: { from: 'gone', mediaType: 'a/b' } }, join(root, 'gone')],
    ['ACCEPTANCE 50: a newline in a tag', InvalidOptionError, { artifactType, tag: 'a\nb' }, 'found "a\\nb"'],
  ];
  test.each(rows)('%s', async (_, type, options, message) => {
    writeFiles(root, { 'none/.keep/.keep': '' });
    const output = join(temporaryDirectory(), 'artifact');
    const excluded = options.files?.map((files) => (files.from === 'none' ? { ...files, exclude: ['**'] } : files));
    const { message: said } = await failureOf(type, () => build({ ...options, files: excluded }, { output }));
    expect(said).toContain(message);
    expect(existsSync(output)).toBe(false);
  });
});
