import { mkdirSync, readdirSync, readlinkSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  type Blob,
  bytesBlob,
  DigestMismatchError,
  digestAlgorithms,
  digestOf,
  FileSystemError,
  fileBlob,
  InvalidLayoutError,
  LimitError,
  MissingBlobError,
  maxDocumentSize,
  noBlobs,
  readVerified,
  SizeMismatchError,
  verified,
} from '../src';
import { bytesOf, isFileBlob, layeredBlobs, readPlainFile } from '../src/blob';
import { collect, countingBlobs, failureOf, run, temporaryDirectory } from './fixtures';

const onUnix = process.platform === 'win32' ? test.skip : test;
const onLinux = process.platform === 'linux' ? test : test.skip;

const content = Buffer.from(Array.from({ length: 600_000 }, (_, at) => (at * 7 + (at >> 8)) % 256));

function fileOf(bytes: Uint8Array): string {
  const path = join(temporaryDirectory(), 'blob');
  writeFileSync(path, bytes);
  return path;
}

const kinds: [string, (bytes: Uint8Array, size?: number) => Blob][] = [
  ['in memory', (bytes) => bytesBlob(bytes)],
  ['in a file', (bytes, size) => fileBlob(fileOf(bytes), size ?? bytes.length)],
];

describe.each(kinds)('a blob %s', (_, blobOf) => {
  test.each<[number | undefined, number | undefined]>([
    [undefined, undefined],
    [0, 0],
    [0, 1],
    [1, undefined],
    [undefined, 5],
    [100_000, 500_001],
    [content.length - 1, content.length],
    [content.length, undefined],
    [content.length + 5, undefined],
    [content.length - 5, content.length + 5],
    [5, 3],
  ])('from %s to %s', async (start, end) => {
    const range = { ...(start !== undefined && { start }), ...(end !== undefined && { end }) };
    const expected = content.subarray(start, end);
    expect((await collect(blobOf(content).open(range))).equals(expected)).toBe(true);
  });

  test('opens again and again, also at the same time', async () => {
    const blob = blobOf(content);
    const all = await Promise.all([blob, blob, blob].map((same) => collect(same.open())));
    expect(all.map((bytes) => bytes.equals(content))).toEqual([true, true, true]);
    expect(blob.size).toBe(content.length);
  });

  test('of nothing', async () => {
    expect(await collect(blobOf(Buffer.alloc(0)).open())).toHaveLength(0);
  });

  const flipped = Buffer.from(content);
  flipped.writeUInt8(flipped.readUInt8(400_000) ^ 0x10, 400_000);

  describe.each(digestAlgorithms)('named by %s', (algorithm) => {
    const digest = digestOf(content, algorithm);
    const expected = { digest, size: content.length };

    test('comes whole', async () => {
      expect((await collect(verified(blobOf(content).open(), expected))).equals(content)).toBe(true);
      expect(content.equals(await readVerified(blobOf(content), expected))).toBe(true);
    });

    test.each<[string, Uint8Array, string]>([
      ['one byte longer', Buffer.concat([content, Buffer.of(0)]), 'more'],
      ['one byte shorter', content.subarray(0, -1), String(content.length - 1)],
      ['empty', content.subarray(0, 0), '0'],
    ])('ACCEPTANCE 3: %s', async (_, bytes, found) => {
      const blob = blobOf(bytes, content.length);
      for (const read of [() => collect(verified(blob.open(), expected)), () => readVerified(blob, expected)]) {
        const error = await failureOf(SizeMismatchError, read);
        expect(error.message).toContain(`blob ${digest}: expected ${content.length} bytes, found ${found}`);
        expect(error).toMatchObject({ expected: String(content.length), found });
      }
    });

    test('ACCEPTANCE 3: one bit flipped', async () => {
      const blob = blobOf(flipped);
      for (const read of [() => collect(verified(blob.open(), expected)), () => readVerified(blob, expected)]) {
        const error = await failureOf(DigestMismatchError, read);
        const found = digestOf(flipped, algorithm);
        expect(error.message).toContain(`blob ${digest}: expected digest ${digest}, found ${found}`);
        expect(error).toMatchObject({ expected: digest, found });
      }
    });
  });
});

test('ACCEPTANCE 3: content without end is left at the first byte too many', async () => {
  let taken = 0;
  const endless = (async function* () {
    for (;;) {
      taken++;
      yield Buffer.alloc(1000);
    }
  })();
  const digest = digestOf(Buffer.alloc(2500));
  await failureOf(SizeMismatchError, () => collect(verified(endless, { digest, size: 2500 })));
  expect(taken).toBe(3);
});

describe('limits', () => {
  test('ACCEPTANCE 12: a blob that names more than the limit is not opened', async () => {
    const blobs = countingBlobs(content);
    const digest = digestOf(content);
    const descriptor = { mediaType: 'x/y', digest, size: maxDocumentSize + 1 };
    const { message } = await failureOf(LimitError, () => readVerified(blobs.blob(descriptor), descriptor));
    expect(message).toBe(`blob ${digest}: expected at most ${maxDocumentSize} bytes, found ${maxDocumentSize + 1}`);
    expect(blobs.read).toEqual([]);
  });

  test('M6: the limit is 50 MiB unless another is given', async () => {
    expect(maxDocumentSize).toBe(50 * 1024 * 1024);
    const descriptor = { digest: digestOf(content), size: content.length };
    expect(await readVerified(bytesBlob(content), descriptor, content.length)).toHaveLength(content.length);
    await failureOf(LimitError, () => readVerified(bytesBlob(content), descriptor, content.length - 1));
  });

  test('ACCEPTANCE 12: chunks of unknown number are counted, and left at the first byte too many', async () => {
    let taken = 0;
    const endless = (async function* () {
      for (;;) {
        taken++;
        yield Buffer.alloc(10);
      }
    })();
    const { message } = await failureOf(LimitError, () => bytesOf(endless, 25, 'the answer'));
    expect(message).toBe('the answer: expected at most 25 bytes, found more');
    expect(taken).toBe(3);
    expect(await bytesOf(bytesBlob(Buffer.alloc(25)).open(), 25)).toHaveLength(25);
  });

  test('ACCEPTANCE 12: a file of one byte more than the limit', async () => {
    const path = fileOf(Buffer.alloc(0));
    truncateSync(path, maxDocumentSize);
    expect(await readPlainFile(path)).toHaveLength(maxDocumentSize);
    truncateSync(path, maxDocumentSize + 1);
    expect((await failureOf(LimitError, () => readPlainFile(path))).message).toContain(path);
  });
});

describe('a file that is no regular one', () => {
  onUnix('a symbolic link is not followed', async () => {
    const target = fileOf(content);
    const path = join(temporaryDirectory(), 'link');
    symlinkSync(target, path);
    for (const read of [() => collect(fileBlob(path, content.length).open()), () => readPlainFile(path)]) {
      const { message } = await failureOf(InvalidLayoutError, read);
      expect(message).toBe(`${path}: expected a regular file, found a symbolic link, which is not followed`);
    }
  });

  onUnix('a FIFO does not keep its reader waiting', async () => {
    const path = join(temporaryDirectory(), 'fifo');
    await run('mkfifo', [path]);
    const { message } = await failureOf(FileSystemError, () => collect(fileBlob(path, content.length).open()));
    expect(message).toContain(path);
  });

  test.each<[string, (path: string) => void, string]>([
    ['missing', () => undefined, 'ENOENT'],
    ['a directory', (path) => void mkdirSync(path), 'EISDIR'],
  ])('%s', async (_, make, code) => {
    const path = join(temporaryDirectory(), 'blob');
    make(path);
    const error = await failureOf(FileSystemError, () => collect(fileBlob(path, 1).open()));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(new RegExp(`could not read \\(${code}: [^']+\\)$`));
    expect(error.message).toContain(path);
  });
});

onLinux('a file is closed again, however its reader ends', async () => {
  const path = fileOf(content);
  const openFiles = () => readdirSync('/proc/self/fd').filter((fd) => linkOf(`/proc/self/fd/${fd}`) === path);
  const reading = fileBlob(path, content.length).open()[Symbol.asyncIterator]();
  await reading.next();
  expect(openFiles()).toHaveLength(1);
  await reading.return?.();
  await collect(fileBlob(path, content.length).open());
  await collect(fileBlob(path, content.length).open({ start: 5, end: 3 }));
  await failureOf(SizeMismatchError, () => readVerified(fileBlob(path, 1), { digest: digestOf(content), size: 1 }));
  expect(openFiles()).toEqual([]);
});

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

test('a file blob knows its path and the digest it was written as, another blob has none', () => {
  const digest = digestOf(content);
  expect(fileBlob('/x', 1)).not.toHaveProperty('writtenAs');
  expect(fileBlob('/x', 1, digest)).toMatchObject({ path: '/x', size: 1, writtenAs: digest });
  expect(isFileBlob(fileBlob('/x', 1))).toBe(true);
  expect(isFileBlob(bytesBlob(content))).toBe(false);
});

describe('layered blobs', () => {
  const describeBytes = (bytes: Uint8Array) => ({ mediaType: 'x/y', digest: digestOf(bytes), size: bytes.length });
  const [own, below] = [Buffer.from('own'), Buffer.from('below')];

  test('come from the first layer that has them, manifests and what is behind them too', async () => {
    const source = countingBlobs(own, below);
    const blobs = layeredBlobs(new Map([[digestOf(own), bytesBlob(own)]]), source);
    for (const bytes of [own, below]) {
      const descriptor = describeBytes(bytes);
      expect((await collect(blobs.blob(descriptor).open())).equals(bytes)).toBe(true);
      expect(bytes.equals(await blobs.manifest(descriptor))).toBe(true);
      expect((await collect(blobs.blobs(descriptor).blob(describeBytes(below)).open())).equals(below)).toBe(true);
    }
    expect(new Set(source.read)).toEqual(new Set([digestOf(below)]));
  });

  test('a manifest from memory is verified', async () => {
    const digest = digestOf(below);
    const blobs = layeredBlobs(new Map([[digest, bytesBlob(Buffer.from('other'))]]), noBlobs);
    await failureOf(DigestMismatchError, () => blobs.manifest(describeBytes(below)));
  });

  test('below them all there is nothing', async () => {
    const descriptor = describeBytes(own);
    for (const read of [() => noBlobs.blob(descriptor), () => noBlobs.manifest(descriptor)]) {
      const { message } = await failureOf(MissingBlobError, read);
      expect(message).toContain(`blob ${descriptor.digest}`);
    }
    expect(noBlobs.blobs(descriptor)).toBe(noBlobs);
  });
});
