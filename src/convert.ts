import type { Digest } from './digest';
import { UnexpectedMediaTypeError } from './errors';
import { indexOver } from './image-index';
import { artifactTypeOf, asImage, type Image, type Index, newRef, type Ref, walkRefs } from './ref';
import type { Descriptor } from './spec/documents';
import { encodeJson } from './spec/json';
import { isForeignLayer, layerCompression, mediaTypes } from './spec/media-types';

/** Whose media types a manifest speaks: the OCI's, or Docker's (schema 2). */
export type ManifestFormat = 'oci' | 'docker';

/**
 * The same image or index in the other family of media types. Configs and layers keep their bytes and digests; the
 * manifests around them are new, and so are their digests. What is in the format already comes back as it is.
 *
 * @throws {UnexpectedMediaTypeError} for what Docker's format has no words for: an artifact, a zstd layer.
 * @throws as {@link walkRefs} does.
 * @see https://distribution.github.io/distribution/spec/manifest-v2-2/
 */
export async function convertRef(root: Ref, format: ManifestFormat): Promise<Ref> {
  const converted = new Map<Digest, Ref>();
  await walkRefs(root, (ref) => {
    const result = ref.kind === 'image' ? convertImage(ref, format) : convertIndex(ref, format, converted);
    converted.set(ref.digest, result);
  });
  return converted.get(root.digest) as Ref;
}

function convertImage(image: Image, format: ManifestFormat): Image {
  const mediaType = format === 'docker' ? mediaTypes.dockerManifest : mediaTypes.imageManifest;
  if (image.mediaType === mediaType) return image;
  rejectArtifact(image);
  const { schemaVersion, mediaType: _, config, layers, annotations, subject, ...rest } = image.manifest;
  const rawManifest = encodeJson({
    schemaVersion,
    mediaType,
    config: { ...config, mediaType: format === 'docker' ? mediaTypes.dockerConfig : mediaTypes.imageConfig },
    layers: layers.map((layer) => ({ ...layer, mediaType: layerType(layer, format) })),
    // Docker's format knows neither; OCI's has both where they were.
    ...(format === 'oci' && { ...rest, ...(subject && { subject }), ...(annotations && { annotations }) }),
  });
  return asImage(newRef(rawManifest, mediaType, undefined, image.blobs));
}

/** @param converted has what the index lists. */
function convertIndex(index: Index, format: ManifestFormat, converted: ReadonlyMap<Digest, Ref>): Index {
  const mediaType = format === 'docker' ? mediaTypes.dockerManifestList : mediaTypes.imageIndex;
  const manifests = index.manifest.manifests.map((child) => convertChild(child, converted.get(child.digest), format));
  const isSame = manifests.every(({ digest }, position) => digest === index.manifest.manifests[position]?.digest);
  if (index.mediaType === mediaType && isSame) return index;
  if (format === 'docker') rejectArtifact(index);
  const { annotations, subject, artifactType } = index.manifest;
  const rawManifest = encodeJson({
    schemaVersion: 2,
    mediaType,
    ...(artifactType !== undefined && { artifactType }),
    manifests,
    ...(format === 'oci' && { ...(subject && { subject }), ...(annotations && { annotations }) }),
  });
  return indexOver(
    rawManifest,
    mediaType,
    index.children().flatMap(({ digest }) => converted.get(digest) ?? []),
    index.blobs,
  );
}

/** What an index lists of other media types than manifests is content that only the OCI's knows. */
function convertChild(child: Descriptor, ref: Ref | undefined, format: ManifestFormat): Descriptor {
  if (ref === undefined) {
    if (format === 'oci') return child;
    throw new UnexpectedMediaTypeError(`manifest ${child.digest}`, mediaTypes.dockerManifest, child.mediaType);
  }
  if (ref.digest === child.digest) return child;
  const { annotations, artifactType, data, ...descriptor } = child;
  return {
    ...descriptor,
    ...(format === 'oci' && annotations && { annotations }),
    mediaType: ref.mediaType,
    digest: ref.digest,
    size: ref.rawManifest.length,
  };
}

function rejectArtifact(ref: Ref): void {
  const kind = artifactTypeOf(ref);
  if (kind !== undefined) throw new UnexpectedMediaTypeError(`manifest ${ref.digest}`, mediaTypes.imageConfig, kind);
}

/** A layer's media type in the other family; what belongs to neither stays as it is. */
function layerType({ mediaType, digest }: Descriptor, format: ManifestFormat): string {
  const compression = layerCompression(mediaType);
  if (compression === undefined) return mediaType;
  const foreign = isForeignLayer(mediaType);
  const suffix = { none: '', gzip: 'gzip', zstd: 'zstd' }[compression];
  if (format === 'docker') {
    if (compression === 'zstd')
      throw new UnexpectedMediaTypeError(`layer ${digest}`, mediaTypes.dockerLayerGzip, mediaType);
    return `application/vnd.docker.image.rootfs.${foreign ? 'foreign.' : ''}diff.tar${suffix && `.${suffix}`}`;
  }
  return `application/vnd.oci.image.layer.${foreign ? 'nondistributable.' : ''}v1.tar${suffix && `+${suffix}`}`;
}
