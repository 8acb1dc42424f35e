import { type Blob, bytesBlob, layeredBlobs, noBlobs } from './blob';
import { type Digest, digestOf } from './digest';
import { InvalidOptionError } from './errors';
import { asImage, emptyBlob, emptyDescriptor, type Image, newRef } from './ref';
import type { Descriptor } from './spec/documents';
import { encodeJson } from './spec/json';
import { mediaTypes } from './spec/media-types';

/** Where an artifact's layer keeps the name of the file that it was. */
export const titleAnnotation = 'org.opencontainers.image.title';

/** One file of an artifact: a layer that is the file itself, whatever is in it. */
export interface ArtifactFile {
  readonly descriptor: Descriptor;
  readonly blob: Blob;
}

/** What an artifact's manifest says besides its files. */
export interface ArtifactOptions {
  /** What kind of artifact it is. May be left out only if `config` says it by its media type. */
  readonly artifactType?: string;
  /** The empty config unless given. */
  readonly config?: { readonly mediaType: string; readonly content: Uint8Array };
  readonly annotations?: Readonly<Record<string, string>>;
  /** The manifest that the artifact speaks of: a signature's image, an SBOM's image. */
  readonly subject?: Descriptor;
}

/**
 * An artifact manifest over files. Without files it has the one empty layer that the specification advises.
 *
 * @throws {InvalidOptionError} if nothing says what kind of artifact it is.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidelines-for-artifact-usage
 */
export function newArtifact(files: readonly ArtifactFile[], options: ArtifactOptions): Image {
  const { artifactType, config, annotations, subject } = options;
  if (artifactType === undefined && (config === undefined || config.mediaType === mediaTypes.empty)) {
    throw new InvalidOptionError(
      'artifact: expected an artifactType, or a config whose media type says it, found neither',
    );
  }
  const own = new Map<Digest, Blob>([[emptyDescriptor.digest, emptyBlob]]);
  const configDescriptor = config === undefined ? emptyDescriptor : describeBytes(config.content, config.mediaType);
  if (config) own.set(configDescriptor.digest, bytesBlob(config.content));
  for (const { descriptor, blob } of files) own.set(descriptor.digest, blob);
  const rawManifest = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.imageManifest,
    ...(artifactType !== undefined && { artifactType }),
    config: configDescriptor,
    layers: files.length === 0 ? [emptyDescriptor] : files.map(({ descriptor }) => descriptor),
    ...(subject && { subject }),
    ...(annotations && Object.keys(annotations).length > 0 && { annotations }),
  });
  return asImage(newRef(rawManifest, mediaTypes.imageManifest, undefined, layeredBlobs(own, noBlobs)));
}

/** The descriptor of bytes in memory. */
function describeBytes(bytes: Uint8Array, mediaType: string): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}
