import { type Blobs, noBlobs } from './blob';
import type { Digest } from './digest';
import { NoMatchingPlatformError, NotAnIndexError } from './errors';
import {
  asImage,
  descriptorOf,
  type Image,
  type Index,
  maxDepth,
  newRef,
  type Ref,
  readConfig,
  tooDeep,
  walkRefs,
} from './ref';
import type { Descriptor, ImageConfig, ImageIndex, Platform } from './spec/documents';
import { encodeJson } from './spec/json';
import { isImageConfigType, isManifestType, mediaTypes } from './spec/media-types';
import { formatPlatform, platformDistance } from './spec/platform';

/** A ref and what the index that lists it says of it beyond the ref itself. */
export interface IndexEntry {
  readonly ref: Ref;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An index over refs, which may come from different sources: each keeps its own. */
export function newIndex(entries: readonly IndexEntry[], change: IndexChange = {}): Index {
  const manifests = entries.map(({ ref, platform, annotations }) => describe(ref, platform, annotations));
  const document = { schemaVersion: 2, mediaType: mediaTypes.imageIndex, manifests, ...change };
  return indexOver(
    encodeJson(document),
    mediaTypes.imageIndex,
    entries.map(({ ref }) => ref),
  );
}

/** What an index says of itself. */
export interface IndexChange {
  /** Added to those that are there. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly subject?: Descriptor;
  readonly artifactType?: string;
}

/** The index with other annotations, another subject or artifact type. */
export function describeIndex(index: Index, change: IndexChange): Index {
  return changedIndex(index.manifest, index.mediaType, change, [], index.blobs);
}

/** The index with more manifests. One that it lists already, for the same platform, is listed anew in the old one's place. */
export function addToIndex(index: Index, entries: readonly IndexEntry[]): Index {
  const line = ({ digest, platform }: Descriptor) => `${digest} ${platform ? formatPlatform(platform) : ''}`;
  const manifests = new Map(index.manifest.manifests.map((descriptor) => [line(descriptor), descriptor]));
  for (const { ref, platform, annotations } of entries) {
    const descriptor = describe(ref, platform, annotations);
    manifests.set(line(descriptor), descriptor);
  }
  const refs = entries.map(({ ref }) => ref);
  return changedIndex(
    { ...index.manifest, manifests: [...manifests.values()] },
    index.mediaType,
    {},
    refs,
    index.blobs,
  );
}

/** The index without the manifests that match. */
export function removeFromIndex(index: Index, matches: (descriptor: Descriptor) => boolean): Index {
  const manifests = index.manifest.manifests.filter((descriptor) => !matches(descriptor));
  return changedIndex({ ...index.manifest, manifests }, index.mediaType, {}, [], index.blobs);
}

/** The index with other words about the manifests that match: their platform, their annotations. */
export function annotateInIndex(
  index: Index,
  matches: (descriptor: Descriptor) => boolean,
  change: (descriptor: Descriptor) => Descriptor,
): Index {
  const manifests = index.manifest.manifests.map((descriptor) =>
    matches(descriptor) ? change(descriptor) : descriptor,
  );
  return changedIndex({ ...index.manifest, manifests }, index.mediaType, {}, [], index.blobs);
}

/**
 * The ref as an index, where only an index can be edited.
 *
 * @throws {NotAnIndexError} naming the media type of what it is instead.
 */
export function asIndex(ref: Ref): Index {
  if (ref.kind === 'index') return ref;
  throw new NotAnIndexError(
    `manifest ${ref.digest}`,
    `${mediaTypes.imageIndex} or ${mediaTypes.dockerManifestList}`,
    ref.mediaType,
  );
}

/** An index with these bytes. Each of its manifests is one of the refs, or comes from below. */
export function indexOver(
  rawManifest: Uint8Array,
  mediaType: string,
  refs: readonly Ref[],
  below: Blobs = noBlobs,
): Index {
  return asIndex(
    newRef(rawManifest, mediaType, undefined, refBlobs(new Map(refs.map((ref) => [ref.digest, ref])), below)),
  );
}

function changedIndex(
  manifest: ImageIndex,
  mediaType: string,
  { annotations, ...change }: IndexChange,
  refs: readonly Ref[],
  below: Blobs,
): Index {
  const all = { ...manifest.annotations, ...annotations };
  const document = { ...manifest, ...change, ...(Object.keys(all).length > 0 && { annotations: all }) };
  return indexOver(encodeJson(document), mediaType, refs, below);
}

/** The platform that an image is for, from its config; none for an artifact or an index. */
export async function platformOf(ref: Ref): Promise<Platform | undefined> {
  if (ref.kind === 'index' || !isImageConfigType(ref.manifest.config.mediaType)) return undefined;
  return configPlatform(await readConfig(ref));
}

/** The platform that a config is for. */
export function configPlatform(config: ImageConfig): Platform {
  const { os, architecture, variant, 'os.version': version, 'os.features': features } = config;
  return {
    architecture,
    os,
    ...(version !== undefined && { 'os.version': version }),
    ...(features !== undefined && { 'os.features': features }),
    ...(variant !== undefined && { variant }),
  };
}

/** An image of an index with the platform it is for. */
export interface Instance {
  readonly image: Image;
  readonly platform?: Platform;
  /** By which an index lists it. */
  readonly descriptor?: Descriptor;
}

/**
 * All images that are reachable, nested indexes included, in the order of the indexes; an index that is listed again is
 * not entered again. The platform is the descriptor's or, where it has none, the config's.
 *
 * @param descriptor by which the root was reached, if it was.
 * @throws as {@link walkRefs} does.
 */
export async function instancesOf(root: Ref, descriptor?: Descriptor): Promise<Instance[]> {
  const refs = new Map<Digest, Ref>();
  await walkRefs(root, (ref) => void refs.set(ref.digest, ref));
  const instances: Instance[] = [];
  const list = async (ref: Ref | undefined, listedAs: Descriptor | undefined): Promise<void> => {
    if (ref?.kind === 'image') {
      const platform = listedAs?.platform ?? (await platformOf(ref));
      instances.push({ image: ref, ...(platform && { platform }), ...(listedAs && { descriptor: listedAs }) });
    } else if (ref) {
      refs.delete(ref.digest);
      for (const child of ref.children()) await list(refs.get(child.digest), child);
    }
  };
  await list(root, descriptor);
  return instances;
}

/** An image as an index lists it, not read yet. */
export interface ListedInstance {
  readonly platform?: Platform;
  read(): Promise<Image>;
}

/**
 * All images that are reachable, as {@link instancesOf} lists them, but read only where the descriptors do not say what
 * they are for: of an index with hundreds of images one is wanted, and reading may mean asking a registry.
 *
 * @param descriptor by which the root was reached, if it was.
 * @throws as {@link walkRefs} does.
 */
export async function listInstances(root: Ref, descriptor?: Descriptor): Promise<ListedInstance[]> {
  const listed: ListedInstance[] = [];
  const seen = new Set<Digest>();
  const list = async (ref: Ref, listedAs: Descriptor | undefined, depth: number): Promise<void> => {
    if (ref.kind === 'image') {
      const platform = listedAs?.platform ?? (await platformOf(ref));
      listed.push({ ...(platform && { platform }), read: async () => ref });
      return;
    }
    if (depth > maxDepth) throw tooDeep(root, ref);
    if (seen.has(ref.digest)) return;
    seen.add(ref.digest);
    for (const child of ref.children()) {
      const { platform, mediaType } = child;
      if (platform && isManifestType(mediaType)) {
        listed.push({ platform, read: async () => asImage(await ref.ref(child)) });
      } else {
        await list(await ref.ref(child), child, depth + 1);
      }
    }
  };
  await list(root, descriptor, 0);
  return listed;
}

/** How many of the platforms that are there an error lists. */
const listedPlatforms = 10;

/**
 * The image for a platform: of the same architecture, with the best variant that it runs.
 *
 * @param name names the place where it was looked for, in the message.
 * @throws {NoMatchingPlatformError} that lists what is there.
 */
export function findPlatform<T extends Pick<Instance, 'platform'>>(
  instances: readonly T[],
  wanted: Platform,
  name: string,
): T {
  let best: { instance: T; distance: number } | undefined;
  for (const instance of instances) {
    const distance = instance.platform && platformDistance(wanted, instance.platform);
    if (distance !== undefined && distance < (best?.distance ?? Number.POSITIVE_INFINITY))
      best = { instance, distance };
  }
  if (best) return best.instance;
  const there = [...new Set(instances.flatMap(({ platform }) => (platform ? [formatPlatform(platform)] : [])))];
  const more = there.length > listedPlatforms ? ` and ${there.length - listedPlatforms} more` : '';
  const found = there.length === 0 ? 'none with a platform' : there.slice(0, listedPlatforms).join(', ') + more;
  throw new NoMatchingPlatformError(`${name}: expected an image for ${formatPlatform(wanted)}, found ${found}`, {
    expected: formatPlatform(wanted),
    found,
  });
}

function describe(ref: Ref, platform: Platform | undefined, annotations: IndexEntry['annotations']): Descriptor {
  return {
    ...descriptorOf(ref),
    ...(platform && { platform }),
    ...(annotations && { annotations: { ...annotations } }),
  };
}

/** Each manifest of an index from the ref that it was added as, the others from below. */
function refBlobs(refs: ReadonlyMap<Digest, Ref>, below: Blobs): Blobs {
  return {
    blob: (descriptor) => below.blob(descriptor),
    manifest: async (descriptor) => refs.get(descriptor.digest)?.rawManifest ?? below.manifest(descriptor),
    blobs: (descriptor) => refs.get(descriptor.digest)?.blobs ?? below.blobs(descriptor),
    file: (descriptor) => {
      const ref = refs.get(descriptor.digest);
      return ref ? ref.file : below.file?.(descriptor);
    },
  };
}
