import { type Blob, bytesBlob } from '../blob';
import type { Digest } from '../digest';
import { type IndexEntry, newIndex, platformOf } from '../image-index';
import { type Index, isNewDigest, type Ref, walkRefs } from '../ref';
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
  return layoutTree(index);
}

/**
 * The layout whose index.json is this index, to the byte: what {@link createLayout} makes, or a copy of a layout that was
 * read.
 */
export async function layoutTree(index: Index): Promise<Tree> {
  const tree = new Map<string, Blob>([
    treeFile(markerFile, encodeJson({ imageLayoutVersion })),
    treeFile(indexFile, index.rawManifest),
  ]);
  for (const [digest, blob] of await reachableBlobs(index)) {
    if (digest !== index.digest) tree.set(blobPath(digest), blob);
  }
  return tree;
}

/** All content that a ref leads to, each digest once: the ref's own manifest, manifests below it, configs, layers. */
export async function reachableBlobs(root: Ref): Promise<Map<Digest, Blob>> {
  const blobs = new Map<Digest, Blob>();
  const seen = new Map<Digest, number>();
  await walkRefs(root, (ref) => {
    for (const descriptor of ref.descriptors()) {
      if (isNewDigest(descriptor, seen)) blobs.set(descriptor.digest, ref.blob(descriptor));
    }
    const self = { digest: ref.digest, size: ref.rawManifest.length };
    if (isNewDigest(self, seen)) blobs.set(ref.digest, ref.file ?? bytesBlob(ref.rawManifest));
  });
  return blobs;
}

async function entryOf(ref: Ref, tag: string | undefined): Promise<IndexEntry> {
  const platform = await platformOf(ref);
  return {
    ref,
    ...(platform && { platform }),
    ...(tag !== undefined && { annotations: { [refNameAnnotation]: tag } }),
  };
}
