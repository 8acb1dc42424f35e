import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { InvalidStreamError } from '../errors';
import type { Bytes } from './blocks';
import { framePieces } from './zstd-frames';

export { isZstd } from './zstd-frames';

/**
 * Decompresses zstd, one or several frames. Every way in which the stream can be wrong is an error: a wrong checksum, an
 * end too early, bytes behind the last frame, a window of more than 128 MiB.
 *
 * @throws {InvalidStreamError} that says what is wrong; the caller knows and names the blob.
 */
export async function* unzstd(input: Bytes): AsyncGenerator<Uint8Array> {
  const decoder = newDecoder();
  let failure: unknown;
  // A failure on the way shows in the decoder too.
  const fed = pipeline(async function* () {
    try {
      yield* framePieces(input);
    } catch (error) {
      failure = error;
      throw error;
    }
  }, decoder).catch(() => undefined);
  try {
    yield* decoder as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (error === failure) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new InvalidStreamError(`invalid zstd stream (${reason})`, { cause: error });
  } finally {
    await fed;
  }
}

/** Node's own where it has one (22.15 and later), which runs beside this thread; else the encoder's counterpart. */
function newDecoder(): Transform {
  const { createZstdDecompress } = zlib as { createZstdDecompress?: (options: { chunkSize: number }) => Transform };
  if (createZstdDecompress) return createZstdDecompress({ chunkSize: 128 * 1024 });
  const { Decompressor } = require('@cloudpss/zstd/napi') as typeof import('@cloudpss/zstd/napi');
  return new Decompressor();
}
