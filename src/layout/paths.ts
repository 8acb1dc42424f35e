import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, isDigest, parseDigest } from '../digest';
import { hasSystemCode } from '../errors';

/**
 * The names in a layout directory.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
 */
export const markerFile = 'oci-layout';
export const indexFile = 'index.json';
export const blobsDirectory = 'blobs';

/** What begins with this is ours, and no part of the layout. */
export const ownPrefix = '.nx-oci';

/** Where we write what is not finished; whatever is left of it belongs to nobody. */
export const stagingPrefix = `${ownPrefix}-`;

/** The lock of who edits the layout: a directory, which only one process can make. */
export const lockName = `${ownPrefix}.lock`;

/** The path of a blob within a layout. */
export function blobPath(digest: Digest): string {
  const { algorithm, encoded } = parseDigest(digest);
  return `${blobsDirectory}/${algorithm}/${encoded}`;
}

/** The path of a blob below a directory of blobs. */
export function blobIn(blobs: string, digest: Digest): string {
  const { algorithm, encoded } = parseDigest(digest);
  return join(blobs, algorithm, encoded);
}

/** The path of a blob of the layout at `layout`. */
export function blobFile(layout: string, digest: Digest): string {
  return blobIn(join(layout, blobsDirectory), digest);
}

/** The digest that a path within a layout names, if it is a blob's. */
export function digestAt(path: string): Digest | undefined {
  const [directory, algorithm, encoded, ...deeper] = path.split('/');
  const digest = `${algorithm}:${encoded}`;
  return directory === blobsDirectory && deeper.length === 0 && isDigest(digest) ? digest : undefined;
}

/** The digests of all blobs below a directory of blobs, in the order of their names. */
export async function blobsIn(blobs: string): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (const algorithm of await namesIn(blobs)) {
    for (const encoded of await namesIn(join(blobs, algorithm))) {
      const digest = `${algorithm}:${encoded}`;
      if (isDigest(digest)) digests.push(digest);
    }
  }
  return digests;
}

/** The names in a directory, sorted; none if it is missing. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}
