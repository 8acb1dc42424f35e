import { type Blobs, noBlobs } from './blob';
import type { Digest } from './digest';
import { NoMatchingPlatformError } from './errors';
import { descriptorOf, type Image, type Index, newRef, type Ref, readConfig } from './ref';
import type { Descriptor, Platform } from './spec/documents';
import { encodeJson } from './spec/json';
import { isImageConfigType, mediaTypes } from './spec/media-types';
import { formatPlatform, platformDistance } from './spec/platform';

/** A ref and what the index that lists it says of it beyond the ref itself. */
export interface IndexEntry {
  readonly ref: Ref;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** An index over refs, which may come from different sources: each keeps its own. */
export function newIndex(entries: readonly IndexEntry[]): Index {
  const rawManifest = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.imageIndex,
    manifests: entries.map(({ ref, platform, annotations }) => describe(ref, platform, annotations)),
  });
  const refs = new Map(entries.map(({ ref }) => [ref.digest, ref]));
  return newRef(rawManifest, mediaTypes.imageIndex, undefined, refBlobs(refs)) as Index;
}

/** The platform that an image is for, from its config; none for an artifact or an index. */
export async function platformOf(ref: Ref): Promise<Platform | undefined> {
  if (ref.kind === 'index' || !isImageConfigType(ref.manifest.config.mediaType)) return undefined;
  const { os, architecture, variant, 'os.version': version, 'os.features': features } = await readConfig(ref);
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
}

/**
 * All images that are reachable, nested indexes included, in the order of the indexes. The platform is the descriptor's
 * or, where it has none, the config's.
 */
export async function instancesOf(ref: Ref, descriptor?: Descriptor): Promise<Instance[]> {
  if (ref.kind === 'image') {
    const platform = descriptor?.platform ?? (await platformOf(ref));
    return [{ image: ref, ...(platform && { platform }) }];
  }
  const instances: Instance[] = [];
  for (const child of ref.children()) instances.push(...(await instancesOf(await ref.ref(child), child)));
  return instances;
}

/** How many of the platforms that are there an error lists. */
const listedPlatforms = 10;

/**
 * The image for a platform: of the same architecture, with the best variant that it runs.
 *
 * @param name names the place where it was looked for, in the message.
 * @throws {NoMatchingPlatformError} that lists what is there.
 */
export function findPlatform(instances: readonly Instance[], wanted: Platform, name: string): Instance {
  let best: { instance: Instance; distance: number } | undefined;
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

/** Each manifest of an index from the ref that it was added as. */
function refBlobs(refs: ReadonlyMap<Digest, Ref>): Blobs {
  return {
    blob: noBlobs.blob,
    manifest: async (descriptor) => refs.get(descriptor.digest)?.rawManifest ?? noBlobs.manifest(descriptor),
    blobs: (descriptor) => refs.get(descriptor.digest)?.blobs ?? noBlobs,
  };
}
