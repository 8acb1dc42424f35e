import { asDigest } from '../digest';
import { AmbiguousManifestError, InvalidOptionError, NoMatchingPlatformError } from '../errors';
import {
  addToIndex,
  annotateInIndex,
  describeIndex,
  findPlatform,
  type IndexChange,
  type IndexEntry,
  instancesOf,
  newIndex,
  removeFromIndex,
} from '../image-index';
import { ensureLayout, type LayoutDirectory, openLayout } from '../layout/directory';
import { listNames, tagOf, withoutTag } from '../layout/find';
import type { LayoutReference } from '../layout/reference';
import type { ImageSource } from '../layout/source';
import type { Index } from '../ref';
import type { Descriptor, Platform } from '../spec/documents';
import { formatPlatform, parsePlatform, platformDistance, thisPlatform } from '../spec/platform';
import type { ArtifactOptions } from './artifact-options';
import { assembleArtifact, subjectOf } from './build-artifact';
import { checkTag } from './tag';

/** What an index says of one of its manifests; what is left out stays as it is. */
export interface InstanceWords {
  readonly os?: string;
  readonly architecture?: string;
  readonly variant?: string;
  readonly osVersion?: string;
  readonly osFeatures?: readonly string[];
  /** Processor features, which Docker's manifest lists know. */
  readonly features?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Which image of an index is added: all, or the one for a platform (this machine's unless given). */
export interface InstanceChoice {
  readonly all?: boolean;
  readonly platform?: Platform;
}

/**
 * Makes an index under a tag, of images if some are given.
 *
 * @throws {InvalidOptionError} if the tag is taken, or there is none.
 */
export async function createIndex(
  { path, tag }: LayoutReference,
  sources: readonly ImageSource[],
  choice: InstanceChoice,
  change: IndexChange,
): Promise<Descriptor> {
  if (tag === undefined)
    throw new InvalidOptionError(`${path}: expected a tag for the index (${path}:<tag>), found none`);
  checkTag(tag);
  const entries: IndexEntry[] = [];
  for (const source of sources) entries.push(...(await entriesOf(source, choice)));
  const layout = await ensureLayout(path);
  const index = await layout.index();
  if (index.manifest.manifests.some((descriptor) => tagOf(descriptor) === tag)) {
    throw new InvalidOptionError(
      `${path}: expected a tag that is not taken, found ${tag}; "index add" adds to the index that it names`,
      {
        found: tag,
      },
    );
  }
  return layout.insert(addToIndex(newIndex([], change), entries), { tag });
}

/** Adds images of a layout, an archive, a registry or another tag to an index. */
export async function addToListedIndex(
  list: LayoutReference,
  source: ImageSource,
  choice: InstanceChoice,
  words: InstanceWords,
): Promise<Descriptor> {
  const layout = await openLayout(list.path);
  const entries = (await entriesOf(source, choice)).map((entry) => withWords(entry, words));
  return layout.edit(await nameIn(layout, list), (index) => addToIndex(index, entries));
}

/** Adds an artifact made of files to an index. */
export async function addArtifactToIndex(
  list: LayoutReference,
  options: ArtifactOptions,
  root: string,
  subject: ImageSource | undefined,
  words: InstanceWords,
): Promise<Descriptor> {
  const layout = await openLayout(list.path);
  try {
    const about = subject && (await subjectOf(subject));
    const artifact = await assembleArtifact(options, root, layout, about);
    const entry = withWords({ ref: artifact }, words);
    return await layout.edit(await nameIn(layout, list), (index) => addToIndex(index, [entry]));
  } finally {
    await layout.close();
  }
}

/** Changes what an index says of the manifest that `instance`, a digest or a platform, names. */
export async function annotateInstance(
  list: LayoutReference,
  instance: string,
  words: InstanceWords,
): Promise<Descriptor> {
  const layout = await openLayout(list.path);
  return layout.edit(await nameIn(layout, list), (index) => {
    const named = namedIn(index, instance, list.path);
    return annotateInIndex(
      index,
      (descriptor) => named.has(descriptor),
      (descriptor) => describedBy(descriptor, words),
    );
  });
}

/** Changes what an index says of itself. */
export async function annotateIndex(
  list: LayoutReference,
  annotations: Readonly<Record<string, string>>,
  subject: ImageSource | undefined,
): Promise<Descriptor> {
  const layout = await openLayout(list.path);
  const about = subject && (await subjectOf(subject));
  return layout.edit(await nameIn(layout, list), (index) =>
    describeIndex(index, { annotations, ...(about && { subject: about }) }),
  );
}

/** Takes a manifest, named by its digest or platform, out of an index. */
export async function removeInstance(list: LayoutReference, instance: string): Promise<Descriptor> {
  const layout = await openLayout(list.path);
  return layout.edit(await nameIn(layout, list), (index) => {
    const named = namedIn(index, instance, list.path);
    return removeFromIndex(index, (descriptor) => named.has(descriptor));
  });
}

/** The tag or digest of a reference, or the only manifest of the layout. */
async function nameIn(layout: LayoutDirectory, { path, tag, digest }: LayoutReference): Promise<string> {
  if (digest !== undefined || tag !== undefined) return digest ?? (tag as string);
  const { manifests } = (await layout.index()).manifest;
  const [only, ...more] = manifests;
  if (only && more.length === 0) return tagOf(only) ?? only.digest;
  throw new AmbiguousManifestError(
    `${path}: expected the tag of an index (${path}:<tag>), found ${listNames(manifests)}`,
    {
      found: String(manifests.length),
    },
  );
}

async function entriesOf(source: ImageSource, { all = false, platform }: InstanceChoice): Promise<IndexEntry[]> {
  const entries: IndexEntry[] = [];
  for (const { ref, descriptor } of await source.read()) {
    const instances = await instancesOf(ref, descriptor);
    const chosen =
      all || ref.kind === 'image' ? instances : [findPlatform(instances, platform ?? thisPlatform(), source.name)];
    for (const { image, platform: own, descriptor: listed } of chosen) {
      const annotations = listed && withoutTag(listed).annotations;
      entries.push({ ref: image, ...(own && { platform: own }), ...(annotations && { annotations }) });
    }
  }
  return entries;
}

function withWords(entry: IndexEntry, words: InstanceWords): IndexEntry {
  const platform = platformBy(entry.platform, words);
  const annotations = { ...entry.annotations, ...words.annotations };
  return { ...entry, ...(platform && { platform }), ...(Object.keys(annotations).length > 0 && { annotations }) };
}

function describedBy(descriptor: Descriptor, words: InstanceWords): Descriptor {
  const platform = platformBy(descriptor.platform, words);
  const annotations = { ...descriptor.annotations, ...words.annotations };
  return { ...descriptor, ...(platform && { platform }), ...(Object.keys(annotations).length > 0 && { annotations }) };
}

/** @throws {InvalidOptionError} if a platform is begun that names no operating system or no architecture. */
function platformBy(platform: Platform | undefined, words: InstanceWords): Platform | undefined {
  const { os, architecture, variant, osVersion, osFeatures, features } = words;
  const changes = {
    ...(architecture !== undefined && { architecture }),
    ...(os !== undefined && { os }),
    ...(osVersion !== undefined && { 'os.version': osVersion }),
    ...(osFeatures !== undefined && { 'os.features': [...osFeatures] }),
    ...(variant !== undefined && { variant }),
    ...(features !== undefined && { features: [...features] }),
  };
  if (Object.keys(changes).length === 0) return platform;
  const { architecture: arch = platform?.architecture, os: system = platform?.os } = changes;
  if (arch !== undefined && system !== undefined) return { ...platform, ...changes, architecture: arch, os: system };
  throw new InvalidOptionError(
    'platform: expected an operating system and an architecture, found only one of them or neither',
  );
}

/**
 * What an index lists by a digest, which may be for several platforms, or the one manifest for a platform.
 *
 * @throws {NoMatchingPlatformError} that lists what is there.
 */
function namedIn(index: Index, name: string, path: string): ReadonlySet<Descriptor> {
  const { manifests } = index.manifest;
  // Digests have a colon, platforms never.
  const digest = name.includes(':') ? asDigest(name) : undefined;
  const wanted = digest === undefined ? parsePlatform(name) : undefined;
  const found = manifests.filter((descriptor) =>
    wanted ? descriptor.platform && platformDistance(wanted, descriptor.platform) === 0 : descriptor.digest === digest,
  );
  if (found.length === 1 || (digest !== undefined && found.length > 0)) return new Set(found);
  const there = manifests.slice(0, 10).map((descriptor) => {
    const { platform } = descriptor;
    return platform ? `${formatPlatform(platform)} (${descriptor.digest})` : descriptor.digest;
  });
  const more = manifests.length > there.length ? ` and ${manifests.length - there.length} more` : '';
  const choose = found.length > 1 ? '; name it by its digest' : '';
  throw new NoMatchingPlatformError(
    `${path}: expected one manifest ${name} in the index, found ${found.length} among ${there.join(', ') || 'none'}${more}${choose}`,
    { expected: name, found: String(found.length) },
  );
}
