import type { Digest } from '../../../digest';

/** Remembers the documents that were used last. What a digest names never changes, so that none of them is ever wrong. */
export interface RecentBytes {
  get(digest: Digest): Uint8Array | undefined;
  remember(digest: Digest, bytes: Uint8Array): void;
}

/** @param limit of all together, in bytes. */
export function recentBytes(limit: number): RecentBytes {
  // A map keeps its order: the first one is the one that was not used for longest.
  const remembered = new Map<Digest, Uint8Array>();
  let total = 0;
  const forget = (digest: Digest) => {
    total -= remembered.get(digest)?.length ?? 0;
    remembered.delete(digest);
  };
  const remember = (digest: Digest, bytes: Uint8Array) => {
    forget(digest);
    remembered.set(digest, bytes);
    total += bytes.length;
    for (const oldest of remembered.keys()) {
      if (total <= limit) return;
      forget(oldest);
    }
  };
  return {
    remember,
    get(digest) {
      const bytes = remembered.get(digest);
      if (bytes) remember(digest, bytes);
      return bytes;
    },
  };
}
