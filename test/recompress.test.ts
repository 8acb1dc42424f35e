import { gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import {
  addZstdInstances,
  appendLayer,
  asIndex,
  type Blob,
  type BlobSink,
  bytesBlob,
  type Compression,
  convertRef,
  createLayout,
  type Descriptor,
  type Digest,
  DigestMismatchError,
  describeIndex,
  digestOf,
  emptyImage,
  emptyManifest,
  encodeJson,
  FileSystemError,
  type Image,
  type Index,
  InvalidOptionError,
  InvalidStreamError,
  layerEncoder,
  mediaTypes,
  newIndex,
  newRef,
  type OciError,
  parsePlatform,
  type Ref,
  readConfig,
  recompressRef,
  sealImage,
  tarOf,
  UnexpectedMediaTypeError,
  verifyLayout,
  walkRefs,
  writeLayer,
  zstdAnnotation,
} from '../src';
import { noBlobs } from '../src/blob';
import { collect, failureOf, memorySink, sampleImage, writtenLayout } from './fixtures';

const typeOf = { gzip: mediaTypes.layerGzip, zstd: mediaTypes.layerZstd, none: mediaTypes.layer };

/** Keeps in memory what is written, and counts it. */
function countingSink(): BlobSink & { readonly written: Digest[] } {
  const written: Digest[] = [];
  return {
    written,
    write: async (content, algorithm) => {
      const blob = await memorySink.write(content, algorithm);
      written.push(blob.digest);
      return blob;
    },
  };
}

const recompressed = async (image: Image, compression: Compression, sink: BlobSink = memorySink) =>
  (await recompressRef(image, compression, sink)) as Image;

const layerTypes = ({ manifest }: Image) => manifest.layers.map(({ mediaType }) => mediaType);

/** An image with one layer that says of itself what it is told to. */
async function imageWith(change: Partial<Descriptor>, content?: Uint8Array, manifestType?: string): Promise<Image> {
  const tar = await collect(tarOf([]));
  const layer = await writeLayer(bytesBlob(tar).open(), memorySink, layerEncoder('gzip', { manifestType }));
  const blob: Blob = content ? bytesBlob(content) : layer.blob;
  const facts = content ? { digest: digestOf(content), size: content.length } : {};
  const draft = appendLayer(
    emptyImage(parsePlatform('linux/amd64')),
    { ...layer, blob, descriptor: { ...layer.descriptor, ...facts, ...change } },
    { created_by: 'test' },
  );
  return sealImage({ ...draft, manifest: { ...draft.manifest, ...(manifestType && { mediaType: manifestType }) } });
}

async function expectSound(ref: Ref): Promise<void> {
  expect(await verifyLayout(await writtenLayout(ref))).toMatchObject({ problems: [], uncheckedDiffIds: [] });
}

describe('L11: an image whose layers are compressed anew', () => {
  test.each<[Compression, Compression]>([
    ['gzip', 'zstd'],
    ['gzip', 'none'],
    ['zstd', 'gzip'],
    ['zstd', 'none'],
    ['none', 'gzip'],
    ['none', 'zstd'],
  ])('from %s to %s keeps config and diffIDs, and is sound', async (from, to) => {
    const original = await recompressed(await sampleImage(['a', 'b']), from);
    const image = await recompressed(original, to);
    expect(layerTypes(image)).toEqual([typeOf[to], typeOf[to]]);
    expect(image.manifest.config).toEqual(original.manifest.config);
    expect(await readConfig(image)).toEqual(await readConfig(original));
    expect(image.digest).not.toBe(original.digest);
    await expectSound(image);
  });

  test.each<Compression>(['gzip', 'zstd', 'none'])('is the same image if it was %s before', async (compression) => {
    const image = await recompressed(await sampleImage(), compression);
    const sink = countingSink();
    expect(await recompressed(image, compression, sink)).toBe(image);
    expect(sink.written).toEqual([]);
  });

  test('is the same as one that was built so', async () => {
    const tar = await collect(tarOf([]));
    const built = async (compression: Compression) => {
      const layer = await writeLayer(bytesBlob(tar).open(), memorySink, layerEncoder(compression));
      return sealImage(appendLayer(emptyImage(parsePlatform('linux/amd64')), layer, { created_by: 'test' }));
    };
    expect((await recompressed(await built('gzip'), 'zstd')).digest).toBe((await built('zstd')).digest);
  });

  test('has the level that is asked for', async () => {
    const image = await sampleImage();
    const at = (level: number) => recompressRef(image, 'zstd', memorySink, { level });
    expect((await at(1)).digest).not.toBe((await at(19)).digest);
    const { message } = await failureOf(InvalidOptionError, () => at(20));
    expect(message).toContain('expected a whole number from 1 to 19, found 20');
  });

  test('keeps what the manifest and its descriptors say, but of the compressed bytes', async () => {
    const annotations = {
      'org.example': 'kept',
      'containerd.io/snapshot/stargz/toc.digest': 'sha256:1',
      'io.containers.estargz.uncompressed-size': '1',
      'io.github.containers.zstd-chunked.manifest-position': '1:2:3:1',
    };
    const original = await imageWith({ annotations, urls: ['https://example.com/layer'], 'com.example': [1] });
    const manifest = { ...original.manifest, annotations: { a: 'b' }, 'com.example': { c: 1 } };
    const ref = newRef(encodeJson(manifest), original.mediaType, undefined, original.blobs) as Image;
    const image = await recompressed(ref, 'zstd');
    expect(image.manifest).toMatchObject({ annotations: { a: 'b' }, 'com.example': { c: 1 } });
    const { digest, size, ...rest } = image.manifest.layers[0] as Descriptor;
    expect(rest).toEqual({ mediaType: typeOf.zstd, annotations: { 'org.example': 'kept' }, 'com.example': [1] });
  });

  test.each<[string, Partial<Descriptor>]>([
    ['that is not for distribution', { mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' }],
    ["of Docker's that is foreign", { mediaType: mediaTypes.dockerLayerForeign, urls: ['https://example.com/layer'] }],
    ['of a media type that is not known', { mediaType: 'application/vnd.in-toto+json' }],
  ])('keeps a layer %s', async (_, change) => {
    const image = await imageWith(change);
    expect(await recompressed(image, 'zstd')).toBe(image);
  });

  test('leaves artifacts alone', async () => {
    const artifact = emptyManifest('application/vnd.example.thing');
    expect(await recompressRef(artifact, 'zstd', memorySink)).toBe(artifact);
  });

  test("of Docker's format takes gzip and none, and refuses zstd before anything is written", async () => {
    const image = (await convertRef(await sampleImage(), 'docker')) as Image;
    const plain = await recompressed(image, 'none');
    expect({ type: plain.mediaType, layers: layerTypes(plain) }).toEqual({
      type: mediaTypes.dockerManifest,
      layers: [mediaTypes.dockerLayer],
    });
    expect((await recompressed(plain, 'gzip')).digest).toBe(image.digest);
    const sink = countingSink();
    const { message } = await failureOf(UnexpectedMediaTypeError, () => recompressRef(image, 'zstd', sink));
    expect(message).toContain(mediaTypes.dockerManifest);
    expect(sink.written).toEqual([]);
  });

  const gzipped = gzipSync(Buffer.alloc(1024));

  test.each<[string, new (...facts: never[]) => OciError, Uint8Array, string]>([
    ['another tar file', DigestMismatchError, gzipSync('another'), 'its diffID in the config'],
    ['gzip that ends early', InvalidStreamError, gzipped.subarray(0, -9), 'invalid gzip stream'],
    ['no gzip', InvalidStreamError, Buffer.from('text'), 'invalid gzip stream'],
  ])(
    'ACCEPTANCE 20, 30: with a layer of %s is refused, and no such layer gets a name',
    async (_, type, bytes, message) => {
      const image = await imageWith({}, bytes);
      for (const compression of ['zstd', 'none'] as const) {
        const sink = countingSink();
        const error = await failureOf(type, () => recompressRef(image, compression, sink));
        expect(error.message).toContain(`layer ${digestOf(bytes)}`);
        expect(error.message).toContain(message);
        expect(sink.written).toEqual([]);
      }
    },
  );

  test('ACCEPTANCE 3: with a damaged layer is refused', async () => {
    const image = await imageWith({ digest: digestOf(Buffer.from('other bytes')) });
    const { message } = await failureOf(DigestMismatchError, () => recompressRef(image, 'none', memorySink));
    expect(message).toContain(digestOf(Buffer.from('other bytes')));
  });

  test("a failure of the sink is the sink's", async () => {
    const cause = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    const failing: BlobSink = {
      write: async (content) => {
        for await (const _ of content) throw new FileSystemError('write', '/full', cause);
        throw new Error('nothing came');
      },
    };
    const { code } = await failureOf(FileSystemError, async () => recompressRef(await sampleImage(), 'zstd', failing));
    expect(code).toBe('ENOSPC');
  });
});

const platforms = ['linux/amd64', 'linux/arm64'];

/** An index of two images that share a layer, with platforms; the second level is an index too. */
async function multiPlatform(): Promise<{ index: Index; images: readonly Image[] }> {
  const images = await Promise.all(platforms.map((platform) => sampleImage(['shared', platform], platform)));
  const index = newIndex(
    images.map((ref, position) => ({
      ref,
      platform: parsePlatform(platforms[position] ?? ''),
      annotations: { n: `${position}` },
    })),
  );
  return { index, images };
}

async function reachable(root: Ref): Promise<readonly Ref[]> {
  const refs: Ref[] = [];
  await walkRefs(root, (ref) => void refs.push(ref));
  return refs;
}

describe('L11: an index whose layers are compressed anew', () => {
  test('keeps its platforms and annotations, says that it is zstd, and compresses a shared layer once', async () => {
    const { index, images } = await multiPlatform();
    const sink = countingSink();
    const changed = asIndex(await recompressRef(index, 'zstd', sink));
    expect(changed.children()).toMatchObject(
      images.map((_, position) => ({
        platform: index.children()[position]?.platform,
        annotations: { n: `${position}`, [zstdAnnotation]: 'true' },
      })),
    );
    expect(sink.written).toHaveLength(3);
    await expectSound(changed);

    const back = asIndex(await recompressRef(changed, 'gzip', memorySink));
    expect(back.digest).toBe(index.digest);
  });

  test('is changed at any depth, with its artifacts as they were', async () => {
    const { index } = await multiPlatform();
    const artifact = emptyManifest('application/vnd.example.thing');
    const outer = describeIndex(newIndex([{ ref: index }, { ref: artifact }]), { annotations: { a: 'b' } });
    const changed = asIndex(await recompressRef(outer, 'none', memorySink));
    expect(changed.manifest.annotations).toEqual({ a: 'b' });
    expect(changed.children()[1]).toEqual(outer.children()[1]);
    expect(changed.children()[0]).not.toHaveProperty('annotations');
    const images = (await reachable(changed)).filter((ref) => ref.kind === 'image') as Image[];
    expect(images.map(layerTypes)).toEqual([
      [typeOf.none, typeOf.none],
      [typeOf.none, typeOf.none],
      [mediaTypes.empty],
    ]);
    await expectSound(changed);
  });

  test('is the same if there is nothing to do', async () => {
    const { index } = await multiPlatform();
    expect(await recompressRef(index, 'gzip', memorySink)).toBe(index);
  });
});

describe('L11: instances with zstd', () => {
  test('stand behind the originals, for the same platforms, annotated', async () => {
    const { index } = await multiPlatform();
    const added = await addZstdInstances(index, memorySink);
    const children = added.children();
    expect(children.slice(0, 2)).toEqual(index.children());
    expect(children.slice(2)).toMatchObject(
      index.children().map(({ platform, annotations }) => ({
        platform,
        mediaType: mediaTypes.imageManifest,
        annotations: { ...annotations, [zstdAnnotation]: 'true' },
      })),
    );
    const instances = (await reachable(added)).filter((ref) => ref.kind === 'image') as Image[];
    expect(instances.map((image) => layerTypes(image)[0])).toEqual([
      typeOf.gzip,
      typeOf.gzip,
      typeOf.zstd,
      typeOf.zstd,
    ]);
    expect(instances[2]?.manifest.config).toEqual(instances[0]?.manifest.config);
    await expectSound(added);
    // Configs are shared: oci-layout, index.json, the index, four manifests, two configs, three layers in two ways.
    expect((await createLayout(added)).size).toBe(2 + 1 + 4 + 2 + 2 * 3);
  });

  test('are added once, whoever added them', async () => {
    const { index } = await multiPlatform();
    const added = await addZstdInstances(index, memorySink);
    expect(await addZstdInstances(added, memorySink)).toBe(added);
    // As another program would have compressed it.
    const [amd64] = index.children();
    const other = await recompressRef(await sampleImage(['other']), 'zstd', memorySink, { level: 1 });
    const entry = { ref: other, platform: amd64?.platform, annotations: { [zstdAnnotation]: 'true' } };
    const partly = newIndex([
      entry,
      ...(await Promise.all(
        index.children().map(async (child) => ({ ref: await index.ref(child), platform: child.platform })),
      )),
    ]);
    const completed = await addZstdInstances(partly, memorySink);
    expect(completed.children().slice(3)).toMatchObject([{ platform: { architecture: 'arm64' } }]);
  });

  test('are one for each platform, made of the image that is listed first', async () => {
    const [first, second] = [await sampleImage(['first']), await sampleImage(['second'])];
    const added = await addZstdInstances(newIndex([{ ref: first }, { ref: second }]), memorySink);
    expect(added.children()).toHaveLength(3);
    const instance = await added.ref(added.children()[2] as Descriptor);
    expect(instance.digest).toBe((await recompressRef(first, 'zstd', memorySink)).digest);
  });

  test('take the platform from the config where the index has none', async () => {
    const images = await Promise.all(platforms.map((platform) => sampleImage([platform], platform)));
    const added = await addZstdInstances(newIndex(images.map((ref) => ({ ref }))), memorySink);
    expect(added.children()).toHaveLength(4);
    expect(added.children()[2]).toEqual({
      mediaType: mediaTypes.imageManifest,
      digest: expect.any(String),
      size: expect.any(Number),
      annotations: { [zstdAnnotation]: 'true' },
    });
    expect(await addZstdInstances(added, memorySink)).toBe(added);
  });

  test('are none for artifacts, for what is no layer, and for what is zstd already', async () => {
    const attestation = await imageWith({ mediaType: 'application/vnd.in-toto+json' });
    const zstd = await recompressRef(await sampleImage(), 'zstd', memorySink);
    const index = newIndex([emptyManifest('application/vnd.example.thing'), attestation, zstd].map((ref) => ({ ref })));
    expect(await addZstdInstances(index, memorySink)).toBe(index);
  });

  test('stand in nested indexes beside theirs', async () => {
    const { index } = await multiPlatform();
    const added = await addZstdInstances(newIndex([{ ref: index }]), memorySink);
    expect(added.children()).toHaveLength(1);
    const [inner] = (await reachable(added)).filter((ref) => ref.kind === 'index') as Index[];
    expect(inner?.children()).toHaveLength(4);
    await expectSound(added);
  });

  test("are refused in Docker's list", async () => {
    const { index } = await multiPlatform();
    const list = asIndex(await convertRef(index, 'docker'));
    const { message } = await failureOf(UnexpectedMediaTypeError, () => addZstdInstances(list, memorySink));
    expect(message).toContain(mediaTypes.dockerManifest);
  });
});

test('content of an index that is no manifest is still there', async () => {
  const image = await sampleImage();
  const thing = Buffer.from('x');
  const unknown = {
    mediaType: 'application/x',
    digest: digestOf(thing),
    size: thing.length,
    data: thing.toString('base64'),
  };
  const [descriptor] = newIndex([{ ref: image }]).children();
  const document = { schemaVersion: 2, mediaType: mediaTypes.imageIndex, manifests: [descriptor, unknown] };
  const index = newRef(encodeJson(document), mediaTypes.imageIndex, undefined, {
    ...noBlobs,
    manifest: async () => image.rawManifest,
    blobs: () => image.blobs,
  });
  const changed = asIndex(await recompressRef(index, 'none', memorySink));
  expect(changed.manifest.manifests[1]).toEqual(unknown);
});
