import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { convertRef, type ManifestFormat } from '../convert';
import { AmbiguousManifestError, EmptyIndexError, fileSystemStep, InvalidReferenceError } from '../errors';
import { listNames, tagOf } from '../layout/find';
import type { ImageSource, SourcedRef } from '../layout/source';
import type { Ref } from '../ref';
import { type Pushed, type PushProgress, planPush, pushRef } from '../registry/push';
import { formatRegistryReference, type RegistryReference } from '../registry/reference';
import type { Repository } from '../registry/repository';
import type { Platform } from '../spec/documents';
import { chosenFrom } from './copy-manifests';

/** What one push takes. */
export interface PushImages {
  readonly source: ImageSource;
  /** Where to. A reference without a tag takes the manifest's own tag. */
  readonly references: readonly RegistryReference[];
  /** The repository behind a reference. */
  readonly repository: (reference: RegistryReference) => Repository;
  /** Pushes these instances alone: of one the image, of several the index reduced to them. */
  readonly platforms?: readonly Platform[];
  /** Converts manifests to these media types; layers keep their bytes. */
  readonly format?: ManifestFormat;
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
 * @throws what {@link pushRef} throws.
 */
export async function pushImages(push: PushImages): Promise<PushedImage[]> {
  const { source, references, platforms, format, digestFile, dryRun = false, onProgress } = push;
  const converted: SourcedRef[] = [];
  for (const { ref, descriptor } of await chosenFrom(await source.read(), platforms, source.name)) {
    converted.push({ descriptor, ref: format === undefined ? ref : await convertRef(ref, format) });
  }
  const pushed: PushedImage[] = [];
  for (const target of references.flatMap((reference) => targetsOf(reference, converted, source.name))) {
    const { ref, reference } = target;
    const { mountFrom, chunkSize } = push;
    const name = formatRegistryReference(reference);
    const done = dryRun
      ? await planPush(ref)
      : await pushRef(ref, push.repository(reference), {
          ...(reference.tag !== undefined && { tags: [reference.tag] }),
          ...(mountFrom !== undefined && mountFrom !== reference.repository && { mountFrom }),
          ...(chunkSize !== undefined && { chunkSize }),
          ...(onProgress && { onProgress: (progress) => onProgress(name, progress) }),
        });
    pushed.push({ ...done, reference: formatRegistryReference({ ...reference, digest: ref.digest }) });
  }
  if (digestFile !== undefined && !dryRun) await writeDigests(digestFile, pushed);
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
