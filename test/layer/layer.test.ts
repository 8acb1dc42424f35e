import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import {
  type Bytes,
  bytesBlob,
  digestOf,
  InvalidOptionError,
  type LayerEncoder,
  layerEncoder,
  layoutWriter,
  mediaTypes,
  tarOf,
  UnexpectedMediaTypeError,
  unzstd,
  writeLayer,
} from '../../src';
import { digested } from '../../src/layer/layer';
import { collect, failureOf, memorySink, tarListing, temporaryDirectory } from '../fixtures';

const text = Buffer.from('The quick brown fox jumps over the lazy dog.\n'.repeat(50_000));
const tar = () =>
  tarOf([{ name: 'text', type: 'file', mode: 0o644, uid: 0, gid: 0, size: text.length, content: () => text }]);

/** Every byte turned over: a compression as a user would bring it. */
const mirror: LayerEncoder = {
  mediaType: 'application/vnd.example.mirror',
  encode: async function* (bytes) {
    for await (const chunk of bytes) yield chunk.map((byte) => byte ^ 0xff);
  },
};

const unpackZstd = (bytes: Uint8Array) => collect(unzstd(bytesBlob(bytes).open()));

const levels = [1, 2, 3, 4, 5, 6, 7, 8, 9];

describe('O3: a layer writer', () => {
  test.each<[string, LayerEncoder, string, decode: (bytes: Buffer) => Uint8Array | Promise<Uint8Array>]>([
    ['plain', layerEncoder('none'), mediaTypes.layer, (bytes) => bytes],
    ['gzip', layerEncoder('gzip'), mediaTypes.layerGzip, gunzipSync],
    ...levels.map((level): [string, LayerEncoder, string, typeof gunzipSync] => [
      `gzip at level ${level}`,
      layerEncoder('gzip', { level }),
      mediaTypes.layerGzip,
      gunzipSync,
    ]),
    ['zstd', layerEncoder('zstd'), mediaTypes.layerZstd, unpackZstd],
    ...[1, 3, 9, 19].map((level): [string, LayerEncoder, string, typeof unpackZstd] => [
      `zstd at level ${level}`,
      layerEncoder('zstd', { level }),
      mediaTypes.layerZstd,
      unpackZstd,
    ]),
    ['a custom encoder', mirror, mirror.mediaType, (bytes) => bytes.map((byte) => byte ^ 0xff)],
  ])('%s: descriptor, diffID and content agree', async (_, encoder, mediaType, decode) => {
    const { descriptor, diffId, blob } = await writeLayer(tar(), memorySink, encoder);
    const encoded = await collect(blob.open());
    expect(descriptor).toEqual({ mediaType, digest: digestOf(encoded), size: encoded.length });
    const decoded = await decode(encoded);
    expect(digestOf(decoded)).toBe(diffId);
    expect(Buffer.from(decoded).equals(await collect(tar()))).toBe(true);
  });

  test.each([
    ['none', mediaTypes.dockerManifest, mediaTypes.dockerLayer],
    ['gzip', mediaTypes.dockerManifest, mediaTypes.dockerLayerGzip],
    ['none', mediaTypes.imageManifest, mediaTypes.layer],
    ['gzip', mediaTypes.imageManifest, mediaTypes.layerGzip],
    ['zstd', mediaTypes.imageManifest, mediaTypes.layerZstd],
  ] as const)('%s for a manifest of %s is %s', (compression, manifestType, mediaType) => {
    expect(layerEncoder(compression, { manifestType }).mediaType).toBe(mediaType);
  });

  test('zstd is refused for a manifest of Docker', async () => {
    const make = () => layerEncoder('zstd', { manifestType: mediaTypes.dockerManifest });
    expect((await failureOf(UnexpectedMediaTypeError, make)).message).toContain('zstd');
  });

  test.each([
    ['gzip', 10, 'a whole number from 1 to 9'],
    ['gzip', 0, 'a whole number from 1 to 9'],
    ['zstd', 20, 'a whole number from 1 to 19'],
    ['zstd', 1.5, 'a whole number from 1 to 19'],
  ] as const)('%s has no level %d', async (compression, level, expected) => {
    const { message } = await failureOf(InvalidOptionError, () => layerEncoder(compression, { level }));
    expect(message).toBe(`compression level of ${compression}: expected ${expected}, found ${level}`);
  });

  test('a higher level is no larger, and another level has another digest', async () => {
    const sizeAt = async (level: number) =>
      (await writeLayer(tar(), memorySink, layerEncoder('gzip', { level }))).descriptor;
    const [fastest, smallest] = [await sizeAt(1), await sizeAt(9)];
    expect(smallest.size).toBeLessThan(fastest.size);
    expect(smallest.digest).not.toBe(fastest.digest);
  });

  test('the tar file is read once, and never held whole', async () => {
    let opened = 0;
    let given = 0;
    let ahead = 0;
    const size = 64 * 1024 * 1024;
    async function* bytes(): AsyncGenerator<Uint8Array> {
      opened++;
      for (; given < size; given += 65_536) yield Buffer.alloc(65_536);
    }
    const countingSink = {
      write: async (content: Bytes) => {
        let taken = 0;
        for await (const chunk of content) {
          taken += chunk.length;
          ahead = Math.max(ahead, given - taken);
        }
        return memorySink.write(tar());
      },
    };
    await writeLayer(bytes(), countingSink, layerEncoder('none'));
    expect({ opened, given }).toEqual({ opened: 1, given: size });
    expect(ahead).toBeLessThan(1024 * 1024);
  });

  test.each(['gzip', 'none'] as const)('a tar file that fails makes no layer (%s)', async (compression) => {
    const failure = new Error('the disk burns');
    async function* burning(): AsyncGenerator<Uint8Array> {
      yield text;
      throw failure;
    }
    await expect(writeLayer(burning(), memorySink, layerEncoder(compression))).rejects.toBe(failure);
  });
});

test('O4: a tar builder over a layer writer', async () => {
  const { blob } = await writeLayer(tar(), memorySink, layerEncoder('none'));
  expect(await tarListing(blob.open())).toEqual([`-rw-r--r-- 0/0         ${text.length} 1970-01-01 00:00:00 text`]);
});

test('digested shows each chunk as it passes', async () => {
  const seen: number[] = [];
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (const size of [1, 20, 3]) yield Buffer.alloc(size);
  }
  const sizes: number[] = [];
  for await (const chunk of digested(chunks(), ({ length }) => void seen.push(length))) sizes.push(chunk.length);
  expect(seen).toEqual([1, 20, 3]);
  expect(sizes).toEqual(seen);
});

describe('O2: a layer written to a layout', () => {
  test('is hashed while it streams, and has no name before the layout is complete', async () => {
    const output = join(temporaryDirectory(), 'layout');
    const writer = await layoutWriter(output);
    const { descriptor, blob } = await writeLayer(tar(), writer, layerEncoder('gzip'));
    const content = await collect(blob.open());
    expect(descriptor).toMatchObject({ digest: digestOf(content), size: content.length });
    expect(readdirSync(output)).toEqual([expect.stringMatching(/^\.nx-oci-/)]);
    await writer.close();
    expect(existsSync(output)).toBe(false);
  });

  test('takes the digest algorithm that it is asked for', async () => {
    const writer = await layoutWriter(join(temporaryDirectory(), 'layout'));
    for (const algorithm of ['sha256', 'sha512', 'blake3'] as const) {
      const { digest, size } = await writer.write(tarOf([]), algorithm);
      expect(digest).toBe(digestOf(Buffer.alloc(1024), algorithm));
      expect(size).toBe(1024);
    }
    await writer.close();
  });

  test('that fails leaves nothing', async () => {
    const output = join(temporaryDirectory(), 'layout');
    const writer = await layoutWriter(output);
    async function* burning(): AsyncGenerator<Uint8Array> {
      yield text;
      throw new Error('the disk burns');
    }
    await expect(writeLayer(burning(), writer, layerEncoder('gzip'))).rejects.toThrow('the disk burns');
    expect(readdirSync(output, { recursive: true })).toEqual([expect.stringMatching(/^\.nx-oci-/)]);
    await writer.close();
    expect(existsSync(output)).toBe(false);
  });
});
