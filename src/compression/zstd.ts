import { availableParallelism } from 'node:os';
import { type Bytes, inBlocks } from './blocks';
import { checkLevel } from './levels';
import { compressionThreads } from './zstd-threads';

/**
 * Bytes of input in one frame, which is what one thread compresses at a time. The result depends on it, so it is a
 * constant of the format: another value gives every layer another digest. Twice as much would save 0.4 % of the bytes, and
 * half of it cost as much.
 */
const blockSize = 4 * 1024 * 1024;

/** Threads at most, whatever the machine has: each holds some 50 MB, and up to 130 at the highest levels. */
const mostThreads = 16;

/** The fastest one that takes no more bytes than gzip does at its own default (docs/performance.md). */
export const defaultZstdLevel = 2;

/**
 * Compresses to zstd frames (RFC 8878), each with its content size, on `lanes` threads. They are joined as the format
 * allows, so that a reader sees one stream. The bytes depend on the input and the level only, never on `lanes`, the
 * machine, the version of Node or how the input was cut into chunks.
 *
 * @throws {InvalidOptionError} for a level that is no whole number from 1 to 19.
 */
export async function* zstd(
  input: Bytes,
  {
    level = defaultZstdLevel,
    lanes = Math.min(availableParallelism(), mostThreads),
  }: { level?: number; lanes?: number } = {},
): AsyncGenerator<Uint8Array> {
  checkLevel('zstd', level);
  const threads = compressionThreads(level, lanes);
  const compressing: Promise<Uint8Array>[] = [];
  const start = (block: Uint8Array<ArrayBuffer>) => {
    const frame = threads.compress(block);
    // The failure is met where the frame is awaited; until then it must not count as unhandled.
    frame.catch(() => undefined);
    compressing.push(frame);
  };
  try {
    let isEmpty = true;
    for await (const block of inBlocks(input, blockSize, threads.spare)) {
      isEmpty = false;
      start(block);
      // As many wait as are at work, so that no thread does while the oldest is still busy.
      if (compressing.length >= 2 * lanes) yield (await compressing.shift()) as Uint8Array;
    }
    // Without any frame it would be no zstd stream.
    if (isEmpty) start(new Uint8Array());
    for (const frame of compressing) yield await frame;
  } finally {
    await threads.end();
  }
}
