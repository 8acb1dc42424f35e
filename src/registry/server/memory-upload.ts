import { setImmediate } from 'node:timers/promises';
import type { Blob } from '../../blob';
import type { Bytes } from '../../compression';
import { algorithmOf, createDigester, type Digest } from '../../digest';
import { DigestMismatchError } from '../../errors';
import type { BlobUpload } from './storage';

/** Uploads are kept in blocks of this many bytes, however small the pieces are that they arrive in. */
const blockSize = 1024 * 1024;

/** How many bytes may be kept; `reserve` throws where there would be too many. */
export interface MemoryBudget {
  reserve(bytes: number): void;
  release(bytes: number): void;
}

/**
 * An upload that grows in memory.
 *
 * @param keep takes the blob, and the bytes that were reserved for it.
 */
export function memoryUpload(budget: MemoryBudget, keep: (digest: Digest, blob: Blob) => void): BlobUpload {
  // Most digests are of this algorithm, and hashing as bytes arrive leaves nothing to do at the end.
  const digester = createDigester('sha256');
  let blocks: Buffer[] = [];
  let size = 0;
  const add = (chunk: Uint8Array) => {
    budget.reserve(chunk.length);
    digester.update(chunk);
    for (let taken = 0; taken < chunk.length; ) {
      const filled = size % blockSize;
      if (filled === 0) blocks.push(Buffer.allocUnsafeSlow(blockSize));
      const part = chunk.subarray(taken, taken + blockSize - filled);
      blocks.at(-1)?.set(part, filled);
      taken += part.length;
      size += part.length;
    }
  };
  const forget = () => {
    budget.release(size);
    blocks = [];
    size = 0;
  };
  return {
    get size() {
      return size;
    },
    async append(content) {
      for await (const chunk of content) add(chunk);
    },
    async complete(digest) {
      const content = trimmed(blocks, size);
      const found = algorithmOf(digest) === 'sha256' ? digester.digest() : await digestOfBlocks(content, digest);
      if (found !== digest) {
        forget();
        throw new DigestMismatchError('upload', digest, found);
      }
      keep(digest, blocksBlob(content, size));
    },
    cancel: async () => forget(),
  };
}

/** The same blocks, the last one no larger than it needs to be. */
function trimmed(blocks: readonly Buffer[], size: number): readonly Buffer[] {
  const rest = size % blockSize;
  const last = blocks.at(-1);
  return rest === 0 || !last ? blocks : [...blocks.slice(0, -1), Buffer.from(last.subarray(0, rest))];
}

async function digestOfBlocks(blocks: readonly Uint8Array[], expected: Digest): Promise<Digest> {
  const digester = createDigester(algorithmOf(expected));
  for (const block of blocks) {
    digester.update(block);
    // Others get their turn, since some algorithms are slow.
    await setImmediate();
  }
  return digester.digest();
}

function blocksBlob(blocks: readonly Uint8Array[], size: number): Blob {
  async function* open({ start = 0, end = size } = {}): Bytes & AsyncGenerator<Uint8Array> {
    const stop = Math.min(end, size);
    for (let at = start; at < stop; ) {
      const block = blocks[Math.floor(at / blockSize)] as Uint8Array;
      const part = block.subarray(at % blockSize, (at % blockSize) + stop - at);
      yield part;
      at += part.length;
    }
  }
  return { size, open };
}
