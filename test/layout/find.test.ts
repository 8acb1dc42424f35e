import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  type Descriptor,
  digestOf,
  type Image,
  type Index,
  type IndexEntry,
  mediaTypes,
  newIndex,
  UnknownTagError,
} from '../../src';
import {
  findDescriptor,
  listedDescriptor,
  listedDescriptors,
  listNames,
  tagOf,
  withoutTag,
} from '../../src/layout/find';
import { failureOf, sampleImage } from '../fixtures';

const refName = 'org.opencontainers.image.ref.name';

const described = (text: string, annotations?: Record<string, string>): Descriptor => ({
  mediaType: mediaTypes.imageManifest,
  digest: digestOf(Buffer.from(text)),
  size: text.length,
  ...(annotations && { annotations }),
});

test.each<[string, Record<string, string> | undefined, Record<string, string> | undefined]>([
  ['no annotations', undefined, undefined],
  ['only a tag', { [refName]: 'v1' }, undefined],
  ['others too', { key: 'value', [refName]: 'v1' }, { key: 'value' }],
])('withoutTag: %s', (_, annotations, expected) => {
  expect(withoutTag(described('a', annotations))).toEqual(described('a', expected));
});

test.each([
  ['nothing', 0, 'none'],
  ['one', 1, 'v0'],
  ['ten', 10, 'v0, v1, v2, v3, v4, v5, v6, v7, v8, v9'],
  ['more than ten', 25, 'v0, v1, v2, v3, v4, v5, v6, v7, v8, v9 and 15 more'],
])('listNames: %s', (_, count, expected) => {
  const descriptors = Array.from({ length: count }, (_, number) => described(`${number}`, { [refName]: `v${number}` }));
  expect(listNames(descriptors)).toBe(expected);
});

test('listNames: without a tag the digest', () => {
  expect(listNames([described('a')])).toBe(described('a').digest);
});

describe('O13: finding by tag and digest', () => {
  let image: Image;
  let inner: Index;
  let index: Index;
  beforeAll(async () => {
    image = await sampleImage(['deep']);
    const top = await sampleImage(['top']);
    inner = newIndex([
      { ref: newIndex([{ ref: image, annotations: { where: 'deep' } }]), annotations: { [refName]: 'no' } },
    ]);
    const lines: IndexEntry[] = [
      { ref: top, annotations: { [refName]: 'v1' } },
      { ref: top, annotations: { [refName]: 'v2' } },
      { ref: inner, annotations: { [refName]: 'list' } },
      { ref: inner, annotations: { [refName]: 'list', twice: 'yes' } },
    ];
    index = newIndex(lines);
  });
  const find = (name: string) => findDescriptor(index, name, 'the layout');

  test('by tag', async () => {
    expect(tagOf(await find('v2'))).toBe('v2');
    expect(listedDescriptor(index, 'list', 'the layout')).toBe(index.manifest.manifests[2]);
  });

  test('all that have it', () => {
    expect(listedDescriptors(index, 'list', 'the layout')).toEqual(index.manifest.manifests.slice(2));
    expect(listedDescriptors(index, inner.digest, 'the layout')).toHaveLength(2);
  });

  test('by digest what is listed, with what is said of it', async () => {
    expect(await find(index.manifest.manifests[0]?.digest as string)).toBe(index.manifest.manifests[0]);
  });

  test('by digest what indexes within indexes list', async () => {
    expect(await find(image.digest)).toMatchObject({ digest: image.digest, annotations: { where: 'deep' } });
  });

  test.each<[string, () => string]>([
    ['a tag that is not there', () => 'v3'],
    ['a tag that only a nested index has', () => 'no'],
    ['a digest that is not there', () => digestOf(Buffer.from('nothing'))],
    ['the digest of a layer', () => image.manifest.layers[0]?.digest as string],
    ['the digest of index.json itself', () => index.digest],
    ['a digest that is none', () => 'sha256:../../x'],
  ])('%s: the error names it and lists what is there', async (_, name) => {
    const { message, expected } = await failureOf(UnknownTagError, () => find(name()));
    expect(expected).toBe(name());
    expect(message).toContain(name());
    expect(message).toMatch(/^the layout: .* found v1, v2, list, list$/);
  });

  test('an error lists ten at most', async () => {
    const ref = await sampleImage();
    const many = newIndex(
      Array.from({ length: 12 }, (_, number) => ({ ref, annotations: { [refName]: `v${number}` } })),
    );
    const { message } = await failureOf(UnknownTagError, () => listedDescriptors(many, 'x', 'the layout'));
    expect(message).toMatch(/v9 and 2 more$/);
    expect(message).not.toContain('v10');
  });
});
