import { availableParallelism } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { types } from 'node:util';
import { constants, crc32, createGunzip, deflateRaw } from 'node:zlib';
import { InvalidStreamError } from '../errors';
import { type Bytes, inBlocks } from './blocks';

/**
 * Bytes of input that are deflated at once on one thread. The result depends on it, so it is a constant of the format:
 * another value gives every layer another digest.
 */
const blockSize = 512 * 1024;

/** Deflate refers back at most this far (RFC 1951, section 2), so a block starts with this much of the one before. */
const windowSize = 32 * 1024;

/** Gives about as many bytes as Go's parallel encoder at its own default (docs/performance.md, P1). */
export const defaultGzipLevel = 4;

/** A header without name and time; level flag 0 and operating system 255 (unknown) so that no machine shows in it. */
const gzipHeader = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255);

/** The empty final deflate block that ends a stream whose blocks were all flushed to a byte boundary. */
const finalBlock = Uint8Array.of(0x03, 0x00);

/**
 * Compresses to one gzip member (RFC 1952) on libuv's thread pool, `lanes` blocks at a time. The bytes depend on the
 * input and the level only, never on `lanes`, the number of cores or how the input was cut into chunks.
 */
export async function* gzip(
  input: Bytes,
  { level = defaultGzipLevel, lanes = availableParallelism() + 1 }: { level?: number; lanes?: number } = {},
): AsyncGenerator<Uint8Array> {
  let checksum = 0;
  let size = 0;
  let dictionary: Uint8Array | undefined;
  const compressing: Promise<Uint8Array>[] = [];
  yield gzipHeader;
  for await (const block of inBlocks(input, blockSize)) {
    checksum = crc32(block, checksum);
    size += block.length;
    const compressed = deflateBlock(block, level, dictionary);
    // The failure is met where the block is awaited; until then it must not count as unhandled.
    compressed.catch(() => undefined);
    compressing.push(compressed);
    dictionary = block.subarray(Math.max(0, block.length - windowSize));
    if (compressing.length >= lanes) yield (await compressing.shift()) as Uint8Array;
  }
  for (const compressed of compressing) yield await compressed;
  yield finalBlock;
  yield gzipTrailer(checksum, size);
}

/**
 * Decompresses gzip, one or several members. Every way in which the stream can be wrong is an error: a wrong checksum,
 * an end too early, bytes behind the last member.
 *
 * @throws {InvalidStreamError} that says what is wrong; the caller knows and names the blob.
 */
export async function* gunzip(input: Bytes): AsyncGenerator<Uint8Array> {
  const decoder = createGunzip({ chunkSize: 128 * 1024 });
  let received = 0;
  // A failure on the way shows in the decoder too.
  const fed = pipeline(
    input,
    async function* (chunks: Bytes) {
      for await (const chunk of chunks) {
        received += chunk.length;
        yield chunk;
      }
    },
    decoder,
  ).catch(() => undefined);
  try {
    yield* decoder as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (isZlibError(error)) throw new InvalidStreamError(`invalid gzip stream (${error.message})`, { cause: error });
    throw error;
  } finally {
    await fed;
  }
  // The decoder ends by itself at a byte that can't start another member, and takes nothing from there on.
  if (decoder.bytesWritten !== received) throw new InvalidStreamError('invalid gzip stream (bytes behind its end)');
}

/** Whether the bytes begin as a gzip member does. */
export function isGzip(start: Uint8Array): boolean {
  return start.length >= 3 && start[0] === 0x1f && start[1] === 0x8b && start[2] === 8;
}

function deflateBlock(block: Uint8Array, level: number, dictionary: Uint8Array | undefined): Promise<Uint8Array> {
  const options = {
    level,
    chunkSize: blockSize,
    // A sync flush ends the block on a byte boundary, so that blocks can be joined.
    finishFlush: constants.Z_SYNC_FLUSH,
    ...(dictionary && { dictionary }),
  };
  return new Promise((resolve, reject) => {
    deflateRaw(block, options, (error, compressed) => (error ? reject(error) : resolve(compressed)));
  });
}

function gzipTrailer(checksum: number, size: number): Uint8Array {
  const trailer = Buffer.alloc(8);
  trailer.writeUInt32LE(checksum, 0);
  trailer.writeUInt32LE(size % 2 ** 32, 4);
  return trailer;
}

function isZlibError(error: unknown): error is NodeJS.ErrnoException {
  return types.isNativeError(error) && 'code' in error && /^Z_/.test(String(error.code));
}
