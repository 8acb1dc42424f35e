import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  type Blobs,
  type ByteRange,
  type Bytes,
  bytesBlob,
  DigestMismatchError,
  digestOf,
  emptyManifest,
  type Image,
  type ImageManifest,
  InvalidDocumentError,
  InvalidStreamError,
  mediaTypes,
  newIndex,
  newRef,
  type OciError,
  type OsImageConfig,
  type PayloadInfo,
  readOsImage,
  SizeMismatchError,
  UnexpectedMediaTypeError,
  zstd,
} from '../../src';
import { collect, failureOf, noise, sampleImage, sampleOsImage } from '../fixtures';
import { expectBytes, type Forgery, forged, from, hashText, mebibyte, other, readUntil, type Source } from './forgery';

const system = noise(2.5 * mebibyte, 'system');
const chunk = (number: number) => system.subarray((number - 1) * mebibyte, number * mebibyte);

const compressed = (bytes: Uint8Array): Promise<Buffer> =>
  collect(zstd(bytesBlob(bytes).open(), { level: 1, lanes: 1 }));

let plain: Image;
let packed: Image;
beforeAll(async () => {
  plain = await sampleOsImage({ system, 'kernel.efi': Buffer.from('kernel'), empty: Buffer.of() }, 0);
  packed = await sampleOsImage({ system, 'kernel.efi': Buffer.from('kernel'), empty: Buffer.of() }, 1);
});

describe('M16: of wrong bytes none is given out', () => {
  const flipped = (bytes: Buffer, at: number) => {
    const wrong = Buffer.from(bytes);
    wrong[at] = (wrong[at] ?? 0) ^ 1;
    return wrong;
  };
  const swapped = () => Buffer.concat([chunk(2), chunk(1), chunk(3)]);

  /** A payload whose source has other bytes, and how many whole chunks are right before they are not. */
  test.each<[string, Source, number, new (...facts: never[]) => OciError, string[]]>([
    ['a bit is another', other((right) => flipped(right, mebibyte + 9)), 1, DigestMismatchError, ['chunk 2 of 3']],
    ['the first bit is another', other((right) => flipped(right, 0)), 0, DigestMismatchError, ['chunk 1 of 3']],
    [
      'the last bit is another',
      other((right) => flipped(right, right.length - 1)),
      2,
      DigestMismatchError,
      ['chunk 3 of 3'],
    ],
    ['chunks are swapped', other(swapped), 0, DigestMismatchError, ['chunk 1 of 3']],
    [
      'a chunk is there twice',
      other((right) => Buffer.concat([right.subarray(0, mebibyte), right])),
      1,
      DigestMismatchError,
      ['chunk 2 of 3'],
    ],
    [
      'it ends within a chunk',
      other((right) => right.subarray(0, mebibyte + 9)),
      1,
      SizeMismatchError,
      ['expected 2621440 bytes, found 1048585'],
    ],
    [
      'it ends behind a chunk',
      other((right) => right.subarray(0, mebibyte)),
      1,
      SizeMismatchError,
      ['expected 2621440 bytes, found 1048576'],
    ],
    ['it is empty', other(() => Buffer.of()), 0, SizeMismatchError, ['expected 2621440 bytes, found 0']],
    [
      'a byte follows',
      other((right) => Buffer.concat([right, Buffer.of(0)])),
      2,
      SizeMismatchError,
      ['expected 2621440 bytes, found more'],
    ],
    ['it never ends', (right) => ({ size: right.size, open: endless }), 0, DigestMismatchError, ['chunk 1 of 3']],
  ])('stored plain: %s', async (_, source, right, type, words) => {
    const { payload } = await readOsImage(from(plain, source));
    const { bytes, error } = await readUntil(type, payload('system').open());
    expectBytes(bytes, system.subarray(0, right * mebibyte));
    for (const word of [`payload system (blob ${plain.manifest.layers[0]?.digest})`, ...words]) {
      expect(error.message).toContain(word);
    }
  });

  test('stored plain: the error has the hash that is expected, and the one that is found', async () => {
    const { payload } = await readOsImage(
      from(
        plain,
        other((right) => flipped(right, mebibyte)),
      ),
    );
    const { error } = await readUntil(DigestMismatchError, payload('system').open());
    const found = digestOf(flipped(chunk(2), 0));
    expect(error).toMatchObject({ expected: digestOf(chunk(2)), found });
    expect(error.message).toContain(`chunk 2 of 3: expected digest ${digestOf(chunk(2))}, found ${found}`);
  });

  test.each<[string, ByteRange, Source]>([
    [
      'does not heed ranges',
      { start: mebibyte, end: 2 * mebibyte },
      (right) => ({ ...right, open: () => right.open() }),
    ],
    [
      'gives less than was asked for',
      { start: mebibyte, end: mebibyte + 1 },
      (right) => ({ ...right, open: ({ start = 0 } = {}) => right.open({ start, end: start + 5 }) }),
    ],
    [
      'gives other bytes',
      { start: mebibyte + 5, end: mebibyte + 6 },
      other((right) => flipped(right, 2 * mebibyte - 1)),
    ],
  ])('stored plain: a part of a source that %s', async (_, range, source) => {
    const { payload } = await readOsImage(from(plain, source));
    const chunks: Uint8Array[] = [];
    await expect(
      (async () => {
        for await (const one of payload('system').open(range)) chunks.push(one);
      })(),
    ).rejects.toThrow('payload system');
    expect(chunks).toEqual([]);
  });

  test('stored plain: what is wrong elsewhere does not matter to a part', async () => {
    const { payload } = await readOsImage(
      from(
        plain,
        other((right) => flipped(right, 0)),
      ),
    );
    expectBytes(await collect(payload('system').open({ start: mebibyte })), system.subarray(mebibyte));
  });

  test.each<[string, Source, new (...facts: never[]) => OciError, string]>([
    ['it ends too early', other((right) => right.subarray(0, -1)), SizeMismatchError, 'bytes, found'],
    ['it is empty', other(() => Buffer.of()), SizeMismatchError, 'found 0'],
    ['a byte follows', other((right) => Buffer.concat([right, Buffer.of(0)])), SizeMismatchError, 'found more'],
    [
      'frames without content follow, and never end',
      (right) => ({ ...right, open: () => withEmptyFrames(right.open()) }),
      SizeMismatchError,
      'found more',
    ],
    [
      'it is another payload',
      other(() => Buffer.from('other')),
      InvalidStreamError,
      'chunk 1 of 3: invalid zstd stream',
    ],
  ])('compressed, by its source: %s', async (_, source, type, words) => {
    const { payload } = await readOsImage(from(packed, source));
    const { bytes, error } = await readUntil(type, payload('system').open());
    expect(bytes.length % mebibyte).toBe(0);
    expectBytes(bytes, system.subarray(0, bytes.length));
    expect(error.message).toContain(`payload system (blob ${packed.manifest.layers[0]?.digest})`);
    expect(error.message).toContain(words);
  });

  test('compressed, by its source: a bit in each tenth of it is another', async () => {
    const size = packed.manifest.layers[0]?.size ?? 0;
    for (let tenth = 0; tenth < 10; tenth++) {
      const { payload } = await readOsImage(
        from(
          packed,
          other((right) => flipped(right, Math.floor((size * tenth) / 10))),
        ),
      );
      const chunks: Uint8Array[] = [];
      await expect(
        (async () => {
          for await (const one of payload('system').open()) chunks.push(one);
        })(),
      ).rejects.toThrow('payload system');
      const bytes = Buffer.concat(chunks);
      expectBytes(bytes, system.subarray(0, bytes.length));
    }
  });

  describe('compressed, by its maker', () => {
    const frames: Buffer[] = [];
    beforeAll(async () => {
      for (const number of [1, 2, 3]) frames.push(await compressed(chunk(number)));
    });
    const [first, second, third] = [0, 1, 2].map((position) => () => frames[position] as Buffer) as [
      () => Buffer,
      () => Buffer,
      () => Buffer,
    ];

    test('a frame for each chunk is right', async () => {
      const image = await forged(packed, { layers: [Buffer.concat(frames)] });
      expectBytes(await collect((await readOsImage(image)).payload('system').open()), system);
    });

    test.each<[string, () => Buffer[], number, new (...facts: never[]) => OciError, string]>([
      ['frames are swapped', () => [second(), first(), third()], 0, DigestMismatchError, 'chunk 1 of 3'],
      [
        'a frame is missing',
        () => [first(), second()],
        2,
        SizeMismatchError,
        'unpacked: expected 2621440 bytes, found 2097152',
      ],
      [
        'another frame follows',
        () => [...frames, first()],
        2,
        SizeMismatchError,
        'unpacked: expected 2621440 bytes, found more',
      ],
      [
        'other bytes follow',
        () => [...frames, Buffer.from('junk')],
        2,
        InvalidStreamError,
        'invalid zstd stream (bytes behind its end)',
      ],
      [
        'the last frame is cut off',
        () => [first(), second(), third().subarray(0, -9)],
        2,
        InvalidStreamError,
        'chunk 3 of 3: invalid zstd stream (unexpected end of file)',
      ],
      [
        'there is no frame',
        () => [],
        0,
        InvalidStreamError,
        'chunk 1 of 3: invalid zstd stream (unexpected end of file)',
      ],
    ])('%s', async (_, parts, right, type, words) => {
      const { payload } = await readOsImage(await forged(packed, { layers: [Buffer.concat(parts())] }));
      const { bytes, error } = await readUntil(type, payload('system').open());
      expect(bytes.length).toBeLessThanOrEqual(system.length);
      expect(Math.floor(bytes.length / mebibyte)).toBe(right);
      expectBytes(bytes, system.subarray(0, bytes.length));
      expect(error.message).toContain('payload system (blob ');
      expect(error.message).toContain(words);
    });

    test('what is wrong behind a part does not matter to it, and what is before does', async () => {
      const partOf = async (...parts: Buffer[]) => {
        const { payload } = await readOsImage(await forged(packed, { layers: [Buffer.concat(parts)] }));
        return collect(payload('system').open({ start: mebibyte + 5, end: mebibyte + 9 }));
      };
      expectBytes(await partOf(first(), second(), first()), system.subarray(mebibyte + 5, mebibyte + 9));
      await failureOf(DigestMismatchError, () => partOf(third(), second(), third()));
    });

    test('a bomb is unpacked no further than the payload is large', async () => {
      const zeros = new Uint8Array(4 * mebibyte);
      const frame = await compressed(zeros);
      // 8 GiB in some 300 kB.
      const bomb = Buffer.concat(new Array(2048).fill(frame));
      let taken = 0;
      const image = from(await forged(packed, { layers: [bomb] }), (right) => ({
        size: right.size,
        open: async function* () {
          for (let at = 0; at < bomb.length; at += frame.length) {
            taken++;
            yield bomb.subarray(at, at + frame.length);
          }
        },
      }));
      const honest = zeros.subarray(0, mebibyte);
      const { payload } = await readOsImage(
        await forged(image, {
          config: (config) => ({
            ...config,
            payloads: config.payloads.map((info) => ({
              ...info,
              ...(info.name === 'system' && {
                size: mebibyte,
                chunk_hashes_sha256: [hashText(honest)],
              }),
            })),
          }),
        }),
      );
      const before = process.memoryUsage().rss;
      const { bytes, error } = await readUntil(SizeMismatchError, payload('system').open());
      expect(error.message).toContain(`unpacked: expected ${mebibyte} bytes, found more`);
      expectBytes(bytes, honest.subarray(0, bytes.length));
      // Frames wait in the decoder, packed.
      expect(taken).toBeLessThan(500);
      expect(process.memoryUsage().rss - before).toBeLessThan(200 * mebibyte);
    });
  });
});

describe('M16: an image that does not hold what it says is refused before a payload is read', () => {
  const changed = (change: Partial<PayloadInfo>) => (config: OsImageConfig) => ({
    ...config,
    payloads: config.payloads.map((info, position) => (position === 0 ? { ...info, ...change } : info)),
  });
  const firstLayer = (mediaType: string) => (manifest: ImageManifest) => ({
    ...manifest,
    layers: manifest.layers.map((layer, position) => (position === 0 ? { ...layer, mediaType } : layer)),
  });

  test.each<[string, Forgery, new (...facts: never[]) => OciError, string]>([
    [
      'a later version',
      { config: (config) => ({ ...config, format_version: '2' }) },
      InvalidDocumentError,
      'version "1", found "2"',
    ],
    [
      'fewer payloads than layers',
      { config: (config) => ({ ...config, payloads: config.payloads.slice(1) }) },
      InvalidDocumentError,
      'has layers (3), found 2',
    ],
    [
      'fewer layers than payloads',
      { manifest: (manifest) => ({ ...manifest, layers: [] }) },
      InvalidDocumentError,
      'has layers (0), found 3',
    ],
    [
      'fewer hashes than chunks',
      { config: changed({ chunk_hashes_sha256: [] }) },
      InvalidDocumentError,
      'payload system: expected 3 chunk hashes for 2621440 bytes in chunks of 1048576, found 0',
    ],
    [
      'chunks that are too large',
      { config: changed({ hash_chunk_size: 2 ** 25 }) },
      InvalidDocumentError,
      'at most 16777216 bytes, found 33554432',
    ],
    [
      'two payloads of one name',
      { config: changed({ name: 'kernel.efi' }) },
      InvalidDocumentError,
      'payload kernel.efi: expected each name once',
    ],
    [
      'a name that leads elsewhere',
      { config: changed({ name: '../etc/passwd' }) },
      InvalidDocumentError,
      '$.payloads[0].name',
    ],
    [
      'another size than its layer',
      { config: changed({ size: 2.5 * mebibyte - 1 }) },
      SizeMismatchError,
      'payload system',
    ],
    [
      'no artifact type',
      { manifest: ({ artifactType: _, ...manifest }) => manifest },
      UnexpectedMediaTypeError,
      'expected media type application/vnd.monogon.os.image.v1, found application/vnd.monogon.os.image.config.v1+json',
    ],
    [
      'another artifact type',
      { manifest: (manifest) => ({ ...manifest, artifactType: 'application/x' }) },
      UnexpectedMediaTypeError,
      'found application/x',
    ],
    [
      'another type of config',
      { manifest: (manifest) => ({ ...manifest, config: { ...manifest.config, mediaType: 'application/json' } }) },
      UnexpectedMediaTypeError,
      'expected media type application/vnd.monogon.os.image.config.v1+json, found application/json',
    ],
    [
      'another type of layer',
      { manifest: firstLayer('application/gzip') },
      UnexpectedMediaTypeError,
      'payload system (blob ',
    ],
  ])('%s', async (_, forgery, type, words) => {
    const image = await forged(plain, forgery);
    const { message } = await failureOf(type, () => readOsImage(image));
    expect(message).toContain(words);
  });

  test.each<[string, () => Promise<Parameters<typeof readOsImage>[0]>, string]>([
    ['a container image', () => sampleImage(), 'expected media type application/vnd.monogon.os.image.v1, found none'],
    ['another artifact', async () => emptyManifest('application/x'), 'found application/x'],
    ['an index', async () => newIndex([{ ref: plain }]), mediaTypes.imageIndex],
  ])('%s', async (_, ref, words) => {
    const { message } = await failureOf(UnexpectedMediaTypeError, async () => readOsImage(await ref()));
    expect(message).toContain(words);
  });

  test('a config that was changed', async () => {
    const blobs: Blobs = {
      ...plain.blobs,
      blob: (one) => {
        const right = plain.blobs.blob(one);
        return one.digest === plain.manifest.config.digest
          ? other((bytes) => Buffer.from(bytes.toString().replace('OS', 'SO')))(right)
          : right;
      },
    };
    const image = newRef(plain.rawManifest, plain.mediaType, plain.digest, blobs);
    await failureOf(DigestMismatchError, () => readOsImage(image));
  });
});

async function* endless(): AsyncGenerator<Uint8Array> {
  for (;;) yield new Uint8Array(64 * 1024);
}

/** A frame to skip has no content (RFC 8878, section 3.1.2). */
async function* withEmptyFrames(bytes: Bytes): AsyncGenerator<Uint8Array> {
  yield* bytes;
  for (;;) yield Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
}
