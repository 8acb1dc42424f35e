import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { AmbiguousManifestError, EmptyIndexError, fileSystemStep, InvalidReferenceError } from '../errors';
import { listNames, tagOf } from '../layout/find';
import type { ImageSource, SourcedRef } from '../layout/source';
import type { Ref } from '../ref';
import { type Pushed, type PushProgress, planPush, pushRef } from '../registry/push';
import { formatRegistryReference, type RegistryReference } from '../registry/reference';
import type { Repository } from '../registry/repository';
import type { Platform } from '../spec/documents';
import { type ManifestChanges, withChanges } from './change-manifests';
import { chosenFrom } from './copy-manifests';

/** What one push takes. */
export interface PushImages extends ManifestChanges {
  readonly source: ImageSource;
  /** Where to. A reference without a tag takes the manifest's own tag. */
  readonly references: readonly RegistryReference[];
  /** The repository behind a reference. */
  readonly repository: (reference: RegistryReference) => Repository;
  /** Pushes these instances alone: of one the image, of several the index reduced to them. */
  readonly platforms?: readonly Platform[];
  /** A repository in the same registry that may have some of the blobs. */
  readonly mountFrom?: string;
  /** Sends blobs in pieces of this many bytes. */
  readonly chunkSize?: number;
  /** Absolute path of a file that gets the digest, or those of several manifests, each on a line. */
  readonly digestFile?: string;
  /** Says what would be pushed, asks no registry and writes no file. */
  readonly dryRun?: boolean;
  readonly onProgress?: (reference: string, progress: PushProgress) => void;
}

/** One manifest in its new place. */
export interface PushedImage extends Pushed {
  /** With the tag, and with the digest behind it. */
  readonly reference: string;
}

/**
 * Pushes the manifest of a source to each reference or, where the source has several manifests, all of them under their
 * own tags.
 *
 * @throws {AmbiguousManifestError} for several manifests and a reference with one tag.
 * @throws what {@link withChanges} and {@link pushRef} throw.
 */
export async function pushImages(push: PushImages): Promise<PushedImage[]> {
  const { source, platforms, digestFile, dryRun = false } = push;
  const chosen = await chosenFrom(await source.read(), platforms, source.name);
  const pushed = await withChanges(chosen, push, (changed) => pushAll(changed, push));
  if (digestFile !== undefined && !dryRun) await writeDigests(digestFile, pushed);
  return pushed;
}

async function pushAll(manifests: readonly SourcedRef[], push: PushImages): Promise<PushedImage[]> {
  const { source, references, dryRun = false, onProgress, mountFrom, chunkSize } = push;
  const pushed: PushedImage[] = [];
  /** In each registry, the repository that has the blobs since an earlier reference. */
  const filled = new Map<string, string>();
  for (const target of references.flatMap((reference) => targetsOf(reference, manifests, source.name))) {
    const { ref, reference } = target;
    const { registry, repository } = reference;
    const name = formatRegistryReference(reference);
    const origin = mountFrom ?? filled.get(registry);
    const done = dryRun
      ? await planPush(ref)
      : await pushRef(ref, push.repository(reference), {
          ...(reference.tag !== undefined && { tags: [reference.tag] }),
          ...(origin !== undefined && origin !== repository && { mountFrom: origin }),
          ...(chunkSize !== undefined && { chunkSize }),
          ...(onProgress && { onProgress: (progress) => onProgress(name, progress) }),
        });
    if (!filled.has(registry)) filled.set(registry, repository);
    pushed.push({ ...done, reference: formatRegistryReference({ ...reference, digest: ref.digest }) });
  }
  return pushed;
}

async function writeDigests(file: string, pushed: readonly Pushed[]): Promise<void> {
  const digests = new Set(pushed.map(({ digest }) => digest));
  await fileSystemStep('write', file, async () => {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, [...digests].join('\n'));
  });
}

interface Target {
  readonly ref: Ref;
  readonly reference: RegistryReference;
}

function targetsOf(reference: RegistryReference, sources: readonly SourcedRef[], source: string): Target[] {
  const name = formatRegistryReference(reference);
  const [only, ...more] = sources;
  if (only === undefined) throw new EmptyIndexError(`${source}: expected a manifest to push, found none`);
  if (reference.digest !== undefined) {
    if (more.length === 0 && only.ref.digest === reference.digest) return [{ ref: only.ref, reference }];
    throw new InvalidReferenceError(
      `${name}: expected to push ${reference.digest}, found ${sources.map(({ ref }) => ref.digest).join(', ')} in ${source}`,
      { expected: reference.digest, found: only.ref.digest },
    );
  }
  if (more.length > 0 && reference.tag !== undefined) {
    const names = listNames(sources.map(({ descriptor }) => descriptor));
    throw new AmbiguousManifestError(
      `${source}: expected one manifest to push to ${name}, found ${sources.length} (${names}); pick one by tag, digest or platform, or name ${reference.registry}/${reference.repository} without a tag to push each under its own`,
      { expected: '1', found: String(sources.length) },
    );
  }
  return sources.map(({ ref, descriptor }) => {
    const tag = reference.tag ?? tagOf(descriptor);
    return { ref, reference: { ...reference, ...(tag !== undefined && { tag }) } };
  });
}
