import { createHash } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  type FileSources,
  type Layer,
  type LayerEntry,
  type LayoutWriter,
  layerEncoder,
  layoutWriter,
  listFiles,
} from '../../src';
import { type Compression, pieceThreads } from '../../src/compression';
import { writeEntries } from '../../src/layer/write-entries';
import { type LayerInputs, layerMemory, storedLayers } from '../../src/store/layers';
import { asOrdinaryUser, collect, memorySink, run, temporaryDirectory, writeFiles } from '../fixtures';

const threads = pieceThreads(2);
afterAll(() => threads.end());

const newStore = () => join(temporaryDirectory(), 'store');

/** Small files and a large one: more than one piece. */
function sources(text = 'one', size = 2.2 * 2 ** 20): string {
  const files = { 'bin/tool': text, 'etc/conf': 'conf', 'share/large': Buffer.alloc(size, text) };
  const source = writeFiles(temporaryDirectory(), files);
  // A time that can be put back to the nanosecond.
  for (const name of Object.keys(files)) utimesSync(join(source, name), 1_700_000_000, 1_700_000_000);
  return source;
}

interface Build {
  readonly store: string;
  readonly source: string;
  readonly place?: string;
  /** Milliseconds after the last change of a file that they were listed at: long after it by default. */
  readonly age?: number;
  /** Instead of an age. */
  readonly listedAt?: number;
  /** What the file system keeps of the time of a change. */
  readonly clock?: (ms: number) => number;
  readonly mtime?: number;
  readonly compression?: Compression;
  readonly level?: number;
  readonly mediaType?: string;
  readonly listing?: Partial<FileSources>;
  /** Takes what is built. */
  readonly sink?: LayoutWriter;
}

async function inputsOf({ source, place = 'place', age = 60_000, mtime = 0, listing, ...build }: Build) {
  const { clock = (ms: number) => ms } = build;
  const listed = await listFiles({ from: [source], ...listing });
  const entries = listed.map(({ source, ...entry }): LayerEntry => {
    return source ? { ...entry, source: { ...source, ctimeMs: clock(source.ctimeMs) } } : entry;
  });
  const changes = entries.flatMap((entry) => (entry.source ? [entry.source.mtimeMs, entry.source.ctimeMs] : []));
  const { inPieces, ...encoder } = layerEncoder(build.compression ?? 'gzip', { level: build.level ?? 1 });
  const { listedAt = Math.max(...changes) + age } = build;
  const mediaType = build.mediaType ?? encoder.mediaType;
  const encoding = inPieces ?? { compression: 'none', level: 0 };
  return { place, entries, listedAt, mtime, mediaType, encoding } satisfies LayerInputs;
}

interface Built {
  readonly layer: Layer;
  /** Whether the whole layer was taken. */
  readonly isTaken: boolean;
  /** How many of its pieces were offered what earlier builds left, and how many of these were of the same content. */
  readonly offered: number;
  readonly matching: number;
}

let writer: LayoutWriter;
beforeAll(async () => {
  writer = await layoutWriter(join(temporaryDirectory(), 'layout'));
});
afterAll(() => writer.close());

/** Builds as an image is built: what the store has is taken if it is what its digest says. */
async function build(options: Build): Promise<Built> {
  const inputs = await inputsOf(options);
  const { sink = writer } = options;
  const { layer: earlier, pieces, keep } = await layerMemory(options.store, inputs);
  const adopted = earlier && (await sink.adopt(earlier.blob, earlier.descriptor.digest).catch(() => undefined));
  if (earlier && adopted) return { layer: { ...earlier, blob: adopted }, isTaken: true, offered: 0, matching: 0 };
  let offered = 0;
  let matching = 0;
  const counted: typeof threads = {
    ...threads,
    make: async (task) => {
      const piece = await threads.make(task);
      if (task.known?.length) offered++;
      if (task.known?.some(({ content }) => content === piece.content)) matching++;
      return piece;
    },
  };
  const encoder = {
    ...layerEncoder(inputs.encoding.compression),
    mediaType: inputs.mediaType,
    inPieces: inputs.encoding,
  };
  const { mtime } = inputs;
  const layer = await writeEntries(inputs.entries, sink, encoder, { mtime, threads: counted, memory: pieces });
  await keep(layer);
  return { layer, isTaken: false, offered, matching };
}

/** What is built without a store. */
async function expected(options: Omit<Build, 'store'>): Promise<Layer> {
  const { entries, mtime, mediaType, encoding } = await inputsOf({ store: '', ...options });
  const encoder = { ...layerEncoder(encoding.compression), mediaType, inPieces: encoding };
  return writeEntries(entries, memorySink, encoder, { mtime, threads });
}

async function expectRight({ layer }: Built, options: Omit<Build, 'store'>): Promise<void> {
  const { descriptor, diffId, blob } = await expected(options);
  expect({ descriptor: layer.descriptor, diffId: layer.diffId }).toEqual({ descriptor, diffId });
  expect((await collect(layer.blob.open())).equals(await collect(blob.open()))).toBe(true);
}

const recordsIn = (store: string): string[] => {
  const places = join(store, 'layers');
  if (!existsSync(places)) return [];
  return readdirSync(places).flatMap((place) =>
    readdirSync(join(places, place)).map((name) => join(places, place, name)),
  );
};

const blobsIn = (store: string): string[] =>
  readdirSync(join(store, 'blobs/sha256')).map((name) => join(store, 'blobs/sha256', name));

const only = <T>(items: readonly T[]): T => {
  expect(items).toHaveLength(1);
  return items[0] as T;
};

describe('a layer that is built again', () => {
  test.each<Compression>(['gzip', 'zstd', 'none'])('is taken whole: %s', async (compression) => {
    const [store, source] = [newStore(), sources()];
    expect(await build({ store, source, compression })).toMatchObject({ isTaken: false, offered: 0 });
    const again = await build({ store, source, compression });
    expect(again.isTaken).toBe(true);
    await expectRight(again, { source, compression });
    expect(readdirSync(store).sort()).toEqual(['.gitignore', 'blobs', 'layers']);
  });

  test.each<Compression>(['gzip', 'zstd'])('takes the pieces that are the same: %s', async (compression) => {
    const [store, source] = [newStore(), sources('one', 5 * 2 ** 20)];
    await build({ store, source, compression });
    writeFiles(source, { 'bin/tool': 'other' });
    const again = await build({ store, source, compression });
    expect(again).toMatchObject({ isTaken: false, matching: compression === 'gzip' ? 2 : 1 });
    await expectRight(again, { source, compression });
  });

  test('takes the pieces of whichever build had them', async () => {
    const [store, source] = [newStore(), sources('one')];
    await build({ store, source });
    cpSync(sources('two'), source, { recursive: true });
    expect((await build({ store, source })).matching).toBe(0);
    for (const text of ['one', 'two', 'two', 'one']) {
      // The same content again, in files that were written anew.
      cpSync(sources(text), source, { recursive: true });
      const again = await build({ store, source });
      expect(again).toMatchObject({ isTaken: false, offered: 2, matching: 2 });
      await expectRight(again, { source });
    }
  });

  test('is known by all that is said of it', async () => {
    const [store, source] = [newStore(), sources()];
    const variants: Omit<Build, 'store'>[] = [
      { source },
      { source, mtime: 1_700_000_000 },
      { source, level: 2 },
      { source, compression: 'zstd' },
      { source, compression: 'none' },
      { source, mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip' },
      { source, listing: { mode: 'preserve' } },
      { source, listing: { mode: 0o600 } },
      { source, listing: { owner: { uid: 1, gid: 0 } } },
      { source, listing: { owner: { uid: 0, gid: 1 } } },
      { source, listing: { to: '/elsewhere' } },
      { source, listing: { exclude: ['etc'] } },
    ];
    // Two at a time: a place remembers no more than four.
    for (const one of variants) {
      for (const variant of [{ source }, one]) {
        await expectRight(await build({ store, ...variant }), variant);
        const again = await build({ store, ...variant });
        expect(again.isTaken).toBe(true);
        await expectRight(again, variant);
      }
    }
    chmodSync(join(source, 'bin/tool'), 0o755);
    expect((await build({ store, source })).isTaken).toBe(false);
  });

  test('is another in another place', async () => {
    const [store, source] = [newStore(), sources()];
    await build({ store, source });
    const other = await build({ store, source, place: 'other' });
    expect(other).toMatchObject({ isTaken: false, offered: 0 });
    await expectRight(other, { source });
  });

  test('is another for another zlib, in whole and in its pieces', async () => {
    const [store, source] = [newStore(), sources()];
    await build({ store, source });
    const { versions } = process;
    Object.defineProperty(process, 'versions', { value: { ...versions, zlib: '0.1' }, configurable: true });
    try {
      expect(await build({ store, source })).toMatchObject({ isTaken: false, offered: 0 });
    } finally {
      Object.defineProperty(process, 'versions', { value: versions, configurable: true });
    }
    expect(await build({ store, source })).toMatchObject({ isTaken: true });
  });
});

/** Changes a file and puts its time back. */
function sameTime(path: string, change: () => void): void {
  const { atimeMs, mtimeMs } = statSync(path);
  change();
  utimesSync(path, atimeMs / 1000, mtimeMs / 1000);
}

describe('a change is seen', () => {
  const tool = (source: string) => join(source, 'bin/tool');
  test.each<[string, (source: string) => void]>([
    ['content of the same size', (source) => writeFileSync(tool(source), 'two')],
    ['content of the same size and time', (source) => sameTime(tool(source), () => writeFileSync(tool(source), 'two'))],
    ['content in the middle of a large file', (source) => flipBit(join(source, 'share/large'), 2_000_000)],
    ['content of another size', (source) => appendFileSync(tool(source), '!')],
    ['an added file', (source) => writeFileSync(join(source, 'bin/added'), '')],
    ['an added directory', (source) => mkdirSync(join(source, 'var'))],
    ['a removed file', (source) => rmSync(tool(source))],
    ['a renamed file', (source) => renameSync(tool(source), join(source, 'bin/other'))],
    ['a moved directory', (source) => renameSync(join(source, 'etc'), join(source, 'bin/etc'))],
    ['a directory that is next in order as before', (source) => renameSync(join(source, 'etc'), join(source, 'etd'))],
    ['a mode', (source) => chmodSync(tool(source), 0o755)],
    [
      'a replaced file of the same size and time',
      (source) => {
        const [path, { atimeMs, mtimeMs }] = [tool(source), statSync(tool(source))];
        writeFileSync(`${path}.new`, 'two');
        utimesSync(`${path}.new`, atimeMs / 1000, mtimeMs / 1000);
        renameSync(`${path}.new`, path);
      },
    ],
    [
      'a link in place of a file',
      (source) => {
        rmSync(tool(source));
        symlinkSync('../etc/conf', tool(source));
      },
    ],
    [
      'two files that changed places',
      (source) => {
        renameSync(tool(source), `${tool(source)}.old`);
        renameSync(join(source, 'etc/conf'), tool(source));
        renameSync(`${tool(source)}.old`, join(source, 'etc/conf'));
      },
    ],
  ])('%s', async (_, change) => {
    const [store, source] = [newStore(), sources()];
    const before = await build({ store, source });
    change(source);
    const after = await build({ store, source });
    expect(after.isTaken).toBe(false);
    expect(after.layer.diffId).not.toBe(before.layer.diffId);
    await expectRight(after, { source });
  });

  test('another text of a link', async () => {
    const [store, source] = [newStore(), sources()];
    const link = join(source, 'link');
    symlinkSync('one', link);
    await build({ store, source });
    rmSync(link);
    symlinkSync('two', link);
    const after = await build({ store, source });
    expect(after.isTaken).toBe(false);
    await expectRight(after, { source });
  });

  test('not a touched file, of which the layer is the same', async () => {
    const [store, source] = [newStore(), sources()];
    await build({ store, source });
    utimesSync(tool(source), 1, 1);
    const after = await build({ store, source });
    expect(after).toMatchObject({ isTaken: false, matching: 2 });
    await expectRight(after, { source });
  });
});

describe('a file may change once more within the step of its clock', () => {
  test.each([
    [0, false],
    [1, false],
    [1999, false],
    [2000, false],
    [2001, true],
    [60_000, true],
  ])('listed %i ms after its change it is believed: %s', async (age, isTaken) => {
    const [store, source] = [newStore(), sources()];
    await build({ store, source, age });
    const again = await build({ store, source });
    expect(again.isTaken).toBe(isTaken);
    expect(again.matching).toBe(isTaken ? 0 : 2);
    // What was built again was old enough this time.
    expect((await build({ store, source, age })).isTaken).toBe(true);
    await expectRight(again, { source });
  });

  test('the change that counts is the last one, of its content or its status', async () => {
    const [store, source] = [newStore(), sources()];
    // All times but that of the status are of long ago.
    await build({ store, source, age: 1000 });
    expect((await build({ store, source })).isTaken).toBe(false);
    expect((await build({ store, source })).isTaken).toBe(true);
    const ahead = Date.now() / 1000 + 3600;
    utimesSync(join(source, 'bin/tool'), ahead, ahead);
    await build({ store, source, age: 1000 });
    expect((await build({ store, source })).isTaken).toBe(false);
    expect((await build({ store, source })).isTaken).toBe(true);
  });

  test('where times are kept in steps of two seconds, changes within one are seen', async () => {
    const [store, source] = [newStore(), sources()];
    const inSteps = (ms: number) => Math.floor(ms / 2000) * 2000;
    const found = new Set<string>();
    for (let round = 0; round < 10; round++) {
      const path = join(source, 'bin/tool');
      sameTime(path, () => writeFileSync(path, String(round)));
      const built = await build({ store, source, listedAt: Date.now(), clock: inSteps });
      await expectRight(built, { source });
      found.add(built.layer.diffId);
    }
    expect(found.size).toBe(10);
  });

  test('content in memory has no times, and is never believed', async () => {
    const store = newStore();
    const inputs = await inputsOf({ store, source: sources() });
    const entry: LayerEntry = { name: 'a', type: 'file', mode: 0o644, uid: 0, gid: 0, size: 1 };
    const encoder = layerEncoder('gzip', { level: 1 });
    for (const text of ['x', 'y']) {
      const entries = [{ ...entry, content: () => Buffer.from(text) }];
      const memory = await layerMemory(store, { ...inputs, entries });
      expect(memory.layer).toBeUndefined();
      await memory.keep(await writeEntries(entries, writer, encoder, { threads, memory: memory.pieces }));
    }
    const directory: LayerEntry = { name: 'a', type: 'directory', mode: 0o755, uid: 0, gid: 0 };
    for (const isTaken of [false, true]) {
      const memory = await layerMemory(store, { ...inputs, entries: [directory] });
      expect(memory.layer !== undefined).toBe(isTaken);
      await memory.keep(await writeEntries([directory], writer, encoder, { threads, memory: memory.pieces }));
    }
  });
});

describe('of a place the store remembers', () => {
  test('the four layers that were used last', async () => {
    const store = newStore();
    const versions = new Map(['a', 'b', 'c', 'd', 'e', 'f'].map((text) => [text, sources(text)]));
    const isTaken = async (version: string) => {
      const built = await build({ store, source: versions.get(version) as string });
      // What was used before was used longer ago.
      for (const path of recordsIn(store)) {
        const { mtimeMs } = statSync(path);
        utimesSync(path, mtimeMs / 1000 - 10, mtimeMs / 1000 - 10);
      }
      return built.isTaken;
    };
    for (const version of ['a', 'b', 'c', 'd']) expect(await isTaken(version)).toBe(false);
    for (const version of ['b', 'a', 'c']) expect(await isTaken(version)).toBe(true);
    // d makes room for e, then b for f.
    for (const version of ['e', 'f']) expect(await isTaken(version)).toBe(false);
    expect(recordsIn(store)).toHaveLength(4);
    for (const version of ['a', 'c', 'e', 'f']) expect(await isTaken(version)).toBe(true);
    expect(await isTaken('d')).toBe(false);
    expect(await isTaken('a')).toBe(false);
    expect(recordsIn(store)).toHaveLength(4);
  });

  test('the one before too: A, B, A, B', async () => {
    const [store, a, b] = [newStore(), sources('a'), sources('b')];
    const taken: boolean[] = [];
    for (const source of [a, b, a, b, a]) {
      const built = await build({ store, source });
      await expectRight(built, { source });
      taken.push(built.isTaken);
    }
    expect(taken).toEqual([false, false, true, true, true]);
  });
});

/** Changes the text of a record, and seals it as if it had been written so. */
function reseal(path: string, change: (text: string) => string): void {
  const changed = change(readFileSync(path, 'utf8').split('\n')[1] ?? '');
  const seal = createHash('sha256').update(basename(path)).update(changed).digest('hex');
  writeFileSync(path, `${seal}\n${changed}`);
}

const rewrite = (path: string, change: (record: Record<string, unknown>) => unknown): void =>
  reseal(path, (text) => JSON.stringify(change(JSON.parse(text))));

const withDescriptor = (by: Record<string, unknown>) => (path: string) =>
  rewrite(path, (record) => ({ ...record, descriptor: { ...(record.descriptor as object), ...by } }));

const zeros = `sha256:${'0'.repeat(64)}`;

function flipBit(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
  writeFileSync(path, bytes);
}

type Damage = (path: string) => unknown;

/** Puts something else in place of a file. */
const replacedBy =
  (make: (path: string) => unknown): Damage =>
  async (path) => {
    renameSync(path, `${path}.old`);
    await make(path);
  };
const becomesDirectory = replacedBy((path) => mkdirSync(path));
const becomesLink = replacedBy((path) => symlinkSync(`${path}.old`, path));
const becomesFifo = replacedBy(async (path) => expect(await run('mkfifo', [path])).toMatchObject({ code: 0 }));

describe('a damaged store gives the right bytes', () => {
  test.each<[string, Damage]>([
    ['empty', (path) => truncateSync(path, 0)],
    ['cut off', (path) => truncateSync(path, statSync(path).size - 9)],
    ['of other text', (path) => writeFileSync(path, 'no record')],
    ['of a seal alone', (path) => truncateSync(path, 65)],
    ['of one other bit', (path) => flipBit(path, 400)],
    ['without a seal', (path) => writeFileSync(path, readFileSync(path, 'utf8').split('\n')[1] ?? '')],
    ['sealed, and no JSON', (path) => reseal(path, () => 'no record')],
    ['sealed, and no object', (path) => rewrite(path, () => null)],
    ['sealed, and without pieces', (path) => rewrite(path, ({ pieces: _, ...record }) => record)],
    ['sealed, with a digest that leads out', withDescriptor({ digest: 'sha256:../../x' })],
    ['sealed, with a digest of a blob that is not there', withDescriptor({ digest: zeros })],
    ['sealed, with a size that is no number', withDescriptor({ size: '5' })],
    ['sealed, with a size that is not the blob’s', withDescriptor({ size: 5 })],
    ['sealed, with a diffID that is none', (path) => rewrite(path, (record) => ({ ...record, diffId: 'sha256:' }))],
    ['that is a directory', becomesDirectory],
    ['that is a link', becomesLink],
    ['that is a FIFO', becomesFifo],
  ])('a record %s', async (_, damage) => {
    const [store, source] = [newStore(), sources()];
    await build({ store, source });
    await damage(only(recordsIn(store)));
    const after = await build({ store, source });
    expect(after.isTaken).toBe(false);
    await expectRight(after, { source });
    writeFiles(source, { 'bin/tool': 'other' });
    await expectRight(await build({ store, source }), { source });
  });

  test.each<[string, Record<string, unknown>, offered: number]>([
    ['before the beginning', { start: -1 }, 0],
    ['behind the end', { start: 2 ** 50 }, 1],
    ['between two bytes', { start: 0.5 }, 0],
    ['that begin nowhere', { start: null }, 0],
    ['of nothing', { length: 0 }, 0],
    ['of half a byte', { length: 0.5 }, 0],
    ['of less than nothing', { length: -5 }, 0],
    ['larger than they can be', { length: 2 ** 24 + 1 }, 0],
    ['larger than memory', { length: 2 ** 52 }, 0],
    ['of another name', { stored: 'other' }, 1],
    ['that are the beginning of the first', { start: 10, length: 100 }, 1],
  ])('a record of pieces %s', async (_, by, offered) => {
    const [store, source] = [newStore(), sources()];
    await build({ store, source });
    const change = (record: Record<string, unknown>) => {
      const pieces = record.pieces as Record<string, unknown>[];
      return { ...record, pieces: pieces.map((piece) => ({ ...piece, ...by })) };
    };
    rewrite(only(recordsIn(store)), change);
    writeFiles(source, { 'bin/tool': 'other' });
    const after = await build({ store, source });
    // Memory is taken for none that can't be.
    expect(after).toMatchObject({ isTaken: false, offered });
    await expectRight(after, { source });
  });

  test('a record that was another’s', async () => {
    const [store, one, other] = [newStore(), sources('one'), sources('other')];
    await build({ store, source: one });
    const [of] = recordsIn(store);
    await build({ store, source: other });
    const path = only(recordsIn(store).filter((path) => path !== of));
    writeFileSync(path, readFileSync(of as string));
    const after = await build({ store, source: other });
    expect(after.isTaken).toBe(false);
    await expectRight(after, { source: other });
  });

  test('a record that points to another blob, which is whole', async () => {
    const [store, one, other] = [newStore(), sources('one'), sources('other')];
    const { descriptor } = (await build({ store, source: one })).layer;
    await build({ store, source: other });
    for (const path of recordsIn(store)) {
      const text = readFileSync(path, 'utf8');
      writeFileSync(
        path,
        text.replace(/"digest":"[^"]*","size":\d+/, `"digest":"${descriptor.digest}","size":${descriptor.size}`),
      );
    }
    await expectRight(await build({ store, source: other }), { source: other });
  });

  test.each<[string, Damage]>([
    ['with one other bit', (path) => flipBit(path, 5000)],
    ['cut off', (path) => truncateSync(path, 5000)],
    ['longer', (path) => appendFileSync(path, '+')],
    ['empty', (path) => truncateSync(path, 0)],
    ['that is gone', (path) => rmSync(path)],
    ['that is a directory', becomesDirectory],
    ['that is a link to nowhere', replacedBy((path) => symlinkSync('nowhere', path))],
    ['that is a link to its like', becomesLink],
    ['that is a FIFO', becomesFifo],
  ])('a blob %s', async (what, damage) => {
    const [store, source] = [newStore(), sources()];
    const first = await build({ store, source });
    const path = only(blobsIn(store));
    const unshared = readFileSync(path);
    rmSync(path);
    writeFileSync(path, unshared);
    await damage(path);
    const after = await build({ store, source });
    expect(after.isTaken).toBe(false);
    await expectRight(after, { source });
    expect(after.layer.descriptor).toEqual(first.layer.descriptor);
    // It is mended by what was built instead of it.
    expect((await build({ store, source })).isTaken).toBe(what !== 'that is a directory');
  });

  test('what is damaged goes with the next layer of its place', async () => {
    const [store, source] = [newStore(), sources()];
    await build({ store, source });
    const path = only(recordsIn(store));
    writeFileSync(`${path}x`, 'no record');
    mkdirSync(`${path}y`);
    writeFiles(source, { 'bin/tool': 'other' });
    await build({ store, source });
    expect(recordsIn(store)).toHaveLength(2);
    expect((await storedLayers(store)).map((layer) => layer.path).sort()).toEqual(recordsIn(store).sort());
  });
});

describe('without a store that can be written', () => {
  test.each<[string, () => string]>([
    ['a file in its place', () => join(writeFiles(temporaryDirectory(), { file: '' }), 'file')],
    ['a file above it', () => join(writeFiles(temporaryDirectory(), { file: '' }), 'file/store')],
    ['a file in the place of its blobs', () => writeFiles(temporaryDirectory(), { blobs: '' })],
    ['a file in the place of its records', () => writeFiles(temporaryDirectory(), { layers: '' })],
    [
      'a link to nowhere in its place',
      () => {
        const path = join(temporaryDirectory(), 'store');
        symlinkSync('nowhere', path);
        return path;
      },
    ],
  ])('with %s, layers are built', async (_, make) => {
    const [store, source] = [make(), sources()];
    for (let round = 0; round < 2; round++) {
      const built = await build({ store, source });
      expect(built.isTaken).toBe(false);
      await expectRight(built, { source });
    }
  });

  const directoriesIn = (path: string): string[] => [
    path,
    ...readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name)),
  ];

  test.each([
    ['be read only', 0o555, true],
    ['be written only', 0o333, false],
    ['not be entered', 0o666, false],
    ['neither be read nor written', 0, false],
  ])('where it may %s, layers are built', async (_, mode, isTaken) => {
    const [store, source, output] = [newStore(), sources(), temporaryDirectory()];
    await build({ store, source });
    const directories = directoriesIn(store);
    for (const path of directoriesIn(source)) chmodSync(path, 0o755);
    for (const path of [join(store, '..'), output]) chmodSync(path, 0o777);
    for (const path of directories.toReversed()) chmodSync(path, mode);
    try {
      await asOrdinaryUser(async () => {
        const sink = await layoutWriter(join(output, 'layout'));
        const built = await build({ store, source, sink });
        expect(built.isTaken).toBe(isTaken);
        await expectRight(built, { source });
        const other = await build({ store, source, sink, mtime: 1 });
        expect(other.isTaken).toBe(false);
        await expectRight(other, { source, mtime: 1 });
        await sink.close();
      });
    } finally {
      for (const path of directories) chmodSync(path, 0o755);
    }
  });
});
