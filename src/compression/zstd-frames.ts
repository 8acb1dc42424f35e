import { InvalidStreamError } from '../errors';
import type { Bytes } from './blocks';

/** What begins a frame, little-endian (RFC 8878, section 3.1.1). */
const frameMagic = 0xfd2fb528;

/** What begins a frame to skip: the last four bits are anything (RFC 8878, section 3.1.2). */
const skippableMagic = 0x184d2a50;

/** The most that one block holds, packed or not (RFC 8878, section 3.1.1.2.4). */
const largestBlock = 128 * 1024;

/** Blocks that go to the decoder at once. They unpack to 1 MiB at most, so that a bomb can't go off inside it. */
const blocksAtOnce = 8;

/** Whether the bytes begin as a zstd frame does, or one to skip. */
export function isZstd(start: Uint8Array): boolean {
  return start.length >= 4 && isFrameMagic(Buffer.from(start.subarray(0, 4)).readUInt32LE());
}

/**
 * The same frames in pieces, each of one frame and of a few blocks; those to skip are left out. That the stream ends
 * where a frame does, and that there is one at all, is checked here: decoders differ in what they say of an end too
 * early, of bytes behind the end, and of a second frame.
 *
 * @throws {InvalidStreamError} that says what is wrong.
 * @see https://www.rfc-editor.org/rfc/rfc8878#section-3.1
 */
export async function* framePieces(input: Bytes): AsyncGenerator<Uint8Array> {
  const { take, isAtEnd, end } = fieldReader(input);
  try {
    if (await isAtEnd()) throw invalid('unexpected end of file');
    for (let isFirst = true; !(await isAtEnd()); isFirst = false) {
      const magic = await take(4);
      if (!isFrameMagic(magic.readUInt32LE())) throw invalid(isFirst ? 'unknown frame' : 'bytes behind its end');
      if (magic.readUInt32LE() === frameMagic) yield* blocksOfFrame(magic, take);
      else await skip((await take(4)).readUInt32LE(), take);
    }
  } finally {
    await end();
  }
}

type Take = (length: number) => Promise<Buffer>;

async function* blocksOfFrame(magic: Buffer, take: Take): AsyncGenerator<Uint8Array> {
  const descriptor = await take(1);
  const { headerSize, checksumSize } = frameForm(descriptor.readUInt8());
  let piece = [magic, descriptor, await take(headerSize)];
  for (let blocks = 1, isLast = false; !isLast; blocks++) {
    const header = await take(3);
    const bits = header.readUIntLE(0, 3);
    isLast = (bits & 1) === 1;
    // A block of the second type is one byte, repeated.
    const size = (bits >> 1) % 4 === 1 ? 1 : bits >> 3;
    if (size > largestBlock) throw invalid('a block that is too large');
    piece.push(header, await take(size));
    if (isLast) piece.push(await take(checksumSize));
    if (!isLast && blocks % blocksAtOnce > 0) continue;
    yield Buffer.concat(piece);
    piece = [];
  }
}

/** @see https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.1.1 */
function frameForm(descriptor: number): { headerSize: number; checksumSize: number } {
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const contentSizeFlag = descriptor >> 6;
  const contentSize = contentSizeFlag === 0 ? Number(isSingleSegment) : 2 ** contentSizeFlag;
  const dictionaryId = [0, 1, 2, 4][descriptor & 3] as number;
  return {
    headerSize: Number(!isSingleSegment) + dictionaryId + contentSize,
    checksumSize: (descriptor & 4) === 0 ? 0 : 4,
  };
}

async function skip(size: number, take: Take): Promise<void> {
  for (let left = size; left > 0; left -= largestBlock) await take(Math.min(left, largestBlock));
}

/** Takes fields of known length from a stream; no input ever stays in memory beyond them and the chunk they end in. */
function fieldReader(input: Bytes) {
  const chunks = input[Symbol.asyncIterator]();
  let chunk: Uint8Array = new Uint8Array();
  const isAtEnd = async (): Promise<boolean> => {
    while (chunk.length === 0) {
      const next = await chunks.next();
      if (next.done) return true;
      chunk = next.value;
    }
    return false;
  };
  const take = async (length: number): Promise<Buffer> => {
    const parts: Uint8Array[] = [];
    for (let missing = length; missing > 0; ) {
      if (await isAtEnd()) throw invalid('unexpected end of file');
      const part = chunk.subarray(0, missing);
      chunk = chunk.subarray(part.length);
      missing -= part.length;
      parts.push(part);
    }
    return Buffer.concat(parts);
  };
  return { take, isAtEnd, end: async () => void (await chunks.return?.()) };
}

function isFrameMagic(magic: number): boolean {
  return magic === frameMagic || (magic & 0xfffffff0) >>> 0 === skippableMagic;
}

function invalid(reason: string): InvalidStreamError {
  return new InvalidStreamError(`invalid zstd stream (${reason})`);
}
