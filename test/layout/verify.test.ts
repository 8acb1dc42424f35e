import { existsSync, readFileSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, test } from '@jest/globals';
import {
  type Blobs,
  bytesBlob,
  type Descriptor,
  type Digest,
  digestOf,
  emptyManifest,
  encodeJson,
  type Image,
  type IndexEntry,
  InvalidLayoutError,
  mediaTypes,
  newIndex,
  newRef,
  type Ref,
  verifyLayout,
  zstd,
} from '../../src';
import { blobFile } from '../../src/layout/paths';
import { collect, sampleImage, snapshot, temporaryDirectory, writtenLayout } from '../fixtures';

interface HandmadeLayer {
  readonly mediaType: string;
  readonly bytes: Uint8Array;
  readonly diffId?: Digest;
}

/** An image that says just what it is told to, true or not. */
function handmade(
  layers: readonly HandmadeLayer[],
  { config = {}, configType = mediaTypes.imageConfig as string } = {},
) {
  const diffIds = layers.flatMap(({ diffId }) => diffId ?? []);
  const rawConfig = encodeJson({
    architecture: 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: diffIds },
    ...config,
  });
  const contents = [rawConfig, ...layers.map(({ bytes }) => bytes)];
  const [configDescriptor, ...layerDescriptors] = contents.map((bytes, position) => ({
    mediaType: layers[position - 1]?.mediaType ?? configType,
    digest: digestOf(bytes),
    size: bytes.length,
  })) as [Descriptor, ...Descriptor[]];
  const byDigest = new Map(contents.map((bytes) => [digestOf(bytes), bytes]));
  const blobs: Blobs = {
    blob: ({ digest }) => bytesBlob(byDigest.get(digest) ?? Buffer.from('?')),
    manifest: async ({ digest }) => byDigest.get(digest) ?? Buffer.from('?'),
    blobs: () => blobs,
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.imageManifest,
    config: configDescriptor,
    layers: layerDescriptors,
  };
  return newRef(encodeJson(manifest), mediaTypes.imageManifest, undefined, blobs) as Image;
}

const listedAs = (ref: Ref): IndexEntry => ({ ref });
const tar = Buffer.alloc(2048, 'not really a tar file; its diffID is all that counts');
const tarDigest = digestOf(tar);
const zipped = gzipSync(tar);
const goodLayer = { mediaType: mediaTypes.layerGzip, bytes: zipped, diffId: tarDigest };

const packed = (bytes: Uint8Array) => collect(zstd(bytesBlob(bytes).open(), { lanes: 1 }));

/** Two platforms in an index in an index. */
async function nestedLayout() {
  const [amd64, arm64] = [await sampleImage(['amd64']), await sampleImage(['arm64'], 'linux/arm64')];
  const inner = newIndex([{ ref: amd64 }, { ref: arm64 }]);
  const outer = newIndex([{ ref: inner }]);
  const path = await writtenLayout(outer);
  const { config, layers } = amd64.manifest;
  const layer = layers[0] as Descriptor;
  return {
    path,
    /** Each with who refers to it. */
    blobs: {
      layer: [layer.digest, amd64.digest],
      config: [config.digest, amd64.digest],
      manifest: [amd64.digest, inner.digest],
      'nested index': [inner.digest, outer.digest],
      index: [outer.digest, 'index.json'],
    } satisfies Record<string, [digest: Digest, referrer: string]>,
  };
}

const kinds = ['layer', 'config', 'manifest', 'nested index', 'index'] as const;

function damage(path: string, digest: Digest, position = 0.5): void {
  const file = blobFile(path, digest);
  const bytes = readFileSync(file);
  const at = Math.floor(position * (bytes.length - 1));
  bytes[at] = (bytes[at] ?? 0) ^ 0x10;
  rmSync(file);
  writeFileSync(file, bytes);
}

describe('O16: a sound layout', () => {
  test('has no problems, and is counted', async () => {
    const { path } = await nestedLayout();
    const before = snapshot(path);
    let seen = 0;
    const verification = await verifyLayout(path, { onProgress: (bytes) => (seen += bytes) });
    expect(verification).toEqual({ problems: [], manifests: 4, blobs: 4, bytes: seen, uncheckedDiffIds: [] });
    expect(seen).toBeGreaterThan(500);
    expect(snapshot(path)).toEqual(before);
  });

  test.each<[string, () => Ref | Promise<Ref>]>([
    ['an artifact', () => emptyManifest('application/vnd.example.thing')],
    [
      'an artifact with a config and layers of its own media types',
      () => handmade([{ mediaType: 'text/plain', bytes: Buffer.from('hello') }], { configType: 'application/x.thing' }),
    ],
    [
      'an image with a layer of an unknown media type',
      () => handmade([{ mediaType: 'application/vnd.example.layer', bytes: tar, diffId: tarDigest }]),
    ],
    [
      'a layer that must not be distributed',
      () => handmade([{ ...goodLayer, mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' }]),
    ],
    ["Docker's layer", () => handmade([{ ...goodLayer, mediaType: mediaTypes.dockerLayerGzip }])],
    ["Docker's foreign layer", () => handmade([{ ...goodLayer, mediaType: mediaTypes.dockerLayerForeign }])],
    ['a plain layer', () => handmade([{ ...goodLayer, mediaType: mediaTypes.layer, bytes: tar }])],
    [
      'a plain layer whose diffID is of another algorithm than its digest',
      () => handmade([{ mediaType: mediaTypes.layer, bytes: tar, diffId: digestOf(tar, 'sha512') }]),
    ],
    [
      'a layer that two images name by diffIDs of two algorithms',
      () => handmade([goodLayer, { ...goodLayer, diffId: digestOf(tar, 'sha512') }]),
    ],
    ['an image without layers', () => handmade([], { config: { rootfs: { type: 'layers', diff_ids: null } } })],
    ['the same layer twice', () => handmade([goodLayer, goodLayer])],
    ['an empty index', () => newIndex([])],
  ])('may be %s', async (_, make) => {
    const { problems } = await verifyLayout(await writtenLayout(await make()));
    expect(problems).toEqual([]);
  });

  test('may have zstd layers, of one frame or several', async () => {
    const [whole, ...parts] = await Promise.all([tar, tar.subarray(0, 1000), tar.subarray(1000)].map(packed));
    const layers = [whole as Buffer, Buffer.concat(parts)].map((bytes) => ({
      ...goodLayer,
      mediaType: mediaTypes.layerZstd,
      bytes,
    }));
    const verification = await verifyLayout(await writtenLayout(handmade(layers)));
    expect(verification).toMatchObject({ problems: [], uncheckedDiffIds: [] });
  });

  test('may list what is no manifest, which is a blob like others', async () => {
    const path = await writtenLayout(newIndex([]));
    const thing = Buffer.from('anything');
    const descriptor = { mediaType: 'application/vnd.example', digest: digestOf(thing), size: thing.length };
    writeFileSync(join(path, 'index.json'), encodeJson({ schemaVersion: 2, manifests: [descriptor] }));
    writeFileSync(blobFile(path, descriptor.digest), thing);
    expect(await verifyLayout(path)).toMatchObject({ problems: [], manifests: 0, blobs: 1 });
    damage(path, descriptor.digest);
    expect((await verifyLayout(path)).problems).toEqual([
      expect.objectContaining({ digest: descriptor.digest, referrer: 'index.json' }),
    ]);
  });

  test('says which diffIDs it did not compare', async () => {
    const layer = { mediaType: 'application/vnd.example.layer', bytes: Buffer.from('other'), diffId: tarDigest };
    const verification = await verifyLayout(await writtenLayout(handmade([layer, goodLayer])));
    expect(verification).toMatchObject({ problems: [], uncheckedDiffIds: [digestOf(layer.bytes)] });
  });
});

describe.each(kinds)('O16, ACCEPTANCE 20: %s', (kind) => {
  test.each([0, 0.5, 1])('one bit flipped at %d of its length', async (position) => {
    const { path, blobs } = await nestedLayout();
    const [digest, referrer] = blobs[kind];
    damage(path, digest, position);
    const { problems } = await verifyLayout(path);
    expect(problems).toEqual([
      { digest, referrer, message: expect.stringContaining(`expected digest ${digest}, found`) },
    ]);
  });

  test('ACCEPTANCE 19: missing', async () => {
    const { path, blobs } = await nestedLayout();
    const [digest, referrer] = blobs[kind];
    rmSync(blobFile(path, digest));
    const { problems } = await verifyLayout(path);
    expect(problems).toEqual([{ digest, referrer, message: expect.stringContaining(`blob ${digest}: expected it`) }]);
  });

  test('a byte more', async () => {
    const { path, blobs } = await nestedLayout();
    const [digest, referrer] = blobs[kind];
    const bytes = readFileSync(blobFile(path, digest));
    rmSync(blobFile(path, digest));
    writeFileSync(blobFile(path, digest), Buffer.concat([bytes, Buffer.from(' ')]));
    const { problems } = await verifyLayout(path);
    const message = expect.stringContaining(`expected ${bytes.length} bytes, found more`);
    expect(problems).toEqual([{ digest, referrer, message }]);
  });

  test('ACCEPTANCE 18: a symbolic link to the right bytes', async () => {
    const { path, blobs } = await nestedLayout();
    const [digest, referrer] = blobs[kind];
    const outside = join(temporaryDirectory(), 'outside');
    writeFileSync(outside, readFileSync(blobFile(path, digest)));
    rmSync(blobFile(path, digest));
    symlinkSync(outside, blobFile(path, digest));
    const { problems } = await verifyLayout(path);
    expect(problems).toEqual([{ digest, referrer, message: expect.stringContaining('found a symbolic link') }]);
  });
});

describe('O16: what a config says of its layers', () => {
  const bomb = gzipSync(Buffer.alloc(3_000_000));

  test.each<[string, HandmadeLayer, string]>([
    [
      'a wrong diffID, gzip',
      { ...goodLayer, diffId: digestOf(zipped) },
      `its diffID in the config: expected digest ${digestOf(zipped)}, found ${tarDigest}`,
    ],
    [
      'a wrong diffID, plain',
      { mediaType: mediaTypes.layer, bytes: tar, diffId: digestOf(zipped) },
      `its diffID in the config: expected digest ${digestOf(zipped)}, found ${tarDigest}`,
    ],
    [
      'a wrong diffID of another algorithm, plain',
      { mediaType: mediaTypes.layer, bytes: tar, diffId: digestOf(zipped, 'sha512') },
      `its diffID in the config: expected digest ${digestOf(zipped, 'sha512')}, found ${digestOf(tar, 'sha512')}`,
    ],
    [
      'a gzip layer whose media type says plain',
      { ...goodLayer, mediaType: mediaTypes.layer },
      `expected digest ${tarDigest}, found ${digestOf(zipped)}`,
    ],
    ['a plain layer whose media type says gzip', { ...goodLayer, bytes: tar }, 'invalid gzip stream'],
    ['ACCEPTANCE 30: gzip that ends early', { ...goodLayer, bytes: zipped.subarray(0, -9) }, 'invalid gzip stream'],
    [
      'ACCEPTANCE 30: gzip with a wrong CRC',
      { ...goodLayer, bytes: Buffer.concat([zipped.subarray(0, -8), Buffer.alloc(8)]) },
      'invalid gzip stream',
    ],
    [
      'ACCEPTANCE 30: gzip with junk behind it',
      { ...goodLayer, bytes: Buffer.concat([zipped, Buffer.from('junk')]) },
      'invalid gzip stream',
    ],
    [
      'ACCEPTANCE 30: gzip that unpacks to more than the limit',
      { mediaType: mediaTypes.layerGzip, bytes: bomb, diffId: digestOf(Buffer.alloc(3_000_000)) },
      'unpacked: expected at most 1000000 bytes, found more',
    ],
  ])('%s', async (_, layer, message) => {
    const image = handmade([layer]);
    const { problems } = await verifyLayout(await writtenLayout(image), { maxUnpackedSize: 1_000_000 });
    const digest = digestOf(layer.bytes);
    expect(problems).toEqual([{ digest, referrer: image.digest, message: expect.stringContaining(message) }]);
    expect(problems[0]?.message).toContain(digest);
  });

  test.each<[string, (bytes: Buffer) => Buffer | Promise<Buffer>, string]>([
    ['zstd of another tar file', () => packed(Buffer.from('another')), 'its diffID in the config'],
    ['gzip', () => zipped, 'invalid zstd stream (unknown frame)'],
    ['ACCEPTANCE 30: zstd that ends early', (bytes) => bytes.subarray(0, -9), 'invalid zstd stream (unexpected end'],
    [
      'ACCEPTANCE 30: zstd with junk behind it',
      (bytes) => Buffer.concat([bytes, Buffer.from('junk')]),
      'invalid zstd stream (bytes behind its end)',
    ],
    [
      'ACCEPTANCE 30: zstd that unpacks to more than the limit',
      () => packed(Buffer.alloc(3_000_000)),
      'unpacked: expected at most 1000000 bytes, found more',
    ],
  ])('a zstd layer that is %s', async (_, spoil, message) => {
    const bytes = await spoil(await packed(tar));
    const image = handmade([{ mediaType: mediaTypes.layerZstd, bytes, diffId: tarDigest }]);
    const { problems } = await verifyLayout(await writtenLayout(image), { maxUnpackedSize: 1_000_000 });
    const digest = digestOf(bytes);
    expect(problems).toEqual([{ digest, referrer: image.digest, message: expect.stringContaining(message) }]);
    expect(problems[0]?.message).toContain(digest);
  });

  test('a layer that one image calls gzip and another zstd is wrong for one of them', async () => {
    const [right, wrong] = [handmade([goodLayer]), handmade([{ ...goodLayer, mediaType: mediaTypes.layerZstd }])];
    const { problems } = await verifyLayout(await writtenLayout([right, wrong].map(listedAs)));
    expect(problems).toEqual([
      { digest: digestOf(zipped), referrer: right.digest, message: expect.stringContaining('invalid zstd stream') },
    ]);
  });

  test.each([
    ['gzip', mediaTypes.layerGzip, async () => zipped],
    ['zstd', mediaTypes.layerZstd, () => packed(tar)],
  ])('damaged %s is a wrong digest, not a broken stream', async (_, mediaType, make) => {
    const bytes = await make();
    const path = await writtenLayout(handmade([{ ...goodLayer, mediaType, bytes }]));
    damage(path, digestOf(bytes));
    const { problems } = await verifyLayout(path);
    expect(problems.map(({ message }) => message)).toEqual([
      expect.stringContaining(`expected digest ${digestOf(bytes)}`),
    ]);
  });

  test('a damaged plain layer is a wrong digest, and no wrong diffID', async () => {
    const path = await writtenLayout(handmade([{ ...goodLayer, mediaType: mediaTypes.layer, bytes: tar }]));
    damage(path, tarDigest);
    expect((await verifyLayout(path)).problems.map(({ message }) => message)).toEqual([
      expect.stringContaining(`blob ${tarDigest}: expected digest ${tarDigest}`),
    ]);
  });

  test('a layer with more behind it is too long, whatever that unpacks to', async () => {
    const path = await writtenLayout(handmade([goodLayer]));
    const digest = digestOf(zipped);
    rmSync(blobFile(path, digest));
    writeFileSync(blobFile(path, digest), Buffer.concat([zipped, bomb]));
    const { problems } = await verifyLayout(path, { maxUnpackedSize: 1_000_000 });
    expect(problems.map(({ message }) => message)).toEqual([
      expect.stringContaining(`blob ${digest}: expected ${zipped.length} bytes, found more`),
    ]);
  });

  test.each<[string, HandmadeLayer[], object, string]>([
    [
      'ACCEPTANCE 15: too few diff_ids',
      [goodLayer, { mediaType: mediaTypes.layer, bytes: tar }],
      {},
      'has layers (2), found 1',
    ],
    [
      'ACCEPTANCE 15: too many',
      [goodLayer],
      { rootfs: { type: 'layers', diff_ids: [tarDigest, tarDigest] } },
      'found 2',
    ],
    ['no rootfs', [goodLayer], { rootfs: undefined }, '$.rootfs'],
    ['a number as the architecture', [goodLayer], { architecture: 64 }, '$.architecture: expected string, found 64'],
  ])('%s', async (_, layers, config, message) => {
    const image = handmade(layers, { config });
    const path = await writtenLayout([listedAs(image)]);
    const { digest } = image.manifest.config;
    expect((await verifyLayout(path)).problems).toEqual([
      { digest, referrer: image.digest, message: expect.stringContaining(message) },
    ]);
  });

  test('the image that lies about a shared layer is named, not the one that is right', async () => {
    const right = handmade([goodLayer]);
    const lying = handmade([{ ...goodLayer, diffId: digestOf(zipped) }]);
    const mistyped = handmade([{ ...goodLayer, mediaType: mediaTypes.layer }], { config: { author: 'someone' } });
    const path = await writtenLayout([right, lying, mistyped].map(listedAs));
    const { problems } = await verifyLayout(path);
    expect(problems.map(({ digest, referrer }) => [digest, referrer]).sort()).toEqual(
      [lying, mistyped].map((image) => [digestOf(zipped), image.digest]).sort(),
    );
  });
});

describe('O16: layers that are large enough for other threads', () => {
  const contents = ['a', 'b', 'c', 'd'].map((text) => Buffer.alloc(20_000_000, text));
  const digests = contents.map((bytes) => digestOf(bytes));
  const plain = contents.map((bytes) => ({ mediaType: mediaTypes.layer, bytes, diffId: digestOf(bytes) }));
  let path: string;
  beforeEach(async () => {
    path = await writtenLayout(handmade([...plain, goodLayer]));
  });

  test('have no problems, and are counted', async () => {
    let seen = 0;
    const verification = await verifyLayout(path, { onProgress: (bytes) => (seen += bytes) });
    expect(verification).toMatchObject({ problems: [], blobs: 6, bytes: seen });
    expect(seen).toBeGreaterThan(80_000_000);
  });

  test('ACCEPTANCE 18, 19, 20: are named when they are wrong', async () => {
    const [flipped, missing, shorter, link] = digests as [Digest, Digest, Digest, Digest];
    damage(path, flipped);
    rmSync(blobFile(path, missing));
    truncateSync(blobFile(path, shorter), 19_999_999);
    renameSync(blobFile(path, link), join(path, 'elsewhere'));
    symlinkSync(join(path, 'elsewhere'), blobFile(path, link));
    const { problems } = await verifyLayout(path);
    expect(problems.map(({ digest, message }) => [digest, message])).toEqual([
      [flipped, expect.stringContaining(`blob ${flipped}: expected digest ${flipped}, found`)],
      [missing, expect.stringContaining(`blob ${missing}: expected it because manifest`)],
      [shorter, expect.stringContaining('expected 20000000 bytes, found 19999999')],
      [link, expect.stringContaining('found a symbolic link')],
    ]);
  });
});

describe('O16: many problems', () => {
  test('are all found, each once', async () => {
    const images = await Promise.all(['a', 'b', 'c', 'd'].map((text) => sampleImage([text])));
    const lying = handmade([{ ...goodLayer, diffId: digestOf(zipped) }]);
    const [wrongManifest, missingConfig, wrongLayer, sound] = images as [Image, Image, Image, Image];
    const index = newIndex([listedAs(wrongLayer), listedAs(sound)]);
    const path = await writtenLayout([wrongManifest, missingConfig, index, wrongLayer, lying].map(listedAs));
    const layer = wrongLayer.manifest.layers[0] as Descriptor;
    damage(path, wrongManifest.digest);
    rmSync(blobFile(path, missingConfig.manifest.config.digest));
    damage(path, layer.digest);
    const { problems } = await verifyLayout(path);
    expect(problems.map(({ digest, referrer }) => [digest, referrer]).sort()).toEqual(
      [
        [wrongManifest.digest, 'index.json'],
        [missingConfig.manifest.config.digest, missingConfig.digest],
        [layer.digest, wrongLayer.digest],
        [digestOf(zipped), lying.digest],
      ].sort(),
    );
  });

  test('ACCEPTANCE 14: one digest with two sizes', async () => {
    const [one, other] = [handmade([goodLayer]), handmade([goodLayer], { config: { author: 'someone' } })];
    const path = await writtenLayout([listedAs(one)]);
    const layer = one.manifest.layers[0] as Descriptor;
    const longer = encodeJson({ ...other.manifest, layers: [{ ...layer, size: layer.size + 1 }] });
    const { config } = other.manifest;
    addBlobs(path, [longer, await other.readBlobVerified(config)]);
    listInIndex(path, [
      { mediaType: one.mediaType, digest: one.digest, size: one.rawManifest.length },
      { mediaType: one.mediaType, digest: digestOf(longer), size: longer.length },
    ]);
    expect((await verifyLayout(path)).problems).toContainEqual({
      digest: layer.digest,
      referrer: digestOf(longer),
      message: expect.stringContaining(`found ${layer.size} (${one.digest}) and ${layer.size + 1}`),
    });
  });

  test('ACCEPTANCE 13: indexes nested too deep', async () => {
    let index = newIndex([]);
    for (let depth = 0; depth < 40; depth++) index = newIndex([{ ref: index }]);
    const path = await writtenLayout(newIndex([]));
    const below: Uint8Array[] = [];
    for (let ref: Ref = index; ref.kind === 'index'; ref = await ref.ref(ref.children()[0] as Descriptor)) {
      below.push(ref.rawManifest);
      if (ref.children().length === 0) break;
    }
    addBlobs(path, below);
    listInIndex(path, [{ mediaType: index.mediaType, digest: index.digest, size: index.rawManifest.length }]);
    expect((await verifyLayout(path)).problems).toEqual([
      expect.objectContaining({
        referrer: 'index.json',
        message: expect.stringContaining('expected at most 32 nested'),
      }),
    ]);
  });
});

function addBlobs(path: string, contents: readonly Uint8Array[]): void {
  for (const bytes of contents) {
    const file = blobFile(path, digestOf(bytes));
    if (!existsSync(file)) writeFileSync(file, bytes);
  }
}

function listInIndex(path: string, manifests: readonly Descriptor[]): void {
  writeFileSync(join(path, 'index.json'), encodeJson({ schemaVersion: 2, manifests }));
}

test.each(['nowhere', 'empty'])('a directory that is no layout (%s) is refused', async (name) => {
  const path = join(temporaryDirectory(), name === 'empty' ? '' : name);
  const verifying = verifyLayout(path);
  await expect(verifying).rejects.toThrow(InvalidLayoutError);
  await expect(verifying).rejects.toThrow(path);
});
