import {
  appendFileSync,
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  asImage,
  digestOf,
  fileBlob,
  gunzip,
  type LayoutWriter,
  layoutWriter,
  mediaTypes,
  parsePlatform,
  readLayout,
  verifyLayout,
} from '../../src';
import { type BuiltImage, buildImage } from '../../src/actions/build-image';
import { type LayerContext, layerBuilder } from '../../src/actions/build-layer';
import type { ImageOptions } from '../../src/actions/image-options';
import { type Compression, type PieceThreads, pieceThreads } from '../../src/compression';
import {
  asOrdinaryUser,
  canReflink,
  collect,
  commandFile,
  expectSuccess,
  memorySink,
  nxOci,
  repository,
  run,
  runAll,
  snapshot,
  tarListing,
  temporaryDirectory,
  writeFiles,
} from '../fixtures';
import { type Random, seededRandom } from '../soak/random';

const newStore = () => join(temporaryDirectory(), 'store');

const threads = pieceThreads(2);
afterAll(() => threads.end());

/** Bytes that compress quickly, and that are others for each text. */
const filled = (size: number, text: string | number): Buffer => Buffer.alloc(size, `${text} and so on; `);

/** The regular files and the directories below a directory, by path. */
function listing(directory: string): { files: string[]; directories: string[]; links: string[] } {
  const all = readdirSync(directory, { recursive: true, withFileTypes: true });
  const paths = (kind: 'isFile' | 'isDirectory' | 'isSymbolicLink') =>
    all.filter((entry) => entry[kind]()).map((entry) => join(entry.parentPath, entry.name));
  return {
    files: paths('isFile').sort(),
    directories: paths('isDirectory').sort(),
    links: paths('isSymbolicLink').sort(),
  };
}

type Edit = (directory: string, random: Random) => void;

const isLarge = (path: string): boolean => basename(path) === 'large';

const small = (directory: string, random: Random): string =>
  random.one(listing(directory).files.filter((path) => !isLarge(path)));

/** Changes a file and puts its time back. */
function atTheSameTime(path: string, change: () => void): void {
  const { atime, mtime } = statSync(path);
  change();
  utimesSync(path, atime, mtime);
}

/** Waits until what is below a directory is old enough for its times to be believed. */
async function settled(directory: string): Promise<void> {
  const changes = listing(directory).files.map((path) => statSync(path).ctimeMs);
  await setTimeout(Math.max(0, Math.max(...changes) + 2010 - Date.now()));
}

let counter = 0;
const other = (size: number): Buffer => filled(size, ++counter);

const edits: Readonly<Record<string, Edit>> = {
  'content of the same size': (directory, random) => {
    const path = small(directory, random);
    writeFileSync(path, other(statSync(path).size));
  },
  'content of the same size and time': (directory, random) => {
    const path = small(directory, random);
    atTheSameTime(path, () => writeFileSync(path, other(statSync(path).size)));
  },
  'content of another size': (directory, random) => writeFileSync(small(directory, random), other(random.below(5000))),
  'an added file': (directory, random) =>
    writeFileSync(join(dirname(small(directory, random)), `added-${++counter}`), other(random.below(3000))),
  'a removed file': (directory, random) => {
    if (listing(directory).files.length > 10) rmSync(small(directory, random));
  },
  'a renamed file': (directory, random) => {
    const path = small(directory, random);
    renameSync(path, join(dirname(path), `renamed-${++counter}`));
  },
  'another mode': (directory, random) => {
    const path = small(directory, random);
    chmodSync(path, statSync(path).mode ^ 0o111);
  },
  'a touched file': (directory, random) => utimesSync(small(directory, random), counter, ++counter),
  'a file replaced by one of the same size and time': (directory, random) => {
    const path = small(directory, random);
    const { size, atime, mtime } = statSync(path);
    writeFileSync(`${path}.new`, other(size));
    utimesSync(`${path}.new`, atime, mtime);
    renameSync(`${path}.new`, path);
  },
  'two files that change places': (directory, random) => {
    const [one, two] = [small(directory, random), small(directory, random)];
    renameSync(one, `${one}.moved`);
    if (one !== two) renameSync(two, one);
    renameSync(`${one}.moved`, two);
  },
  'the middle of a large file': (directory, random) => {
    const path = listing(directory).files.find(isLarge);
    if (path === undefined) return edits['content of the same size']?.(directory, random);
    const change = () => {
      const file = openSync(path, 'r+');
      writeSync(file, other(100), 0, 100, random.below(statSync(path).size - 100));
      closeSync(file);
    };
    if (random.below(2) === 0) change();
    else atTheSameTime(path, change);
  },
  'another end of a large file': (directory, random) => {
    const path = listing(directory).files.find(isLarge);
    if (path === undefined) return edits['an added file']?.(directory, random);
    if (random.below(2) === 0) appendFileSync(path, other(random.below(9000)));
    else truncateSync(path, statSync(path).size - random.below(5000));
  },
  'a moved directory': (directory, random) => {
    const path = random.one(listing(directory).directories);
    renameSync(path, join(dirname(path), `moved-${++counter}`));
  },
  'an added directory': (directory) => mkdirSync(join(directory, `added-${++counter}`)),
  'another link': (directory, random) => {
    const path = random.one([...listing(directory).links, join(directory, `link-${++counter}`)]);
    rmSync(path, { force: true });
    symlinkSync(`to-${++counter}`, path);
  },
  'content that was there before': (directory, random) => {
    const [path, copy] = [small(directory, random), join(directory, '..', '..', 'copy')];
    if (existsSync(copy)) copyFileSync(copy, path);
    copyFileSync(small(directory, random), copy);
  },
};

/** Three layers: one that changes often, one with a large file, and one that seldom changes. */
function workspace(large: number): string {
  const root = join(temporaryDirectory(), 'workspace');
  const files = (layer: string, count: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, at) => [`${layer}/${at % 5}/file-${at}`, filled(40 + at * 37, layer + at)]),
    );
  const contents = { ...files('often', 30), ...files('data', 40), ...files('seldom', 20) };
  writeFiles(root, { ...contents, 'data/large': filled(large, 'large') });
  // Times that can be put back to the nanosecond.
  for (const path of listing(root).files) utimesSync(path, 1_700_000_000, 1_700_000_000);
  return root;
}

const platform = parsePlatform('linux/amd64');

/** How much was taken from the store. */
interface Reused {
  layers: number;
  pieces: number;
}

/** Takes layers as a layout does, but for the waiting for the disk. */
function quickSink(writer: LayoutWriter, reused: Reused): LayerContext['sink'] {
  const directory = temporaryDirectory();
  return {
    write: async (content) => {
      const bytes = await collect(content);
      const digest = digestOf(bytes);
      const path = join(directory, String(++counter));
      writeFileSync(path, bytes);
      return { digest, size: bytes.length, blob: fileBlob(path, bytes.length, digest) };
    },
    adopt: async (file, digest) => {
      const adopted = await writer.adopt(file, digest);
      reused.layers++;
      return adopted;
    },
  };
}

/** A layer as a build makes it: its descriptor and its diffID. */
async function layerOf(name: string, compression: Compression, context: Omit<LayerContext, 'options' | 'mtime'>) {
  const build = layerBuilder({ ...context, options: { compression, compressionLevel: 1 }, mtime: 0 });
  const [built, ...more] = await build({ from: name }, platform, mediaTypes.imageManifest);
  expect(more).toEqual([]);
  return { descriptor: built?.layer.descriptor, diffId: built?.layer.diffId };
}

/** Threads that count the pieces that are what an earlier build left. */
const counting = (reused: Reused): PieceThreads => ({
  ...threads,
  make: async (task) => {
    const piece = await threads.make(task);
    if (task.known?.some(({ content }) => content === piece.content)) reused.pieces++;
    return piece;
  },
});

describe('random edits: with the store a build gives what it gives without', () => {
  test.each<[Compression, rounds: number, large: number]>([
    ['gzip', 150, 2_200_000],
    ['zstd', 30, 4_400_000],
    ['none', 20, 100_000],
  ])('%s, %i edits', async (compression, rounds, large) => {
    const [root, store, output] = [workspace(large), newStore(), join(temporaryDirectory(), 'layout')];
    const writer = await layoutWriter(output);
    const reused: Reused = { layers: 0, pieces: 0 };
    const sink = quickSink(writer, reused);
    const random = seededRandom(rounds);
    const expected = new Map<string, unknown>();
    const without = { root, output, threads, sink: { ...memorySink, adopt: writer.adopt } };
    const expectRight = async (name: string, what: string) => {
      const found = await layerOf(name, compression, { root, output, store, sink, threads: counting(reused) });
      expect({ what, name, ...found }).toEqual({ what, name, ...(expected.get(name) as object) });
    };
    const names = ['often', 'data', 'seldom'];
    const often = [...Array(7).fill('often'), 'data', 'data', 'data', 'seldom'];
    for (const name of names) expected.set(name, await layerOf(name, compression, without));
    const editOne = async (name: string, what: string) => {
      // Without a build in between, some edits follow right after each other.
      for (let count = 1 + random.below(2); count > 0; count--) edits[what]?.(join(root, name), random);
      expected.set(name, await layerOf(name, compression, without));
      await expectRight(name, what);
    };
    for (let round = 1; round <= rounds; round++) {
      await editOne(random.one(often), random.one(Object.keys(edits)));
      if (random.below(3) === 0) await expectRight(random.one(names), 'perhaps no edit');
    }
    if (compression !== 'none') expect(reused.pieces).toBeGreaterThan(rounds / 4);
    await writer.close();
    expect(readdirSync(store).sort()).toEqual(['.gitignore', 'blobs', 'layers']);
    for (const place of readdirSync(join(store, 'layers'))) {
      expect(readdirSync(join(store, 'layers', place)).length).toBeLessThanOrEqual(4);
    }
  });

  test('an edit of each kind, of a layer that is known by its times', async () => {
    const [root, store, output] = [
      join(temporaryDirectory(), 'root'),
      newStore(),
      join(temporaryDirectory(), 'layout'),
    ];
    mkdirSync(root);
    const layers = Object.values(edits).map((edit, at) => ({ edit, name: `layer-${at}` }));
    for (const { name } of layers) renameSync(join(workspace(5000), 'data'), join(root, name));
    await settled(root);
    const writer = await layoutWriter(output);
    const reused: Reused = { layers: 0, pieces: 0 };
    const context = { root, output, sink: quickSink(writer, reused), threads };
    const random = seededRandom(1);
    for (const { name, edit } of layers) {
      const first = await layerOf(name, 'gzip', { ...context, store });
      const before = reused.layers;
      expect(await layerOf(name, 'gzip', { ...context, store })).toEqual(first);
      expect(reused.layers).toBe(before + 1);
      edit(join(root, name), random);
      expect(await layerOf(name, 'gzip', { ...context, store })).toEqual(await layerOf(name, 'gzip', context));
    }
    await writer.close();
  });

  test('edits right after each other, the time put back', async () => {
    const [root, store, output] = [workspace(100), newStore(), join(temporaryDirectory(), 'layout')];
    const writer = await layoutWriter(output);
    const path = join(root, 'often/1/file-1');
    const found: unknown[] = [];
    for (let round = 0; round < 20; round++) {
      atTheSameTime(path, () => writeFileSync(path, other(37)));
      const { diffId } = await layerOf('often', 'none', { root, output, store, sink: writer, threads });
      const without = { root, output, threads, sink: { ...memorySink, adopt: writer.adopt } };
      expect(diffId).toBe((await layerOf('often', 'none', without)).diffId);
      found.push(diffId);
    }
    expect(new Set(found).size).toBe(20);
    await writer.close();
  });
});

const options: ImageOptions = {
  layers: [{ name: 'app', from: 'app', to: '/app' }, { from: 'data' }],
  compressionLevel: 1,
  entrypoint: ['/app/run'],
};

function sources(): string {
  const root = writeFiles(temporaryDirectory(), {
    'app/run': '#!/bin/sh\n',
    'data/large': filled(2_200_000, 'large'),
    'data/small': 'small',
  });
  chmodSync(join(root, 'app/run'), 0o750);
  return root;
}

interface More {
  readonly store?: string;
  readonly epoch?: number;
  readonly options?: ImageOptions;
  readonly output?: string;
}

const build = (
  root: string,
  { output = join(temporaryDirectory(), 'image'), ...more }: More = {},
): Promise<BuiltImage> => buildImage({ options, root, output, ...more });

const blobFile = (directory: string, digest: string) => join(directory, 'blobs', digest.replace(':', '/'));

const layersOf = ({ images }: BuiltImage): string[] =>
  images.flatMap(({ layers }) => layers.map(({ digest }) => digest));

/** Sources that are old enough to be known by their times; made once, as that takes a while. */
let old = '';
let oldDigest = '';
let branches = '';
beforeAll(async () => {
  branches = temporaryDirectory();
  for (const name of ['a', 'b'])
    writeFiles(branches, { [`${name}/large`]: filled(2_200_000, name), [`${name}/x`]: name });
  old = sources();
  oldDigest = (await build(old)).digest;
  await settled(old);
});

describe('a build of what was built before', () => {
  test('shares the files of the store, and reads no source', async () => {
    const store = newStore();
    await build(old, { store });
    const context = { root: old, output: '/nowhere', mtime: 0, options: { compressionLevel: 1 }, store };
    const refuse = () => Promise.reject(new Error('nothing is to be made'));
    const writer = await layoutWriter(join(temporaryDirectory(), 'layout'));
    const made = layerBuilder({
      ...context,
      sink: { write: refuse, adopt: writer.adopt },
      threads: { lanes: 1, make: refuse, end: async () => undefined },
    });
    for (const layer of options.layers ?? []) await made(layer, platform, mediaTypes.imageManifest);
    await writer.close();

    const again = await build(old, { store });
    expect(again.digest).toBe(oldDigest);
    for (const digest of layersOf(again)) {
      const [one, two] = [statSync(blobFile(again.path, digest)), statSync(blobFile(store, digest))];
      if (!canReflink()) expect({ ino: one.ino, dev: one.dev }).toEqual({ ino: two.ino, dev: two.dev });
    }
  });

  test('does not need the store from then on', async () => {
    const store = newStore();
    await build(old, { store });
    const again = await build(old, { store });
    const before = snapshot(again.path);
    rmSync(store, { recursive: true });
    expect(snapshot(again.path)).toEqual(before);
    expect(await verifyLayout(again.path)).toMatchObject({ problems: [] });
  });

  test('takes a layer of another platform and another image of the same sources', async () => {
    const store = newStore();
    const platforms = ['linux/amd64', 'linux/arm64'];
    await build(old, { store });
    const inode = (built: BuiltImage) => layersOf(built).map((digest) => statSync(blobFile(built.path, digest)).ino);
    const [one, two] = [await build(old, { store }), await build(old, { store, options: { ...options, platforms } })];
    expect(layersOf(two)).toEqual([...layersOf(one), ...layersOf(one)]);
    if (!canReflink()) expect(inode(two)).toEqual([...inode(one), ...inode(one)]);
    expect(two.digest).toBe((await build(old, { options: { ...options, platforms } })).digest);
  });

  test('directories that change places, as branches do: A, B, A', async () => {
    const store = newStore();
    const data = (name: string) => join(branches, name);
    const own: ImageOptions = { layers: [{ from: 'data' }], compressionLevel: 1 };
    const digests: string[] = [];
    const inodes: number[] = [];
    for (const name of ['a', 'b', 'a', 'b']) {
      renameSync(data(name), data('data'));
      const built = await build(branches, { store, options: own });
      expect(built.digest).toBe((await build(branches, { options: own })).digest);
      digests.push(built.digest);
      inodes.push(statSync(blobFile(built.path, layersOf(built)[0] as string)).ino);
      renameSync(data('data'), data(name));
    }
    expect(digests[0]).not.toBe(digests[1]);
    expect(digests.slice(2)).toEqual(digests.slice(0, 2));
    if (!canReflink()) expect(inodes.slice(2)).toEqual(inodes.slice(0, 2));
  });

  test.each<[string, More, Partial<NonNullable<ImageOptions['layers']>[number]>]>([
    ['another time', { epoch: 1_700_000_000 }, {}],
    ['another level', { options: { ...options, compressionLevel: 9 } }, {}],
    ['zstd', { options: { ...options, compression: 'zstd' } }, {}],
    ['no compression', { options: { ...options, compression: 'none' } }, {}],
    ['another owner', {}, { owner: '1000' }],
    ['another mode', {}, { mode: '0600' }],
    ['the modes of the file system', {}, { mode: 'preserve' }],
    ['another place', {}, { to: '/elsewhere' }],
    ['without some files', {}, { exclude: ['small'] }],
    ['followed links', {}, { followSymlinks: true }],
  ])('is not taken for one with %s', async (_, more, layer) => {
    const store = newStore();
    await build(old, { store });
    const own = more.options ?? options;
    const changed = { ...more, options: { ...own, layers: own.layers?.map((each) => ({ ...each, ...layer })) } };
    const expected = await build(old, changed);
    for (let round = 0; round < 2; round++) {
      expect((await build(old, { ...changed, store })).digest).toBe(expected.digest);
      expect((await build(old, { store })).digest).toBe(oldDigest);
    }
    if (layer.followSymlinks === undefined) expect(expected.digest).not.toBe(oldDigest);
  });
});

describe('the store', () => {
  test('is no part of a layer whose source it lies in', async () => {
    const root = sources();
    writeFiles(root, { '.nx/other': 'x' });
    const own = {
      options: { layers: [{ from: '.' }] },
      store: join(root, '.nx/oci'),
      output: join(root, 'dist/image'),
    };
    const first = await build(root, own);
    expect(existsSync(join(root, '.nx/oci/layers'))).toBe(true);
    const second = await build(root, own);
    expect(second.digest).toBe(first.digest);
    const image = asImage(await readLayout(second.path));
    const [layer] = image.manifest.layers;
    const names = layer ? await tarListing(gunzip(image.blob(layer).open())) : [];
    expect(names.map((line) => line.split(' ').at(-1)).filter((name) => name?.startsWith('.nx'))).toEqual([
      '.nx/',
      '.nx/other',
    ]);
  });

  test('is not seen in a layer whose source it is the first to lie in', async () => {
    const root = sources();
    const own = { options: { layers: [{ from: '.' }] }, output: join(root, 'dist/image') };
    const without = (await build(root, own)).digest;
    const store = join(root, '.nx/oci');
    const digests = [await build(root, { ...own, store }), await build(root, { ...own, store })].map(
      ({ digest }) => digest,
    );
    expect(existsSync(join(store, 'layers'))).toBe(true);
    expect(digests).toEqual([without, without]);
  });

  test('may be deleted between builds', async () => {
    const store = newStore();
    for (const part of ['', 'blobs', 'layers', 'blobs/sha256', '']) {
      for (let round = 0; round < 2; round++) expect((await build(old, { store })).digest).toBe(oldDigest);
      rmSync(join(store, part), { recursive: true });
    }
    expect((await build(old, { store })).digest).toBe(oldDigest);
  });

  test('may be deleted while builds run', async () => {
    const store = newStore();
    let isBuilding = true;
    let deleted = 0;
    const deleting = (async () => {
      while (isBuilding) {
        if (existsSync(store))
          await rm(store, { recursive: true }).then(
            () => deleted++,
            () => undefined,
          );
        await setImmediate();
      }
    })();
    try {
      for (let round = 0; round < 12; round++) expect((await build(old, { store })).digest).toBe(oldDigest);
    } finally {
      isBuilding = false;
      await deleting;
    }
    expect(deleted).toBeGreaterThan(5);
  });

  test('is used by several builds of this process at once', async () => {
    const store = newStore();
    const built = await Promise.all(Array.from({ length: 6 }, () => build(old, { store })));
    expect(built.map(({ digest }) => digest)).toEqual(built.map(() => oldDigest));
    expect(readdirSync(store).sort()).toEqual(['.gitignore', 'blobs', 'layers']);
  });

  test.each<[string, () => string]>([
    ['is a file', () => join(writeFiles(temporaryDirectory(), { store: '' }), 'store')],
    ['lies below a file', () => join(writeFiles(temporaryDirectory(), { file: '' }), 'file/store')],
    ['has a file for its blobs', () => writeFiles(temporaryDirectory(), { blobs: '' })],
  ])('that %s fails no build', async (_, make) => {
    const store = make();
    for (let round = 0; round < 2; round++) expect((await build(old, { store })).digest).toBe(oldDigest);
  });

  test.each([0o555, 0o111, 0])('that may not be written (mode %i) fails no build', async (mode) => {
    const [store, root, output] = [newStore(), sources(), temporaryDirectory()];
    const { digest } = await build(root, { store });
    const places = [store, ...listing(store).directories];
    for (const path of [root, ...listing(root).directories, join(store, '..')]) chmodSync(path, 0o755);
    chmodSync(output, 0o777);
    for (const path of places.toReversed()) chmodSync(path, mode);
    try {
      const own = { store, output: join(output, 'image') };
      const [same, later] = await asOrdinaryUser(async () => [
        await build(root, own),
        await build(root, { ...own, epoch: 1 }),
      ]);
      expect(same?.digest).toBe(digest);
      expect(later?.digest).toBe((await build(root, { epoch: 1 })).digest);
    } finally {
      for (const path of places) chmodSync(path, 0o755);
    }
  });
});

/** A workspace with an options file for each of two images. */
function commands(): { root: string; file: (name: string) => string } {
  const root = sources();
  const other: ImageOptions = { ...options, layers: [{ from: 'data', to: '/data' }] };
  writeFiles(root, { 'api.json': JSON.stringify(options), 'web.json': JSON.stringify(other) });
  return { root, file: (name) => join(root, `${name}.json`) };
}

const imageArguments = (file: string) => [
  'image',
  '--options',
  file,
  '--output',
  join(temporaryDirectory(), 'image'),
  '--json',
];

describe('several processes', () => {
  test('build the same image and another one with one store at once', async () => {
    const [store, { root, file }] = [newStore(), commands()];
    const env = { NX_OCI_STORE: store };
    for (let round = 0; round < 2; round++) {
      const names = ['api', 'web', 'api'];
      const finished = await runAll(names.map((name) => () => nxOci(imageArguments(file(name)), { env })));
      for (const each of finished) expectSuccess(each);
      const digests = finished.map(({ stdout }) => JSON.parse(stdout).digest);
      const expected = await Promise.all(
        names.map(
          async (name) => (await build(root, { options: JSON.parse(readFileSync(file(name), 'utf8')) })).digest,
        ),
      );
      expect(digests).toEqual(expected);
      expect(readdirSync(store).sort()).toEqual(['.gitignore', 'blobs', 'layers']);
      writeFileSync(join(root, 'data/small'), 'other');
    }
  });

  test('that are killed leave nothing that matters', async () => {
    const { root, file } = commands();
    const { digest } = await build(root);
    // While the first layer is kept: its blob, then its record.
    const faults = [7, 9, 10, 12, 13, 15].map((at) => ({ step: 'change', at, end: 'SIGKILL' }));
    const faulty = join(repository, 'test/programs/faulty-file-system.js');
    const stores = faults.map(newStore);
    const killed = await runAll(
      faults.map((fault, nth) => () => {
        const env = { NX_OCI_STORE: stores[nth], FAULT: JSON.stringify(fault) };
        return run(process.execPath, ['--require', faulty, commandFile, ...imageArguments(file('api'))], { env });
      }),
    );
    expect(killed.map(({ signal }) => signal)).toEqual(faults.map(({ end }) => end));
    const leftovers = (store: string) =>
      (existsSync(store) ? readdirSync(store) : []).filter((name) => name.startsWith('.nx-oci-'));
    expect(stores.flatMap(leftovers).length).toBeGreaterThan(2);
    for (const store of stores) {
      for (let round = 0; round < 2; round++) expect((await build(root, { store })).digest).toBe(digest);
      // What is kept next sweeps the store.
      await build(root, { store, epoch: 1 });
      expect(leftovers(store)).toEqual([]);
    }
  });
});
