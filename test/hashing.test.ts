import { createCipheriv } from 'node:crypto';
import { closeSync, mkdirSync, openSync, symlinkSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  bytesBlob,
  DigestMismatchError,
  digestOf,
  FileSystemError,
  InvalidLayoutError,
  OciError,
  SizeMismatchError,
} from '../src';
import { type FileBlob, fileBlob } from '../src/blob';
import { digestAlgorithms } from '../src/digest';
import { hashFile, hashWritten, verifyBlob } from '../src/hashing';
import { type HashingThread, hashingThreads } from '../src/hashing-threads';
import { failureOf, repository, run, temporaryDirectory } from './fixtures';

const mebibyte = 2 ** 20;

/** So much that threads are worth their start, where there are cores for them. */
const large = 20_000_000;

const directory = temporaryDirectory();

/** Bytes of which no piece is like another: those of one seed begin with those of fewer. */
function pattern(size: number, seed = 1): Buffer {
  return createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16)).update(Buffer.alloc(size));
}

let files = 0;
function fileWith(bytes: Uint8Array): string {
  const path = join(directory, `file-${files++}`);
  writeFileSync(path, bytes);
  return path;
}

const descriptors: number[] = [];
afterAll(() => {
  for (const file of descriptors) closeSync(file);
});
function opened(content: Uint8Array): number {
  const file = openSync(fileWith(content), 'r');
  descriptors.push(file);
  return file;
}

describe.each(digestAlgorithms)('the %s digest of a file', (algorithm) => {
  test.each([0, 1, mebibyte - 1, mebibyte, mebibyte + 1, large])('of %d bytes', async (size) => {
    const content = pattern(size);
    let read = 0;
    const hashed = await hashFile(fileWith(content), size, algorithm, (bytes) => {
      read += bytes;
    });
    expect(hashed).toEqual({ digest: digestOf(content, algorithm), size });
    expect(read).toBe(size);
  });
});

describe.each([1000, large])('a file that is expected to have %d bytes', (size) => {
  test.each([
    ['one byte more', 1, size + 1],
    ['twice as many', size, size + 1],
    ['one byte less', -1, size - 1],
    ['none', -size, 0],
  ])('and has %s', async (_, difference, found) => {
    const path = fileWith(pattern(size + difference));
    expect((await hashFile(path, size)).size).toBe(found);
  });

  describe('and is none', () => {
    const path = (name: string) => join(directory, `${name}-${size}`);
    beforeAll(async () => {
      mkdirSync(path('directory'));
      symlinkSync(fileWith(pattern(size)), path('link'));
      expect(await run('mkfifo', [path('fifo')])).toMatchObject({ code: 0 });
    });

    test.each([
      ['missing', FileSystemError, 'could not read (ENOENT'],
      ['directory', FileSystemError, 'could not read (EISDIR'],
      ['fifo', FileSystemError, 'could not read (ESPIPE'],
      ['link', InvalidLayoutError, 'expected a regular file, found a symbolic link'],
    ])('but %s', async (name, type, message) => {
      const error: OciError = await failureOf(type, () => hashFile(path(name), size));
      expect(error.message).toContain(`${path(name)}: ${message}`);
    });
  });
});

describe.each(digestAlgorithms)('the %s digest of a file that is written', (algorithm) => {
  test.each([0, 1, 1000, large])('with %d bytes', async (size) => {
    const content = pattern(size);
    const file = await open(join(directory, `written-${files++}`), 'wx+');
    const hashed = await hashWritten(file, size, algorithm, async (wrote) => {
      for (let position = 0; position < size; position += mebibyte) {
        const chunk = content.subarray(position, position + mebibyte);
        await file.write(chunk);
        wrote([chunk.subarray(0, 10), chunk.subarray(10)], chunk.length);
      }
    });
    await file.close();
    expect(hashed).toEqual({ digest: digestOf(content, algorithm), size });
  });
});

test.each([0, large])('a writer that fails is heard, of %d bytes as are likely', async (size) => {
  const file = await open(join(directory, `given-up-${size}`), 'wx+');
  const error = await failureOf(OciError, () =>
    hashWritten(file, size, 'sha256', async (wrote) => {
      await file.write(Buffer.alloc(1000));
      wrote([Buffer.alloc(1000)], 1000);
      throw new OciError('no more');
    }),
  );
  await file.close();
  expect(error.message).toBe('no more');
});

test('many files at once, and bad ones among them, do not get in the way of each other', async () => {
  const contents = Array.from({ length: 60 }, (_, seed) => pattern(seed % 20 === 0 ? large : seed * 10_000, seed));
  const paths = contents.map(fileWith);
  const missing = join(directory, 'nowhere');
  const hashing = paths.map((path, position) => hashFile(path, contents[position]?.length ?? 0));
  const failing = Array.from({ length: 10 }, () => failureOf(FileSystemError, () => hashFile(missing, large)));
  expect((await Promise.all(hashing)).map(({ digest }) => digest)).toEqual(contents.map((bytes) => digestOf(bytes)));
  for (const { message } of await Promise.all(failing)) expect(message).toContain(missing);
});

describe('a thread', () => {
  const price = 64 * mebibyte;

  test("is nobody else's until its file is hashed", async () => {
    const threads = hashingThreads(2);
    let [now, most] = [0, 0];
    const contents = Array.from({ length: 12 }, (_, seed) => pattern(3 * mebibyte, seed));
    const jobs = contents.map((content) => {
      const file = opened(content);
      return threads.run(price, async (thread) => {
        now++;
        most = Math.max(most, now);
        const hashed = await thread?.hash(file, content.length, 'sha512', () => undefined);
        now--;
        return `sha512:${hashed?.encoded}`;
      });
    });
    expect(await Promise.all(jobs)).toEqual(contents.map((content) => digestOf(content, 'sha512')));
    expect(most).toBe(2);
  });

  test.each<[string, number, number[], boolean[]]>([
    ['where there is no other core', 1, [price, price], [false, false]],
    ['for what is hashed sooner than a thread is told of it', 2, [price, 1000], [true, false]],
    ['for what is hashed sooner than a thread starts', 2, Array(3).fill(mebibyte), Array(3).fill(false)],
    [
      'before enough has come together',
      2,
      Array(40).fill(mebibyte),
      Array.from({ length: 40 }, (_, nth) => nth === 15 || nth >= 31),
    ],
  ])('is not used %s', async (_, most, sizes, isUsed) => {
    const threads = hashingThreads(most);
    const jobs = sizes.map((size) => threads.run(size, async (thread) => thread !== undefined));
    expect(await Promise.all(jobs)).toEqual(isUsed);
  });

  test('is taken by those who do not wait only while it is free', async () => {
    const threads = hashingThreads(2);
    const taken = [1, 2].map((seed) => {
      const content = pattern(8 * mebibyte, seed);
      const file = opened(content);
      return threads.run(price, async (thread) => thread?.hash(file, content.length, 'sha256', () => undefined));
    });
    const isUsed = () => threads.runNow(price, async (thread) => thread !== undefined);
    expect(await isUsed()).toBe(false);
    await Promise.all(taken);
    expect(await isUsed()).toBe(true);
  });

  test('that follows a file reads on as the file grows', async () => {
    const content = pattern(3 * mebibyte);
    const path = fileWith(Buffer.of());
    const file = openSync(path, 'w+');
    descriptors.push(file);
    const hashed = await hashingThreads(2).run(price, async (thread) => {
      const followed = thread?.follow(file, 'sha256');
      for (let size = 0; size < content.length; size += 700_000) {
        writeSync(file, content, size, Math.min(700_000, content.length - size));
        followed?.reached(Math.min(size + 700_000, content.length));
      }
      return followed?.end();
    });
    expect(hashed).toMatchObject({ size: content.length, encoded: digestOf(content).slice('sha256:'.length) });
  });

  test.each([
    ['before a byte', []],
    ['in the middle', [4 * mebibyte]],
  ])('that follows a file which is given up %s is not asked again', async (_, reached) => {
    const threads = hashingThreads(2);
    const content = pattern(8 * mebibyte);
    const file = opened(content);
    await threads.run(price, async (thread) => {
      const followed = thread?.follow(file, 'sha256');
      for (const size of reached) followed?.reached(size);
      await followed?.abandon();
    });
    const hashed = await threads.run(price, (thread) =>
      (thread as HashingThread).hash(file, content.length, 'sha256', () => undefined),
    );
    expect(`sha256:${hashed.encoded}`).toBe(digestOf(content));
  });

  test('that can not read what it follows tells so at the end', async () => {
    const path = join(directory, 'write-only');
    const file = openSync(path, 'w');
    descriptors.push(file);
    writeSync(file, pattern(1000));
    const failing = hashingThreads(2).run(price, async (thread) => {
      const followed = thread?.follow(file, 'sha256');
      followed?.reached(1000);
      return followed?.end();
    });
    await expect(failing).rejects.toMatchObject({ code: 'EBADF', syscall: 'read' });
  });

  test('that was left in the middle is not asked again', async () => {
    const threads = hashingThreads(2);
    const hash = (content: Uint8Array, onRead: () => void) => {
      const file = opened(content);
      return threads.run(price, async (thread) => thread?.hash(file, content.length, 'sha256', onRead));
    };
    const leave = () => {
      throw new OciError('that is enough');
    };
    const left = [1, 2, 3].map((seed) => failureOf(OciError, () => hash(pattern(8 * mebibyte, seed), leave)));
    const contents = [4, 5, 6].map((seed) => pattern(mebibyte, seed));
    const whole = await Promise.all(contents.map((content) => hash(content, () => undefined)));
    expect(whole.map((hashed) => `sha256:${hashed?.encoded}`)).toEqual(contents.map((content) => digestOf(content)));
    for (const { message } of await Promise.all(left)) expect(message).toBe('that is enough');
  });
});

describe.each([1000, large])('a blob of %d bytes', (size) => {
  const content = pattern(size);
  const expected = { digest: digestOf(content), size };

  test('that is what it is named', async () => {
    for (const blob of [bytesBlob(content), fileBlob(fileWith(content), size)]) {
      let read = 0;
      await verifyBlob(blob, expected, (bytes) => {
        read += bytes;
      });
      expect(read).toBe(size);
    }
  });

  test('ACCEPTANCE 3: that has one bit flipped', async () => {
    const flipped = Buffer.from(content);
    flipped.writeUInt8(flipped.readUInt8(size / 2) ^ 0x10, size / 2);
    for (const blob of [bytesBlob(flipped), fileBlob(fileWith(flipped), size)]) {
      const error = await failureOf(DigestMismatchError, () => verifyBlob(blob, expected));
      expect(error.message).toContain(`blob ${expected.digest}: expected digest ${expected.digest}, found`);
      expect(error).toMatchObject({ expected: expected.digest, found: digestOf(flipped) });
    }
  });

  test.each([
    ['longer', 1, 'more'],
    ['shorter', -1, String(size - 1)],
  ])('ACCEPTANCE 3: that is one byte %s', async (_, difference, found) => {
    const bytes = pattern(size + difference);
    for (const blob of [bytesBlob(bytes), fileBlob(fileWith(bytes), size)]) {
      const error = await failureOf(SizeMismatchError, () => verifyBlob(blob, expected));
      expect(error.message).toContain(`blob ${expected.digest}: expected ${size} bytes, found ${found}`);
      expect(error).toMatchObject({ expected: String(size), found });
    }
  });

  test('whose file is missing is opened as it says', async () => {
    const path = join(directory, 'missing');
    const elsewhere: FileBlob = { size, path, open: () => bytesBlob(content).open() };
    await verifyBlob(elsewhere, expected);
    const { message } = await failureOf(FileSystemError, () => verifyBlob(fileBlob(path, size), expected));
    expect(message).toContain(path);
  });

  test('that is a copy and damaged is opened as it says', async () => {
    const copy: FileBlob = {
      size,
      path: fileWith(pattern(size, 2)),
      isCopy: true,
      open: () => bytesBlob(content).open(),
    };
    await verifyBlob(copy, expected);
  });
});

describe('a process', () => {
  const program = join(repository, 'test/programs/hash-files.js');
  const hash = async (end: string, paths: readonly string[]) => run(process.execPath, [program, end, ...paths]);

  test('has no more threads than cores, and does not wait for them when it is done', async () => {
    const contents = Array.from({ length: 6 }, (_, seed) => pattern(large, seed));
    const { code, stdout, stderr } = await hash('quietly', contents.map(fileWith));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { digests, threads } = JSON.parse(stdout);
    expect(digests).toEqual(contents.map((content) => digestOf(content)));
    const cores = availableParallelism();
    const started = cores === 1 ? 0 : Math.min(cores, contents.length);
    expect(threads).toEqual({ started, left: started });
  });

  test('loads nothing into its threads that NODE_OPTIONS names', async () => {
    const preload = fileWith(
      Buffer.from("if (!require('node:worker_threads').isMainThread) throw new Error('loaded');"),
    );
    const paths = [1, 2].map((seed) => fileWith(pattern(large, seed)));
    const env = { NODE_OPTIONS: `--require=${preload}` };
    expect(await run(process.execPath, [program, 'quietly', ...paths], { env })).toMatchObject({ code: 0, stderr: '' });
  });

  test('starts no thread for little', async () => {
    const { stdout } = await hash(
      'quietly',
      [1, 1000, mebibyte].map((size) => fileWith(pattern(size))),
    );
    expect(JSON.parse(stdout)).toMatchObject({ threads: { started: 0, left: 0 } });
  });

  test('can end in the middle', async () => {
    const content = pattern(large);
    const paths = Array.from({ length: 3 }, () => fileWith(content));
    expect(await hash('early', paths)).toEqual({ code: 7, signal: null, stdout: '', stderr: '' });
  });

  test('needs no more memory for a large file', async () => {
    const path = fileWith(Buffer.of());
    truncateSync(path, 300_000_000);
    const { stdout } = await hash('quietly', [path]);
    const { grown } = JSON.parse(stdout);
    expect(grown).toBeLessThan(60_000_000);
  });
});
