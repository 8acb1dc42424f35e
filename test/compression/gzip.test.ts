import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { type Bytes, defaultGzipLevel, digestOf, gunzip, gzip, OciError } from '../../src';
import { isGzip } from '../../src/compression';
import { collect, failureOf, repository, run, temporaryDirectory, writeFiles } from '../fixtures';

const blockSize = 512 * 1024;

/** The same on every machine: text that deflates to a part of itself. */
function text(length: number): Buffer {
  const lines = Buffer.alloc(length);
  for (let at = 0, line = 0; at < length; line++) at += lines.write(`${line}: ${line ** 3} times around\n`, at);
  return lines;
}

/** The same on every machine: bytes that don't deflate. */
function noise(length: number): Buffer {
  const key = createHash('shake256', { outputLength: length }).update('noise');
  return key.digest();
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function* chunks(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    yield part;
    await setImmediate();
  }
}

/** An endless input that knows how much of it was taken, and whether it was told that no more is wanted. */
function endless(chunk: Uint8Array) {
  const state = { taken: 0, ended: false };
  const input = (async function* () {
    try {
      for (;;) {
        state.taken++;
        yield chunk;
      }
    } finally {
      state.ended = true;
    }
  })();
  return { state, input };
}

describe('gzip', () => {
  const sizes = [0, 1, blockSize - 1, blockSize, blockSize + 1, 2 * blockSize, 3 * blockSize + 7];

  test.each(sizes)('%i bytes come back', async (size) => {
    const content = text(size);
    const compressed = await collect(gzip(inChunks(content, 64 * 1024)));
    expect(gunzipSync(compressed).equals(content)).toBe(true);
    expect((await collect(gunzip(inChunks(compressed, 64 * 1024)))).equals(content)).toBe(true);
  });

  test('the gzip program takes every size and level, text and noise', async () => {
    const files: Record<string, Uint8Array> = {};
    for (const size of sizes) files[`size-${size}.gz`] = await collect(gzip(chunks(text(size))));
    for (const level of [1, 6, 9]) files[`level-${level}.gz`] = await collect(gzip(chunks(noise(700_000)), { level }));
    const directory = writeFiles(temporaryDirectory(), files);
    expect(await run('gzip', ['-t', ...Object.keys(files)], { cwd: directory })).toMatchObject({ code: 0, stderr: '' });
  });

  test('the bytes depend neither on the lanes nor on how the input comes', async () => {
    const content = Buffer.concat([text(2 * blockSize), noise(blockSize), text(12_345)]);
    const compressed = await collect(gzip(chunks(content)));
    for (let lanes = 1; lanes <= 8; lanes++) {
      expect((await collect(gzip(inChunks(content, 100_000), { lanes }))).equals(compressed)).toBe(true);
    }
    for (const size of [97, 4096, blockSize - 1, blockSize, blockSize + 1]) {
      expect((await collect(gzip(inChunks(content, size)))).equals(compressed)).toBe(true);
    }
    const empty = Buffer.alloc(0);
    expect((await collect(gzip(chunks(empty, content, empty)))).equals(compressed)).toBe(true);
  });

  test('the bytes are the same on every machine and every Node', async () => {
    const content = Buffer.concat([text(blockSize), noise(1000), text(blockSize)]);
    expect(digestOf(await collect(gzip(chunks(content))))).toBe(
      'sha256:6589d355fc40d7dc08464fe555df029e374d640ddbf63ae051139ecbf19fc4ea',
    );
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8, 9])('level %i comes back, and level 4 is the default', async (level) => {
    const content = text(blockSize + 1000);
    const compressed = await collect(gzip(chunks(content), { level }));
    expect(gunzipSync(compressed).equals(content)).toBe(true);
    expect(compressed.equals(await collect(gzip(chunks(content))))).toBe(level === defaultGzipLevel);
  });

  test('a higher level takes fewer bytes', async () => {
    const [fast, best] = await Promise.all([1, 9].map((level) => collect(gzip(chunks(text(blockSize)), { level }))));
    expect(best?.length).toBeLessThan(fast?.length ?? 0);
  });

  test('a block refers back to the one before it', async () => {
    const repeated = noise(16 * 1024);
    const content = Buffer.concat(Array.from({ length: 128 }, () => repeated));
    expect((await collect(gzip(chunks(content)))).length).toBeLessThan(2 * repeated.length);
  });

  test('the header shows no name, no time and no machine', async () => {
    const compressed = await collect(gzip(chunks(Buffer.from('x'))));
    expect(compressed.subarray(0, 10).toString('hex')).toBe('1f8b08000000000000ff');
  });

  test('reads no further ahead than it has lanes', async () => {
    const { state, input } = endless(noise(blockSize));
    const compressed = gzip(input, { lanes: 3 });
    await compressed.next();
    expect(state.taken).toBe(0);
    for (let block = 1; block <= 3; block++) {
      await compressed.next();
      expect(state.taken).toBe(block + 2);
    }
    await compressed.return(undefined);
    expect(state).toEqual({ taken: 5, ended: true });
  });

  test('the chunks of the input may be used again', async () => {
    const chunk = Buffer.alloc(1000);
    const refilled = async function* () {
      for (let fill = 0; fill < 1200; fill++) yield chunk.fill(fill % 256);
    };
    const content = gunzipSync(await collect(gzip(refilled())));
    expect(content.every((byte, at) => byte === Math.floor(at / 1000) % 256)).toBe(true);
    expect(content.length).toBe(1_200_000);
  });
});

describe('gunzip', () => {
  const member = gzipSync('hello');

  test.each<[string, Uint8Array[], string]>([
    ['one member', [member], 'hello'],
    ['one member, byte by byte', [...member].map((byte) => Uint8Array.of(byte)), 'hello'],
    ['two members in one chunk', [Buffer.concat([member, member])], 'hellohello'],
    ['two members in two chunks', [member, member], 'hellohello'],
    ['a member of nothing between two', [member, gzipSync(''), member], 'hellohello'],
    ['members cut across chunks', [member, member].flatMap((m) => [m.subarray(0, 7), m.subarray(7)]), 'hellohello'],
  ])('%s', async (_, parts, content) => {
    expect((await collect(gunzip(chunks(...parts)))).toString()).toBe(content);
  });

  /** `member` with one byte changed, counted from its end. */
  const damaged = (fromEnd: number) => {
    const copy = Buffer.from(member);
    copy[copy.length - fromEnd] = (copy.at(-fromEnd) ?? 0) ^ 1;
    return copy;
  };

  test.each<[string, string, Uint8Array[]]>([
    ['nothing at all', 'unexpected end of file', []],
    ['a wrong CRC', 'incorrect data check', [damaged(5)]],
    ['a wrong length', 'incorrect length check', [damaged(1)]],
    ['a damaged block', 'invalid', [Buffer.from(member).fill(0xff, 10, 14)]],
    ['a second member that is cut', 'unexpected end of file', [member, member.subarray(0, -3)]],
    ['the first byte of a second member', 'unexpected end of file', [member, member.subarray(0, 1)]],
    ['text', 'incorrect header check', [Buffer.from('no gzip at all')]],
    ...(['text', '\0', '\0\0\0\0', '\x1f', '\x1f\x8b', '\0'.repeat(300_000)] as const).flatMap(
      (junk): [string, string, Uint8Array[]][] => {
        const name = `${JSON.stringify(junk.slice(0, 4))} of ${junk.length} bytes`;
        const behind = Buffer.from(junk, 'latin1');
        return [
          [`${name} behind it`, '', [Buffer.concat([member, behind])]],
          [`${name} behind it, in a chunk of its own`, '', [member, behind]],
          [`${name} behind it, in three chunks`, '', [member, behind, behind, behind]],
          [`${name} behind it, then another member`, '', [member, behind, member]],
        ];
      },
    ),
  ])('ACCEPTANCE 30: %s', async (_, reason, parts) => {
    const { message } = await failureOf(OciError, () => collect(gunzip(chunks(...parts))));
    expect(message).toMatch(/^invalid gzip stream \(.+\)$/);
    expect(message).toContain(reason);
  });

  test('ACCEPTANCE 30: padding with NUL bytes is bytes behind the end, however it comes', async () => {
    for (const parts of [[Buffer.concat([member, Buffer.alloc(9)])], [member, ...inPieces(Buffer.alloc(9))]]) {
      const { message } = await failureOf(OciError, () => collect(gunzip(chunks(...parts))));
      expect(message).toBe('invalid gzip stream (bytes behind its end)');
    }
  });

  test('ACCEPTANCE 30: truncated anywhere', async () => {
    for (let length = 0; length < member.length; length++) {
      const { message } = await failureOf(OciError, () => collect(gunzip(chunks(member.subarray(0, length)))));
      expect(message).toBe('invalid gzip stream (unexpected end of file)');
    }
  });

  test('ACCEPTANCE 30: a bomb is unpacked only as far as its reader wants', async () => {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    const { state, input } = endless(bomb);
    let unpacked = 0;
    for await (const chunk of gunzip(input)) {
      unpacked += chunk.length;
      if (unpacked > 1024 * 1024) break;
    }
    expect(unpacked).toBeLessThan(2 * 1024 * 1024);
    // What the decoder takes ahead of its reader differs between versions of Node, but not by much.
    expect(state).toEqual({ taken: expect.any(Number), ended: true });
    expect(state.taken).toBeLessThanOrEqual(3);
  });
});

describe.each<[string, (input: Bytes) => Bytes, Uint8Array]>([
  ['gzip', (input) => gzip(input, { lanes: 2 }), noise(blockSize)],
  ['gunzip', gunzip, gzipSync(noise(blockSize))],
])('%s', (_, transform, chunk) => {
  test('a reader that stops early stops the input', async () => {
    const { state, input } = endless(chunk);
    for await (const _ of transform(input)) if (state.taken > 1) break;
    const { taken } = state;
    expect(state.ended).toBe(true);
    for (let turn = 0; turn < 10; turn++) await setImmediate();
    expect(state.taken).toBe(taken);
  });

  test('an error in the input is passed through as it is', async () => {
    const error = new Error('the disk is on fire');
    const input = (async function* () {
      yield chunk;
      throw error;
    })();
    await expect(collect(transform(input))).rejects.toBe(error);
  });
});

test('neither failure nor early return leaves a rejection unhandled', async () => {
  const script = `
    const { gzip, gunzip } = require('./lib/src');
    const { gzipSync } = require('node:zlib');
    const block = Buffer.alloc(512 * 1024);
    async function* failing(chunk) { yield* [chunk, chunk, chunk]; throw new Error('input'); }
    async function* whole(chunk) { yield* [chunk, chunk, chunk]; }
    async function outcome(bytes, wanted = Infinity) {
      try {
        for await (const _ of bytes) if (--wanted <= 0) return 'early';
      } catch (error) {
        return error.code ?? error.message;
      }
    }
    (async () => {
      const wrongLevel = { level: 99, lanes: 8 };
      console.log(await outcome(gzip(failing(block), wrongLevel)), await outcome(gzip(whole(block), wrongLevel)));
      console.log(await outcome(gzip(whole(block), { lanes: 8 }), 2), await outcome(gunzip(whole(gzipSync(block))), 2));
      console.log(await outcome(gunzip(failing(gzipSync(block)))), await outcome(gunzip(whole(block))));
    })();`;
  const { code, stdout, stderr } = await run(process.execPath, ['-e', script], { cwd: repository });
  expect({ code, stderr, lines: stdout.trim().split('\n') }).toEqual({
    code: 0,
    stderr: '',
    lines: ['input ERR_OUT_OF_RANGE', 'early early', 'input invalid gzip stream (incorrect header check)'],
  });
});

test.each([
  ['a gzip member', gzipSync(''), true],
  ['its first three bytes', Buffer.of(0x1f, 0x8b, 8), true],
  ['its first two bytes', Buffer.of(0x1f, 0x8b), false],
  ['another method', Buffer.of(0x1f, 0x8b, 7), false],
  ['compress', Buffer.of(0x1f, 0x9d, 8), false],
  ['a tar file', Buffer.alloc(512), false],
  ['nothing', Buffer.alloc(0), false],
])('isGzip: %s', (_, bytes, expected) => {
  expect(isGzip(bytes)).toBe(expected);
});

function inPieces(bytes: Uint8Array): Uint8Array[] {
  return [...bytes].map((byte) => Uint8Array.of(byte));
}
