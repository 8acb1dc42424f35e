import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  FileSystemError,
  type Index,
  InvalidReferenceError,
  NoMatchingPlatformError,
  newIndex,
  parsePlatform,
  type Ref,
} from '../../src';
import { type PushImages, pushImages } from '../../src/actions/push-images';
import { parseRegistryReference } from '../../src/registry/reference';
import type { Registry } from '../../src/registry/server/start-registry';
import { registrySource } from '../../src/registry/source';
import { mediaTypes } from '../../src/spec/media-types';
import {
  failureOf,
  sampleImage,
  sourceOf,
  taggedLayout,
  temporaryDirectory,
  writeFiles,
  writtenLayout,
} from '../fixtures';
import { clientOf, openRegistry, repositoryAt } from '../registry/clients';

type More = Partial<Omit<PushImages, 'source' | 'references'>>;

/** Pushes what a layout has to references, of which the registry is left away. */
async function push(registry: Registry, source: string, names: readonly string[], more: More = {}) {
  const client = clientOf();
  const references = names.map((name) => parseRegistryReference(`${registry.host}/${name}`));
  const pushed = await pushImages({ source: sourceOf(source), references, repository: client.repository, ...more });
  return pushed.map(({ reference }) => reference.replace(`${registry.host}/`, ''));
}

const platforms = ['linux/amd64', 'linux/arm64', 'linux/s390x'];
const images = () => Promise.all(platforms.map((platform) => sampleImage(['shared', platform], platform)));
const sampleIndex = async () =>
  newIndex((await images()).map((ref, at) => ({ ref, platform: parsePlatform(platforms[at] as string) })));
const read = (registry: Registry, tag: string) => repositoryAt(registry).read({ tag });

describe('a layout is pushed', () => {
  test('under the tag that is named, or the one that it has', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    const layout = await taggedLayout({ v1: image });
    expect(await push(registry, layout, ['os:v2'])).toEqual([`os:v2@${image.digest}`]);
    expect(await push(registry, layout, ['os'])).toEqual([`os:v1@${image.digest}`]);
    expect(await repositoryAt(registry).tags()).toEqual(['v1', 'v2']);
  });

  test('without any tag by its digest', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    expect(await push(registry, await writtenLayout(image), ['os'])).toEqual([`os@${image.digest}`]);
    expect(await repositoryAt(registry).tags()).toEqual([]);
    expect(await repositoryAt(registry).resolve({ digest: image.digest })).toBeDefined();
  });

  test('with several manifests, each under its own tag', async () => {
    const refs: Record<string, Ref> = { v1: await sampleImage(['1']), v2: await sampleImage(['2']) };
    const registry = await openRegistry();
    const pushed = await push(registry, await taggedLayout(refs), ['os', 'os']);
    expect(pushed).toEqual(
      [...Object.entries(refs), ...Object.entries(refs)].map(([tag, { digest }]) => `os:${tag}@${digest}`),
    );
    for (const [tag, { digest }] of Object.entries(refs)) expect((await read(registry, tag)).digest).toBe(digest);
  });

  test.each<[string, readonly string[], More]>([
    ['several places, where the second mounts what the first has', ['os:v1', 'os:v2', 'copy:v1'], {}],
    ['the repository that has it and another, which mounts it', ['os:v1', 'copy:v1'], { mountFrom: 'os' }],
  ])('to %s', async (_places, names, more) => {
    const registry = await openRegistry();
    await push(registry, await writtenLayout(await sampleImage()), names, more);
    expect(registry.requests.filter(({ status, method }) => method === 'POST' && status === 201)).toHaveLength(2);
    const froms = registry.requests.flatMap(({ query }) => new URLSearchParams(query).get('from') ?? []);
    // What is pushed to the repository itself is not mounted from it.
    expect(froms).toEqual(['os', 'os']);
  });

  test('to several registries, each of which gets it', async () => {
    const [one, other] = [await openRegistry(), await openRegistry()];
    const image = await sampleImage();
    const references = [`${one.host}/first:v1`, `${other.host}/os:v1`].map(parseRegistryReference);
    const { repository } = clientOf();
    await pushImages({ source: sourceOf(await writtenLayout(image)), references, repository });
    expect((await read(other, 'v1')).digest).toBe(image.digest);
    expect(other.requests.filter(({ query }) => query.includes('mount='))).toEqual([]);
  });

  test('in pieces, and says how far it has come', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    const seen = new Map<string, number>();
    await push(registry, await writtenLayout(image), ['os:v1'], {
      chunkSize: 100,
      onProgress: (reference, { done, total }) => seen.set(reference, done / total),
    });
    expect([...seen]).toEqual([[`${registry.host}/os:v1`, 1]]);
    expect(registry.requests.some(({ method }) => method === 'PATCH')).toBe(true);
  });

  test('with Docker types, if they are wanted', async () => {
    const registry = await openRegistry();
    await push(registry, await writtenLayout(await sampleIndex()), ['os:v1'], { format: 'docker' });
    const index = (await read(registry, 'v1')) as Index;
    expect(index.mediaType).toBe(mediaTypes.dockerManifestList);
    expect(index.children().map(({ mediaType }) => mediaType)).toEqual(Array(3).fill(mediaTypes.dockerManifest));
  });

  test('and its digests are written into a file', async () => {
    const refs = { v1: await sampleImage(['1']), v2: await sampleImage(['2']) };
    const registry = await openRegistry();
    const digestFile = join(temporaryDirectory(), 'deeper', 'digest');
    await push(registry, await taggedLayout(refs), ['os', 'copy'], { digestFile });
    expect(readFileSync(digestFile, 'utf8')).toBe(`${refs.v1.digest}\n${refs.v2.digest}`);
    const below = join(writeFiles(temporaryDirectory(), { file: '' }), 'file', 'digest');
    const { message } = await failureOf(FileSystemError, async () =>
      push(registry, await taggedLayout(refs), ['os'], { digestFile: below }),
    );
    expect(message).toContain(below);
  });

  test('or not, when it is only to be said what would be', async () => {
    const index = await sampleIndex();
    const registry = await openRegistry();
    const digestFile = join(temporaryDirectory(), 'digest');
    const more = { dryRun: true, digestFile };
    expect(await push(registry, await writtenLayout(index), ['os:v1'], more)).toEqual([`os:v1@${index.digest}`]);
    expect(registry.requests).toEqual([]);
    expect(existsSync(digestFile)).toBe(false);
  });
});

describe('L11: of an index are pushed', () => {
  test('all images', async () => {
    const index = await sampleIndex();
    const registry = await openRegistry({ sparse: false });
    expect(await push(registry, await writtenLayout(index), ['os:v1'])).toEqual([`os:v1@${index.digest}`]);
    expect((await read(registry, 'v1')).digest).toBe(index.digest);
  });

  test('the image for a platform, as an image', async () => {
    const index = await sampleIndex();
    const registry = await openRegistry();
    const [, chosen] = await images();
    const more = { platforms: [parsePlatform('linux/arm64')] };
    expect(await push(registry, await writtenLayout(index), ['os:v1'], more)).toEqual([`os:v1@${chosen?.digest}`]);
  });

  test('those for some platforms, as an index', async () => {
    const registry = await openRegistry({ sparse: false });
    const more = { platforms: ['linux/arm64', 'linux/s390x'].map((text) => parsePlatform(text)) };
    await push(registry, await writtenLayout(await sampleIndex()), ['os:v1'], more);
    const index = (await read(registry, 'v1')) as Index;
    expect(index.children().map(({ platform }) => platform?.architecture)).toEqual(['arm64', 's390x']);
    expect(
      await repositoryAt(registry).resolve({ digest: (await images())[0]?.digest as Ref['digest'] }),
    ).toBeUndefined();
  });

  test('none for a platform that it lacks', async () => {
    const registry = await openRegistry();
    const more = { platforms: [parsePlatform('linux/riscv64')] };
    const layout = await writtenLayout(await sampleIndex());
    const { message } = await failureOf(NoMatchingPlatformError, () => push(registry, layout, ['os:v1'], more));
    expect(message).toContain('linux/riscv64');
    expect(registry.requests).toEqual([]);
  });
});

describe('nothing is pushed', () => {
  test('of several manifests to one tag', async () => {
    const layout = await taggedLayout({ v1: await sampleImage(['1']), v2: await sampleImage(['2']) });
    const registry = await openRegistry();
    const { message } = await failureOf(AmbiguousManifestError, () => push(registry, layout, ['copy', 'os:v1']));
    expect(message).toContain(`expected one manifest to push to ${registry.host}/os:v1, found 2 (v1, v2)`);
    expect(registry.requests).toEqual([]);
  });

  test('under a digest that is not its own', async () => {
    const [image, other] = [await sampleImage(), await sampleImage(['other'])];
    const layout = await writtenLayout(image);
    const registry = await openRegistry();
    expect(await push(registry, layout, [`os:v1@${image.digest}`])).toEqual([`os:v1@${image.digest}`]);
    const before = registry.requests.length;
    const wrong = () => push(registry, layout, [`os:v1@${other.digest}`]);
    const { expected, found } = await failureOf(InvalidReferenceError, wrong);
    expect([expected, found]).toEqual([other.digest, image.digest]);
    expect(registry.requests).toHaveLength(before);
  });
});

test('L6: an image is pushed from one registry to another', async () => {
  const [from, to] = [await openRegistry(), await openRegistry({ sparse: false })];
  const index = await sampleIndex();
  await from.addRef('os', 'v1', index);
  const reference = { registry: from.host, repository: 'os', tag: 'v1' };
  const client = clientOf();
  const [pushed] = await pushImages({
    source: registrySource(reference, client.repository(reference)),
    references: [parseRegistryReference(`${to.host}/os`)],
    repository: client.repository,
  });
  expect(pushed?.reference).toBe(`${to.host}/os:v1@${index.digest}`);
  expect((await read(to, 'v1')).rawManifest).toEqual(index.rawManifest);
});
