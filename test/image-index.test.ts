import { describe, expect, test } from '@jest/globals';
import {
  annotate,
  asImage,
  createLayout,
  DepthError,
  type Descriptor,
  descriptorOf,
  digestOf,
  emptyImage,
  emptyManifest,
  encodeJson,
  findPlatform,
  formatPlatform,
  type Image,
  type Index,
  type Instance,
  instancesOf,
  MissingBlobError,
  maxDepth,
  mediaTypes,
  NoMatchingPlatformError,
  NotAnIndexError,
  newIndex,
  newRef,
  parsePlatform,
  platformOf,
  type Ref,
  readLayout,
  readLayoutIndex,
  sealImage,
  walkRefs,
  writeTree,
} from '../src';
import {
  addToIndex,
  annotateInIndex,
  asIndex,
  describeIndex,
  indexOver as indexWithBytes,
  removeFromIndex,
} from '../src/image-index';
import { countingBlobs, failureOf, sampleImage, temporaryDirectory, writtenLayout } from './fixtures';

const { imageIndex } = mediaTypes;

const amd64 = parsePlatform('linux/amd64');
const arm64 = parsePlatform('linux/arm64');

/** Images without layers, which differ by an annotation. */
const imageFor = (platform: string, name = '') => sealImage(annotate(emptyImage(parsePlatform(platform)), { name }));

/** Every blob behind a ref, read and verified. */
async function readAll(root: Ref): Promise<string[]> {
  const read: string[] = [];
  await walkRefs(root, async (ref) => {
    for (const descriptor of ref.descriptors()) {
      await ref.readBlobVerified(descriptor);
      read.push(descriptor.digest);
    }
  });
  return read;
}

describe('an index', () => {
  test('lists refs in their order, with what is said of each', () => {
    const image = imageFor('linux/amd64');
    const artifact = emptyManifest('application/x');
    const inner = newIndex([]);
    const index = newIndex([
      { ref: artifact, annotations: { a: 'b' } },
      { ref: image, platform: amd64 },
      { ref: inner },
    ]);
    expect(index.manifest).toEqual({
      schemaVersion: 2,
      mediaType: imageIndex,
      manifests: [
        { ...descriptorOf(artifact), artifactType: 'application/x', annotations: { a: 'b' } },
        { ...descriptorOf(image), platform: amd64 },
        { ...descriptorOf(inner), mediaType: imageIndex },
      ],
    });
    expect(index.children()).toEqual(index.manifest.manifests);
    expect(index.digest).toBe(digestOf(encodeJson(index.manifest)));
  });

  test('ACCEPTANCE 11: keeps an annotation named __proto__', () => {
    const annotations = JSON.parse('{"__proto__":"x"}') as Record<string, string>;
    const index = newIndex([{ ref: imageFor('linux/amd64'), annotations }]);
    expect(Buffer.from(index.rawManifest).toString()).toContain('"annotations":{"__proto__":"x"}');
  });

  test('has nothing but what it lists', async () => {
    const index = newIndex([{ ref: imageFor('linux/amd64') }]);
    const other = imageFor('linux/arm64');
    const { message } = await failureOf(MissingBlobError, () => index.ref(descriptorOf(other)));
    expect(message).toContain(other.digest);
  });
});

describe('M3: one index over refs of several sources', () => {
  test('reads each from its own', async () => {
    const [a, b, c, d] = await Promise.all(['a', 'b', 'c', 'd'].map((text) => sampleImage([text, 'shared'])));
    if (!a || !b || !c || !d) throw new Error('four images');
    const onDisk = await readLayout(await writtenLayout(a));
    const nestedOnDisk = await readLayoutIndex(await writtenLayout([{ ref: b }, { ref: newIndex([{ ref: c }]) }]));
    const index = newIndex([{ ref: onDisk }, { ref: nestedOnDisk }, { ref: d }]);
    expect((await readAll(index)).sort()).toEqual(
      [a, b, c, d].flatMap((i) => i.descriptors().map((x) => x.digest)).sort(),
    );

    const copied = temporaryDirectory();
    await writeTree(await createLayout(index), copied);
    expect((await readLayout(copied)).digest).toBe(index.digest);
    expect((await readAll(await readLayout(copied))).sort()).toEqual((await readAll(index)).sort());
  });

  test('asks no source for what another one has', async () => {
    const [one, other] = [imageFor('linux/amd64', 'one'), imageFor('linux/arm64', 'other')];
    const sources = await Promise.all(
      [one, other].map(async (image) => countingBlobs(await image.readBlobVerified(image.manifest.config))),
    );
    const [first, second] = [one, other].map((image, position) =>
      newRef(image.rawManifest, image.mediaType, image.digest, sources[position] ?? countingBlobs()),
    );
    if (!first || !second) throw new Error('two refs');
    await readAll(newIndex([{ ref: first }, { ref: newIndex([{ ref: second }]) }]));
    expect(sources.map(({ read }) => read)).toEqual([[one.manifest.config.digest], [other.manifest.config.digest]]);
  });
});

describe('the platform of a ref', () => {
  test.each(['linux/amd64', 'linux/arm/v7', 'windows/amd64'])('%s comes from the config', async (platform) => {
    expect(await platformOf(imageFor(platform))).toEqual(parsePlatform(platform));
  });

  test('comes with version and features', async () => {
    const windows = { ...parsePlatform('windows/amd64'), 'os.version': '10.0.1', 'os.features': ['win32k'] };
    expect(await platformOf(sealImage(emptyImage(windows)))).toEqual(windows);
  });

  test.each<[string, Ref]>([
    ['an artifact', emptyManifest('application/x')],
    ['an index', newIndex([])],
  ])('%s has none', async (_, ref) => {
    expect(await platformOf(ref)).toBeUndefined();
  });
});

describe('the instances of an index', () => {
  const summary = (instances: readonly Instance[]) =>
    instances.map(({ image, platform }) => [
      image.manifest.annotations?.name,
      platform === undefined ? undefined : formatPlatform(platform),
    ]);

  test('come in the order of the indexes, with the platform of the descriptor or else of the config', async () => {
    const [a, b, c] = ['a', 'b', 'c'].map((name) => imageFor('linux/amd64', name)) as [Image, Image, Image];
    const inner = newIndex([{ ref: b, platform: arm64 }, { ref: a }]);
    const root = newIndex([{ ref: c, platform: arm64 }, { ref: inner }, { ref: a }, { ref: emptyManifest('x/y') }]);
    expect(summary(await instancesOf(root))).toEqual([
      ['c', 'linux/arm64'],
      ['b', 'linux/arm64'],
      ['a', 'linux/amd64'],
      ['a', 'linux/amd64'],
      [undefined, undefined],
    ]);
  });

  test('may be one image for several platforms', async () => {
    const image = imageFor('linux/amd64', 'data');
    const root = newIndex([amd64, arm64].map((platform) => ({ ref: image, platform })));
    expect(summary(await instancesOf(root))).toEqual([
      ['data', 'linux/amd64'],
      ['data', 'linux/arm64'],
    ]);
  });

  test('of an image are itself, for the platform of the descriptor that led to it', async () => {
    const image = imageFor('linux/amd64', 'alone');
    expect(summary(await instancesOf(image))).toEqual([['alone', 'linux/amd64']]);
    const descriptor = { ...descriptorOf(image), platform: arm64 };
    expect(summary(await instancesOf(image, descriptor))).toEqual([['alone', 'linux/arm64']]);
  });

  const describeBytes = (bytes: Uint8Array): Descriptor => ({
    mediaType: imageIndex,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const indexOver = (manifests: readonly Descriptor[], name = '') =>
    encodeJson({ schemaVersion: 2, mediaType: imageIndex, manifests, annotations: { name } });

  test('ACCEPTANCE 13: a diamond of 30 levels is entered once in each place', async () => {
    const image = imageFor('linux/amd64', 'bottom');
    const config = await image.readBlobVerified(image.manifest.config);
    const manifests = [image.rawManifest];
    let below: Descriptor[] = [{ ...descriptorOf(image), platform: arm64 }];
    for (let level = 0; level < 30; level++) {
      const pair = ['left', 'right'].map((side) => indexOver(below, side));
      manifests.push(...pair);
      below = pair.map(describeBytes);
    }
    const blobs = countingBlobs(config, ...manifests);
    const root = newRef(indexOver(below), imageIndex, undefined, blobs);
    expect(summary(await instancesOf(root))).toEqual([
      ['bottom', 'linux/arm64'],
      ['bottom', 'linux/arm64'],
    ]);
    expect([...blobs.read].sort()).toEqual(manifests.map((raw) => digestOf(raw)).sort());
  });

  test('ACCEPTANCE 13: a chain too deep', async () => {
    const chain = [indexOver([])];
    for (let level = 0; level <= maxDepth; level++) chain.push(indexOver([describeBytes(chain.at(-1) as Uint8Array)]));
    const root = newRef(chain.pop() as Uint8Array, imageIndex, undefined, countingBlobs(...chain));
    expect((await failureOf(DepthError, () => instancesOf(root))).message).toContain(root.digest);
  });
});

describe('the image for a platform', () => {
  const instancesFor = (...platforms: (string | undefined)[]): Instance[] =>
    platforms.map((platform, position) => ({
      image: imageFor('linux/amd64', String(position)),
      ...(platform !== undefined && { platform: parsePlatform(platform) }),
    }));

  test.each<[string, string[], number]>([
    ['linux/arm64', ['linux/amd64', 'linux/arm64', 'linux/arm/v7'], 1],
    ['linux/arm64/v8', ['linux/amd64', 'linux/arm64'], 1],
    ['linux/arm/v7', ['linux/arm/v5', 'linux/arm/v6', 'linux/arm64'], 1],
    ['linux/arm/v7', ['linux/arm/v6', 'linux/arm/v7'], 1],
    ['linux/amd64/v3', ['linux/amd64', 'linux/amd64/v4', 'linux/amd64/v2'], 2],
    ['linux/amd64', ['linux/amd64/v2', 'linux/amd64', 'linux/amd64'], 1],
  ])('%s of %j', (wanted, platforms, position) => {
    const instances = instancesFor(...platforms);
    expect(findPlatform(instances, parsePlatform(wanted), 'x')).toBe(instances[position]);
  });

  const many = Array.from({ length: 12 }, (_, position) => `linux/cpu${position}`);

  test.each<[string, (string | undefined)[], string]>([
    ['others', ['linux/arm64', undefined, 'linux/arm64', 'windows/amd64'], 'linux/arm64, windows/amd64'],
    ['none', [], 'none with a platform'],
    ['artifacts', [undefined], 'none with a platform'],
    ['ten', many.slice(0, 10), many.slice(0, 10).join(', ')],
    ['twelve', many, `${many.slice(0, 10).join(', ')} and 2 more`],
  ])('O18: that is not there, but %s', async (_, platforms, found) => {
    const error = await failureOf(NoMatchingPlatformError, () =>
      findPlatform(instancesFor(...platforms), amd64, 'the base'),
    );
    expect(error.message).toBe(`the base: expected an image for linux/amd64, found ${found}`);
    expect(error).toMatchObject({ expected: 'linux/amd64', found });
  });
});

test('an index of a layout is the index that was written', async () => {
  const index = newIndex([
    { ref: imageFor('linux/amd64'), platform: amd64 },
    { ref: imageFor('linux/arm64'), platform: arm64 },
  ]);
  const read = (await readLayout(await writtenLayout(index))) as Index;
  expect(read.kind).toBe('index');
  expect(read.digest).toBe(index.digest);
  const [, second] = read.children();
  expect(await platformOf(asImage(await read.ref(second as Descriptor)))).toEqual(arm64);
});

describe('an index that is changed', () => {
  const one = imageFor('linux/amd64', 'one');
  const other = imageFor('linux/arm64', 'other');
  const base = newIndex([{ ref: one, platform: amd64 }], { annotations: { kept: 'yes', changed: 'old' } });
  const lists = (index: Index) =>
    index.manifest.manifests.map(({ digest, platform, annotations }) => ({
      digest,
      ...(platform && { platform: formatPlatform(platform) }),
      ...(annotations && { annotations }),
    }));

  test('is a new value: the old one stays', () => {
    const before = Buffer.from(base.rawManifest);
    addToIndex(base, [{ ref: other, platform: arm64 }]);
    removeFromIndex(base, () => true);
    describeIndex(base, { annotations: { changed: 'new' } });
    annotateInIndex(
      base,
      () => true,
      (descriptor) => ({ ...descriptor, platform: arm64 }),
    );
    expect(Buffer.from(base.rawManifest).equals(before)).toBe(true);
    expect(lists(base)).toEqual([{ digest: one.digest, platform: 'linux/amd64' }]);
  });

  test('L6: gets more, and keeps what it says of itself', async () => {
    const grown = addToIndex(base, [{ ref: other, platform: arm64, annotations: { a: 'b' } }]);
    expect(lists(grown)).toEqual([
      { digest: one.digest, platform: 'linux/amd64' },
      { digest: other.digest, platform: 'linux/arm64', annotations: { a: 'b' } },
    ]);
    expect(grown.manifest.annotations).toEqual(base.manifest.annotations);
    expect((await readAll(grown)).sort()).toEqual([one, other].map(({ manifest }) => manifest.config.digest).sort());
  });

  test('lists the same manifest for the same platform once, with the later words, in the old place', () => {
    const twice = addToIndex(base, [{ ref: other }, { ref: one, platform: amd64, annotations: { said: 'again' } }]);
    expect(lists(twice)).toEqual([
      { digest: one.digest, platform: 'linux/amd64', annotations: { said: 'again' } },
      { digest: other.digest },
    ]);
  });

  test('lists one manifest for several platforms as often', () => {
    expect(lists(addToIndex(base, [{ ref: one, platform: arm64 }]))).toEqual([
      { digest: one.digest, platform: 'linux/amd64' },
      { digest: one.digest, platform: 'linux/arm64' },
    ]);
  });

  test('L10: gets less, and leads to less', async () => {
    const grown = addToIndex(base, [{ ref: other, platform: arm64 }]);
    const left = removeFromIndex(grown, ({ digest }) => digest === one.digest);
    expect(lists(left)).toEqual([{ digest: other.digest, platform: 'linux/arm64' }]);
    expect(await readAll(left)).toEqual([other.manifest.config.digest]);
    expect(lists(removeFromIndex(left, () => true))).toEqual([]);
  });

  test('L8: says other things of what matches, and of nothing else', () => {
    const grown = addToIndex(base, [{ ref: other, platform: arm64 }]);
    const annotated = annotateInIndex(
      grown,
      ({ platform }) => platform?.architecture === 'arm64',
      (descriptor) => ({ ...descriptor, annotations: { note: 'fast' } }),
    );
    expect(lists(annotated)).toEqual([
      { digest: one.digest, platform: 'linux/amd64' },
      { digest: other.digest, platform: 'linux/arm64', annotations: { note: 'fast' } },
    ]);
  });

  test('L9: says other things of itself', () => {
    const subject = descriptorOf(other);
    const described = describeIndex(base, {
      annotations: { changed: 'new', added: 'yes' },
      subject,
      artifactType: 'a/b',
    });
    expect(described.manifest).toEqual({
      ...base.manifest,
      artifactType: 'a/b',
      subject,
      annotations: { kept: 'yes', changed: 'new', added: 'yes' },
    });
    expect(describeIndex(described, {}).digest).toBe(described.digest);
  });

  test('L13: stays what it is: a Docker manifest list, with fields that nobody knows', () => {
    const list = encodeJson({
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifestList,
      manifests: [],
      'x-unknown': { kept: true },
    });
    const grown = addToIndex(indexWithBytes(list, mediaTypes.dockerManifestList, []), [{ ref: one }]);
    expect(grown.mediaType).toBe(mediaTypes.dockerManifestList);
    expect(grown.manifest).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifestList,
      manifests: [descriptorOf(one)],
      'x-unknown': { kept: true },
    });
  });

  test('L2: must be an index', async () => {
    expect(asIndex(base)).toBe(base);
    const error = await failureOf(NotAnIndexError, () => asIndex(one));
    expect(error.message).toBe(
      `manifest ${one.digest}: expected media type ${imageIndex} or ${mediaTypes.dockerManifestList}, found ${mediaTypes.imageManifest}`,
    );
  });
});
