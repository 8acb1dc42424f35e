import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  bytesBlob,
  type Digest,
  digestOf,
  type LayerEncoder,
  type LayerEntry,
  LayerSourceError,
  layerEncoder,
  layoutWriter,
  listFiles,
  mediaTypes,
  tarOf,
  unzstd,
  writeLayer,
} from '../../src';
import type { BlobSink } from '../../src/blob';
import { type Compression, type PieceThreads, pieceThreads, type StoredPiece } from '../../src/compression';
import { type PieceMemory, writeEntries } from '../../src/layer/write-entries';
import { collect, failureOf, memorySink, noise, repository, run, temporaryDirectory, writeFiles } from '../fixtures';

/** The same on every machine: text that compresses to a part of itself. */
function text(length: number): Buffer {
  const lines = Buffer.alloc(length);
  for (let at = 0, line = 0; at < length; line++) at += lines.write(`${line}: ${line ** 3} times around\n`, at);
  return lines;
}

/** Large, small and empty files, links and long names: several pieces of each compression. */
function sources(): string {
  const small = Array.from({ length: 150 }, (_, at) => [`share/${at}/n${'n'.repeat(at)}`, text(10 * at)] as const);
  const source = writeFiles(temporaryDirectory(), {
    ...Object.fromEntries(small),
    'bin/exact': text(2 * 2 ** 20),
    'bin/large': text(5 * 2 ** 20 + 123),
    'bin/noise': noise(300_000),
    'etc/empty': '',
    'etc/日本語/🚀': 'x',
  });
  mkdirSync(join(source, 'var'));
  symlinkSync('../bin/large', join(source, 'etc/link'));
  linkSync(join(source, 'bin/noise'), join(source, 'bin/same'));
  return source;
}

let entries: readonly LayerEntry[] = [];
let tar: Buffer = Buffer.alloc(0);
beforeAll(async () => {
  entries = await listFiles({ from: [sources()], mode: 'preserve', owner: { uid: 1000, gid: 2_000_000 } });
  // What the umask of a machine makes of modes is no part of what is compared with digests.
  entries = entries.map((entry) => ({ ...entry, mode: entry.type === 'directory' ? 0o755 : 0o644 }));
  tar = await collect(tarOf(entries));
});

/** Runs with threads that are ended. */
async function withThreads<T>(lanes: number, action: (threads: PieceThreads) => Promise<T>): Promise<T> {
  const threads = pieceThreads(lanes);
  try {
    return await action(threads);
  } finally {
    await threads.end();
  }
}

const write = (encoder: LayerEncoder, own = entries, lanes = 2) =>
  withThreads(lanes, (threads) => writeEntries(own, memorySink, encoder, { threads }));

const unpack: Readonly<Record<Compression, (bytes: Buffer) => Promise<Buffer>>> = {
  gzip: async (bytes) => gunzipSync(bytes),
  zstd: (bytes) => collect(unzstd(bytesBlob(bytes).open())),
  none: async (bytes) => bytes,
};

/** These change only with the format, and then all layers of all users do. */
const digests: readonly [Compression, string, Digest][] = [
  ['gzip', mediaTypes.layerGzip, 'sha256:bdde81246c28af41678a2b3ea6b606d4ca30eb5d26c828912993b1c7e5b5297e'],
  ['zstd', mediaTypes.layerZstd, 'sha256:c8661324e58f6951ae2b9e9adc4b80581f003fc6e48587eb24ef7ecb0041b821'],
  ['none', mediaTypes.layer, 'sha256:9489b40cb210c51c33611dd9dd3558269c8289a4ec391ffd85473f86d93540fd'],
];

describe.each(digests)('a layer with %s', (compression, mediaType, digest) => {
  const encoder = layerEncoder(compression);

  test.each([1, 2, 5])('has the same bytes on every machine, on %i threads', async (lanes) => {
    const { descriptor } = await write(encoder, entries, lanes);
    expect(descriptor).toEqual({ mediaType, digest, size: expect.any(Number) });
  });

  test('unpacks to the tar file', async () => {
    const { descriptor, diffId, blob } = await write(encoder);
    const bytes = await collect(blob.open());
    expect(descriptor).toEqual({ mediaType, digest: digestOf(bytes), size: bytes.length });
    expect((await unpack[compression](bytes)).equals(tar)).toBe(true);
    expect(diffId).toBe(digestOf(tar));
  });

  test('has the time that it is given', async () => {
    const mtime = 1_700_000_000;
    const few = entries.slice(-3);
    const layer = await withThreads(1, (threads) => writeEntries(few, memorySink, encoder, { threads, mtime }));
    expect(layer.diffId).toBe(digestOf(await collect(tarOf(few, mtime))));
    expect(layer.diffId).not.toBe((await write(encoder, few)).diffId);
  });

  test('may be empty', async () => {
    const { diffId, blob } = await write(encoder, []);
    const bytes = await unpack[compression](await collect(blob.open()));
    expect(bytes.equals(Buffer.alloc(1024))).toBe(true);
    expect(diffId).toBe(digestOf(bytes));
  });

  test('tells of each byte of the tar file, as it comes', async () => {
    const told: number[] = [];
    const onBytes = (bytes: number) => void told.push(bytes);
    await withThreads(2, (threads) => writeEntries(entries, memorySink, encoder, { threads, onBytes }));
    expect(told.length).toBeGreaterThan(2);
    expect(told.reduce((sum, bytes) => sum + bytes, 0)).toBe(tar.length);
  });

  test('of entries with content in memory is what a layer writer makes', async () => {
    const content = text(3_000_000);
    const own: LayerEntry = { name: 'zz', type: 'file', mode: 0o644, uid: 0, gid: 0, size: content.length };
    const mixed = [...entries.slice(-3), { ...own, content: () => content }];
    const [layer, expected] = [await write(encoder, mixed), await writeLayer(tarOf(mixed), memorySink, encoder)];
    expect(layer).toEqual({ ...expected, blob: expect.anything() });
    expect(layer.diffId).toBe(digestOf(await collect(tarOf(mixed))));
  });

  test.each([1, 3])('reads no further ahead than twice its threads: %i', async (lanes) => {
    const directory = writeFiles(temporaryDirectory(), { file: '' });
    truncateSync(join(directory, 'file'), 40 * 2 ** 20);
    const listed = await listFiles({ from: [directory] });
    await withThreads(lanes, async (threads) => {
      let begun = 0;
      const counted: PieceThreads = {
        ...threads,
        make: (task) => {
          begun++;
          return threads.make(task);
        },
      };
      const ahead: number[] = [];
      const sink: BlobSink = {
        write: async (chunks) => {
          let taken = 0;
          for await (const { length } of chunks) if (length > 100) ahead.push(begun - taken++);
          return memorySink.write(tarOf([]));
        },
      };
      await writeEntries(listed, sink, encoder, { threads: counted });
      expect(Math.max(...ahead)).toBe(2 * lanes);
      expect(begun).toBe(ahead.length);
    });
  });
});

describe('a level', () => {
  test.each<[Compression, number]>([
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((level): [Compression, number] => ['gzip', level]),
    ...[1, 3, 12, 19].map((level): [Compression, number] => ['zstd', level]),
  ])('of %s: %i', async (compression, level) => {
    const few = entries.slice(-160);
    const { diffId, blob } = await write(layerEncoder(compression, { level }), few, 1);
    const unpacked = await unpack[compression](await collect(blob.open()));
    expect(unpacked.equals(await collect(tarOf(few)))).toBe(true);
    expect(diffId).toBe(digestOf(unpacked));
  });

  test.each<Compression>(['gzip', 'zstd'])('of %s matters', async (compression) => {
    const few = entries.slice(-100);
    const at = async (level: number) => (await write(layerEncoder(compression, { level }), few, 1)).descriptor;
    const [fastest, smallest] = [await at(1), await at(9)];
    expect(smallest.size).toBeLessThan(fastest.size);
  });
});

test('an encoder of another kind gets the tar file as a stream', async () => {
  const mirror: LayerEncoder = {
    mediaType: 'application/vnd.example.mirror',
    encode: async function* (bytes) {
      for await (const chunk of bytes) yield chunk.map((byte) => byte ^ 0xff);
    },
  };
  const { descriptor, diffId, blob } = await write(mirror);
  const bytes = await collect(blob.open());
  expect(descriptor.mediaType).toBe(mirror.mediaType);
  expect(tar.equals(bytes.map((byte) => byte ^ 0xff))).toBe(true);
  expect(diffId).toBe(digestOf(tar));
});

describe('no thread is started for a small layer', () => {
  const refusing: PieceThreads = {
    lanes: 1,
    make: () => Promise.reject(new Error('a thread was asked')),
    end: async () => undefined,
  };

  test.each<[Compression, number, boolean]>([
    ['gzip', 2 * 2 ** 20, true],
    ['gzip', 2 * 2 ** 20 + 1, false],
    ['none', 2 * 2 ** 20, true],
    ['none', 2 * 2 ** 20 + 1, false],
    ['zstd', 1, false],
  ])('%s, %i bytes: %s', async (compression, size, isSmall) => {
    const listed = await listFiles({ from: [writeFiles(temporaryDirectory(), { file: text(size) })] });
    const encoder = layerEncoder(compression);
    const written = writeEntries(listed, memorySink, encoder, { threads: refusing }).catch(({ message }) => message);
    const onThreads = await write(encoder, listed);
    expect(await written).toEqual(isSmall ? { ...onThreads, blob: expect.anything() } : 'a thread was asked');
  });
});

describe('what is remembered of pieces', () => {
  /** What a build remembered, with the file of its layer. */
  async function remembered(compression: Compression) {
    const pieces = new Map<string, StoredPiece[]>();
    const path = join(temporaryDirectory(), 'blob');
    const memory: PieceMemory = {
      recall: () => [],
      learn: (key, piece) => void pieces.set(key, [{ ...piece, path }]),
    };
    const encoder = layerEncoder(compression);
    const layer = await withThreads(2, (threads) => writeEntries(entries, memorySink, encoder, { threads, memory }));
    const bytes = await collect(layer.blob.open());
    writeFileSync(path, bytes);
    return { pieces, path, bytes, encoder, layer };
  }

  test.each<Compression>(['gzip', 'zstd'])('is where in the layer they lie: %s', async (compression) => {
    const { pieces, bytes } = await remembered(compression);
    const found = [...pieces.values()].flat();
    expect(found.length).toBeGreaterThan(2);
    let start = compression === 'gzip' ? 10 : 0;
    for (const piece of found) {
      expect(piece.start).toBe(start);
      start += piece.length;
    }
    // What is behind them is gzip's own: an empty block and the trailer.
    expect(bytes.length - start).toBe(compression === 'gzip' ? 10 : 0);
  });

  test.each<Compression>(['gzip', 'zstd'])(
    'is offered for the same pieces, and changes no byte: %s',
    async (compression) => {
      const { pieces, path, encoder, layer } = await remembered(compression);
      const offered: (readonly StoredPiece[] | undefined)[] = [];
      const learned: typeof pieces = new Map();
      const memory: PieceMemory = {
        recall: (key) => pieces.get(key) ?? [],
        learn: (key, piece) => void learned.set(key, [{ ...piece, path }]),
      };
      const again = await withThreads(2, (threads) => {
        const make: PieceThreads['make'] = (task) => {
          offered.push(task.known);
          return threads.make(task);
        };
        return writeEntries(entries, memorySink, encoder, { threads: { ...threads, make }, memory });
      });
      expect(again).toEqual({ ...layer, blob: expect.anything() });
      expect(offered).toEqual([...pieces.values()]);
      expect(learned).toEqual(pieces);
    },
  );

  test('is nothing where nothing is compressed, and pieces have no names', async () => {
    const named: boolean[] = [];
    const learned: string[] = [];
    const memory: PieceMemory = { recall: () => [], learn: (key) => void learned.push(key) };
    await withThreads(1, (threads) => {
      const make: PieceThreads['make'] = (task) => {
        named.push(task.isNamed);
        return threads.make(task);
      };
      return writeEntries(entries, memorySink, layerEncoder('none'), { threads: { ...threads, make }, memory });
    });
    expect(new Set(named)).toEqual(new Set([false]));
    expect(learned).toEqual([]);
  });
});

/** Many files, of which one in the middle is no longer what it was listed as. */
async function changedInTheMiddle(size: number) {
  const content = text(size);
  const files = Object.fromEntries(Array.from({ length: 90 }, (_, at) => [`file-${at + 10}`, content]));
  const source = writeFiles(temporaryDirectory(), files);
  const listed = await listFiles({ from: [source] });
  const path = join(source, 'file-55');
  utimesSync(path, 1, 1);
  return { listed, path };
}

describe('a layer that fails', () => {
  test.each<[string, Compression, number]>([
    ['on threads', 'gzip', 200_000],
    ['on threads', 'zstd', 200_000],
    ['on threads', 'none', 200_000],
    ['here', 'gzip', 2000],
    ['here', 'none', 2000],
  ])(
    'ACCEPTANCE 27: because a file in the middle changed, read %s (%s), leaves nothing',
    async (_, compression, size) => {
      const { listed, path } = await changedInTheMiddle(size);
      const output = join(temporaryDirectory(), 'layout');
      const writer = await layoutWriter(output);
      const { message } = await failureOf(LayerSourceError, () =>
        withThreads(2, (threads) => writeEntries(listed, writer, layerEncoder(compression), { threads })),
      );
      expect(message).toContain(`${path}: expected a file that stays as it is while it is read (${size} bytes)`);
      expect(readdirSync(output, { recursive: true })).toEqual([expect.stringMatching(/^\.nx-oci-/)]);
      await writer.close();
      expect(existsSync(output)).toBe(false);
    },
  );

  test.each<Compression>(['gzip', 'zstd', 'none'])(
    'because nobody takes it ends with that failure: %s',
    async (compression) => {
      const failure = new Error('the disk burns');
      for (const after of [0, 1, 2]) {
        const sink: BlobSink = {
          write: async (content) => {
            let taken = 0;
            for await (const _ of content) if (taken++ === after) throw failure;
            throw new Error('too few chunks');
          },
        };
        const encoder = layerEncoder(compression);
        const written = withThreads(2, (threads) => writeEntries(entries, sink, encoder, { threads }));
        await expect(written).rejects.toBe(failure);
      }
    },
  );
});

describe('the process ends by itself, and its threads with it', () => {
  let source = '';
  beforeAll(() => {
    const content = text(500_000);
    const files = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`file-${at + 10}`, content]));
    source = writeFiles(temporaryDirectory(), files);
  });

  test.each<[what: string, end: string, compression: Compression, result: object]>([
    ['when a layer is written', 'whole', 'gzip', { size: expect.any(Number) }],
    ['when a layer is written', 'whole', 'zstd', { size: expect.any(Number) }],
    ['when its reader stopped early', 'stopped', 'gzip', { size: 10 }],
    ['when its reader stopped early', 'stopped', 'zstd', { size: expect.any(Number) }],
    ['when its reader failed', 'failed', 'zstd', { failure: { name: 'Error', message: 'the disk burns' } }],
    [
      'when a file changed',
      'file-30',
      'gzip',
      {
        failure: { name: 'LayerSourceError', message: expect.stringContaining('/file-30: expected a file that stays') },
      },
    ],
  ])('%s: %s, %s', async (_, end, compression, result) => {
    const output = join(temporaryDirectory(), 'layout');
    const program = join(repository, 'test/programs/write-layer.js');
    const { code, stdout, stderr } = await run(process.execPath, [program, end, compression, source, output]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({
      ...result,
      threads: { started: expect.any(Number), left: expect.any(Number) },
    });
    expect(JSON.parse(stdout).threads.started).toBeLessThanOrEqual(2);
    expect(existsSync(output)).toBe(false);
  });
});
