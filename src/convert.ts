import { UnexpectedMediaTypeError } from './errors';
import { indexOver } from './image-index';
import { type Image, type Index, newRef, type Ref } from './ref';
import type { Descriptor } from './spec/documents';
import { encodeJson } from './spec/json';
import { isImageConfigType, layerCompression, mediaTypes } from './spec/media-types';

/** Whose media types a manifest speaks: the OCI's, or Docker's (schema 2). */
export type ManifestFormat = 'oci' | 'docker';

/**
 * The same image or index in the other family of media types. Configs and layers keep their bytes and digests; the
 * manifests around them are new, and so are their digests. What is in the format already comes back as it is.
 *
 * @throws {UnexpectedMediaTypeError} for what Docker's format has no words for: an artifact, a zstd layer.
 * @see https://distribution.github.io/distribution/spec/manifest-v2-2/
 */
export async function convertRef(ref: Ref, format: ManifestFormat): Promise<Ref> {
  return ref.kind === 'image' ? convertImage(ref, format) : convertIndex(ref, format);
}

function convertImage(image: Image, format: ManifestFormat): Image {
  const mediaType = format === 'docker' ? mediaTypes.dockerManifest : mediaTypes.imageManifest;
  if (image.mediaType === mediaType) return image;
  const { schemaVersion, mediaType: _, config, layers, annotations, subject, artifactType, ...rest } = image.manifest;
  if (!isImageConfigType(config.mediaType)) {
    throw new UnexpectedMediaTypeError(`manifest ${image.digest}: config`, mediaTypes.imageConfig, config.mediaType);
  }
  const rawManifest = encodeJson({
    schemaVersion,
    mediaType,
    config: { ...config, mediaType: format === 'docker' ? mediaTypes.dockerConfig : mediaTypes.imageConfig },
    layers: layers.map((layer) => ({ ...layer, mediaType: layerType(layer, format) })),
    // Docker's format knows neither; OCI's has both where they were.
    ...(format === 'oci' && { ...rest, ...(subject && { subject }), ...(annotations && { annotations }) }),
  });
  return newRef(rawManifest, mediaType, undefined, image.blobs) as Image;
}

async function convertIndex(index: Index, format: ManifestFormat): Promise<Index> {
  const mediaType = format === 'docker' ? mediaTypes.dockerManifestList : mediaTypes.imageIndex;
  if (index.mediaType === mediaType) return index;
  const children: { ref: Ref; descriptor: Descriptor }[] = [];
  for (const child of index.children()) {
    const ref = await convertRef(await index.ref(child), format);
    const { annotations, artifactType, data, ...descriptor } = child;
    children.push({
      ref,
      descriptor: {
        ...descriptor,
        ...(format === 'oci' && annotations && { annotations }),
        mediaType: ref.mediaType,
        digest: ref.digest,
        size: ref.rawManifest.length,
      },
    });
  }
  const { annotations, subject } = index.manifest;
  const rawManifest = encodeJson({
    schemaVersion: 2,
    mediaType,
    manifests: children.map(({ descriptor }) => descriptor),
    ...(format === 'oci' && { ...(subject && { subject }), ...(annotations && { annotations }) }),
  });
  return indexOver(
    rawManifest,
    mediaType,
    children.map(({ ref }) => ref),
  );
}

/** A layer's media type in the other family; what belongs to neither stays as it is. */
function layerType({ mediaType, digest }: Descriptor, format: ManifestFormat): string {
  const compression = layerCompression(mediaType);
  if (compression === undefined) return mediaType;
  const foreign = mediaType.includes('.foreign.') || mediaType.includes('.nondistributable.');
  const suffix = { none: '', gzip: 'gzip', zstd: 'zstd' }[compression];
  if (format === 'docker') {
    if (compression === 'zstd')
      throw new UnexpectedMediaTypeError(`layer ${digest}`, mediaTypes.dockerLayerGzip, mediaType);
    return `application/vnd.docker.image.rootfs.${foreign ? 'foreign.' : ''}diff.tar${suffix && `.${suffix}`}`;
  }
  return `application/vnd.oci.image.layer.${foreign ? 'nondistributable.' : ''}v1.tar${suffix && `+${suffix}`}`;
}
