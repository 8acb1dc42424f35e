import type { Compression } from '../compression';
import { UnexpectedMediaTypeError } from '../errors';

/**
 * The media types of the OCI image specification and of Docker's image format, version 2, schema 2.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/media-types.md
 * @see https://distribution.github.io/distribution/spec/manifest-v2-2/
 */
export const mediaTypes = {
  imageIndex: 'application/vnd.oci.image.index.v1+json',
  imageManifest: 'application/vnd.oci.image.manifest.v1+json',
  imageConfig: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  layerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  layerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  empty: 'application/vnd.oci.empty.v1+json',
  dockerManifestList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  dockerLayerForeign: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
} as const;

const manifestTypes: readonly string[] = [mediaTypes.imageManifest, mediaTypes.dockerManifest];
const indexTypes: readonly string[] = [mediaTypes.imageIndex, mediaTypes.dockerManifestList];
const configTypes: readonly string[] = [mediaTypes.imageConfig, mediaTypes.dockerConfig];

/** An image manifest, OCI's or Docker's. */
export const isManifestType = (mediaType: string): boolean => manifestTypes.includes(mediaType);

/** An image index or Docker's manifest list. */
export const isIndexType = (mediaType: string): boolean => indexTypes.includes(mediaType);

/** The config of a container image, OCI's or Docker's. */
export const isImageConfigType = (mediaType: string): boolean => configTypes.includes(mediaType);

/** How the tar file of a layer is compressed, by media type; `undefined` for what is no layer that is known here. */
export function layerCompression(mediaType: string): Compression | undefined {
  // The non-distributable types (image-spec, layer.md) carry `.nondistributable` before `.v1.tar`.
  const oci = /^application\/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(gzip|zstd))?$/.exec(mediaType);
  if (oci) return (oci[1] as Compression | undefined) ?? 'none';
  const docker = /^application\/vnd\.docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.(gzip|zstd))?$/.exec(mediaType);
  if (docker) return (docker[1] as Compression | undefined) ?? 'none';
  return undefined;
}

/** Whether a layer of this media type is not for distribution by everybody (image-spec, layer.md; Docker's "foreign"). */
export const isForeignLayer = (mediaType: string): boolean => /\.(?:nondistributable|foreign)\./.test(mediaType);

/**
 * The layers and the config of one image speak the language of its manifest: OCI's or Docker's.
 *
 * @throws {UnexpectedMediaTypeError} for zstd in Docker's, which has no word for it.
 */
export function layerTypeFor(manifestType: string, compression: Compression): string {
  if (manifestType !== mediaTypes.dockerManifest) {
    return { gzip: mediaTypes.layerGzip, zstd: mediaTypes.layerZstd, none: mediaTypes.layer }[compression];
  }
  if (compression !== 'zstd') return compression === 'gzip' ? mediaTypes.dockerLayerGzip : mediaTypes.dockerLayer;
  throw new UnexpectedMediaTypeError(
    'manifest with zstd layers',
    mediaTypes.imageManifest,
    manifestType,
    'convert it with the format "oci", or compress its layers otherwise',
  );
}

/** The media type without parameters and in lower case, as a Content-Type header may carry both. */
export function withoutParameters(mediaType: string): string {
  return (mediaType.split(';', 1)[0] ?? '').trim().toLowerCase();
}
