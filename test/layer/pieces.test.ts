import { describe, expect, test } from '@jest/globals';
import { type LayerEntry, tarOf } from '../../src';
import { compareNames } from '../../src/layer/entry';
import { fillPlanned, largestPiece, type PlannedEntry, type PlannedPiece, planPieces } from '../../src/layer/pieces';
import { collect, noise } from '../fixtures';
import { type Random, seededRandom } from '../soak/random';

/** Small, so that many pieces are quickly planned; like those of the format it is whole blocks of a tar file. */
const target = 64 * 1024;

const owner = { uid: 0, gid: 0 };

/** Where the bytes of all files are taken from, each from an offset of its own. */
const sea = noise(9 * target);

const contentOf = (name: string, size: number): Buffer => {
  const start = (name.length * 7919) % target;
  return sea.subarray(start, start + size);
};

function file(name: string, size: number, mode = 0o644): PlannedEntry {
  const source = { path: `/source/${name}`, follow: false, size, mtimeMs: 1, ctimeMs: 1, ino: 1, dev: 1 };
  return { name, type: 'file', mode, ...owner, size, source, content: () => contentOf(name, size) };
}

const directory = (name: string): PlannedEntry => ({ name, type: 'directory', mode: 0o755, ...owner });
const link = (name: string, linkname: string): PlannedEntry => ({
  name,
  type: 'link',
  mode: 0o644,
  ...owner,
  linkname,
});
const symlink = (name: string, linkname: string): PlannedEntry => ({
  name,
  type: 'symlink',
  mode: 0o777,
  ...owner,
  linkname,
});

const plan = (entries: readonly PlannedEntry[], mtime = 0): PlannedPiece[] => [...planPieces(entries, mtime, target)];

const keysOf = (entries: readonly PlannedEntry[], mtime = 0): string[] => plan(entries, mtime).map(({ key }) => key);

/** A piece as a thread makes it, in memory that was used before. */
function made(piece: PlannedPiece): Buffer {
  const block = fillPlanned(piece, new Uint8Array(largestPiece(target)).fill(0xee).buffer);
  for (const { source, start, length, at } of piece.files) {
    const content = contentOf(source.path.slice('/source/'.length), source.size);
    block.set(content.subarray(start, start + length), at);
  }
  return Buffer.from(block);
}

async function expectTar(entries: readonly PlannedEntry[], mtime = 0): Promise<PlannedPiece[]> {
  const pieces = plan(entries, mtime);
  const joined = Buffer.concat(pieces.map(made));
  expect(joined.equals(await collect(tarOf(entries as readonly LayerEntry[], mtime)))).toBe(true);
  for (const { size } of pieces) expect(size).toBeLessThanOrEqual(largestPiece(target));
  for (const { size } of pieces.slice(0, -1)) expect(size).toBeGreaterThanOrEqual(target / 4);
  expect(new Set(pieces.map(({ key }) => key)).size).toBe(pieces.length);
  return pieces;
}

const nameSizes = [1, 8, 20, 60, 98, 99, 100, 101, 156, 200, 255];
const letters = ['n', 'é', '日', '🚀', '-', ' '];

function randomName(random: Random): string {
  const part = () => random.one(letters).repeat(random.one(nameSizes)).slice(0, 240);
  return Array.from({ length: 1 + random.below(3) }, part).join('/');
}

function randomSize(random: Random): number {
  const around = random.one([0, 1, 512, 513, 1000, 5000, 20_000, target / 4, target / 2, target, 2 * target]);
  return Math.max(0, random.one([around, around - 1, around + 1, random.below(around + 1)]));
}

/** A tree of all kinds of entries, with names as long and as foreign as can be. */
function randomTree(seed: number, count = 150): PlannedEntry[] {
  const random = seededRandom(seed);
  const entries = new Map<string, PlannedEntry>();
  for (let at = 0; at < count; at++) {
    const name = `${at}${randomName(random)}`;
    const kind = random.below(10);
    if (kind === 0) entries.set(name, directory(name));
    else if (kind === 1) entries.set(name, symlink(name, randomName(random)));
    else if (kind === 2) entries.set(name, link(name, `0${randomName(random)}`));
    else entries.set(name, file(name, randomSize(random), random.one([0o644, 0o755])));
  }
  return [...entries.values()].sort((a, b) => compareNames(a.name, b.name));
}

describe('the pieces together are the tar file', () => {
  test.each(Array.from({ length: 16 }, (_, seed) => seed))('of the random tree %i', async (seed) => {
    const pieces = await expectTar(randomTree(seed), seed % 2 === 0 ? 0 : 2 ** 31 + seed);
    expect(pieces.length).toBeGreaterThan(10);
  });

  const sizes = [1, 2, 3, 8].flatMap((count) =>
    [-513, -512, -511, -1, 0, 1, 511, 512].map((by) => count * target + by),
  );
  test.each([0, 1, 511, 512, 513, ...sizes])('of a file of %i bytes, whatever is around it', async (size) => {
    for (const before of [0, 1, target / 4 - 1024, target / 4 - 512, target / 4, target - 1024]) {
      await expectTar([file('before', before), file('middle', size), file('then', 700), directory('zzz')]);
    }
  });

  test('of nothing', async () => {
    const [piece, ...others] = await expectTar([]);
    expect(others).toEqual([]);
    expect(piece?.size).toBe(1024);
  });

  test('of many entries without content', async () => {
    const names = Array.from({ length: 1000 }, (_, at) => `${'d'.repeat(90)}${at}`);
    const pieces = await expectTar(names.flatMap((name) => [directory(name), symlink(`${name}s`, 'é'.repeat(2000))]));
    expect(pieces.length).toBeGreaterThan(20);
  });

  test('of an empty file, which is read too: it may no longer be empty', () => {
    const [piece] = plan([file('empty', 0)]);
    expect(piece?.files).toEqual([expect.objectContaining({ start: 0, length: 0, at: 512 })]);
  });
});

describe.each([target, 2 * 2 ** 20])(
  'a piece is no larger than its memory, where they are of about %i bytes',
  (about) => {
    const sizesOf = (entries: readonly PlannedEntry[]) => [...planPieces(entries, 0, about)].map(({ size }) => size);

    test.each([0, 1])('of small and large files, tree %i', (seed) => {
      const random = seededRandom(seed);
      const upTo = () => random.one([100, about, 5 * about]);
      const sizes = sizesOf(Array.from({ length: 1000 }, (_, at) => file(`${at}`, random.below(upTo()))));
      expect(Math.max(...sizes)).toBeGreaterThan(about);
      expect(Math.max(...sizes)).toBeLessThanOrEqual(largestPiece(about));
    });

    test('with the longest paths that a file system has before a large file', () => {
      const path = 'é/'.repeat(1365);
      const entries = [file('a', about / 4 - 1024), symlink(`${path}b`, path), file(`${path}c`, about), file('d', 9)];
      expect(Math.max(...sizesOf(entries))).toBeLessThanOrEqual(largestPiece(about));
    });

    test('and of small files no larger than that', () => {
      const sizes = sizesOf(Array.from({ length: 1000 }, (_, at) => file(`${at}`, about / 100 + at)));
      expect(sizes.length).toBeGreaterThan(9);
      for (const size of sizes.slice(0, -1)) expect(size).toBeLessThanOrEqual(about);
    });
  },
);

/** Trees as they are met. */
const trees: Readonly<Record<string, (random: Random) => PlannedEntry[]>> = {
  'numbered files': (random) =>
    Array.from({ length: 500 }, (_, at) => file(`data/part-${String(at).padStart(5, '0')}.bin`, random.below(16_000))),
  'files named by what is in them': (random) =>
    Array.from({ length: 500 }, () => file(`assets/${random.bytes(16).toString('hex')}.js`, random.below(16_000))),
  'packages with the same files': (random) =>
    Array.from({ length: 120 }, (_, at) => `node_modules/package-${at}`).flatMap((name) => [
      directory(name),
      ...['index.js', 'license', 'package.json', 'readme.md'].map((own) =>
        file(`${name}/${own}`, random.below(20_000)),
      ),
    ]),
  'a few large files among small ones': (random) =>
    Array.from({ length: 400 }, (_, at) => file(`bin/${at}`, at % 50 === 0 ? 300_000 + at : random.below(12_000))),
};

const sortedTree = (make: (random: Random) => PlannedEntry[], seed: number): PlannedEntry[] =>
  make(seededRandom(seed)).sort((a, b) => compareNames(a.name, b.name));

type Change = (entry: PlannedEntry) => PlannedEntry[];

const changes: Readonly<Record<string, Change>> = {
  'of another size': ({ name, size = 0 }) => [file(name, size + 700)],
  'of another mode': (entry) => [{ ...entry, mode: 0o751 }],
  added: (entry) => [entry, file(`${entry.name}+`, 1234)],
  'that is large added': (entry) => [entry, file(`${entry.name}+`, 3 * target + 77)],
  removed: () => [],
  renamed: ({ name, size = 0 }) => [file(`${name}~`, size)],
};

const cases = Object.keys(trees).flatMap((tree) => Object.keys(changes).map((change) => [tree, change] as const));

describe('a change is one of the pieces around it', () => {
  test.each(cases)('%s: an entry %s', (tree, change) => {
    const entries = sortedTree(trees[tree] as (typeof trees)[string], 1);
    const before = keysOf(entries);
    expect(before.length).toBeGreaterThan(20);
    const random = seededRandom(2);
    let made = 0;
    const rounds = 15;
    for (let round = 0; round < rounds; round++) {
      const at = random.below(entries.length);
      const changed = entries.flatMap((entry, own) => (own === at ? (changes[change] as Change)(entry) : [entry]));
      const after = keysOf(changed);
      const known = new Set(before);
      const start = after.findIndex((key) => !known.has(key));
      const end = after.findLastIndex((key) => !known.has(key));
      // What is before it and behind it is the same, in the same order.
      const keptBefore = after.slice(0, Math.max(0, start));
      const keptBehind = after.slice(end + 1);
      expect(keptBefore).toEqual(before.slice(0, keptBefore.length));
      expect(keptBehind).toEqual(before.slice(before.length - keptBehind.length));
      made += end - Math.max(0, start) + 1;
      expect(end - start).toBeLessThan(before.length / 2);
    }
    expect(made / rounds).toBeLessThan(change === 'that is large added' ? 8 : 4);
  });

  test('in a large file, of its last piece alone where it grows', () => {
    const around = (size: number) => keysOf([file('a', 100), file('large', size), file('z', target)]);
    const [before, after] = [around(6 * target + 1000), around(6 * target + 9000)];
    expect(after.length).toBe(before.length);
    const changed = after.flatMap((key, at) => (key === before[at] ? [] : [at]));
    // The first has the header, with the size.
    expect(changed).toEqual([0, 6]);
  });

  test('where something else comes first, it is soon cut as before', () => {
    for (const [name, make] of Object.entries(trees)) {
      const entries = sortedTree(make, 3);
      const before = keysOf(entries);
      for (const seed of [4, 5, 6, 7, 8]) {
        const first = randomTree(seed, 40).map((entry) => ({ ...entry, name: `!${entry.name}` }));
        const after = new Set(keysOf([...first, ...entries]));
        const lost = before.filter((key) => !after.has(key)).length;
        expect({ name, lost: Math.min(lost, 9) }).toEqual({ name, lost });
        expect(before.slice(lost).every((key) => after.has(key))).toBe(true);
      }
    }
  });
});

describe('the key of a piece', () => {
  const entries = [directory('a'), file('a/b', 3 * target), symlink('a/l', 'b'), link('a/m', 'a/b'), file('a/z', 10)];
  const replaced = (name: string, by: Partial<PlannedEntry>) =>
    entries.map((entry) => (entry.name === name ? ({ ...entry, ...by } as PlannedEntry) : entry));

  test('is the same for the same entries, whatever is in their files and wherever they lie', () => {
    const elsewhere = entries.map((entry) => {
      if (entry.source === undefined) return { ...entry };
      const { size } = entry.source;
      const source = { path: '/elsewhere', follow: true, size, mtimeMs: 5, ctimeMs: 6, ino: 7, dev: 8 };
      return { ...entry, source, content: () => new Uint8Array(size) };
    });
    expect(keysOf(elsewhere as PlannedEntry[])).toEqual(keysOf(entries));
  });

  test.each<[what: string, changed: PlannedEntry[]]>([
    ['a mode', replaced('a/z', { mode: 0o600 })],
    ['a user', replaced('a/z', { uid: 1 })],
    ['a group', replaced('a/z', { gid: 1 })],
    ['a size', replaced('a/z', file('a/z', 11))],
    ['a name', replaced('a/z', { name: 'a/y' })],
    ['the text of a symbolic link', replaced('a/l', { linkname: 'c' })],
    ['the name that a link leads to', replaced('a/m', { linkname: 'a/c' })],
    ['a kind', replaced('a/m', { type: 'symlink' })],
    ['an entry more', [...entries, directory('b')]],
    ['an entry less', entries.slice(0, -1)],
    ['the order', entries.toReversed()],
  ])('is another where %s differs', (_, changed) => {
    expect(keysOf(changed).at(-1)).not.toBe(keysOf(entries).at(-1));
  });

  test('is another for another time', () => {
    const known = new Set(keysOf(entries));
    const headed = plan(entries, 1).filter(({ bytes }) => bytes.length > 0);
    expect(headed.length).toBeGreaterThan(1);
    expect(headed.filter(({ key }) => known.has(key))).toEqual([]);
  });

  test('tells parts of a file from others', () => {
    const of = (name: string, size: number) => plan([file(name, size)]).filter(({ bytes }) => bytes.length === 0);
    const [one, other] = [of('a', 5 * target), of('b', 5 * target)];
    expect(one).toHaveLength(3);
    expect(new Set([...one, ...other].map(({ key }) => key)).size).toBe(6);
    expect(of('a', 9 * target).slice(0, 3)).toEqual(
      one.map((piece) => ({ ...piece, files: [expect.objectContaining({ length: target })] })),
    );
  });
});
