import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { inflateRawSync } from 'node:zlib';
import { afterAll, describe, expect, test } from '@jest/globals';
import { bytesBlob, FileSystemError, LayerSourceError, unzstd } from '../../src';
import {
  type FilePart,
  makeHere,
  type Piece,
  type PieceTask,
  pieceThreads,
  type SourceFile,
  type StoredPiece,
} from '../../src/compression';
import { asOrdinaryUser, collect, failureOf, noise, run, temporaryDirectory, writeFiles } from '../fixtures';

const threads = pieceThreads(1);
afterAll(() => threads.end());

type Make = (task: PieceTask) => Promise<Piece>;

const makers: readonly (readonly [where: string, make: Make])[] = [
  ['on a thread', threads.make],
  ['here', async (task) => makeHere(task)],
];

/** A file as it is listed. */
function listed(path: string, follow = false): SourceFile {
  const { size, mtimeMs, ino, dev } = follow ? statSync(path) : lstatSync(path);
  return { path, follow, size, mtimeMs, ino, dev };
}

/** What is made of parts of files that lie one behind the other. */
function taskOf(files: readonly FilePart[], more: Partial<PieceTask> = {}): PieceTask {
  const size = files.reduce((end, { at, length }) => Math.max(end, at + length), 0);
  return { block: new Uint8Array(size), files, compression: 'gzip', level: 1, isNamed: false, ...more };
}

const whole = (source: SourceFile): FilePart => ({ source, start: 0, length: source.size, at: 0 });

const sea = noise(300_000);
const bytes = (size: number): Buffer => sea.subarray(0, size);

/** A file that was last changed long ago. */
function oldFile(size: number): string {
  const path = join(writeFiles(temporaryDirectory(), { file: bytes(size) }), 'file');
  utimesSync(path, 1, 1);
  return path;
}

describe.each(makers)('a piece made %s', (_, make) => {
  test('holds what is in the files, each in its place, and what was there before', async () => {
    const [one, other] = [oldFile(1000), oldFile(70_000)];
    const block = new Uint8Array(80_000).fill(7);
    const files = [
      { source: listed(one), start: 0, length: 1000, at: 512 },
      { source: listed(other), start: 60_000, length: 10_000, at: 2048 },
      { source: listed(other), start: 100, length: 50, at: 79_000 },
    ];
    const expected = Buffer.alloc(80_000, 7);
    bytes(1000).copy(expected, 512);
    bytes(70_000).copy(expected, 2048, 60_000);
    bytes(70_000).copy(expected, 79_000, 100, 150);
    const piece = await make(taskOf(files, { block }));
    expect(expected.equals(piece.block)).toBe(true);
    expect(inflateRawSync(piece.compressed ?? '', { finishFlush: 2 }).equals(expected)).toBe(true);
    expect(piece).toEqual({ block: expect.anything(), compressed: expect.anything() });
  });

  test('is not compressed where nothing is', async () => {
    const piece = await make(taskOf([whole(listed(oldFile(10)))], { compression: 'none', level: 0 }));
    expect(bytes(10).equals(piece.block)).toBe(true);
    expect(piece.compressed).toBeUndefined();
  });

  test('takes what a link points to where that is meant', async () => {
    const path = oldFile(1000);
    symlinkSync(path, `${path}.link`);
    const piece = await make(taskOf([whole(listed(`${path}.link`, true))]));
    expect(bytes(1000).equals(piece.block)).toBe(true);
  });

  test('of many files', async () => {
    const source = writeFiles(
      temporaryDirectory(),
      Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`${at}`, bytes(at)])),
    );
    let end = 0;
    const files = Array.from({ length: 500 }, (_, at): FilePart => {
      end += at;
      return { ...whole(listed(join(source, `${at}`))), at: end - at };
    });
    const expected = Buffer.concat(files.map((_, at) => bytes(at)));
    expect(expected.equals((await make(taskOf(files))).block)).toBe(true);
  });
});

type Change = (path: string, size: number) => void | Promise<void>;

async function makeFifo(path: string): Promise<void> {
  rmSync(path);
  expect(await run('mkfifo', [path])).toMatchObject({ code: 0 });
}

const changes: Readonly<Record<string, Change>> = {
  grows: (path) => appendFileSync(path, '+'),
  'grows much': (path, size) => appendFileSync(path, Buffer.alloc(size)),
  shrinks: (path, size) => truncateSync(path, size - 1),
  'is emptied': (path) => truncateSync(path, 0),
  'grows, its time put back': (path) => {
    appendFileSync(path, '+');
    utimesSync(path, 1, 1);
  },
  'shrinks, its time put back': (path, size) => {
    truncateSync(path, size - 1);
    utimesSync(path, 1, 1);
  },
  'is touched': (path) => utimesSync(path, 2, 2),
  'is rewritten in its place': (path, size) => writeFileSync(path, Buffer.alloc(size, 'y')),
  'is replaced by one of its size and time': (path, size) => {
    writeFileSync(`${path}.new`, Buffer.alloc(size, 'y'));
    utimesSync(`${path}.new`, 1, 1);
    renameSync(`${path}.new`, path);
  },
  'becomes a link to its like': (path) => {
    renameSync(path, `${path}.old`);
    symlinkSync(`${path}.old`, path);
  },
  'becomes a link that leads nowhere': (path) => {
    rmSync(path);
    symlinkSync('nowhere', path);
  },
  'becomes a directory': (path) => {
    rmSync(path);
    mkdirSync(path);
  },
  'becomes a FIFO, which nobody writes to': makeFifo,
};

describe.each(makers)('ACCEPTANCE 27: read %s, a file that', (_, make) => {
  describe.each(Object.entries(changes))('%s', (_, change) => {
    test.each([10, 300_000])('after it was listed, of %i bytes', async (size) => {
      const path = oldFile(size);
      const part = whole(listed(path));
      await change(path, size);
      const { message } = await failureOf(LayerSourceError, () => make(taskOf([part])));
      const found = `${path}: expected a file that stays as it is while it is read (${size} bytes), found it changed (`;
      expect(message).toContain(found);
      expect(message).toContain(` ${lstatSync(path).size} bytes now)`);
    });

    test('after its first part was read', async () => {
      const path = oldFile(300_000);
      const source = listed(path);
      await make(taskOf([{ source, start: 0, length: 100_000, at: 0 }]));
      await change(path, 300_000);
      const part = { source, start: 100_000, length: 100_000, at: 0 };
      const { message } = await failureOf(LayerSourceError, () => make(taskOf([part])));
      expect(message).toContain(`${path}: expected a file that stays as it is while it is read (300000 bytes)`);
    });
  });

  test.each(['grows', 'is touched', 'becomes a FIFO, which nobody writes to'])('was empty and %s', async (change) => {
    const path = oldFile(0);
    const part = whole(listed(path));
    expect((await make(taskOf([part]))).block).toHaveLength(0);
    await changes[change]?.(path, 0);
    const { message } = await failureOf(LayerSourceError, () => make(taskOf([part])));
    expect(message).toContain(`${path}: expected a file that stays as it is while it is read (0 bytes)`);
  });

  test('is removed', async () => {
    const path = oldFile(10);
    const part = whole(listed(path));
    rmSync(path);
    const { message, code, cause } = await failureOf(FileSystemError, () => make(taskOf([part])));
    expect(message).toBe(`${path}: could not read (ENOENT: no such file or directory)`);
    expect(code).toBe('ENOENT');
    expect(cause).toMatchObject({ code: 'ENOENT', syscall: 'open', path, errno: expect.any(Number) });
  });

  test('may not be read', async () => {
    const path = oldFile(10);
    const part = whole(listed(path));
    chmodSync(join(path, '..'), 0o755);
    chmodSync(path, 0);
    const { message, code } = await asOrdinaryUser(() => failureOf(FileSystemError, () => make(taskOf([part]))));
    expect(message).toBe(`${path}: could not read (EACCES: permission denied)`);
    expect(code).toBe('EACCES');
  });

  test('is longer than the file system says', async () => {
    const { message } = await failureOf(LayerSourceError, () => make(taskOf([whole(listed('/proc/version'))])));
    expect(message).toContain('/proc/version: expected a file that stays as it is while it is read (0 bytes)');
    expect(message).toContain('(1 bytes read, 0 bytes now)');
  });

  // In a file system of the kernel's own a file is as large as a page, whatever can be read of it.
  const shorter = '/sys/kernel/mm/transparent_hugepage/enabled';
  (existsSync(shorter) ? test : test.skip)('is shorter than the file system says', async () => {
    const [{ size }, read] = [statSync(shorter), readFileSync(shorter).length];
    expect(read).toBeLessThan(size);
    const { message } = await failureOf(LayerSourceError, () => make(taskOf([whole(listed(shorter))])));
    expect(message).toContain(`${shorter}: expected a file that stays as it is while it is read (${size} bytes)`);
    expect(message).toContain(`(${read} bytes read, ${size} bytes now)`);
  });

  test('fails ends a piece of several, and the next piece is made', async () => {
    const [one, other] = [oldFile(10), oldFile(20)];
    const parts = [whole(listed(one)), { ...whole(listed(other)), at: 10 }];
    appendFileSync(other, '+');
    const { message } = await failureOf(LayerSourceError, () => make(taskOf(parts)));
    expect(message).toContain(`${other}: expected a file that stays`);
    expect((await make(taskOf(parts.slice(0, 1)))).block).toHaveLength(10);
  });
});

const nameOf = (content: Uint8Array) => createHash('blake2b512').update(content).digest('base64url');

function flipBit(path: string, at: number): void {
  const content = readFileSync(path);
  content.writeUInt8(content.readUInt8(at) ^ 1, at);
  writeFileSync(path, content);
}

describe.each(makers)('what an earlier build left, %s', (_, make) => {
  /** No compression gives these bytes: where they come back they were taken. */
  const left = Buffer.from('these bytes lie in the blob');

  function storedPiece(content: Uint8Array): StoredPiece {
    const path = join(writeFiles(temporaryDirectory(), { blob: Buffer.concat([bytes(100), left, bytes(50)]) }), 'blob');
    return { content: nameOf(content), path, start: 100, length: left.length, stored: nameOf(left) };
  }

  const task = (known?: readonly StoredPiece[]): PieceTask =>
    taskOf([], { block: new Uint8Array(bytes(5000)), isNamed: true, ...(known && { known }) });

  test('is taken where it is of the same content', async () => {
    const known = storedPiece(bytes(5000));
    const { block, compressed, content, stored } = await make(task([known]));
    expect(left.equals(compressed ?? new Uint8Array())).toBe(true);
    expect({ content, stored }).toEqual({ content: known.content, stored: known.stored });
    expect(bytes(5000).equals(block)).toBe(true);
  });

  test('is looked for among several', async () => {
    const [other, gone, known] = [storedPiece(bytes(4999)), storedPiece(bytes(5000)), storedPiece(bytes(5000))];
    rmSync(gone.path);
    const { compressed } = await make(task([other, gone, known]));
    expect(left.equals(compressed ?? new Uint8Array())).toBe(true);
  });

  type Damage = (known: StoredPiece) => Partial<StoredPiece> | void | Promise<void>;

  test.each<[string, Damage]>([
    ['is of other content', () => storedPiece(bytes(4999))],
    ['is gone', ({ path }) => rmSync(path)],
    ['is cut off', ({ path }) => truncateSync(path, 110)],
    ['is empty', ({ path }) => truncateSync(path, 0)],
    ['has one other bit', ({ path }) => flipBit(path, 110)],
    ['lies elsewhere', () => ({ start: 99 })],
    ['lies before the beginning', () => ({ start: -100 })],
    ['lies behind the end', () => ({ start: 1e15 })],
    ['is longer', () => ({ length: left.length + 1 })],
    ['is larger than any memory', () => ({ length: 2 ** 53 })],
    ['is of no size', () => ({ length: -1 })],
    ['has another name', () => ({ stored: nameOf(bytes(1)) })],
    [
      'lies behind a link',
      ({ path }) => {
        symlinkSync(path, `${path}.link`);
        return { path: `${path}.link` };
      },
    ],
    ['is a directory', ({ path }) => ({ path: join(path, '..') })],
    ['is a FIFO, which nobody writes to', ({ path }) => makeFifo(path)],
  ])('is not taken where it %s', async (_, damage) => {
    const fresh = await make(task());
    const known = storedPiece(bytes(5000));
    const piece = await make(task([{ ...known, ...(await damage(known)) }]));
    expect(piece).toEqual(fresh);
    expect(inflateRawSync(piece.compressed ?? '', { finishFlush: 2 }).equals(bytes(5000))).toBe(true);
    expect(piece.content).toBe(nameOf(bytes(5000)));
    expect(piece.stored).toBe(nameOf(piece.compressed ?? new Uint8Array()));
  });

  test('is not asked for without names', async () => {
    const { compressed, content, stored } = await make({ ...task([storedPiece(bytes(5000))]), isNamed: false });
    expect(left.equals(compressed ?? new Uint8Array())).toBe(false);
    expect({ content, stored }).toEqual({ content: undefined, stored: undefined });
  });
});

describe('threads', () => {
  test('compress with zstd, and name it', async () => {
    const block = new Uint8Array(bytes(5000));
    const piece = await threads.make(taskOf([], { block, compression: 'zstd', isNamed: true }));
    const compressed = piece.compressed ?? new Uint8Array();
    expect((await collect(unzstd(bytesBlob(compressed).open()))).equals(bytes(5000))).toBe(true);
    expect(piece).toMatchObject({ content: nameOf(bytes(5000)), stored: nameOf(compressed) });
  });

  test('make what is made here', async () => {
    for (const size of [0, 1, 512, 9000]) {
      const task = () => taskOf([], { block: new Uint8Array(bytes(size)), level: 4, isNamed: true });
      expect(await threads.make(task())).toEqual(makeHere(task()));
    }
  });

  test('take the memory of a piece, and give it back', async () => {
    const block = new Uint8Array(new ArrayBuffer(1000), 0, 600);
    const making = threads.make(taskOf([], { block }));
    const piece = await making;
    expect(block.buffer.byteLength).toBe(0);
    expect(piece.block).toHaveLength(600);
    expect(piece.block.buffer.byteLength).toBe(1000);
  });

  test.each([1, 3])('make more pieces than there are of them: %i', async (lanes) => {
    const few = pieceThreads(lanes);
    try {
      expect(few.lanes).toBe(lanes);
      const paths = Array.from({ length: 12 }, (_, at) => oldFile(1000 + at));
      const pieces = await Promise.all(paths.map((path) => few.make(taskOf([whole(listed(path))]))));
      expect(pieces.map(({ block }) => block.length)).toEqual(paths.map((_, at) => 1000 + at));
      expect(pieces.every(({ block }) => bytes(block.length).equals(block))).toBe(true);
    } finally {
      await few.end();
    }
  });

  test('end with what they are at', async () => {
    const ended = pieceThreads(1);
    const task = (size: number) => taskOf([], { block: new Uint8Array(size), compression: 'zstd', level: 19 });
    for (const each of [ended, threads]) await each.make(task(1));
    let isMade = false;
    ended.make(task(4 * 2 ** 20)).then(() => {
      isMade = true;
    });
    await ended.end();
    // As long as the other would have taken, and longer.
    for (let round = 0; round < 3; round++) await threads.make(task(4 * 2 ** 20));
    expect(isMade).toBe(false);
  });
});
