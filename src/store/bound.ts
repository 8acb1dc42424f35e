import { lstat, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../digest';
import { blobIn, blobsDirectory, blobsIn } from '../layout/paths';
import { storedLayers } from './layers';

/** Bytes that a store may take: some hundred layers, or a few operating systems. */
const largestStore = 10e9;

/** When it takes more, it is emptied to this part of it, so that not every build has something to remove. */
const emptiedTo = 0.8;

/** What a file takes at least, with its name and what is remembered of it. */
const smallestFile = 8192;

/**
 * Removes what was not used for longest, as long as a store takes more than it may. What is removed is built or fetched
 * again when it is needed.
 *
 * @param limit in bytes.
 */
export async function boundStore(store: string, limit = largestStore): Promise<void> {
  const blobs = await blobsOf(store);
  let total = blobs.reduce((sum, { size }) => sum + size, 0);
  if (total <= limit) return;
  const layers = await storedLayers(store);
  const lastUse = new Map<Digest, number>();
  for (const { digest, usedAt } of layers) lastUse.set(digest, Math.max(usedAt, lastUse.get(digest) ?? 0));
  const usedAt = (blob: StoredBlob) => Math.max(blob.writtenAt, lastUse.get(blob.digest) ?? 0);
  const removed = new Set<Digest>();
  for (const blob of blobs.sort((a, b) => usedAt(a) - usedAt(b))) {
    if (total <= limit * emptiedTo) break;
    await rm(blob.path, { force: true }).catch(() => undefined);
    removed.add(blob.digest);
    total -= blob.size;
  }
  for (const { digest, path } of layers)
    if (removed.has(digest)) await rm(path, { force: true }).catch(() => undefined);
}

interface StoredBlob {
  readonly digest: Digest;
  readonly path: string;
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly writtenAt: number;
}

async function blobsOf(store: string): Promise<StoredBlob[]> {
  const directory = join(store, blobsDirectory);
  const blobs: StoredBlob[] = [];
  for (const digest of await blobsIn(directory).catch(() => [])) {
    const path = blobIn(directory, digest);
    // Another process may have removed it just now.
    const stats = await lstat(path).catch(() => undefined);
    if (stats) blobs.push({ digest, path, size: Math.max(stats.size, smallestFile), writtenAt: stats.mtimeMs });
  }
  return blobs;
}
