import { type Blob, bytesBlob } from '../blob';
import type { Digest } from '../digest';
import { type IndexEntry, newIndex, platformOf } from '../image-index';
import { isNewDigest, type Ref, walkRefs } from '../ref';
import { imageLayoutVersion, refNameAnnotation } from '../spec/documents';
import { encodeJson } from '../spec/json';
import { type Tree, treeFile } from '../tree';
import { blobPath, indexFile, markerFile } from './paths';

/**
 * A layout in memory: the marker, index.json, and every blob once. Nothing is written, and nothing is read but the
 * manifests of nested indexes and the root's config. Costs the same per blob, however many there are.
 *
 * @param root what index.json lists: one ref, or several with what index.json says of each. A ref alone is listed with
 *   its own media type, its artifact type, and the platform of its config.
 * @param options.tag the tag of a ref alone.
 * @throws {SizeMismatchError} if two descriptors name one digest with different sizes.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
 */
export async function createLayout(root: Ref | readonly IndexEntry[], { tag }: { tag?: string } = {}): Promise<Tree> {
  const index = newIndex('kind' in root ? [await entryOf(root, tag)] : root);
  const tree = new Map<string, Blob>([
    treeFile(markerFile, encodeJson({ imageLayoutVersion })),
    treeFile(indexFile, index.rawManifest),
  ]);
  const seen = new Map<Digest, number>();
  await walkRefs(index, (ref) => {
    for (const descriptor of ref.descriptors()) {
      if (isNewDigest(descriptor, seen)) tree.set(blobPath(descriptor.digest), ref.blob(descriptor));
    }
    const self = { digest: ref.digest, size: ref.rawManifest.length };
    if (ref !== index && isNewDigest(self, seen)) tree.set(blobPath(ref.digest), bytesBlob(ref.rawManifest));
  });
  return tree;
}

async function entryOf(ref: Ref, tag: string | undefined): Promise<IndexEntry> {
  const platform = await platformOf(ref);
  return {
    ref,
    ...(platform && { platform }),
    ...(tag !== undefined && { annotations: { [refNameAnnotation]: tag } }),
  };
}
