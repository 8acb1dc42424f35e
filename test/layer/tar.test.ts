import { closeSync, linkSync, mkdirSync, openSync, symlinkSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { type Bytes, digestOf, type LayerEntry, listFiles, SizeMismatchError, tarOf } from '../../src';
import { checkedTar } from '../../src/layer/tar';
import { collect, run, tarListing, temporaryDirectory, writeFiles } from '../fixtures';

function entryOf(entry: Partial<LayerEntry> & { text?: string }): LayerEntry {
  const { text = '', ...rest } = entry;
  const file = { size: Buffer.byteLength(text), content: () => Buffer.from(text) };
  const isFile = (entry.type ?? 'file') === 'file';
  return { name: 'file', type: 'file', mode: 0o644, uid: 0, gid: 0, ...(isFile && file), ...rest };
}

const listed = (entries: LayerEntry[], mtime?: number) => tarListing(tarOf(entries, mtime));

const name = (length: number, letter = 'n') => letter.repeat(length);

test('the bytes of a tar file are the same on every machine', async () => {
  const entries = [
    entryOf({ name: 'dir', type: 'directory', mode: 0o755 }),
    entryOf({ name: 'dir/file', text: 'hello\n', uid: 1000, gid: 1000 }),
    entryOf({ name: 'dir/link', type: 'symlink', linkname: 'file', mode: 0o777 }),
    entryOf({ name: `dir/${name(120)}`, type: 'link', linkname: 'dir/file' }),
    entryOf({ name: 'dir/日本語', text: 'x', uid: 2 ** 31 }),
  ];
  expect(digestOf(await collect(tarOf(entries)))).toBe(
    'sha256:93a5bb495ca6967ed7b2fcc666850274d4c86d91e52341339680d1db542c0983',
  );
});

describe('ACCEPTANCE 28: GNU tar lists', () => {
  const long = name(100, 'd');
  const names = [
    name(99),
    name(100),
    name(101),
    name(255),
    `${name(99, 'a')}/${name(99)}`,
    `${name(155, 'b')}/${name(99)}`,
    `${name(156, 'b')}/${name(100)}`,
    `${long}/${long}/${long}/${long}/${name(10)}`,
    'Ελληνικά/καλημέρα.txt',
    '日本語/こんにちは.txt',
    `🌍/${'🚀'.repeat(60)}`,
    ' a name with spaces ',
    '-rf',
    'it\'s "quoted" \\ $(back)',
    'é',
    'e\u0301',
  ];

  test.each(names)('a file named %s', async (path) => {
    expect(await listed([entryOf({ name: path, text: 'x' })])).toEqual([
      `-rw-r--r-- 0/0               1 1970-01-01 00:00:00 ${path}`,
    ]);
  });

  test.each([...names, name(98), `p/${name(150)}`, `${long}/${name(101)}`, `${long}/${long}`])(
    'a directory named %s',
    async (path) => {
      expect(await listed([entryOf({ name: path, type: 'directory', mode: 0o755 })])).toEqual([
        `drwxr-xr-x 0/0               0 1970-01-01 00:00:00 ${path}/`,
      ]);
    },
  );

  test.each([...names, `../../${name(120)}`, '/absolute'])('a symbolic link to %s', async (path) => {
    const entry = entryOf({ name: 'link', type: 'symlink', linkname: path, mode: 0o777 });
    expect(await listed([entry])).toEqual([`lrwxrwxrwx 0/0               0 1970-01-01 00:00:00 link -> ${path}`]);
  });

  test.each(names)('a hard link to %s', async (path) => {
    const [, line] = await listed([entryOf({ name: path }), entryOf({ name: 'z', type: 'link', linkname: path })]);
    expect(line).toBe(`hrw-r--r-- 0/0               0 1970-01-01 00:00:00 z link to ${path}`);
  });

  test.each([99, 100, 101, 150, 200])('a directory whose name of %i bytes is in its header', async (length) => {
    const tar = await collect(tarOf([entryOf({ name: `a/${name(length)}`, type: 'directory' })]));
    // GNU tar copes with a name that is all in the prefix field; others take it for an empty one.
    expect(tar[0]).not.toBe(0);
  });

  test('a file of over 8 GiB, and what comes behind it', async () => {
    const size = 8 * 2 ** 30 + 1;
    const source = temporaryDirectory();
    writeFileSync(join(source, 'big'), '');
    truncateSync(join(source, 'big'), size);
    const head = await firstChunk(tarOf(await listFiles({ from: [source] })));
    const tail = await collect(tarOf([entryOf({ name: 'next', text: 'x' })]));

    const tar = join(temporaryDirectory(), 'big.tar');
    const file = openSync(tar, 'w');
    writeSync(file, head, 0, 512, 0);
    writeSync(file, tail, 0, tail.length, 512 + Math.ceil(size / 512) * 512);
    closeSync(file);
    const { stdout, stderr, code } = await run('tar', ['-tvf', tar, '--numeric-owner'], { env: { TZ: 'UTC' } });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout.split('\n')).toEqual([
      `-rw-r--r-- 0/0      ${size} 1970-01-01 00:00 big`,
      `-rw-r--r-- 0/0               1 1970-01-01 00:00 next`,
      '',
    ]);
  });

  test.each([8 ** 11 - 1, 8 ** 11, 2 ** 53 - 1])('a size of %i', async (size) => {
    const tar = tarOf([entryOf({ size, content: endless })]);
    const file = join(temporaryDirectory(), 'head.tar');
    writeFileSync(file, (await firstChunk(tar)).subarray(0, 512));
    const { stdout } = await run('tar', ['-tvf', file], { env: { TZ: 'UTC' } });
    expect(stdout).toContain(` ${size} 1970-01-01 00:00 file`);
  });

  test.each([0, 1000, 0o777777, 0o1000000, 0o7777777, 0o10000000, 2 ** 31, 2 ** 32 - 2])(
    'an owner and a group of %i',
    async (id) => {
      const entries = [entryOf({ uid: id, gid: 1 }), entryOf({ name: 'other', uid: 1, gid: id })];
      const owners = (await listed(entries)).map((line) => line.split(/\s+/)[1]);
      expect(owners).toEqual([`${id}/1`, `1/${id}`]);
    },
  );

  test.each([
    [0, '1970-01-01 00:00:00'],
    [1_700_000_000, '2023-11-14 22:13:20'],
    [2 ** 31 - 1, '2038-01-19 03:14:07'],
    [2 ** 31, '2038-01-19 03:14:08'],
    [4_102_444_800, '2100-01-01 00:00:00'],
    [253_402_300_799, '9999-12-31 23:59:59'],
  ])('a time of %i seconds as %s', async (mtime, time) => {
    expect(await listed([entryOf({})], mtime)).toEqual([expect.stringContaining(` ${time} file`)]);
  });

  test.each([
    [0o000, '----------'],
    [0o600, '-rw-------'],
    [0o4755, '-rwsr-xr-x'],
    [0o2750, '-rwxr-s---'],
    [0o1777, '-rwxrwxrwt'],
    [0o7777, '-rwsrwsrwt'],
  ])('a mode of %i as %s', async (mode, written) => {
    expect(await listed([entryOf({ mode })])).toEqual([expect.stringContaining(`${written} `)]);
  });

  test('nothing', async () => {
    expect(await listed([])).toEqual([]);
  });
});

test('ACCEPTANCE 28: a rebuild of long and UTF-8 names is identical', async () => {
  const source = () => {
    const directory = writeFiles(temporaryDirectory(), {
      [`${name(120, 'd')}/${name(200)}`]: 'x',
      'Ελληνικά/🚀.txt': 'y',
      [`${name(50)}/${name(50)}/${name(50)}/${name(50)}/${name(50)}`]: 'z',
    });
    symlinkSync(name(150), join(directory, '日本語'));
    return directory;
  };
  const [one, other] = [source(), source()];
  const tar = async (from: string) => collect(tarOf(await listFiles({ from: [from] })));
  expect((await tar(one)).equals(await tar(other))).toBe(true);
  expect(await tarListing(tarOf(await listFiles({ from: [one] })))).toHaveLength(10);
});

test('O4: GNU tar unpacks what a tar builder and a file list made', async () => {
  const source = writeFiles(temporaryDirectory(), {
    'bin/tool': '#!/bin/sh\n',
    'etc/empty': '',
    'share/big': Buffer.alloc(3_000_001, 'big'),
  });
  mkdirSync(join(source, 'var'));
  symlinkSync('../bin/tool', join(source, 'etc/link'));
  linkSync(join(source, 'share/big'), join(source, 'share/same'));
  const target = temporaryDirectory();
  const file = join(temporaryDirectory(), 'layer.tar');
  writeFileSync(file, await collect(tarOf(await listFiles({ from: [source], mode: 'preserve' }))));
  const { code, stderr } = await run('tar', ['-xf', file, '-C', target]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const names = async (directory: string) => (await readdir(directory, { recursive: true })).sort();
  expect(await names(target)).toEqual(await names(source));
  expect((await readFile(join(target, 'share/same'))).equals(Buffer.alloc(3_000_001, 'big'))).toBe(true);
  expect(await readFile(join(target, 'bin/tool'), 'utf8')).toBe('#!/bin/sh\n');
  expect(await readlink(join(target, 'etc/link'))).toBe('../bin/tool');
});

describe('content', () => {
  test.each<[string, Partial<LayerEntry>, string]>([
    ['too short', { size: 5, content: () => Buffer.from('four') }, '4'],
    ['too long', { size: 5, content: () => Buffer.from('six666') }, '6'],
    ['missing', { size: 5 }, '0'],
    ['streaming and too short', { size: 5, content: () => streamOf('fo', 'ur') }, '4'],
    ['streaming and too long', { size: 5, content: () => streamOf('six', '666') }, 'more'],
  ])('that is %s is refused by name', async (_, entry, found) => {
    const refused = collect(tarOf([{ name: 'etc/x', type: 'file', mode: 0o644, uid: 0, gid: 0, ...entry }]));
    await expect(refused).rejects.toThrow(SizeMismatchError);
    await expect(refused).rejects.toThrow(`content of etc/x: expected 5 bytes, found ${found}`);
  });

  test('that fails ends the tar file with its own error', async () => {
    const failure = new Error('the disk burns');
    async function* burning(): Bytes & AsyncGenerator<Uint8Array> {
      yield Buffer.from('x');
      throw failure;
    }
    for (const content of [burning, () => raise(failure)]) {
      await expect(collect(tarOf([entryOf({ size: 5, content })]))).rejects.toBe(failure);
    }
  });

  test('entries that fail end the tar file with their own error', async () => {
    const failure = new Error('no such directory');
    async function* entries(): AsyncGenerator<LayerEntry> {
      yield entryOf({});
      throw failure;
    }
    await expect(collect(tarOf(entries()))).rejects.toBe(failure);
  });

  test('is no longer read when the tar file is no longer wanted', async () => {
    let isClosed = false;
    async function* content(): AsyncGenerator<Uint8Array> {
      try {
        yield* endless();
      } finally {
        isClosed = true;
      }
    }
    const tar = tarOf([entryOf({ size: 2 ** 40, content })]);
    for (const chunks = ['header', 'content']; chunks.pop(); ) await tar.next();
    expect(isClosed).toBe(false);
    await tar.return(undefined);
    expect(isClosed).toBe(true);
  });

  test('is read as fast as the tar file is, not faster', async () => {
    let given = 0;
    async function* content(): AsyncGenerator<Uint8Array> {
      for await (const chunk of endless()) {
        given += chunk.length;
        yield chunk;
      }
    }
    let taken = 0;
    for await (const chunk of tarOf([entryOf({ size: 2 ** 40, content })])) {
      taken += chunk.length;
      expect(given - taken).toBeLessThan(4 * 1024 * 1024);
      if (taken > 64 * 1024 * 1024) break;
    }
    expect(given).toBeGreaterThanOrEqual(64 * 1024 * 1024);
  });
});

describe('checkedTar', () => {
  const tar = () => tarOf([entryOf({ name: 'a', text: 'A'.repeat(1000) }), entryOf({ name: 'b/c', text: 'x' })]);

  test('passes the bytes on and shows each header', async () => {
    const names: string[] = [];
    const passed = await collect(checkedTar(tar(), (header) => void names.push(header.name)));
    expect(passed.equals(await collect(tar()))).toBe(true);
    expect(names).toEqual(['a', 'b/c']);
  });

  test('takes it in any pieces', async () => {
    const names: string[] = [];
    const bytes = await collect(tar());
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let start = 0; start < bytes.length; start += 7) yield bytes.subarray(start, start + 7);
    }
    const passed = await collect(checkedTar(pieces(), (header) => void names.push(header.name)));
    expect(passed.equals(bytes)).toBe(true);
    expect(names).toEqual(['a', 'b/c']);
  });

  test('a directory that says it has content has none', async () => {
    const bytes = await collect(
      tarOf([entryOf({ name: 'd', type: 'directory' }), entryOf({ name: 'd/f', text: 'x' })]),
    );
    const hostile = withSize(bytes, Buffer.from('00000001000 '));
    const names: string[] = [];
    await collect(checkedTar(chunkOf(hostile), (header) => void names.push(header.name)));
    expect(names).toEqual(['d/', 'd/f']);
  });

  test('a size that is no number is refused', async () => {
    const hostile = withSize(await collect(tarOf([entryOf({ text: 'x' })])), Buffer.alloc(12, 0x81));
    const refused = collect(checkedTar(chunkOf(hostile), () => undefined));
    await expect(refused).rejects.toThrow('invalid tar file (no number for the size of "file")');
  });

  test.each(['a', 'b/c'])('ends with the error of a check that refuses %s', async (refusedName) => {
    const failure = new Error('refused');
    const check = ({ name }: { name: string }) => (name === refusedName ? raise(failure) : undefined);
    await expect(collect(checkedTar(tar(), check))).rejects.toBe(failure);
  });
});

async function* chunkOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** The first header with other bytes for the size, and the sum that goes with them. */
function withSize(tar: Buffer, size: Buffer): Buffer {
  const changed = Buffer.from(tar);
  size.copy(changed, 124);
  changed.fill(' ', 148, 156);
  const sum = changed.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  changed.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return changed;
}

async function firstChunk(bytes: Bytes): Promise<Uint8Array> {
  for await (const chunk of bytes) return chunk;
  return new Uint8Array();
}

async function* endless(): AsyncGenerator<Uint8Array> {
  const piece = Buffer.alloc(512 * 1024);
  for (;;) yield piece;
}

async function* streamOf(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

function raise(error: Error): never {
  throw error;
}
