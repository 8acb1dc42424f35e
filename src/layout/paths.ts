import { join } from 'node:path';
import { type Digest, parseDigest } from '../digest';

/**
 * The names in a layout directory.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
 */
export const markerFile = 'oci-layout';
export const indexFile = 'index.json';
export const blobsDirectory = 'blobs';

/** Where we write what is not finished; whatever is left of it belongs to nobody. */
export const stagingPrefix = '.nx-oci-';

/** The path of a blob within a layout. */
export function blobPath(digest: Digest): string {
  const { algorithm, encoded } = parseDigest(digest);
  return `${blobsDirectory}/${algorithm}/${encoded}`;
}

/** The path of a blob of the layout at `layout`. */
export function blobFile(layout: string, digest: Digest): string {
  return join(layout, blobPath(digest));
}
