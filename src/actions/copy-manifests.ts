import { AmbiguousManifestError, InvalidLayoutError, InvalidOptionError } from '../errors';
import { addToIndex, findPlatform, listInstances, removeFromIndex } from '../image-index';
import { layoutTree } from '../layout/create';
import { ensureLayout, type InsertOptions } from '../layout/directory';
import { listNames, tagOf, withoutTag } from '../layout/find';
import { blobsIn, namesIn } from '../layout/paths';
import { readLayoutIndex } from '../layout/read';
import type { LayoutReference } from '../layout/reference';
import type { ImageSource, SourcedRef } from '../layout/source';
import { writeTree } from '../layout/write';
import { descriptorOf, type Index } from '../ref';
import { type Descriptor, type Platform, refNameAnnotation } from '../spec/documents';
import { type ManifestChanges, withChanges } from './change-manifests';
import { checkTag } from './tag';

/** How manifests are copied. */
export interface CopyOptions extends ManifestChanges {
  /** Takes the images for these platforms alone: of one the image, of several the index reduced to them. */
  readonly platforms?: readonly Platform[];
  readonly onProgress?: InsertOptions['onProgress'];
}

/**
 * Copies manifests with all that they lead to into a layout, which is made if it is missing. Everything is verified on
 * the way, and shared where the file system can.
 *
 * @param from one manifest (by tag or digest), or all of a layout, archive or repository, which keep their tags.
 * @param to where to; a tag is for one manifest.
 * @returns what the destination lists them as.
 */
export async function copyManifests(
  from: ImageSource,
  to: LayoutReference,
  { platforms, onProgress, ...changes }: CopyOptions = {},
): Promise<Descriptor[]> {
  if (to.digest !== undefined) {
    throw new InvalidOptionError(
      `${to.path}: expected a layout or a tag in it (${to.path}:<tag>) to copy to, found the digest ${to.digest}`,
      { found: to.digest },
    );
  }
  if (to.tag !== undefined) checkTag(to.tag);
  const sources = await chosenFrom(await from.read(), platforms, from.name);
  if (to.tag !== undefined && sources.length !== 1) {
    const names = listNames(sources.map(({ descriptor }) => descriptor));
    throw new AmbiguousManifestError(
      `${from.name}: expected one manifest to copy to the tag ${JSON.stringify(to.tag)}, found ${sources.length} (${names}); pick one by tag, digest or platform`,
      { expected: '1', found: String(sources.length) },
    );
  }
  return withChanges(sources, changes, async (changed) => {
    const destination = await ensureLayout(to.path);
    const copied: Descriptor[] = [];
    for (const { ref, descriptor } of changed) {
      const { annotations, platform: listedPlatform } = withoutTag(descriptor);
      const tag = to.tag ?? tagOf(descriptor);
      copied.push(
        await destination.insert(ref, { tag, annotations: annotations ?? {}, platform: listedPlatform, onProgress }),
      );
    }
    return copied;
  });
}

/**
 * Copies a whole layout: its index.json to the byte and all that it leads to, verified.
 *
 * @param to is made; it must not hold anything yet.
 */
export async function cloneLayout(from: string, to: string): Promise<{ readonly blobs: number }> {
  const existing = await namesIn(to);
  if (existing.length > 0) {
    throw new InvalidLayoutError(
      `${to}: expected no directory or an empty one to clone to, found ${JSON.stringify(existing[0])}`,
    );
  }
  await writeTree(await layoutTree(await readLayoutIndex(from)), to);
  return { blobs: (await blobsIn(`${to}/blobs`)).length };
}

/**
 * Of one platform the image for it, of several the index with these images alone; without any, everything.
 *
 * @param name names the place where they were looked for, in messages.
 * @throws {NoMatchingPlatformError} that lists what is there.
 * @throws {AmbiguousManifestError} for several platforms where there is not one index.
 */
export async function chosenFrom(
  sources: readonly SourcedRef[],
  platforms: readonly Platform[] | undefined,
  name: string,
): Promise<readonly SourcedRef[]> {
  if (platforms === undefined) return sources;
  const [platform, ...others] = platforms;
  if (platform && others.length === 0) return [await instanceFor(sources, platform, name)];
  const [source, ...more] = sources;
  if (source?.ref.kind === 'index' && more.length === 0) {
    return [{ descriptor: source.descriptor, ref: await reducedTo(source.ref, platforms, name) }];
  }
  const found = listNames(sources.map(({ descriptor }) => descriptor));
  throw new AmbiguousManifestError(
    `${name}: expected one index to take ${platforms.length} platforms from, found ${found}; make one with "index create", or pick it by its tag`,
    { expected: 'one index', found },
  );
}

/** The index with the images for these platforms alone, those of nested indexes too. */
async function reducedTo(index: Index, platforms: readonly Platform[], name: string): Promise<Index> {
  const instances = await listInstances(index);
  const chosen = await Promise.all(
    platforms.map(async (wanted) => {
      const { platform, read } = findPlatform(instances, wanted, name);
      return { ref: await read(), ...(platform && { platform }) };
    }),
  );
  const digests = new Set<string>(chosen.map(({ ref }) => ref.digest));
  const others = index.manifest.manifests.filter(({ digest }) => !digests.has(digest));
  // Bytes that stay the same keep their digest, whoever wrote them.
  if (others.length === 0) return index;
  const listed = new Set<string>(index.manifest.manifests.map(({ digest }) => digest));
  const nested = chosen.filter(({ ref }) => !listed.has(ref.digest));
  return addToIndex(
    removeFromIndex(index, ({ digest }) => !digests.has(digest)),
    nested,
  );
}

/** The image for a platform, under the tag of the manifest that it was found behind. */
async function instanceFor(sources: readonly SourcedRef[], platform: Platform, path: string): Promise<SourcedRef> {
  const instances = [];
  for (const { ref, descriptor } of sources) {
    const tag = tagOf(descriptor);
    instances.push(...(await listInstances(ref, descriptor)).map((instance) => ({ ...instance, tag })));
  }
  const { tag, ...found } = findPlatform(instances, platform, path);
  const ref = await found.read();
  return {
    ref,
    descriptor: {
      ...descriptorOf(ref),
      ...(found.platform && { platform: found.platform }),
      ...(tag !== undefined && { annotations: { [refNameAnnotation]: tag } }),
    },
  };
}
