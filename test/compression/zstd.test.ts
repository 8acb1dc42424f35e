import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { defaultZstdLevel, digestOf, gzip, InvalidOptionError, unzstd, zstd } from '../../src';
import { collect, failureOf, repository, run } from '../fixtures';

const blockSize = 4 * 1024 * 1024;

/** The same on every machine: text that compresses to a part of itself. */
function text(length: number): Buffer {
  const lines = Buffer.alloc(length);
  for (let at = 0, line = 0; at < length; line++) at += lines.write(`${line}: ${line ** 3} times around\n`, at);
  return lines;
}

/** The same on every machine: bytes that don't compress. */
function noise(length: number): Buffer {
  return createHash('shake256', { outputLength: length }).update('noise').digest();
}

async function* inChunks(bytes: Uint8Array, size = 256 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** What the header of a frame says: how many bytes come out of it (RFC 8878, section 3.1.1.1.4). */
function contentSize(frame: Buffer): number {
  const descriptor = frame.readUInt8(4);
  const at = descriptor & 0x20 ? 5 : 6;
  const flag = descriptor >> 6;
  if (flag === 0) return descriptor & 0x20 ? frame.readUInt8(at) : Number.NaN;
  return flag === 1 ? frame.readUInt16LE(at) + 256 : frame.readUInt32LE(at);
}

describe('O3: zstd', () => {
  test.each([0, 1, 255, 256, 70_000, blockSize - 1, blockSize, blockSize + 1, 2 * blockSize + 7])(
    '%i bytes come back, one frame for each block, with its content size',
    async (size) => {
      const content = text(size);
      const frames: Buffer[] = [];
      for await (const frame of zstd(inChunks(content))) frames.push(Buffer.from(frame));
      expect((await collect(unzstd(inChunks(Buffer.concat(frames))))).equals(content)).toBe(true);
      expect(frames.map((frame) => frame.readUInt32LE())).toEqual(frames.map(() => 0xfd2fb528));
      const sizes = Array.from({ length: Math.max(1, Math.ceil(size / blockSize)) }, (_, block) =>
        Math.min(blockSize, size - block * blockSize),
      );
      expect(frames.map(contentSize)).toEqual(sizes);
    },
  );

  test('the bytes depend neither on the threads nor on how the input comes', async () => {
    const content = Buffer.concat([text(blockSize), noise(blockSize), text(12_345)]);
    const compressed = await collect(zstd(inChunks(content)));
    for (const lanes of [1, 2, 3]) {
      expect((await collect(zstd(inChunks(content, 100_000), { lanes }))).equals(compressed)).toBe(true);
    }
    for (const size of [4093, blockSize + 1, content.length]) {
      expect((await collect(zstd(inChunks(content, size), { lanes: 2 }))).equals(compressed)).toBe(true);
    }
  });

  test('the bytes do not depend on what a thread compressed before', async () => {
    // At these levels a table of the encoder survives from one block to the next.
    for (const level of [5, 12]) {
      const content = text(500_000);
      const alone = await collect(zstd(inChunks(content), { level, lanes: 1 }));
      const behind = await collect(zstd(inChunks(Buffer.concat([noise(blockSize), content])), { level, lanes: 1 }));
      expect(behind.subarray(-alone.length).equals(alone)).toBe(true);
    }
  });

  test('the bytes are the same on every machine and every Node', async () => {
    const content = Buffer.concat([text(blockSize), noise(1000), text(blockSize)]);
    expect(digestOf(await collect(zstd(inChunks(content))))).toBe(
      'sha256:225a6d12f2f701778192ea0a0523f0aec778a84000f3a0c54050a491af6520ea',
    );
  });

  test('no other version of the encoder is installed, whose bytes might be others', () => {
    const { dependencies } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
    expect(dependencies['@cloudpss/zstd']).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test.each(Array.from({ length: 19 }, (_, level) => level + 1))('level %i comes back', async (level) => {
    const content = Buffer.concat([text(20_000), noise(100)]);
    const compressed = await collect(zstd(inChunks(content), { level }));
    expect((await collect(unzstd(inChunks(compressed)))).equals(content)).toBe(true);
    expect(compressed.length).toBeLessThan(content.length / 3);
  });

  test('another level gives other bytes, and one of them is the default', async () => {
    const content = text(300_000);
    const at = async (level?: number) => collect(zstd(inChunks(content), { level }));
    const [fastest, middle, smallest] = [await at(1), await at(), await at(19)];
    expect(middle.equals(await at(defaultZstdLevel))).toBe(true);
    expect(middle.equals(fastest)).toBe(false);
    expect(smallest.length).toBeLessThan(Math.min(fastest.length, middle.length));
  });

  test('by default it takes no more bytes than gzip', async () => {
    const content = text(1_000_000);
    const compressed = await collect(zstd(inChunks(content)));
    expect(compressed.length).toBeLessThanOrEqual((await collect(gzip(inChunks(content)))).length);
  });

  test.each([0, -1, 20, 2.5, Number.NaN])('level %d is refused before anything is read', async (level) => {
    let read = false;
    const input = (async function* () {
      read = true;
      yield Buffer.alloc(1);
    })();
    const { message } = await failureOf(InvalidOptionError, () => collect(zstd(input, { level })));
    expect(message).toBe(`compression level of zstd: expected a whole number from 1 to 19, found ${level}`);
    expect(read).toBe(false);
  });

  test('reads no further ahead than twice its threads, and no more once its reader has left', async () => {
    let taken = 0;
    let ended = false;
    const block = noise(blockSize);
    const input = (async function* () {
      try {
        for (;;) {
          taken++;
          yield block;
        }
      } finally {
        ended = true;
      }
    })();
    const frames = zstd(input, { lanes: 2 });
    for (let frame = 1; frame <= 3; frame++) {
      await frames.next();
      expect(taken).toBe(frame + 3);
    }
    await frames.return(undefined);
    expect({ taken, ended }).toEqual({ taken: 6, ended: true });
  });

  test('an error in the input is passed through as it is', async () => {
    const error = new Error('the disk is on fire');
    const input = (async function* () {
      yield text(blockSize);
      throw error;
    })();
    await expect(collect(zstd(input))).rejects.toBe(error);
  });

  test('the chunks of the input may be used again', async () => {
    const chunk = Buffer.alloc(1000);
    const refilled = async function* () {
      for (let fill = 0; fill < 5000; fill++) yield chunk.fill(fill % 256);
    };
    const expected = Buffer.concat(Array.from({ length: 5000 }, (_, fill) => Buffer.alloc(1000, fill % 256)));
    expect((await collect(unzstd(zstd(refilled(), { lanes: 2 })))).equals(expected)).toBe(true);
  });
});

/** Runs a script that knows the library, counts the threads that were started and are gone, and returns its lines. */
async function linesOf(script: string): Promise<string[]> {
  const { code, stdout, stderr } = await run(
    process.execPath,
    [
      '-e',
      `const library = require('./lib/src');
      const threads = { started: 0, ended: 0 };
      process.on('worker', (thread) => {
        threads.started++;
        thread.on('exit', () => threads.ended++);
      });
      const say = (what) => console.log(what, threads.started, threads.ended);
      const block = Buffer.alloc(4 * 1024 * 1024);
      async function* blocks(count, failure) {
        for (let left = count; left > 0; left--) yield block;
        if (failure) throw new Error(failure);
      }
      async function outcome(bytes, wanted = Infinity) {
        try {
          for await (const _ of bytes) if (--wanted <= 0) return 'early';
          return 'whole';
        } catch (error) {
          return error.message;
        }
      }
      (async () => { ${script} })();`,
    ],
    { cwd: repository },
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trim().split('\n');
}

describe('the threads', () => {
  test('are no more than blocks and lanes, and gone at the end, after a failure and after an early return', async () => {
    const lines = await linesOf(`
      const { zstd } = library;
      say(await outcome(zstd(blocks(6), { lanes: 3 })));
      say(await outcome(zstd(blocks(1), { lanes: 3 })));
      say(await outcome(zstd(blocks(6), { lanes: 2 }), 1));
      say(await outcome(zstd(blocks(2, 'input'), { lanes: 2 })));
      say(await outcome(zstd(blocks(6), { level: 99 })));
      zstd(blocks(6));
      say('never read');
    `);
    expect(lines).toEqual([
      'whole 3 3',
      'whole 4 4',
      'early 6 6',
      'input 8 8',
      'compression level of zstd: expected a whole number from 1 to 19, found 99 8 8',
      'never read 8 8',
    ]);
  });

  test('do not keep a process alive whose reader never comes back', async () => {
    expect(await linesOf(`await library.zstd(blocks(20), { lanes: 2 }).next(); say('left');`)).toEqual(['left 2 0']);
  });

  test('are not started, nor is zstd loaded, by a build with gzip', async () => {
    const lines = await linesOf(`
      const sink = { write: async (content) => { for await (const _ of content); return { digest: 'sha256:' + '0'.repeat(64), size: 0 }; } };
      await library.writeLayer(blocks(2), sink, library.layerEncoder('gzip'));
      await outcome(library.gunzip(library.gzip(blocks(2))));
      say(Object.keys(require.cache).filter((path) => path.includes('cloudpss')).length);
    `);
    expect(lines).toEqual(['0 0 0']);
  });

  test.each([1, 2])('that fail say so, whichever of them it is: %i', async (failing) => {
    // As Node does it for a thread that has no memory for its work.
    const lines = await linesOf(`
      process.on('worker', (thread) => {
        if (threads.started === ${failing}) thread.once('online', () => thread.emit('error', new Error('out of memory')));
      });
      say(await outcome(library.zstd(blocks(6), { lanes: 2 })));
    `);
    expect(lines).toEqual(['out of memory 2 2']);
  });
});
