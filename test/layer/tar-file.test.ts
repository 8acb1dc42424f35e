import { appendFileSync, mkdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import {
  bytesBlob,
  type Compression,
  digestOf,
  FileSystemError,
  type LayerEntry,
  LayerSourceError,
  LimitError,
  layerEncoder,
  mediaTypes,
  tarOf,
  writeTarFile,
  zstd,
} from '../../src';
import type { BlobSink } from '../../src/blob';
import { unpacked } from '../../src/layer/tar-file';
import { collect, memorySink, run, temporaryDirectory, writeFiles } from '../fixtures';

const tarWith = (...names: string[]) => {
  const file = {
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 2000,
    content: () => Buffer.alloc(2000, 'x'),
  } as const;
  return collect(tarOf(names.map((name): LayerEntry => ({ name, ...file }))));
};

const written = (bytes: Uint8Array) => join(writeFiles(temporaryDirectory(), { 'layer.tar': bytes }), 'layer.tar');

/** A sink that remembers what was written to its end. */
function recordingSink(before: () => void = () => undefined): BlobSink & { digests: string[] } {
  const digests: string[] = [];
  const write: BlobSink['write'] = async (content, algorithm) => {
    before();
    const blob = await memorySink.write(content, algorithm);
    digests.push(blob.digest);
    return blob;
  };
  return { digests, write };
}

/** A zstd frame at another level than ours. */
const packed = (bytes: Uint8Array) => collect(zstd(bytesBlob(bytes).open(), { level: 1, lanes: 1 }));

const write = (path: string, sink: BlobSink = memorySink, compression: Compression = 'gzip') =>
  writeTarFile(path, sink, layerEncoder(compression), mediaTypes.imageManifest);

describe('a ready-made tar file', () => {
  test('that is plain is the layer as it is', async () => {
    const tar = await tarWith('a', 'b');
    const { descriptor, diffId } = await write(written(tar), memorySink, 'none');
    expect(descriptor).toEqual({ mediaType: mediaTypes.layer, digest: digestOf(tar), size: tar.length });
    expect(diffId).toBe(digestOf(tar));
  });

  test('that is plain is compressed as other layers', async () => {
    const tar = await tarWith('a', 'b');
    const { descriptor, diffId, blob } = await write(written(tar));
    expect(descriptor.mediaType).toBe(mediaTypes.layerGzip);
    expect(diffId).toBe(digestOf(tar));
    expect((await collect(unpacked(blob.open(), 'gzip', tar.length, 'layer'))).equals(tar)).toBe(true);
  });

  test.each<[string, string, (tar: Buffer) => Uint8Array | Promise<Uint8Array>]>([
    ['gzip', mediaTypes.layerGzip, (tar) => gzipSync(tar, { level: 9 })],
    [
      'gzip of several members',
      mediaTypes.layerGzip,
      (tar) => Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))]),
    ],
    ['zstd', mediaTypes.layerZstd, (tar) => packed(tar)],
    [
      'zstd of several frames',
      mediaTypes.layerZstd,
      async (tar) => Buffer.concat([await packed(tar.subarray(0, 700)), await packed(tar.subarray(700))]),
    ],
  ])('that is %s keeps its bytes, whatever the compression', async (_, mediaType, compress) => {
    const tar = await tarWith('a', 'b');
    const compressed = await compress(tar);
    for (const compression of ['gzip', 'zstd', 'none'] as const) {
      const { descriptor, diffId, blob } = await write(written(compressed), memorySink, compression);
      expect(descriptor).toEqual({
        mediaType,
        digest: digestOf(compressed),
        size: compressed.length,
      });
      expect(diffId).toBe(digestOf(tar));
      expect((await collect(blob.open())).equals(compressed)).toBe(true);
    }
  });

  test('for a Docker manifest has a Docker media type', async () => {
    const { descriptor } = await writeTarFile(
      written(gzipSync(await tarWith('a'))),
      memorySink,
      layerEncoder('gzip', { manifestType: mediaTypes.dockerManifest }),
      mediaTypes.dockerManifest,
    );
    expect(descriptor.mediaType).toBe(mediaTypes.dockerLayerGzip);
  });

  test('of zstd is refused for a Docker manifest, which has no media type for it', async () => {
    const path = written(await packed(await tarWith('a')));
    const encoder = layerEncoder('gzip', { manifestType: mediaTypes.dockerManifest });
    const failure = writeTarFile(path, recordingSink(), encoder, mediaTypes.dockerManifest);
    await expect(failure).rejects.toThrow(LayerSourceError);
    await expect(failure).rejects.toThrow(`${path}: expected a tar file, plain or gzip, for a base in Docker's format`);
  });

  test('may be named by a symbolic link', async () => {
    const tar = await tarWith('a');
    const link = join(temporaryDirectory(), 'link.tar');
    symlinkSync(written(tar), link);
    expect((await write(link)).diffId).toBe(digestOf(tar));
  });

  test('as GNU tar makes it, with whiteouts, long names and links', async () => {
    const source = writeFiles(temporaryDirectory(), { '.wh.old': '', [`${'d'.repeat(90)}/${'n'.repeat(90)}`]: 'x' });
    symlinkSync('../../etc', join(source, 'link'));
    for (const format of ['gnu', 'pax', 'ustar']) {
      const path = join(temporaryDirectory(), 'layer.tar');
      const { code } = await run('tar', ['-cf', path, `--format=${format}`, '-C', source, '.']);
      expect(code).toBe(0);
      expect((await write(path)).diffId).toBe(digestOf(readFileSync(path)));
    }
  });
});

describe('a ready-made tar file that is refused', () => {
  async function refused(path: string, message: string | RegExp): Promise<void> {
    for (const compression of ['gzip', 'none'] as const) {
      const sink = recordingSink();
      const failure = write(path, sink, compression);
      await expect(failure).rejects.toThrow(LayerSourceError);
      await expect(failure).rejects.toThrow(`${path}: `);
      await expect(failure).rejects.toThrow(message);
      expect(sink.digests).toEqual([]);
    }
  }

  const changed = (bytes: Buffer, position: number) => {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(position) ^ 1, position);
    return copy;
  };

  const half = (bytes: Buffer) => bytes.subarray(0, bytes.length / 2);

  test.each<[string, (tar: Buffer, gzipped: Buffer) => Uint8Array | Promise<Uint8Array>, message: RegExp]>([
    [
      'gzip cut in its data',
      (_, gzipped) => gzipped.subarray(0, gzipped.length / 2),
      /invalid gzip stream \(unexpected/,
    ],
    ['gzip cut in its checksum', (_, gzipped) => gzipped.subarray(0, -5), /invalid gzip stream \(unexpected/],
    ['gzip cut in its header', (_, gzipped) => gzipped.subarray(0, 8), /invalid gzip stream \(unexpected/],
    ['gzip with a wrong CRC', (_, gzipped) => changed(gzipped, gzipped.length - 8), /incorrect data check/],
    ['gzip with a wrong length', (_, gzipped) => changed(gzipped, gzipped.length - 4), /incorrect length check/],
    ['gzip with junk behind it', (_, gzipped) => Buffer.concat([gzipped, Buffer.from('junk')]), /invalid gzip stream/],
    ['gzip of no tar file', () => gzipSync(Buffer.alloc(2000, 'x')), /invalid tar file/],
    ['gzip of nothing', () => gzipSync(''), /invalid tar file \(it is empty\)/],
    ['a tar file cut in an entry', (tar) => tar.subarray(0, 1500), /invalid tar file \(Unexpected end of data\)/],
    ['a tar file cut in a header', (tar) => tar.subarray(0, 300), /invalid tar file \(Unexpected end of data\)/],
    ['a tar file with a changed header', (tar) => changed(tar, 100), /invalid tar file \(Invalid tar header/],
    ['a tar file with junk behind it', (tar) => Buffer.concat([tar, Buffer.alloc(512, 'x')]), /invalid tar file/],
    ['text', () => Buffer.from('no tar file at all'), /invalid tar file/],
    ['zstd cut in its data', async (tar) => half(await packed(tar)), /zstd stream \(unexpected end of file\)/],
    [
      'zstd cut in its header',
      async (tar) => (await packed(tar)).subarray(0, 5),
      /zstd stream \(unexpected end of file/,
    ],
    ['zstd with a changed header', async (tar) => changed(await packed(tar), 5), /invalid zstd stream/],
    [
      'zstd with junk behind it',
      async (tar) => Buffer.concat([await packed(tar), Buffer.from('junk')]),
      /invalid zstd stream \(bytes behind its end\)/,
    ],
    ['zstd of no tar file', () => packed(Buffer.alloc(2000, 'x')), /plain, gzip or zstd, found invalid tar file/],
    ['zstd of nothing', () => packed(Buffer.alloc(0)), /invalid tar file \(it is empty\)/],
    [
      'another compression',
      () => Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, ...Buffer.alloc(600)]),
      /gzip or zstd, found/,
    ],
    ['an empty file', () => Buffer.alloc(0), /invalid tar file \(it is empty\)/],
  ])('ACCEPTANCE 30: %s', async (_, spoil, message) => {
    const tar = await tarWith('a', 'b');
    await refused(written(await spoil(tar, gzipSync(tar))), message);
  });

  test.each(['../x', 'a/../../x', 'C:\\x', 'a\\..\\b'])('ACCEPTANCE 23: an entry named %j', async (name) => {
    const tar = await tarWith('first', name, 'last');
    for (const bytes of [tar, gzipSync(tar)]) {
      await refused(
        written(bytes),
        `expected a path inside the image, with / between names and without "..", found ${JSON.stringify(name)}`,
      );
    }
  });

  test('ACCEPTANCE 25: a FIFO in its place, at once', async () => {
    const fifo = join(temporaryDirectory(), 'layer.tar');
    expect((await run('mkfifo', [fifo])).code).toBe(0);
    const started = performance.now();
    await refused(fifo, 'found a FIFO');
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('a directory in its place, or nothing', async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'layer.tar'));
    await expect(write(join(directory, 'layer.tar'))).rejects.toThrow(
      `${join(directory, 'layer.tar')}: could not read`,
    );
    await expect(write(join(directory, 'none.tar'))).rejects.toThrow(FileSystemError);
    await expect(write(join(directory, 'none.tar'))).rejects.toThrow('none.tar: could not read (ENOENT');
  });

  test.each<[string, (path: string, bytes: Uint8Array) => void]>([
    ['grows', (path) => appendFileSync(path, Buffer.alloc(512))],
    ['shrinks', (path, bytes) => writeFileSync(path, bytes.subarray(0, 600))],
    ['is rewritten', (path) => writeFileSync(path, gzipSync(Buffer.alloc(100_000)))],
  ])('ACCEPTANCE 27: that %s while it is read', async (_, change) => {
    const tar = await tarWith('a', 'b');
    for (const bytes of [tar, gzipSync(tar)]) {
      const path = written(bytes);
      const sink = recordingSink(() => change(path, bytes));
      await expect(write(path, sink)).rejects.toThrow(LayerSourceError);
      await expect(write(path, sink)).rejects.toThrow(`${path}: expected a`);
      expect(sink.digests).toEqual([]);
    }
  });
});

test('ACCEPTANCE 27: a ready-made tar file that changes behind its time and size is refused', async () => {
  const path = written(gzipSync(await tarWith('a')));
  utimesSync(path, 1, 1);
  const sink = recordingSink(() => {
    const bytes = readFileSync(path);
    // The operating system in the header, which no checksum covers.
    writeFileSync(path, bytes.fill(7, 9, 10));
    utimesSync(path, 1, 1);
  });
  const refused = write(path, sink);
  await expect(refused).rejects.toThrow(LayerSourceError);
  await expect(refused).rejects.toThrow(`${path}: expected a file that stays as it is while it is read`);
});

describe('ACCEPTANCE 30: a bomb', () => {
  /** 4 GiB of zeros in 4 MiB: many members of 16 MiB. */
  const gzipBomb = Buffer.concat(Array.from<Buffer>({ length: 256 }).fill(gzipSync(Buffer.alloc(16 * 1024 * 1024))));
  /** 32 GiB in 1 MiB: one frame of blocks that repeat one byte 128 KiB times. */
  const zstdBomb = Buffer.concat([
    Buffer.from('28b52ffd0058', 'hex'),
    ...Array.from<Buffer>({ length: 256 * 1024 }).fill(Buffer.from('02001000', 'hex')),
  ]);

  const limits = [0, 1, 1024 * 1024, 128 * 1024 * 1024];
  test.each<[Compression, Buffer, number]>([
    ...limits.map((limit): [Compression, Buffer, number] => ['gzip', gzipBomb, limit]),
    ...limits.map((limit): [Compression, Buffer, number] => ['zstd', zstdBomb, limit]),
  ])('of %s (%#) stops at its limit, in bounded memory', async (compression, bomb, limit) => {
    async function* compressed(): AsyncGenerator<Uint8Array> {
      for (let start = 0; start < bomb.length; start += 65_536) yield bomb.subarray(start, start + 65_536);
    }
    const before = process.memoryUsage.rss();
    let most = before;
    let size = 0;
    const failure = (async () => {
      for await (const chunk of unpacked(compressed(), compression, limit, 'layer sha256:abc')) {
        size += chunk.length;
        most = Math.max(most, process.memoryUsage.rss());
      }
    })();
    await expect(failure).rejects.toThrow(LimitError);
    await expect(failure).rejects.toThrow(`layer sha256:abc, unpacked: expected at most ${limit} bytes, found more`);
    expect(size).toBeLessThanOrEqual(limit);
    expect(most - before).toBeLessThan(96 * 1024 * 1024);
  });

  test('of exactly the limit is none', async () => {
    async function* compressed(): AsyncGenerator<Uint8Array> {
      yield gzipSync(Buffer.alloc(100_000));
    }
    expect(await collect(unpacked(compressed(), 'gzip', 100_000, 'layer'))).toHaveLength(100_000);
    await expect(collect(unpacked(compressed(), 'gzip', 99_999, 'layer'))).rejects.toThrow(LimitError);
  });
});
