import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type ByteRange,
  bytesBlob,
  type Digest,
  type Image,
  MissingBlobError,
  type OsImage,
  type OsImageConfig,
  pushRef,
  type Registry,
  type RegistryClient,
  type Repository,
  readOsImage,
  registryClient,
  SizeMismatchError,
  startRegistry,
  UnknownPayloadError,
} from '../../src';
import { collect, failureOf, noise, sampleOsImage } from '../fixtures';
import { expectBytes, forged, from, hashText, mebibyte, type Source } from './forgery';

const system = noise(2.5 * mebibyte, 'system');

let plain: Image;
let packed: Image;
beforeAll(async () => {
  plain = await sampleOsImage({ system, 'kernel.efi': Buffer.from('kernel'), empty: Buffer.of() }, 0);
  packed = await sampleOsImage({ system, 'kernel.efi': Buffer.from('kernel'), empty: Buffer.of() }, 1);
});

describe.each([
  ['plain', () => plain],
  ['compressed', () => packed],
])('M16: an OS image that is stored %s', (_, image) => {
  let read: OsImage;
  beforeAll(async () => {
    read = await readOsImage(image());
  });

  test('has its config and payloads', async () => {
    expect(read.config.product_info).toMatchObject({ id: 'os', name: 'OS', version: '1.0', variant: 'x86_64' });
    expect(read.config.payloads.map(({ name }) => name)).toEqual(['system', 'kernel.efi', 'empty']);
    expect(read.image.digest).toBe(image().digest);
    for (const [name, content] of [
      ['system', system],
      ['kernel.efi', Buffer.from('kernel')],
      ['empty', Buffer.of()],
    ] as const) {
      const payload = read.payload(name);
      expect(payload.size).toBe(content.length);
      expectBytes(await collect(payload.open()), content);
      expectBytes(await collect(payload.open()), content);
    }
  });

  test.each<[string, ByteRange]>([
    ['the first byte', { end: 1 }],
    ['the last byte', { start: system.length - 1 }],
    ['a byte in the middle', { start: mebibyte + 7, end: mebibyte + 8 }],
    ['the second chunk', { start: mebibyte, end: 2 * mebibyte }],
    ['from one chunk into the next', { start: mebibyte - 1, end: mebibyte + 1 }],
    ['over three chunks', { start: 1, end: system.length - 1 }],
    ['all from the second chunk', { start: mebibyte }],
    ['more than there is', { start: 2 * mebibyte, end: 9 * mebibyte }],
    ['nothing', { start: 5, end: 5 }],
    ['what is behind the end', { start: system.length, end: system.length + 1 }],
    ['less than nothing', { start: 9, end: 3 }],
  ])('gives out %s', async (_, range) => {
    const { start = 0, end = system.length } = range;
    expectBytes(await collect(read.payload('system').open(range)), system.subarray(start, Math.max(start, end)));
  });

  test('has no payload of another name, and says which it has', async () => {
    const { message } = await failureOf(UnknownPayloadError, () => read.payload('initrd'));
    expect(message).toBe(`OS image ${image().digest}: expected a payload "initrd", found system, kernel.efi, empty`);
  });

  test('is not read before a payload is opened, and of the payloads only that one', async () => {
    const opened: number[] = [];
    const watched = await readOsImage(
      from(image(), (right) => ({
        size: right.size,
        open: (range) => {
          opened.push(right.size);
          return right.open(range);
        },
      })),
    );
    const payload = watched.payload('kernel.efi');
    expect(opened).toEqual([]);
    await collect(payload.open());
    expect(opened).toEqual([image().manifest.layers[1]?.size]);
  });

  test('says which blob is missing', async () => {
    const missing = await readOsImage(
      from(image(), () => {
        throw new MissingBlobError('sha256:gone', 'a test');
      }),
    );
    await failureOf(MissingBlobError, () => collect(missing.payload('system').open()));
  });

  test('closes its source when its reader has seen enough', async () => {
    let closed = 0;
    const watched = from(image(), (right) => ({
      size: right.size,
      open: async function* (range) {
        try {
          yield* right.open(range);
        } finally {
          closed++;
        }
      },
    }));
    const payload = (await readOsImage(watched)).payload('system');
    for await (const _ of payload.open()) break;
    expect(closed).toBe(1);
    await collect(payload.open({ end: 1 }));
    expect(closed).toBe(2);
  });
});

describe('M16: a payload that is stored plain is read where one asks for it', () => {
  const asked: ByteRange[] = [];
  let read: OsImage;
  beforeAll(async () => {
    const source: Source = (right) => ({
      size: right.size,
      open: (range = {}) => {
        asked.push(range);
        return right.open(range);
      },
    });
    read = await readOsImage(from(plain, source));
  });

  test.each<[ByteRange, ByteRange]>([
    [{ end: 1 }, { start: 0, end: mebibyte }],
    [
      { start: mebibyte + 1, end: mebibyte + 2 },
      { start: mebibyte, end: 2 * mebibyte },
    ],
    [
      { start: mebibyte - 1, end: mebibyte + 1 },
      { start: 0, end: 2 * mebibyte },
    ],
    [{ start: 2 * mebibyte + 5 }, { start: 2 * mebibyte }],
    [{}, { start: 0 }],
  ])('%j by the chunks that it is in, %j', async (range, chunks) => {
    asked.length = 0;
    await collect(read.payload('system').open(range));
    expect(asked).toEqual([chunks]);
  });
});

describe('M16: what other writers make', () => {
  const bytes = noise(1000);
  const withChunks = (size: number) => (config: OsImageConfig) => ({
    ...config,
    payloads: [
      {
        ...config.payloads[0],
        hash_chunk_size: size,
        chunk_hashes_sha256: Array.from({ length: Math.ceil(1000 / size) }, (_, position) =>
          hashText(bytes.subarray(position * size, (position + 1) * size)),
        ),
      },
    ],
  });

  test.each([1, 7, 100, 999, 1000, 1001, 16 * mebibyte])('chunks of %d bytes', async (size) => {
    const image = await forged(await sampleOsImage({ system: bytes }, 0), { config: withChunks(size) });
    const payload = (await readOsImage(image)).payload('system');
    expectBytes(await collect(payload.open()), bytes);
    expectBytes(await collect(payload.open({ start: 99, end: 701 })), bytes.subarray(99, 701));
  });

  test('an empty payload that is compressed to nothing', async () => {
    const image = await forged(await sampleOsImage({ empty: Buffer.of() }, 1), { layers: [Buffer.of()] });
    expect(await collect((await readOsImage(image)).payload('empty').open())).toHaveLength(0);
  });

  test('an empty payload that is compressed to nothing, by a source that has something', async () => {
    const image = await forged(await sampleOsImage({ empty: Buffer.of() }, 1), { layers: [Buffer.of()] });
    const lying = from(image, () => bytesBlob(Buffer.from('x')));
    await failureOf(SizeMismatchError, async () => collect((await readOsImage(lying)).payload('empty').open()));
  });

  test('a payload in the manifest itself', async () => {
    const image = await forged(await sampleOsImage({ system: bytes }, 0), {
      manifest: (manifest) => ({
        ...manifest,
        layers: manifest.layers.map((layer) => ({ ...layer, data: bytes.toString('base64') })),
      }),
    });
    expectBytes(await collect((await readOsImage(image)).payload('system').open()), bytes);
  });
});

describe('M16: from a registry', () => {
  let registry: Registry;
  let client: RegistryClient;
  let repository: Repository;
  beforeAll(async () => {
    registry = await startRegistry();
    client = registryClient();
    repository = client.repository({ registry: registry.host, repository: 'os' });
    await pushRef(plain, repository, { tags: ['plain'] });
    await pushRef(packed, repository, { tags: ['packed'] });
  });
  afterAll(async () => {
    await client.close();
    await registry.close();
  });

  const read = async (tag: string) => readOsImage(await repository.read({ tag }));

  test.each(['plain', 'packed'])('%s', async (tag) => {
    const payload = (await read(tag)).payload('system');
    expectBytes(await collect(payload.open()), system);
    const range = { start: mebibyte + 1, end: mebibyte + 2 };
    expectBytes(await collect(payload.open(range)), system.subarray(range.start, range.end));
  });

  test.each([
    ['plain', 'chunk 2 of 3'],
    ['packed', 'payload system'],
  ])('%s, with a byte that is another on the way', async (tag, words) => {
    const image = tag === 'plain' ? plain : packed;
    const digest = image.manifest.layers[0]?.digest as Digest;
    const fault = registry.misbehave({ method: 'GET', digest, flipByte: mebibyte + 5 });
    const chunks: Uint8Array[] = [];
    const payload = (await read(tag)).payload('system');
    await expect(
      (async () => {
        for await (const one of payload.open()) chunks.push(one);
      })(),
    ).rejects.toThrow(words);
    fault.stop();
    expect(fault.hits).toBe(1);
    const bytes = Buffer.concat(chunks);
    expectBytes(bytes, system.subarray(0, bytes.length));
  });
});
