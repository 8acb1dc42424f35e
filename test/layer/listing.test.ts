import { linkSync, mkdirSync, symlinkSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import {
  bytesBlob,
  type Compression,
  DigestMismatchError,
  digestOf,
  type LayerContent,
  type LayerEntry,
  type LayerLimits,
  LimitError,
  type ListedEntry,
  layerEncoder,
  listLayer,
  OciError,
  SizeMismatchError,
  tarOf,
} from '../../src';
import { compress } from '../../src/compression';
import { checkLayer } from '../../src/layer/listing';
import { collect, failureOf, run, type TarHeader, tarWith, temporaryDirectory, writeFiles } from '../fixtures';

const plainFile = (name: string, header: Partial<TarHeader> = {}): TarHeader => ({ name, mode: 0o644, ...header });

/** A layer that is what it says. */
async function layerOf(
  tar: Uint8Array,
  compression: Compression = 'gzip',
): Promise<LayerContent & { bytes: Uint8Array }> {
  const bytes = await collect(compress(bytesBlob(tar).open(), compression));
  const { mediaType } = layerEncoder(compression);
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  return { descriptor, compression, diffId: digestOf(tar), open: () => bytesBlob(bytes).open(), bytes };
}

const entriesOf = async (tar: Uint8Array, limits?: LayerLimits) =>
  (await listLayer(await layerOf(tar, 'none'), limits)).entries;

const hello = Buffer.from('hello\n');
const basic = { mode: 0o644, owner: '0:0', mtime: '1970-01-01T00:00:00Z' };
const file = { ...basic, type: 'file', size: hello.length, digest: digestOf(hello) };

describe('a listing has', () => {
  const entry = (facts: Partial<LayerEntry>): LayerEntry => ({
    name: 'f',
    type: 'file',
    mode: 0o644,
    uid: 0,
    gid: 0,
    ...facts,
  });
  const rows: readonly [string, LayerEntry, ListedEntry][] = [
    ['a file', entry({ size: 6, content: () => hello }), { ...file, name: 'f' }],
    ['an empty file', entry({ size: 0 }), { ...file, name: 'f', size: 0, digest: digestOf(Buffer.alloc(0)) }],
    [
      'a directory',
      entry({ name: 'd', type: 'directory', mode: 0o755 }),
      { ...basic, name: 'd', type: 'directory', mode: 0o755, size: 0 },
    ],
    [
      'a symbolic link',
      entry({ type: 'symlink', linkname: '../x', mode: 0o777 }),
      { ...basic, name: 'f', type: 'symlink', mode: 0o777, size: 0, linkname: '../x' },
    ],
    [
      'a hard link',
      entry({ type: 'link', linkname: 'g' }),
      { ...basic, name: 'f', type: 'link', size: 0, linkname: 'g' },
    ],
    [
      'owners beyond octal digits',
      entry({ size: 6, content: () => hello, uid: 2 ** 31, gid: 7 }),
      { ...file, name: 'f', owner: '2147483648:7' },
    ],
    [
      'a long name',
      entry({ name: `${'d'.repeat(120)}/é`, size: 6, content: () => hello }),
      { ...file, name: `${'d'.repeat(120)}/é` },
    ],
  ];
  test.each(rows)('%s', async (_, entry, listed) => {
    expect(await entriesOf(await collect(tarOf([entry])))).toEqual([listed]);
  });

  const headers: readonly [string, TarHeader, Partial<ListedEntry>][] = [
    ['names of owners', plainFile('f', { uid: 1, gid: 2, uname: 'u', gname: 'g' }), { owner: '1:2 (u:g)' }],
    [
      'times to the nanosecond',
      plainFile('f', { pax: { mtime: '1700000000.123456789' } }),
      { mtime: '2023-11-14T22:13:20.123456789Z' },
    ],
    [
      'times without trailing zeros',
      plainFile('f', { pax: { mtime: '1700000000.500000' } }),
      { mtime: '2023-11-14T22:13:20.5Z' },
    ],
    [
      'times that no calendar has',
      plainFile('f', { pax: { mtime: '99999999999999' } }),
      { mtime: '99999999999999 seconds since 1970' },
    ],
    ['times before 1970', plainFile('f', { pax: { mtime: '-1.5' } }), { mtime: '-1.5 seconds since 1970' }],
    [
      'extended attributes',
      plainFile('f', { pax: { 'SCHILY.xattr.user.a': 'b' } }),
      { pax: { 'SCHILY.xattr.user.a': 'b' } },
    ],
    [
      'devices',
      plainFile('f', { type: 'character-device', devmajor: 1, devminor: 3 }),
      { device: '1:3', type: 'character-device' },
    ],
    ['FIFOs', plainFile('f', { type: 'fifo' }), { type: 'fifo' }],
  ];
  test.each(headers)('%s', async (_, header, listed) => {
    expect(await entriesOf(await tarWith([[header, '']]))).toEqual([expect.objectContaining({ name: 'f', ...listed })]);
  });

  test('names as they are: leading up, absolute, with control characters, and twice', async () => {
    const names = ['../x', '/etc/passwd', './a', 'a', 'a', '\u001b[2J', 'd//e'];
    const tar = await tarWith(names.map((name) => [plainFile(name), ''] as const));
    expect((await entriesOf(tar)).map(({ name }) => name)).toEqual(names);
  });

  test('what GNU tar writes of real files', async () => {
    const root = writeFiles(temporaryDirectory(), { 'in/a': 'hello\n', [`in/${'l'.repeat(150)}`]: 'long' });
    mkdirSync(join(root, 'in/d'));
    symlinkSync('a', join(root, 'in/s'));
    linkSync(join(root, 'in/a'), join(root, 'in/z'));
    const args = ['--format=gnu', '--sort=name', '--numeric-owner', '--owner=5', '--group=6', '--mtime=@1700000000'];
    const { code } = await run('tar', ['-cf', join(root, 't.tar'), ...args, '-C', join(root, 'in'), '.']);
    expect(code).toBe(0);
    const entries = await entriesOf(await readFile(join(root, 't.tar')));
    expect(entries.map(({ name, type, linkname }) => [name, type, linkname])).toEqual([
      ['.', 'directory', undefined],
      ['./a', 'file', undefined],
      ['./d', 'directory', undefined],
      [`./${'l'.repeat(150)}`, 'file', undefined],
      ['./s', 'symlink', 'a'],
      ['./z', 'link', './a'],
    ]);
    expect(new Set(entries.map(({ owner, mtime }) => `${owner} ${mtime}`))).toEqual(
      new Set(['5:6 2023-11-14T22:13:20Z']),
    );
  });
});

test.each<[number, Compression]>([
  [100, 'none'],
  [2000, 'gzip'],
  [100, 'zstd'],
])('a layer of %i files (%s) is listed and gives its diffID', async (count, compression) => {
  const names = Array.from({ length: count }, (_, index) => String(index));
  const tar = await tarWith(names.map((name) => [plainFile(name), name]));
  const { diffId: _, ...layer } = await layerOf(tar, compression);
  const listing = await listLayer(layer);
  expect(listing.diffId).toBe(digestOf(tar));
  const digest = (text: string) => digestOf(Buffer.from(text));
  expect(listing.entries).toEqual(names.map((name) => ({ ...file, name, size: name.length, digest: digest(name) })));
  expect(await checkLayer(layer)).toBe(digestOf(tar));
});

test('an empty tar file has no entries, nor has one of no bytes', async () => {
  expect(await entriesOf(Buffer.alloc(1024))).toEqual([]);
  expect(await entriesOf(Buffer.alloc(0))).toEqual([]);
});

describe('a layer is refused by its digest', () => {
  const tar = tarWith([
    [plainFile('f'), 'hello\n'],
    [plainFile('g'), 'x'.repeat(5000)],
  ]);
  type Layer = Awaited<ReturnType<typeof layerOf>>;
  const flipped = (bytes: Uint8Array, at: number) =>
    Buffer.from(bytes.map((byte, index) => (index === at ? byte ^ 1 : byte)));
  /** As if the bytes were what the descriptor names. */
  const honest = (layer: Layer, bytes: Uint8Array): LayerContent => ({
    descriptor: { ...layer.descriptor, digest: digestOf(bytes), size: bytes.length },
    compression: layer.compression,
    open: () => bytesBlob(bytes).open(),
  });
  const holding = (layer: Layer, bytes: Uint8Array): LayerContent => ({
    ...layer,
    open: () => bytesBlob(bytes).open(),
  });

  const rows: readonly [
    string,
    Compression,
    (layer: Layer) => LayerContent,
    new (...facts: never[]) => OciError,
    string | RegExp,
  ][] = [
    [
      'with a bit flipped in the content',
      'none',
      (layer) => holding(layer, flipped(layer.bytes, 514)),
      DigestMismatchError,
      'expected digest',
    ],
    [
      'with a bit flipped in a header',
      'none',
      (layer) => holding(layer, flipped(layer.bytes, 3)),
      DigestMismatchError,
      'expected digest',
    ],
    [
      'with a bit flipped in the gzip stream',
      'gzip',
      (layer) => holding(layer, flipped(layer.bytes, 30)),
      DigestMismatchError,
      'expected digest',
    ],
    [
      'with a bit flipped in the zstd stream',
      'zstd',
      (layer) => holding(layer, flipped(layer.bytes, 30)),
      DigestMismatchError,
      'expected digest',
    ],
    ['that is cut off', 'gzip', (layer) => holding(layer, layer.bytes.subarray(0, 60)), SizeMismatchError, 'found 60'],
    [
      'that is too long',
      'none',
      (layer) => holding(layer, Buffer.concat([layer.bytes, Buffer.alloc(512)])),
      SizeMismatchError,
      'found more',
    ],
    ['that is no gzip', 'gzip', (layer) => honest(layer, Buffer.from('no gzip')), OciError, /invalid gzip stream/],
    [
      'that is no tar file',
      'none',
      (layer) => honest(layer, Buffer.alloc(2000, 'text')),
      OciError,
      /expected a tar file, found Invalid tar header/,
    ],
    [
      'that ends within a file',
      'none',
      (layer) => honest(layer, layer.bytes.subarray(0, 2048)),
      OciError,
      /expected a tar file, found Unexpected end of data/,
    ],
    [
      'that ends within a header',
      'none',
      (layer) => honest(layer, layer.bytes.subarray(0, 100)),
      OciError,
      /expected a tar file, found Unexpected end of data/,
    ],
    [
      'whose diffID is another one',
      'gzip',
      (layer) => ({ ...layer, diffId: digestOf(hello) }),
      DigestMismatchError,
      `its diffID in the config: expected digest ${digestOf(hello)}`,
    ],
  ];
  test.each(rows)('%s', async (_, compression, change, type, message) => {
    const layer = change(await layerOf(await tar, compression));
    const failure = await failureOf(type, () => listLayer(layer));
    expect(failure.message).toContain(layer.descriptor.digest);
    expect(failure.message).toMatch(message);
  });

  test('that unpacks to more than there may be, and no more than that is unpacked', async () => {
    const bytes = gzipSync(Buffer.alloc(64 * 2 ** 20));
    const layer = honest(await layerOf(await tar, 'gzip'), bytes);
    const failure = await failureOf(LimitError, () => listLayer(layer, { unpackedSize: 2 ** 20 }));
    expect(failure.message).toContain(`layer ${layer.descriptor.digest}, unpacked: expected at most 1048576 bytes`);
    expect(await failureOf(LimitError, () => checkLayer(layer, { unpackedSize: 2 ** 20 }))).toMatchObject({
      expected: '<= 1048576',
    });
  });

  test('whose files have more names than may be held', async () => {
    const names = Array.from({ length: 1000 }, (_, index) => [plainFile(`${index}${'n'.repeat(200)}`), ''] as const);
    const layer = await layerOf(await tarWith(names));
    const failure = await failureOf(LimitError, () => listLayer(layer, { listingSize: 100_000 }));
    expect(failure.message).toContain(
      `list of the files in layer ${layer.descriptor.digest}: expected at most 100000 bytes`,
    );
    expect((await listLayer(layer, { listingSize: 1_000_000 })).entries).toHaveLength(1000);
  });
});

describe('a failure is told when the source is closed', () => {
  /** Says when it is closed, which takes its time. */
  function slowlyClosing(bytes: Uint8Array, failure?: Error): { closed: boolean; open(): AsyncGenerator<Uint8Array> } {
    const source = {
      closed: false,
      async *open() {
        try {
          yield bytes.subarray(0, 700);
          if (failure) throw failure;
          yield bytes.subarray(700);
        } finally {
          for (let turns = 0; turns < 20; turns++) await new Promise(setImmediate);
          source.closed = true;
        }
      },
    };
    return source;
  }

  test('its own', async () => {
    const layer = await layerOf(await tarWith([[plainFile('f'), 'hello\n']]), 'none');
    const source = slowlyClosing(layer.bytes, new SizeMismatchError(`blob ${layer.descriptor.digest}`, 1, 2));
    expect((await failureOf(SizeMismatchError, () => listLayer({ ...layer, open: source.open }))).expected).toBe('1');
    expect(source.closed).toBe(true);
  });

  test('that of what is in it', async () => {
    const layer = await layerOf(
      await tarWith([
        [plainFile('f'), ''],
        [plainFile('g'), 'x'.repeat(2000)],
      ]),
      'none',
    );
    const source = slowlyClosing(layer.bytes);
    await failureOf(LimitError, () => listLayer({ ...layer, open: source.open }, { listingSize: 1 }));
    expect(source.closed).toBe(true);
  });
});

describe('a hostile header ends in an entry or an error, and never in waiting', () => {
  /** Puts bytes into the first header, and makes its checksum right. */
  function headerWith(tar: Uint8Array, at: number, bytes: Uint8Array): Buffer {
    const changed = Buffer.from(tar);
    changed.set(bytes, at);
    changed.fill(' ', 148, 156);
    const sum = changed.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    changed.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return changed;
  }

  test('a directory that has a size', async () => {
    const tar = await tarWith([[plainFile('d/', { type: 'directory' })], [plainFile('f'), 'hello\n']]);
    const entries = await entriesOf(headerWith(tar, 124, Buffer.from('00000000005 ')));
    expect(entries.map(({ name, size }) => [name, size])).toEqual([
      ['d', 0],
      ['f', 6],
    ]);
  });

  test('a time and a name of a million digits', async () => {
    const digits = `1.${'0'.repeat(1_000_000)}x`;
    const tar = await tarWith([[plainFile('f', { pax: { mtime: digits, path: digits } }), '']]);
    const [entry] = await entriesOf(tar);
    expect(entry).toMatchObject({ name: digits, mtime: `${digits} seconds since 1970` });
  });

  const fields: readonly [string, number, number][] = [
    ['name', 0, 100],
    ['mode', 100, 8],
    ['uid', 108, 8],
    ['gid', 116, 8],
    ['size', 124, 12],
    ['mtime', 136, 12],
    ['type', 156, 1],
    ['device', 329, 8],
    ['prefix', 345, 155],
  ];
  const fillings = [0x00, 0x37, 0x39, 0x41, 0x80, 0x81, 0xff];
  test.each(fields)('%s', async (_, at, length) => {
    const tar = await tarWith([[plainFile('f'), 'hello\n']]);
    for (const filling of fillings) {
      const bytes = headerWith(tar, at, Buffer.alloc(length, filling));
      const outcome = await entriesOf(bytes).catch((error: unknown) => error);
      if (!Array.isArray(outcome)) expect(outcome).toBeInstanceOf(OciError);
      else
        for (const { mode, mtime, owner } of outcome)
          expect([typeof mode, typeof mtime, typeof owner]).toEqual(['number', 'string', 'string']);
    }
  });
});
