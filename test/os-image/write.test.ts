import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  type Blob,
  type BlobSink,
  bytesBlob,
  type Digest,
  digestOf,
  InvalidDocumentError,
  InvalidOptionError,
  mediaTypes,
  newOsImage,
  osImageTypes,
  type Payload,
  type PayloadCompression,
  unzstd,
  writePayload,
  zstd,
} from '../../src';
import { chunkHasher } from '../../src/os-image/chunk-hashes';
import { collect, failureOf, memorySink, noise } from '../fixtures';

const mebibyte = 1024 * 1024;
const levels: readonly PayloadCompression[] = [0, 1, 2, 3, 4];
const refusingSink: BlobSink = { write: () => Promise.reject(new Error('nothing is to be written')) };

/** As anybody would compute them who reads the format's description. */
function hashesOf(bytes: Buffer): string[] {
  const hashes: string[] = [];
  for (let at = 0; at < bytes.length; at += mebibyte) {
    const chunk = bytes.subarray(at, at + mebibyte);
    hashes.push(createHash('sha256').update(chunk).digest('base64').slice(0, 43));
  }
  return hashes;
}

/** A payload that arrives in pieces of this many bytes. */
const inPieces = (bytes: Buffer, size: number): Blob => ({
  size: bytes.length,
  open: async function* () {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  },
});

describe('M15: a payload', () => {
  const text = Buffer.from('word after word '.repeat(150_000));

  test.each([0, 1, mebibyte - 1, mebibyte, mebibyte + 1, 3 * mebibyte])(
    'of %d bytes has a hash for each chunk',
    async (size) => {
      const bytes = noise(size);
      const { info } = await writePayload('system', bytesBlob(bytes), memorySink, 0);
      expect(info).toEqual({
        name: 'system',
        size,
        hash_chunk_size: mebibyte,
        chunk_hashes_sha256: hashesOf(bytes),
      });
    },
  );

  test.each([[7_919], [mebibyte], [mebibyte + 1]])('has the same hashes in pieces of %d bytes', async (size) => {
    const { info } = await writePayload('system', inPieces(text, size), memorySink, 1);
    expect(info.chunk_hashes_sha256).toEqual(hashesOf(text));
  });

  test('at level 0 is its own blob, and nothing is written', async () => {
    const content = bytesBlob(text);
    const { descriptor, blob } = await writePayload('system', content, refusingSink, 0);
    expect(blob).toBe(content);
    expect(descriptor).toEqual({ mediaType: 'application/octet-stream', digest: digestOf(text), size: text.length });
  });

  test.each([
    [1, 1],
    [2, 3],
    [3, 7],
    [4, 11],
  ] as const)('at level %d is compressed with level %d of zstd', async (level, zstdLevel) => {
    const { descriptor, blob } = await writePayload('system', bytesBlob(text), memorySink, level);
    const packed = await collect(blob.open());
    const expected = await collect(zstd(bytesBlob(text).open(), { level: zstdLevel }));
    expect(digestOf(packed)).toEqual(digestOf(expected));
    expect(digestOf(await collect(unzstd(blob.open())))).toEqual(digestOf(text));
    expect(descriptor).toEqual({ mediaType: 'application/zstd', digest: digestOf(packed), size: packed.length });
  });

  test('is compressed at level 2 by default', async () => {
    const [byDefault, second] = await Promise.all(
      [undefined, 2 as const].map((level) => writePayload('system', bytesBlob(text), memorySink, level)),
    );
    expect(byDefault?.descriptor).toEqual(second?.descriptor);
  });

  test.each(levels)('at level %d has always the same digest', async (level) => {
    const [one, other] = await Promise.all(
      [text.length, 4_099].map((size) => writePayload('system', inPieces(text, size), memorySink, level)),
    );
    expect(one?.descriptor).toEqual(other?.descriptor);
  });

  test.each(['', '.hidden', '_a', 'a.', 'a/b', '..', 'n'.repeat(81)])('is not called %j', async (name) => {
    const { message } = await failureOf(InvalidOptionError, () => writePayload(name, bytesBlob(text), refusingSink, 0));
    expect(message).toContain(`payload ${JSON.stringify(name)}: expected a name of 1 to 80 letters`);
  });
});

test.each([1, 3, 8, 1000])('a hasher makes of pieces of %d bytes the same chunks', (size) => {
  const bytes = noise(1000);
  const hasher = chunkHasher(8);
  for (let at = 0; at < bytes.length; at += size) hasher.update(bytes.subarray(at, at + size));
  const whole = chunkHasher(8);
  whole.update(bytes);
  expect(hasher.hashes()).toEqual(whole.hashes());
  expect(whole.hashes()).toHaveLength(125);
});

describe('M15: an OS image', () => {
  const productInfo = { id: 'os', name: 'OS', version: '1.0', variant: 'x86_64' };
  const plain = (name: string, bytes = 'bytes'): Promise<Payload> =>
    writePayload(name, bytesBlob(Buffer.from(bytes)), memorySink, 0);

  test('is an artifact whose layers are the payloads, and whose config describes them', async () => {
    const payloads = [await plain('system', 'system'), await plain('kernel.efi', 'kernel')];
    const image = newOsImage(payloads, productInfo, { annotations: { a: 'b' } });
    const config = await image.readBlobVerified(image.manifest.config);
    expect(image.manifest).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.imageManifest,
      artifactType: 'application/vnd.monogon.os.image.v1',
      config: {
        mediaType: 'application/vnd.monogon.os.image.config.v1+json',
        digest: digestOf(config),
        size: config.length,
      },
      layers: payloads.map(({ descriptor }) => descriptor),
      annotations: { a: 'b' },
    });
    expect(JSON.parse(Buffer.from(config).toString())).toEqual({
      format_version: '1',
      product_info: { ...productInfo, commit_hash: '', commit_date: '', build_tree_dirty: false },
      payloads: payloads.map(({ info }) => info),
    });
    expect(
      await collect(image.blob(image.manifest.layers[1] as { digest: Digest; size: number; mediaType: string }).open()),
    ).toEqual(Buffer.from('kernel'));
  });

  // monogon-config.json is what Monogon's own writer (osbase/build/mkoci, 8b9bf216bd4a) made of these payloads.
  test('has the config that another writer of the format makes, to the order of its fields', async () => {
    const info = {
      components: [{ version: '6.6.50', id: 'linux', more: 1 }],
      architecture: 'x86_64',
      build_tree_dirty: true,
      commit_date: '2026-01-31T12:00:00Z',
      commit_hash: 'abc',
      variant: 'x86_64-debug',
      version: '1.0',
      name: 'OS <&>',
      id: 'os',
    };
    const contents = {
      system: noise(2.5 * mebibyte, 'system'),
      'kernel.efi': Buffer.from('kernel'),
      empty: Buffer.of(),
    };
    const payloads: Payload[] = [];
    for (const [name, bytes] of Object.entries(contents)) {
      payloads.push(await writePayload(name, bytesBlob(bytes), memorySink, 0));
    }
    const image = newOsImage(payloads, info);
    const theirs = JSON.parse(readFileSync(join(__dirname, 'monogon-config.json'), 'utf8'));
    // Go writes a list that was never made as null.
    expect(theirs.payloads[2].chunk_hashes_sha256).toBe(null);
    theirs.payloads[2].chunk_hashes_sha256 = [];
    const ours = Buffer.from(await image.readBlobVerified(image.manifest.config)).toString();
    expect(ours).toBe(JSON.stringify(theirs));
  });

  test('has the same digest each time', async () => {
    const digests = new Set<Digest>();
    for (const _ of [1, 2]) digests.add(newOsImage([await plain('a'), await plain('b')], productInfo).digest);
    digests.add(newOsImage([await plain('b'), await plain('a')], productInfo).digest);
    expect(digests.size).toBe(2);
  });

  test('has at least one payload', async () => {
    const { message } = await failureOf(InvalidOptionError, () => newOsImage([], productInfo));
    expect(message).toBe('OS image: expected at least one payload, found none');
  });

  test('has no two payloads of one name', async () => {
    const payloads = [await plain('system', 'one'), await plain('system', 'two')];
    const { message } = await failureOf(InvalidDocumentError, () => newOsImage(payloads, productInfo));
    expect(message).toContain('payload system: expected each name once, found it twice');
  });
});

test('the media types are those of the format', () => {
  expect(Object.values(osImageTypes)).toEqual([
    'application/vnd.monogon.os.image.v1',
    'application/vnd.monogon.os.image.config.v1+json',
    'application/octet-stream',
    'application/zstd',
  ]);
});
