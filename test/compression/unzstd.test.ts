import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { type Bytes, InvalidStreamError, unzstd, zstd } from '../../src';
import { isZstd } from '../../src/compression';
import { collect, failureOf } from '../fixtures';

async function* chunks(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    yield part;
    await setImmediate();
  }
}

const inPieces = (bytes: Uint8Array) => [...bytes].map((byte) => Uint8Array.of(byte));

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** `hello` as the zstd program writes it: magic, descriptor, window, one raw block, XXH64. */
const frame = hex('28b52ffd 04 58 290000 68656c6c6f a36d9f88');
const withoutChecksum = hex('28b52ffd 00 58 290000 68656c6c6f');
/** One segment, content size in one byte. */
const singleSegment = hex('28b52ffd 20 05 290000 68656c6c6f');
/** The longest header: single segment, dictionary id 0 in four bytes, content size in eight. */
const longHeader = hex('28b52ffd e3 00000000 0500000000000000 290000 68656c6c6f');
const empty = hex('28b52ffd 20 00 010000');
const skippable = hex('502a4d18 03000000 aabbcc');
/** A block that repeats one byte 128 KiB times. */
const repeated = (isLast: boolean) => hex(`${isLast ? '03' : '02'}0010 00`);
const bomb = (blocks: number) =>
  Buffer.concat([hex('28b52ffd 00 58'), ...Array.from({ length: blocks }, (_, at) => repeated(at === blocks - 1))]);

describe('unzstd', () => {
  test.each<[string, Uint8Array[], string]>([
    ['one frame', [frame], 'hello'],
    ['one frame, byte by byte', inPieces(frame), 'hello'],
    ['a frame without checksum', [withoutChecksum], 'hello'],
    ['a frame of a single segment', [singleSegment], 'hello'],
    ['a frame with the longest header', [longHeader], 'hello'],
    ['a frame with the longest header, byte by byte', inPieces(longHeader), 'hello'],
    ['a frame of nothing', [empty], ''],
    ['two frames in one chunk', [Buffer.concat([frame, withoutChecksum])], 'hellohello'],
    ['two frames in two chunks', [frame, withoutChecksum], 'hellohello'],
    ['a frame of nothing between two', [frame, empty, frame], 'hellohello'],
    ['frames cut across chunks', [frame, frame].flatMap((f) => [f.subarray(0, 7), f.subarray(7)]), 'hellohello'],
    ['frames to skip, before, between and behind', [skippable, frame, skippable, frame, skippable], 'hellohello'],
    ['all of them in one chunk', [Buffer.concat([skippable, frame, skippable, frame, skippable])], 'hellohello'],
    ['empty chunks', [Buffer.alloc(0), frame, Buffer.alloc(0)], 'hello'],
    ['a repeated byte', [bomb(1)], '\0'.repeat(128 * 1024)],
  ])('%s', async (_, parts, content) => {
    expect((await collect(unzstd(chunks(...parts)))).toString()).toBe(content);
  });

  const changed = (bytes: Buffer, at: number, byte: number) => {
    const copy = Buffer.from(bytes);
    copy[at] = byte;
    return copy;
  };

  test.each<[string, string, Uint8Array[]]>([
    ['nothing at all', 'unexpected end of file', []],
    ['a wrong checksum', 'checksum', [changed(frame, frame.length - 1, 0)]],
    ['a changed byte', 'checksum', [changed(frame, 10, 0)]],
    ['a wrong content size', '', [changed(singleSegment, 5, 6)]],
    ['a reserved bit', '', [changed(frame, 4, 0x0c)]],
    ['a reserved block', '', [changed(frame, 6, 0x2f)]],
    ['a block that is too large', 'a block that is too large', [hex('28b52ffd 00 58 ffffff'), Buffer.alloc(300_000)]],
    ['a window that is too large', '', [hex('28b52ffd 00 c8 290000 68656c6c6f')]],
    ['a dictionary that nobody has', '', [hex('28b52ffd 21 07 05 290000 68656c6c6f'), frame]],
    ['a second frame that is cut', 'unexpected end of file', [frame, frame.subarray(0, -3)]],
    ['the magic of a second frame alone', 'unexpected end of file', [frame, frame.subarray(0, 4)]],
    ['a frame to skip that is cut', 'unexpected end of file', [skippable.subarray(0, -1)]],
    ['nothing but a promise to skip 4 GiB', 'unexpected end of file', [hex('502a4d18 ffffffff')]],
    ['text', 'unknown frame', [Buffer.from('no zstd at all')]],
    ...(['text', '\0', '\0\0\0\0', '\x28', '\0'.repeat(300_000)] as const).flatMap(
      (junk): [string, string, Uint8Array[]][] => {
        const name = `${JSON.stringify(junk.slice(0, 4))} of ${junk.length} bytes`;
        const behind = Buffer.from(junk, 'latin1');
        const reason = junk.length < 4 ? 'unexpected end of file' : 'bytes behind its end';
        return [
          [`${name} behind it`, reason, [Buffer.concat([frame, behind])]],
          [`${name} behind it, in a chunk of its own`, reason, [frame, behind]],
          [`${name} behind it, then another frame`, 'bytes behind its end', [frame, behind, frame]],
        ];
      },
    ),
  ])('ACCEPTANCE 30: %s', async (_, reason, parts) => {
    const { message } = await failureOf(InvalidStreamError, () => collect(unzstd(chunks(...parts))));
    expect(message).toMatch(/^invalid zstd stream \(.+\)$/);
    expect(message).toContain(reason);
  });

  test.each([
    ['with a checksum', frame],
    ['without', withoutChecksum],
    ['with the longest header', longHeader],
  ])('ACCEPTANCE 30: a frame %s, truncated anywhere', async (_, whole) => {
    for (let length = 0; length < whole.length; length++) {
      const { message } = await failureOf(InvalidStreamError, () => collect(unzstd(chunks(whole.subarray(0, length)))));
      expect(message).toBe('invalid zstd stream (unexpected end of file)');
    }
  });

  test('ACCEPTANCE 30: what our own encoder makes, truncated at every frame and in each', async () => {
    const content = Buffer.concat([Buffer.alloc(4 * 1024 * 1024, 'abc'), Buffer.alloc(1000, 'x')]);
    const compressed = await collect(zstd(chunks(content), { lanes: 1 }));
    for (const length of [1, 100, compressed.length - 10, compressed.length - 1]) {
      await failureOf(InvalidStreamError, () => collect(unzstd(chunks(compressed.subarray(0, length)))));
    }
  });

  test('ACCEPTANCE 30: a bomb is unpacked only as far as its reader wants, in little memory', async () => {
    // 32 GiB in a megabyte.
    const packed = bomb(256 * 1024);
    let taken = 0;
    let ended = false;
    const input = (async function* () {
      try {
        for (;;) {
          taken++;
          yield packed;
        }
      } finally {
        ended = true;
      }
    })();
    const before = process.memoryUsage().rss;
    let unpacked = 0;
    for await (const chunk of unzstd(input)) {
      unpacked += chunk.length;
      if (unpacked > 64 * 1024 * 1024) break;
    }
    expect(unpacked).toBeLessThan(66 * 1024 * 1024);
    expect({ taken, ended }).toEqual({ taken: 1, ended: true });
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * 1024 * 1024);
  });

  test('a reader that stops early stops the input', async () => {
    const random = createHash('shake256', { outputLength: 100_000 }).digest();
    const whole = await collect(zstd(chunks(random)));
    const state = { taken: 0, ended: false };
    const input = (async function* () {
      try {
        for (;;) {
          state.taken++;
          yield whole;
        }
      } finally {
        state.ended = true;
      }
    })();
    for await (const _ of unzstd(input)) break;
    const { taken } = state;
    expect(state.ended).toBe(true);
    for (let turn = 0; turn < 10; turn++) await setImmediate();
    expect(state.taken).toBe(taken);
  });

  test.each<[string, Uint8Array[]]>([
    ['before the first byte', []],
    ['in a frame', [frame.subarray(0, 9)]],
    ['behind a frame', [frame]],
  ])('an error in the input is passed through as it is: %s', async (_, before) => {
    const error = new Error('the disk is on fire');
    const input: Bytes = (async function* () {
      yield* before;
      throw error;
    })();
    await expect(collect(unzstd(input))).rejects.toBe(error);
  });
});

test.each([
  ['a frame', frame, true],
  ['its magic', frame.subarray(0, 4), true],
  ['a frame to skip', skippable, true],
  ['the last kind of frame to skip', hex('5f2a4d18'), true],
  ['its first three bytes', frame.subarray(0, 3), false],
  ['the magic turned round', hex('fd2fb528'), false],
  ['a tar file', Buffer.alloc(512), false],
  ['nothing', Buffer.alloc(0), false],
])('isZstd: %s', (_, bytes, expected) => {
  expect(isZstd(bytes)).toBe(expected);
});
