import { createHash, type Hash } from 'node:crypto';

/** Hashes bytes as they stream by, however they are cut: one hash for each chunk of `chunkSize` bytes. */
export function chunkHasher(chunkSize: number): { update(bytes: Uint8Array): void; hashes(): string[] } {
  const hashes: string[] = [];
  let chunk = createHash('sha256');
  let filled = 0;
  const endChunk = () => {
    hashes.push(textOf(chunk));
    chunk = createHash('sha256');
    filled = 0;
  };
  return {
    update: (bytes) => {
      for (let taken = 0; taken < bytes.length; ) {
        const part = bytes.subarray(taken, taken + chunkSize - filled);
        chunk.update(part);
        taken += part.length;
        filled += part.length;
        if (filled === chunkSize) endChunk();
      }
    },
    hashes: () => {
      if (filled > 0) endChunk();
      return hashes;
    },
  };
}

/** The hash of a whole chunk. */
export function chunkHash(bytes: Uint8Array): string {
  return textOf(createHash('sha256').update(bytes));
}

/** Base64 without padding. */
function textOf(hash: Hash): string {
  return hash.digest('base64').replace(/=+$/, '');
}
