import { availableParallelism } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { types } from 'node:util';
import { constants, crc32, createGunzip, deflateRaw } from 'node:zlib';
import { inOrder } from '../concurrency';
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

/** Where the first block lies in a member of {@link gzipMember}, in bytes. */
export const gzipStart = gzipHeader.length;

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
  let dictionary: Uint8Array | undefined;
  const deflated = inOrder(inBlocks(input, blockSize), lanes, (block) => {
    const compressing = deflateBlock(block, level, dictionary);
    dictionary = block.subarray(Math.max(0, block.length - windowSize));
    return compressing;
  });
  yield* gzipMember(deflated);
}

/** A part of a stream, and what it became: raw deflate that ends on a byte boundary (RFC 1951) and is not final. */
export interface DeflatedBlock {
  readonly block: Uint8Array;
  readonly compressed: Uint8Array;
}

/** Joins deflated blocks to one gzip member (RFC 1952). */
export async function* gzipMember(blocks: AsyncIterable<DeflatedBlock>): AsyncGenerator<Uint8Array> {
  let checksum = 0;
  let size = 0;
  yield gzipHeader;
  for await (const { block, compressed } of blocks) {
    checksum = crc32(block, checksum);
    size += block.length;
    yield compressed;
  }
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

function deflateBlock(block: Uint8Array, level: number, dictionary: Uint8Array | undefined): Promise<DeflatedBlock> {
  const options = {
    level,
    chunkSize: blockSize,
    // A sync flush ends the block on a byte boundary, so that blocks can be joined.
    finishFlush: constants.Z_SYNC_FLUSH,
    ...(dictionary && { dictionary }),
  };
  return new Promise((resolve, reject) => {
    deflateRaw(block, options, (error, compressed) => (error ? reject(error) : resolve({ block, compressed })));
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
