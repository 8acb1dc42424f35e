import { lstat } from 'node:fs/promises';
import { type Blob, isFileBlob } from '../../blob';
import type { Digest } from '../../digest';
import {
  AmbiguousManifestError,
  EmptyIndexError,
  hasSystemCode,
  InvalidReferenceError,
  MissingBlobError,
  SizeMismatchError,
} from '../../errors';
import { listNames, tagOf } from '../../layout/find';
import { parseLayoutReference } from '../../layout/reference';
import { readSource } from '../../layout/source';
import { type Ref, walkRefs } from '../../ref';
import type { Descriptor } from '../../spec/documents';
import { isRepository, isTag } from '../reference';
import { storedManifest } from './push';
import type { RegistryStorage } from './storage';

/** A layout or an archive whose images are served. */
export interface ServedLayout {
  /** `path`, `path:tag` or `path@digest`. */
  readonly path: string;
  readonly repository: string;
  /**
   * What the one image that is meant is served as. By default all that are meant are served under the tags that they have
   * in the layout, and those without a tag by their digests.
   */
  readonly tag?: string;
}

/**
 * @throws {EmptyIndexError}, {@link UnknownTagError}, {@link InvalidLayoutError} if the layout has nothing to serve.
 * @throws {AmbiguousManifestError} if several images would be served as one tag.
 */
export async function addLayout(storage: RegistryStorage, { path, repository, tag }: ServedLayout): Promise<void> {
  const found = await readSource(parseLayoutReference(path));
  if (found.length === 0) throw new EmptyIndexError(`${path}: expected an image or index to serve, found none`);
  if (tag !== undefined && found.length > 1) {
    const names = listNames(found.map(({ descriptor }) => descriptor));
    throw new AmbiguousManifestError(
      `${path}: expected one image or index to serve as ${repository}:${tag}, found ${found.length} (${names}); pick one as ${path}:<tag> or ${path}@<digest>, or leave the tag out to serve all`,
      { expected: '1', found: String(found.length) },
    );
  }
  for (const { ref, descriptor } of found) await addRef(storage, repository, tag ?? tagOf(descriptor), ref);
}

/**
 * Gives a repository an image or index with all that it refers to, children before parents, so that nobody sees a part.
 *
 * @throws {InvalidReferenceError} for a name that no repository or tag can have.
 * @throws {MissingBlobError} if something that the ref refers to is not there, and can't be had elsewhere either.
 */
export async function addRef(
  storage: RegistryStorage,
  repository: string,
  tag: string | undefined,
  ref: Ref,
): Promise<void> {
  if (!isRepository(repository)) throw unusable('repository', repository, 'lower-case letters, digits and / . _ -');
  if (tag !== undefined && !isTag(tag)) throw unusable('tag', tag, 'up to 128 letters, digits, ".", "_" and "-"');
  const added = new Set<Digest>();
  await walkRefs(ref, async (found) => {
    for (const descriptor of found.descriptors()) {
      if (added.has(descriptor.digest)) continue;
      added.add(descriptor.digest);
      const blob = await contentOf(found, descriptor);
      if (blob) await storage.addBlob(repository, descriptor.digest, blob);
    }
    await storage.putManifest(repository, storedManifest(found), found === ref && tag !== undefined ? [tag] : []);
  });
}

/** `undefined` for what is to be had elsewhere. */
async function contentOf(ref: Ref, descriptor: Descriptor): Promise<Blob | undefined> {
  try {
    const blob = ref.blob(descriptor);
    if (isFileBlob(blob)) await checkFile(blob.path, descriptor, ref);
    return blob;
  } catch (error) {
    if (error instanceof MissingBlobError && descriptor.urls) return undefined;
    throw error;
  }
}

async function checkFile(path: string, { digest, size }: Descriptor, ref: Ref): Promise<void> {
  const stats = await lstat(path).catch((error: unknown) => {
    if (hasSystemCode(error, 'ENOENT')) throw new MissingBlobError(digest, `manifest ${ref.digest}`, error);
    throw error;
  });
  if (stats.size !== size) throw new SizeMismatchError(path, size, stats.size);
}

function unusable(part: string, found: string, expected: string): InvalidReferenceError {
  return new InvalidReferenceError(`${part} ${JSON.stringify(found)}: expected ${expected}`, { expected, found });
}
