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
 * @throws {EmptyIndexError}, {@link UnknownTagError}, {@link InvalidLayoutError} if a layout has nothing to serve.
 * @throws {AmbiguousManifestError} if several images would be served as one tag.
 */
export async function addLayouts(storage: RegistryStorage, layouts: readonly ServedLayout[]): Promise<void> {
  const origins = new Map<string, { readonly path: string; readonly digest: Digest }>();
  for (const layout of layouts) {
    const { path, repository } = layout;
    for (const { ref, tag } of await imagesOf(layout)) {
      const name = `${repository}:${tag}`;
      const other = origins.get(name);
      if (tag !== undefined && other && other.digest !== ref.digest) {
        throw new AmbiguousManifestError(
          `${path}: expected to serve ${ref.digest} as ${name}, found ${other.path} to be served as that with ${other.digest}; give one of them another repository or tag`,
          { expected: ref.digest, found: other.digest },
        );
      }
      origins.set(name, { path, digest: ref.digest });
      await addRef(storage, repository, tag, ref);
    }
  }
}

/** What of a layout is served, and as which tags. */
async function imagesOf({ path, repository, tag }: ServedLayout): Promise<{ ref: Ref; tag: string | undefined }[]> {
  const found = await readSource(parseLayoutReference(path));
  if (found.length === 0) throw new EmptyIndexError(`${path}: expected an image or index to serve, found none`);
  if (tag !== undefined && found.length > 1) {
    const names = listNames(found.map(({ descriptor }) => descriptor));
    throw new AmbiguousManifestError(
      `${path}: expected one image or index to serve as ${repository}:${tag}, found ${found.length} (${names}); pick one as ${path}:<tag> or ${path}@<digest>, or leave the tag out to serve all`,
      { expected: '1', found: String(found.length) },
    );
  }
  return found.map(({ ref, descriptor }) => ({ ref, tag: tag ?? tagOf(descriptor) }));
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
