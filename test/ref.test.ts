import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  artifactTypeOf,
  asImage,
  type Blobs,
  bytesBlob,
  createLayout,
  DepthError,
  type Descriptor,
  type Digest,
  DigestMismatchError,
  descriptorOf,
  digestAlgorithms,
  digestOf,
  emptyDescriptor,
  encodeJson,
  type Image,
  type Index,
  InvalidDigestError,
  InvalidDocumentError,
  LimitError,
  layoutBlobs,
  MissingBlobError,
  maxDepth,
  maxDocumentSize,
  mediaTypes,
  newIndex,
  newRef,
  noBlobs,
  readConfig,
  readRef,
  SizeMismatchError,
  UnexpectedMediaTypeError,
  UnsupportedDigestAlgorithmError,
  walkRefs,
} from '../src';
import { collect, countingBlobs, failureOf, sampleImage, temporaryDirectory, writtenLayout } from './fixtures';

const { imageManifest, imageIndex, dockerManifest, dockerManifestList } = mediaTypes;

const content = Buffer.from('content');
const layer: Descriptor = { mediaType: mediaTypes.layer, digest: digestOf(content), size: content.length };
const manifest = { schemaVersion: 2, mediaType: imageManifest, config: emptyDescriptor, layers: [layer] };
const index = { schemaVersion: 2, mediaType: imageIndex, manifests: [] };

const describeBytes = (bytes: Uint8Array, mediaType: string): Descriptor => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});

const indexOver = (...manifests: readonly Descriptor[]) => encodeJson({ ...index, manifests });

/** A ref of a body that no digest was asked for. */
const refOf = (body: unknown, mediaType = imageManifest as string, blobs: Blobs = noBlobs) =>
  newRef(body instanceof Uint8Array ? body : encodeJson(body), mediaType, undefined, blobs);

describe('M1: a ref', () => {
  test.each([
    [imageManifest, 'image'],
    [dockerManifest, 'image'],
    [imageIndex, 'index'],
    [dockerManifestList, 'index'],
  ])('of %s is an %s', (mediaType, kind) => {
    const raw = encodeJson({ ...(kind === 'image' ? manifest : index), mediaType });
    const ref = newRef(raw, mediaType, digestOf(raw), noBlobs);
    expect(ref).toMatchObject({ kind, mediaType, digest: digestOf(raw), manifest: { mediaType } });
    expect(ref.rawManifest).toBe(raw);
  });

  test.each(digestAlgorithms)('is verified by %s', async (algorithm) => {
    const raw = encodeJson(manifest);
    const digest = digestOf(raw, algorithm);
    expect(newRef(raw, imageManifest, digest, noBlobs).digest).toBe(digest);
    const other = digestOf(content, algorithm);
    const error = await failureOf(DigestMismatchError, () => newRef(raw, imageManifest, other, noBlobs));
    expect(error.message).toContain(`manifest ${other}: expected digest ${other}, found ${digest}`);
    expect(error).toMatchObject({ expected: other, found: digest });
  });

  test('without a digest to verify gets one of sha256', () => {
    expect(refOf(manifest).digest).toBe(digestOf(encodeJson(manifest)));
  });

  test.each([`${imageManifest}; charset=utf-8`, imageManifest.toUpperCase()])('of %s is an image', (mediaType) => {
    expect(refOf(manifest, mediaType)).toMatchObject({ kind: 'image', mediaType: imageManifest });
  });

  test.each(['application/json', mediaTypes.imageConfig, '', 'application/vnd.docker.distribution.manifest.v1+json'])(
    'of %j is refused',
    async (mediaType) => {
      const error = await failureOf(UnexpectedMediaTypeError, () => refOf(manifest, mediaType));
      expect(error).toMatchObject({ expected: `${imageManifest} or ${imageIndex}`, found: mediaType });
    },
  );

  test('without a media type in the body is what the descriptor says', () => {
    expect(refOf({ ...manifest, mediaType: undefined }).kind).toBe('image');
    expect(refOf({ ...index, mediaType: undefined }, dockerManifestList).mediaType).toBe(dockerManifestList);
  });

  test('with lists that Go never made has empty ones', () => {
    expect(refOf({ ...manifest, layers: null }).manifest).toMatchObject({ layers: [] });
    expect(refOf({ ...index, manifests: null }, imageIndex).manifest).toMatchObject({ manifests: [] });
  });
});

describe('M2: asImage', () => {
  test('passes an image', () => {
    const image = refOf(manifest);
    expect(asImage(image)).toBe(image);
  });

  test.each([imageIndex, dockerManifestList])('names the media type of %s', async (mediaType) => {
    const ref = refOf({ ...index, mediaType }, mediaType);
    const error = await failureOf(UnexpectedMediaTypeError, () => asImage(ref));
    expect(error.message).toContain(`manifest ${ref.digest}: expected media type ${imageManifest}`);
    expect(error.message).toContain(`found ${mediaType}`);
  });
});

describe('a digest that is none', () => {
  const bad = ['', 'sha256:../../x', `sha256:${'A'.repeat(64)}`, `sha256:${'a'.repeat(63)}`, `${digestOf(content)}\n`];

  test.each(bad)('ACCEPTANCE 1, 2: %j is refused before anything is read', async (digest) => {
    const blobs = countingBlobs(encodeJson(manifest));
    const descriptor = { mediaType: imageManifest, digest: digest as Digest, size: 10 };
    const root = refOf(index, imageIndex, blobs) as Index;
    for (const read of [
      () => newRef(encodeJson(manifest), imageManifest, digest as Digest, blobs),
      () => readRef(descriptor, blobs),
      () => root.ref(descriptor),
      () => layoutBlobs(temporaryDirectory()).blob(descriptor),
    ]) {
      const { message } = await failureOf(InvalidDigestError, read);
      expect(message).toContain(`invalid digest ${JSON.stringify(digest)}`);
    }
    for (const body of [
      { ...manifest, layers: [{ ...layer, digest }] },
      { ...manifest, config: { ...layer, digest } },
      { ...manifest, subject: { ...layer, digest } },
    ]) {
      const { message } = await failureOf(InvalidDocumentError, () => refOf(body, imageManifest, blobs));
      expect(message).toContain(`found ${JSON.stringify(digest)}`);
    }
    expect(blobs.read).toEqual([]);
  });

  test('ACCEPTANCE 2: md5 is no algorithm here', async () => {
    const digest = `md5:${'a'.repeat(32)}` as Digest;
    const raw = encodeJson(manifest);
    await failureOf(UnsupportedDigestAlgorithmError, () => newRef(raw, imageManifest, digest, noBlobs));
  });
});

describe('a body that is none', () => {
  test.each<[string, string | Uint8Array, string]>([
    ['truncated', Buffer.from(encodeJson(manifest)).subarray(0, -9), 'expected JSON'],
    ['empty', '', 'expected JSON'],
    ['an array', '[]', '$: expected object, found []'],
    ['null', 'null', '$: expected object, found null'],
    ['a string', '"manifests"', '$: expected object, found "manifests"'],
    ['a number', '2', '$: expected object, found 2'],
    ['no UTF-8', Buffer.from('{"schemaVersion":2,"x":"\xff"}', 'latin1'), 'expected JSON in UTF-8'],
    ['a page of a web server', '<html>', 'expected JSON'],
    ['nested without end', '['.repeat(100_000), 'expected at most 1000 arrays and objects'],
  ])('ACCEPTANCE 10: %s', async (_, text, message) => {
    const raw = Buffer.from(text);
    for (const mediaType of [imageManifest, imageIndex]) {
      const error = await failureOf(InvalidDocumentError, () => newRef(raw, mediaType, digestOf(raw), noBlobs));
      expect(error.message).toContain(digestOf(raw));
      expect(error.message).toContain(message);
    }
  });

  test.each([
    ['at the top', '{"schemaVersion":2,"layers":[],"layers":[]}', 'layers'],
    ['in a descriptor', `{"manifests":[{"digest":"a","size":1,"di\\u0067est":"b"}]}`, 'digest'],
    ['in annotations', '{"annotations":{"a":"1","b":"2","a":"3"}}', 'a'],
  ])('ACCEPTANCE 9: a key twice %s', async (_, text, key) => {
    const { message } = await failureOf(InvalidDocumentError, () => refOf(Buffer.from(text)));
    expect(message).toContain(`found "${key}" twice`);
  });

  test.each([
    ['config', { ...index, config: emptyDescriptor }],
    ['layers', { ...index, layers: [] }],
    ['config', { ...manifest, manifests: [] }],
    ['layers', { ...index, layers: null }],
    ['config', { ...manifest, manifests: null, layers: undefined }],
  ])('ACCEPTANCE 7: manifests beside %s', async (beside, body) => {
    for (const mediaType of [imageManifest, imageIndex, dockerManifest, dockerManifestList]) {
      const { message } = await failureOf(InvalidDocumentError, () => refOf({ ...body, mediaType }, mediaType));
      expect(message).toContain('ambiguous');
      expect(message).toContain(`found "manifests" beside "${beside}"`);
    }
  });

  test.each([
    [imageManifest, dockerManifest, manifest],
    [dockerManifest, imageManifest, manifest],
    [imageManifest, imageIndex, manifest],
    [imageIndex, dockerManifestList, index],
    [imageIndex, imageManifest, index],
  ])('ACCEPTANCE 8: %s, but the body says %s', async (mediaType, bodyType, body) => {
    const raw = encodeJson({ ...body, mediaType: bodyType });
    const root = refOf(index, imageIndex, countingBlobs(raw)) as Index;
    for (const read of [
      () => refOf(raw, `${mediaType}; charset=utf-8`),
      () => root.ref(describeBytes(raw, mediaType)),
    ]) {
      const error = await failureOf(UnexpectedMediaTypeError, read);
      expect(error.message).toContain(`expected media type ${mediaType}, found ${bodyType}`);
      expect(error).toMatchObject({ expected: mediaType, found: bodyType });
    }
  });

  test.each([
    ['an index', imageIndex, manifest, '$.manifests'],
    ['an image', imageManifest, index, '$.config'],
  ])('that is not %s, which its type says', async (_, mediaType, body, path) => {
    const { message } = await failureOf(InvalidDocumentError, () => refOf({ ...body, mediaType }, mediaType));
    expect(message).toContain(`${path}: expected `);
  });
});

describe('the size of a manifest', () => {
  test('ACCEPTANCE 12: 4 MiB is accepted', () => {
    const annotations = { long: 'x'.repeat(4 * 1024 * 1024) };
    expect(refOf({ ...manifest, annotations }).manifest.annotations).toEqual(annotations);
  });

  test('ACCEPTANCE 12: one byte more than the limit is not', async () => {
    const raw = Buffer.alloc(maxDocumentSize + 1, ' ');
    raw.set(encodeJson(manifest));
    expect(refOf(raw.subarray(0, maxDocumentSize)).kind).toBe('image');
    const { message } = await failureOf(LimitError, () => refOf(raw));
    expect(message).toContain(`expected at most ${maxDocumentSize} bytes, found ${maxDocumentSize + 1}`);
  });

  test('ACCEPTANCE 12: a descriptor of one byte more than the limit is not read', async () => {
    const raw = encodeJson(manifest);
    const blobs = countingBlobs(raw);
    const root = refOf(index, imageIndex, blobs) as Index;
    const descriptor = { ...describeBytes(raw, imageManifest), size: maxDocumentSize + 1 };
    const { message } = await failureOf(LimitError, () => root.ref(descriptor));
    expect(message).toContain(`manifest ${descriptor.digest}: expected at most ${maxDocumentSize} bytes`);
    expect(blobs.read).toEqual([]);
  });
});

describe('M5: what an index lists', () => {
  const raw = encodeJson(manifest);
  const child = describeBytes(raw, imageManifest);
  const data = Buffer.from(raw).toString('base64');

  test('is read from the source of the index', async () => {
    const blobs = countingBlobs(raw);
    const root = refOf(indexOver(child), imageIndex, blobs) as Index;
    expect(root.children()).toEqual([child]);
    expect(await root.ref(child)).toMatchObject({ kind: 'image', digest: child.digest });
    expect(blobs.read).toEqual([child.digest]);
  });

  test('is taken from the descriptor where it carries data', async () => {
    const root = refOf(indexOver({ ...child, data }), imageIndex) as Index;
    expect((await root.ref({ ...child, data })).rawManifest).toEqual(Buffer.from(raw));
  });

  test.each([1, -1])('of a size wrong by %i is refused', async (difference) => {
    const root = refOf(index, imageIndex, countingBlobs(raw)) as Index;
    const error = await failureOf(SizeMismatchError, () => root.ref({ ...child, size: child.size + difference }));
    expect(error.message).toContain(child.digest);
    expect(error).toMatchObject({ expected: String(child.size + difference), found: String(child.size) });
  });

  test('of other content is refused', async () => {
    const other: Blobs = { ...noBlobs, manifest: async () => Buffer.alloc(child.size, ' ') };
    const root = refOf(index, imageIndex, other) as Index;
    expect((await failureOf(DigestMismatchError, () => root.ref(child))).expected).toBe(child.digest);
  });

  test('of another media type is refused', async () => {
    const root = refOf(index, imageIndex, countingBlobs(raw)) as Index;
    const error = await failureOf(UnexpectedMediaTypeError, () => root.ref({ ...child, mediaType: 'text/plain' }));
    expect(error).toMatchObject({ found: 'text/plain' });
    expect(error.message).toContain(child.digest);
  });

  test('ACCEPTANCE 16: of an unknown media type is a blob, not a child', async () => {
    const root = refOf(indexOver(layer, child), imageIndex, countingBlobs(raw, content)) as Index;
    expect(root.children()).toEqual([child]);
    expect(root.descriptors()).toEqual([layer]);
    expect(content.equals(await root.readBlobVerified(layer))).toBe(true);
  });
});

describe('ACCEPTANCE 5: embedded data', () => {
  const child = { ...layer, data: content.toString('base64') };

  test.each<[string, Descriptor, new (...facts: never[]) => InvalidDocumentError | SizeMismatchError]>([
    ['wrong bytes', { ...child, data: Buffer.from('CONTENT').toString('base64') }, DigestMismatchError],
    ['too long', { ...child, data: Buffer.from('content!').toString('base64') }, SizeMismatchError],
    ['too short', { ...child, data: Buffer.from('conten').toString('base64') }, SizeMismatchError],
    ['nothing', { ...child, data: '' }, SizeMismatchError],
    ['no padding', { ...child, data: child.data.replace(/=+$/, '') }, InvalidDocumentError],
    ['a line break', { ...child, data: `${child.data}\n` }, InvalidDocumentError],
    [
      'a blank in the middle',
      { ...child, data: `${child.data.slice(0, 4)} ${child.data.slice(4)}` },
      InvalidDocumentError,
    ],
    ['bits that say nothing', { ...child, data: child.data.replace(/A==$/, 'B==') }, InvalidDocumentError],
    ['the alphabet of URLs', { ...describeBytes(Buffer.of(251, 255, 255), 'x/y'), data: '-___' }, InvalidDocumentError],
  ])('%s', async (_, descriptor, type) => {
    expect(descriptor.data).not.toBe(child.data);
    const image = refOf({ ...manifest, layers: [descriptor] }, imageManifest, countingBlobs(content)) as Image;
    for (const read of [() => image.blob(descriptor), () => image.readBlobVerified(descriptor)]) {
      expect((await failureOf(type, read)).message).toContain(`descriptor ${descriptor.digest}`);
    }
    const asChild = { ...descriptor, mediaType: imageManifest };
    const root = refOf(index, imageIndex) as Index;
    expect((await failureOf(type, () => root.ref(asChild))).message).toContain(`descriptor ${descriptor.digest}`);
  });

  test('is used instead of the source, which is not asked', async () => {
    const blobs = countingBlobs(content);
    const image = refOf({ ...manifest, layers: [child] }, imageManifest, blobs) as Image;
    expect(content.equals(await image.readBlobVerified(child))).toBe(true);
    expect(await collect(image.blob(child).open({ start: 1, end: 3 }))).toEqual(content.subarray(1, 3));
    expect(blobs.read).toEqual([]);
  });
});

describe('ACCEPTANCE 6: the empty JSON', () => {
  const sha512 = { ...emptyDescriptor, digest: digestOf(Buffer.from('{}'), 'sha512') };

  test.each<[string, Descriptor]>([
    ['a wrong digest', { ...emptyDescriptor, digest: layer.digest }],
    ['a wrong size', { ...emptyDescriptor, size: 3 }],
    ['the size of nothing', { ...emptyDescriptor, digest: digestOf(Buffer.alloc(0)), size: 0 }],
    ['a digest of another algorithm', { ...sha512, digest: digestOf(content, 'sha512') }],
  ])('with %s', async (_, descriptor) => {
    for (const body of [
      { ...manifest, config: descriptor },
      { ...manifest, layers: [layer, descriptor] },
    ]) {
      const { message } = await failureOf(InvalidDocumentError, () => refOf(body));
      expect(message).toContain(`descriptor of media type ${mediaTypes.empty}: expected sha`);
      expect(message).toContain(`found ${descriptor.digest} of ${descriptor.size} bytes`);
    }
  });

  test.each([emptyDescriptor, sha512, { ...emptyDescriptor, data: undefined }])('as it must be: %j', (descriptor) => {
    expect(refOf({ ...manifest, config: descriptor, layers: [descriptor] }).descriptors()).toHaveLength(2);
  });
});

describe('M6: the blobs of an image', () => {
  const image = refOf({ ...manifest, layers: [layer] }, imageManifest, countingBlobs(content)) as Image;

  test('are its config and its layers, in their order', () => {
    expect(image.descriptors()).toEqual([emptyDescriptor, layer]);
  });

  test('stream, in part too', async () => {
    const blob = image.blob(layer);
    expect(blob.size).toBe(layer.size);
    expect(await collect(blob.open({ start: 3 }))).toEqual(content.subarray(3));
  });

  test('are verified when they are read whole', async () => {
    expect(content.equals(await image.readBlobVerified(layer))).toBe(true);
    const wrong: Blobs = { ...noBlobs, blob: () => bytesBlob(Buffer.from('CONTENT')) };
    const other = refOf(manifest, imageManifest, wrong) as Image;
    expect((await failureOf(DigestMismatchError, () => other.readBlobVerified(layer))).expected).toBe(layer.digest);
  });

  test('are not read into memory above 50 MiB', async () => {
    const large = { ...layer, size: maxDocumentSize + 1 };
    const blobs = countingBlobs(content);
    const other = refOf({ ...manifest, layers: [large] }, imageManifest, blobs) as Image;
    expect((await failureOf(LimitError, () => other.readBlobVerified(large))).message).toContain(layer.digest);
    expect(blobs.read).toEqual([]);
  });

  test('may be of a class of their own', async () => {
    class Once {
      get size() {
        return content.length;
      }
      open() {
        return bytesBlob(content).open();
      }
    }
    const other = refOf(manifest, imageManifest, { ...noBlobs, blob: () => new Once() }) as Image;
    expect(other.blob(layer).size).toBe(content.length);
    expect(content.equals(await other.readBlobVerified(layer))).toBe(true);
  });

  test('that are missing in a layout are named with who refers to them', async () => {
    const blobs = layoutBlobs(temporaryDirectory());
    const other = refOf(manifest, imageManifest, blobs) as Image;
    const root = refOf(index, imageIndex, blobs) as Index;
    const { message } = await failureOf(MissingBlobError, () => other.readBlobVerified(layer));
    expect(message).toContain(`blob ${layer.digest}: expected it because manifest ${other.digest} refers to it`);
    const child = { ...layer, mediaType: imageManifest };
    expect((await failureOf(MissingBlobError, () => root.ref(child))).message).toContain(`manifest ${root.digest}`);
  });
});

describe('the config', () => {
  const config = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [layer.digest] } };
  const imageWith = (body: unknown, layers = [layer], mediaType = mediaTypes.imageConfig as string) => {
    const raw = encodeJson(body);
    return refOf(
      { ...manifest, config: describeBytes(raw, mediaType), layers },
      imageManifest,
      countingBlobs(raw),
    ) as Image;
  };

  test('is parsed', async () => {
    expect(await readConfig(imageWith(config))).toEqual(config);
    expect(await readConfig(imageWith(config, [layer], mediaTypes.dockerConfig))).toEqual(config);
    const bare = { ...config, rootfs: { type: 'layers', diff_ids: null } };
    expect((await readConfig(imageWith(bare, []))).rootfs.diff_ids).toEqual([]);
  });

  test.each<[string, number, Digest[] | null]>([
    ['fewer', 2, [layer.digest]],
    ['more', 1, [layer.digest, layer.digest]],
    ['none', 1, null],
    ['some, of no layers', 0, [layer.digest]],
  ])('ACCEPTANCE 15: of %s diff_ids than layers', async (_, layers, diffIds) => {
    const image = imageWith({ ...config, rootfs: { type: 'layers', diff_ids: diffIds } }, Array(layers).fill(layer));
    const error = await failureOf(InvalidDocumentError, () => readConfig(image));
    const found = diffIds?.length ?? 0;
    expect(error.message).toContain(`config ${image.manifest.config.digest}: expected as many diff_ids`);
    expect(error.message).toContain(`has layers (${layers}), found ${found}`);
    expect(error).toMatchObject({ expected: String(layers), found: String(found) });
  });

  test('of an artifact is none', async () => {
    const error = await failureOf(UnexpectedMediaTypeError, () => readConfig(refOf(manifest) as Image));
    expect(error).toMatchObject({ expected: mediaTypes.imageConfig, found: mediaTypes.empty });
  });

  test('ACCEPTANCE 10: that is an array is refused by its digest', async () => {
    const image = imageWith([]);
    const { message } = await failureOf(InvalidDocumentError, () => readConfig(image));
    expect(message).toBe(`config ${image.manifest.config.digest}: $: expected object, found []`);
  });
});

describe('the descriptor of a ref', () => {
  test.each<[string, unknown, string, string | undefined]>([
    ['an image', { ...manifest, config: { ...layer, mediaType: mediaTypes.imageConfig } }, imageManifest, undefined],
    ['an artifact with a type', { ...manifest, artifactType: 'x/type' }, imageManifest, 'x/type'],
    [
      'an artifact with a config',
      { ...manifest, config: { ...layer, mediaType: 'x/config' } },
      imageManifest,
      'x/config',
    ],
    ['an index', index, imageIndex, undefined],
    ['an index with a type', { ...index, artifactType: 'x/type' }, imageIndex, 'x/type'],
  ])('%s', (_, body, mediaType, artifactType) => {
    const ref = refOf(body, mediaType);
    expect(artifactTypeOf(ref)).toBe(artifactType);
    const described = { mediaType, digest: ref.digest, size: encodeJson(body).length };
    expect(descriptorOf(ref)).toEqual({ ...described, ...(artifactType !== undefined && { artifactType }) });
  });
});

describe('M4: walkRefs', () => {
  const visited = async (root: Index | Image) => {
    const visits: [digest: Digest, by: Descriptor | undefined][] = [];
    await walkRefs(root, (ref, descriptor) => void visits.push([ref.digest, descriptor]));
    return visits;
  };

  test('children come before parents, in their order, each digest once, with the descriptor that led there', async () => {
    const [a, b, c] = await Promise.all(['a', 'b', 'c'].map((text) => sampleImage([text])));
    if (!a || !b || !c) throw new Error('three images');
    const inner = newIndex([{ ref: b, annotations: { by: 'inner' } }, { ref: a }]);
    const root = newIndex([
      { ref: a, annotations: { by: 'root' } },
      { ref: inner },
      { ref: c },
      { ref: b },
      { ref: inner },
    ]);
    const visits = await visited(root);
    expect(visits.map(([digest]) => digest)).toEqual([a.digest, b.digest, inner.digest, c.digest, root.digest]);
    expect(visits.map(([, by]) => by)).toEqual([
      { ...descriptorOf(a), annotations: { by: 'root' } },
      { ...descriptorOf(b), annotations: { by: 'inner' } },
      descriptorOf(inner),
      descriptorOf(c),
      undefined,
    ]);
  });

  test('an image is visited alone', async () => {
    const image = await sampleImage();
    expect(await visited(image)).toEqual([[image.digest, undefined]]);
  });

  test('waits for the visit, and ends with its failure', async () => {
    const root = newIndex([{ ref: await sampleImage(['a']) }, { ref: await sampleImage(['b']) }]);
    let visits = 0;
    const walk = walkRefs(root, async () => {
      visits++;
      await Promise.resolve();
      throw new AmbiguousManifestError('enough');
    });
    await failureOf(AmbiguousManifestError, () => walk);
    expect(visits).toBe(1);
  });

  test('goes on without what can not be read, where its caller takes the error', async () => {
    const image = await sampleImage();
    const raw = indexOver(layerAs(imageManifest), descriptorOf(image));
    const root = refOf(raw, imageIndex, countingBlobs(image.rawManifest)) as Index;
    const errors: [error: unknown, digest: Digest, parent: Digest][] = [];
    const visits: Digest[] = [];
    await walkRefs(root, (ref) => void visits.push(ref.digest), {
      onError: (error, descriptor, parent) => void errors.push([error, descriptor.digest, parent.digest]),
    });
    expect(visits).toEqual([image.digest, root.digest]);
    expect(errors).toEqual([[expect.any(MissingBlobError), layer.digest, root.digest]]);
    await failureOf(MissingBlobError, () => visited(root));
  });

  const layerAs = (mediaType: string): Descriptor => ({ ...layer, mediaType });

  test('ACCEPTANCE 13: a forged index that lists itself', async () => {
    const forged = { mediaType: imageIndex, digest: digestOf(Buffer.from('forged')), size: 0 };
    let raw = indexOver(forged);
    forged.size = raw.length + 2;
    raw = indexOver(forged);
    expect(raw.length).toBe(forged.size);
    let reads = 0;
    const blobs: Blobs = {
      ...noBlobs,
      manifest: async () => {
        reads++;
        return raw;
      },
      blobs: () => blobs,
    };
    const before = Date.now();
    const root = refOf(raw, imageIndex, blobs) as Index;
    const { message } = await failureOf(DigestMismatchError, () => visited(root));
    expect(message).toContain(`manifest ${forged.digest}: expected digest ${forged.digest}, found ${digestOf(raw)}`);
    expect(reads).toBe(1);
    expect(Date.now() - before).toBeLessThan(1000);
  });

  /** Indexes one in the other, the innermost empty. */
  const chain = (depth: number) => {
    const indexes = [indexOver()];
    for (let level = 0; level < depth; level++) {
      indexes.unshift(indexOver(describeBytes(indexes[0] as Uint8Array, imageIndex)));
    }
    const blobs = countingBlobs(...indexes);
    return { root: refOf(indexes[0], imageIndex, blobs) as Index, blobs };
  };

  test('ACCEPTANCE 13: a chain as deep as may be, and one too deep', async () => {
    expect(await visited(chain(maxDepth).root)).toHaveLength(maxDepth + 1);
    const { root, blobs } = chain(1000);
    const error = await failureOf(DepthError, () => visited(root));
    expect(error.message).toContain(`index ${root.digest}: expected at most ${maxDepth} nested indexes, found more`);
    expect(error.message).toContain(`depth ${maxDepth + 1}`);
    expect(blobs.read.length).toBeLessThanOrEqual(maxDepth + 1);
  });

  test('ACCEPTANCE 13: a diamond of 30 levels reads each blob once', async () => {
    const { root, blobs, digests } = diamond(30);
    const visits = await visited(root);
    expect(visits).toHaveLength(61);
    expect([...blobs.read].sort()).toEqual(digests);
    await createLayout(root);
  });

  /** Two indexes on each level, each listing both of the level below: 2 to the power of `levels` ways down. */
  function diamond(levels: number) {
    let below: Descriptor[] = [];
    const contents: Uint8Array[] = [];
    for (let level = 0; level < levels; level++) {
      const pair = ['left', 'right'].map((side) => encodeJson({ ...index, manifests: below, annotations: { side } }));
      contents.push(...pair);
      below = pair.map((raw) => describeBytes(raw, imageIndex));
    }
    const blobs = countingBlobs(...contents);
    const digests = contents.map((raw) => digestOf(raw)).sort();
    return { root: refOf(indexOver(...below), imageIndex, blobs) as Index, blobs, digests };
  }
});

describe('ACCEPTANCE 14: the same digest', () => {
  const blobsOfTree = async (root: Image | Index) =>
    [...(await createLayout(root)).keys()].filter((path) => path.endsWith(layer.digest.slice('sha256:'.length)));

  test('twice with the same size is stored once', async () => {
    const image = refOf({ ...manifest, layers: [layer, layer] }, imageManifest, countingBlobs(content));
    const root = newIndex([{ ref: image }, { ref: image, annotations: { again: 'yes' } }]);
    expect(await blobsOfTree(root)).toHaveLength(1);
  });

  const source = countingBlobs(content);
  const small = refOf(manifest, imageManifest, source);
  const large = refOf({ ...manifest, layers: [{ ...layer, size: 8 }] }, imageManifest, source);
  const both = refOf({ ...manifest, layers: [layer, { ...layer, size: 8 }] }, imageManifest, source);

  test.each<[string, Image | Index]>([
    ['in one image', both],
    ['in two images', newIndex([{ ref: small }, { ref: large }])],
  ])('with different sizes %s', async (_, root) => {
    const error = await failureOf(SizeMismatchError, () => createLayout(root));
    expect(error.message).toContain(`blob ${layer.digest}, which two descriptors name with different sizes`);
    expect(error).toMatchObject({ expected: '7', found: '8' });
  });

  test('of an image with different sizes in one index', async () => {
    const raw = encodeJson(manifest);
    const child = describeBytes(raw, imageManifest);
    const root = refOf(indexOver(child, { ...child, size: child.size + 1 }), imageIndex, countingBlobs(raw));
    const { message } = await failureOf(SizeMismatchError, () => walkRefs(root, () => undefined));
    expect(message).toContain(`blob ${child.digest}, which two descriptors name with different sizes`);
  });
});

describe('ACCEPTANCE 16: what is not known', () => {
  const strange = Buffer.from(
    `{ "x" : { "__proto__" : 1e2 } ,\n "schemaVersion":2.0,"config":{"mediaType":"application/x","size":7,"digest":"${layer.digest}","new":[]},` +
      `"layers":[{"digest":"${layer.digest}","mediaType":"application/vnd.oci.image.layer.v9.tar+lz","size":7.0,"\\u0061":null}],"annotations":{"__proto__":"\\u00e9"}}\n`,
  );

  test('is accepted, and copied byte for byte', async () => {
    const image = newRef(strange, imageManifest, digestOf(strange), countingBlobs(content));
    const path = await writtenLayout(image);
    const copied = await readRef(descriptorOf(image), layoutBlobs(join(path, 'blobs')));
    expect(strange.equals(copied.rawManifest)).toBe(true);
    expect(content.equals(await copied.readBlobVerified(layer))).toBe(true);
  });

  test('ACCEPTANCE 11: an annotation named __proto__ changes nothing but itself', () => {
    const { annotations } = refOf(strange).manifest;
    expect(Object.entries(annotations ?? {})).toEqual([['__proto__', 'é']]);
    expect(Object.getPrototypeOf({})).toBe(Object.prototype);
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});
