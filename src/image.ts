import { type Blob, type Blobs, bytesBlob, layeredBlobs, noBlobs } from './blob';
import { type Digest, digestOf } from './digest';
import type { Layer } from './layer/layer';
import { asImage, emptyBlob, emptyDescriptor, type Image, newRef, readConfig } from './ref';
import type { Descriptor, Execution, History, ImageConfig, ImageManifest, Platform } from './spec/documents';
import { encodeJson } from './spec/json';
import { mediaTypes } from './spec/media-types';

/**
 * An image while it is put together: what its manifest and config will say, and where its content is. A value: every
 * change returns a new draft, and {@link sealImage} makes the image.
 */
export interface ImageDraft {
  /** Its config descriptor is the base's or an empty one until the image is sealed. */
  readonly manifest: ImageManifest;
  readonly config: ImageConfig;
  /** Content that came with appended layers. */
  readonly own: ReadonlyMap<Digest, Blob>;
  /** Where the content of the base is. */
  readonly below: Blobs;
}

/**
 * A draft without layers.
 *
 * @param created RFC 3339; the beginning of 1970 unless given, because a digest must not depend on the clock.
 */
export function emptyImage(platform: Platform, created = '1970-01-01T00:00:00Z'): ImageDraft {
  return {
    manifest: { schemaVersion: 2, mediaType: mediaTypes.imageManifest, config: emptyDescriptor, layers: [] },
    config: {
      created,
      architecture: platform.architecture,
      os: platform.os,
      ...(platform['os.version'] !== undefined && { 'os.version': platform['os.version'] }),
      ...(platform['os.features'] !== undefined && { 'os.features': platform['os.features'] }),
      ...(platform.variant !== undefined && { variant: platform.variant }),
      config: {},
      rootfs: { type: 'layers', diff_ids: [] },
      history: [],
    },
    own: new Map(),
    below: noBlobs,
  };
}

/** A draft that starts with everything that an image has, to build on it. */
export async function draftFrom(image: Image): Promise<ImageDraft> {
  return {
    // Docker's format requires the media type in the body, OCI recommends it; a body without one is OCI's.
    manifest: { ...image.manifest, mediaType: image.mediaType },
    config: await readConfig(image),
    own: new Map(),
    below: image.blobs,
  };
}

/**
 * Puts a layer on top.
 *
 * @param history what made the layer.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
 */
export function appendLayer(draft: ImageDraft, layer: Layer, history: History): ImageDraft {
  const { manifest, config, own } = draft;
  return {
    ...draft,
    manifest: { ...manifest, layers: [...manifest.layers, layer.descriptor] },
    config: {
      ...config,
      rootfs: { ...config.rootfs, diff_ids: [...config.rootfs.diff_ids, layer.diffId] },
      history: [...(config.history ?? []), history],
    },
    own: new Map(own).set(layer.descriptor.digest, layer.blob),
  };
}

/** Changes how containers are started; what is not named stays as it is. */
export function withExecution(draft: ImageDraft, change: (execution: Execution) => Execution): ImageDraft {
  return { ...draft, config: { ...draft.config, config: change(draft.config.config ?? {}) } };
}

/** Sets when the image was made, in RFC 3339. */
export function withCreated(draft: ImageDraft, created: string): ImageDraft {
  return { ...draft, config: { ...draft.config, created } };
}

/** Adds annotations to the manifest; a key that is there already gets the new value. */
export function annotate(draft: ImageDraft, annotations: Readonly<Record<string, string>>): ImageDraft {
  if (Object.keys(annotations).length === 0) return draft;
  return { ...draft, manifest: { ...draft.manifest, annotations: { ...draft.manifest.annotations, ...annotations } } };
}

/** Encodes config and manifest, and with that gives the image its digest. */
export function sealImage({ manifest, config, own, below }: ImageDraft): Image {
  const rawConfig = encodeJson(config);
  const docker = manifest.mediaType === mediaTypes.dockerManifest;
  const descriptor: Descriptor = {
    mediaType: docker ? mediaTypes.dockerConfig : mediaTypes.imageConfig,
    digest: digestOf(rawConfig),
    size: rawConfig.length,
  };
  const blobs = layeredBlobs(new Map(own).set(descriptor.digest, bytesBlob(rawConfig)), below);
  const mediaType = manifest.mediaType ?? mediaTypes.imageManifest;
  return asImage(newRef(encodeJson({ ...manifest, config: descriptor }), mediaType, undefined, blobs));
}

/**
 * An artifact manifest without content: an empty config and one empty layer, as the specification advises.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidance-for-an-empty-descriptor
 */
export function emptyManifest(artifactType: string): Image {
  const rawManifest = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.imageManifest,
    artifactType,
    config: emptyDescriptor,
    layers: [emptyDescriptor],
  });
  const blobs = layeredBlobs(new Map([[emptyDescriptor.digest, emptyBlob]]), noBlobs);
  return asImage(newRef(rawManifest, mediaTypes.imageManifest, undefined, blobs));
}
