import { inOrder } from '../concurrency';
import { type Bytes, inBlocks } from './blocks';
import { checkLevel } from './levels';
import { pieceThreads } from './piece-threads';

/**
 * Bytes of input in one frame, which is what one thread compresses at a time. The result depends on it, so it is a
 * constant of the format: another value gives every layer another digest. Twice as much would save 0.4 % of the bytes, and
 * half of it cost as much.
 */
const blockSize = 4 * 1024 * 1024;

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
  { level = defaultZstdLevel, lanes }: { level?: number; lanes?: number } = {},
): AsyncGenerator<Uint8Array> {
  checkLevel('zstd', level);
  const threads = pieceThreads(lanes);
  const frame = (block: Uint8Array<ArrayBuffer>) =>
    threads.make({ block, files: [], compression: 'zstd', level, isNamed: false });
  const spare: ArrayBuffer[] = [];
  let isEmpty = true;
  try {
    // As many wait as are at work, so that no thread does while the oldest is still busy.
    for await (const { block, compressed } of inOrder(inBlocks(input, blockSize, spare), 2 * threads.lanes, frame)) {
      isEmpty = false;
      spare.push(block.buffer);
      yield compressed as Uint8Array;
    }
    // Without any frame it would be no zstd stream.
    if (isEmpty) yield (await frame(new Uint8Array())).compressed as Uint8Array;
  } finally {
    await threads.end();
  }
}
