import { join, resolve } from 'node:path';
import { bytesBlob } from '../blob';
import type { Digest } from '../digest';
import { InvalidOptionError, NotInRegistryError } from '../errors';
import type { ImageSource } from '../layout/source';
import { descriptorOf, newRef } from '../ref';
import type { RegistryClient } from '../registry/client';
import { type LockedImages, lockFileName, readLockFile, updateLockFile } from '../registry/lock-file';
import { manifestTypeOf } from '../registry/manifest-type';
import { formatRegistryReference, parseRegistryReference, type RegistryReference } from '../registry/reference';
import { keep, storedBlobs, storedManifest } from '../store/blobs';

/** Where what is known of images in registries is kept between builds. */
export interface ImageMemory {
  /** Absolute path of the directory of the lock file. */
  readonly root: string;
  /** Absolute path of the store of fetched blobs. */
  readonly store: string;
  /** Refuses a tag that is not in the lock file, instead of adding it: where nobody would commit it. */
  readonly isFrozen: boolean;
}

/**
 * The lock file lies in a directory, and so does the store unless an option or NX_OCI_STORE says otherwise. In CI nobody would
 * commit what a build adds to the lock file.
 *
 * @param root absolute path of the workspace or, without one, of the working directory.
 * @param store what the option says, if it does.
 */
export function imageMemory(root: string, { NX_OCI_STORE, CI }: NodeJS.ProcessEnv, store?: string): ImageMemory {
  return {
    root,
    store: resolve(root, store || NX_OCI_STORE || join('.nx', 'oci')),
    isFrozen: Boolean(CI) && CI !== 'false',
  };
}

/**
 * The image behind a reference, the same one at each build: a tag is resolved once and remembered in the lock file, and
 * what was fetched is found in the store, without a network.
 *
 * @throws {InvalidOptionError} for a tag that is not locked, where the lock file is frozen.
 */
export function lockedSource(
  reference: RegistryReference,
  registries: RegistryClient,
  memory: ImageMemory,
): ImageSource {
  const repository = registries.repository(reference);
  return {
    name: formatRegistryReference(reference),
    reference: reference.tag === undefined && reference.digest ? formatRegistryReference(reference) : nameOf(reference),
    read: async () => {
      const digest = reference.digest ?? (await lockedDigest(reference, registries, memory));
      const blobs = storedBlobs(memory.store, repository.blobs);
      const stored = await storedManifest(memory.store, digest);
      if (stored) {
        const ref = newRef(stored, manifestTypeOf(undefined, stored), digest, blobs);
        return [{ ref, descriptor: descriptorOf(ref) }];
      }
      const { rawManifest, mediaType } = await repository.read({ digest });
      const ref = newRef(rawManifest, mediaType, digest, blobs);
      await keep(memory.store, digest, bytesBlob(rawManifest));
      return [{ ref, descriptor: descriptorOf(ref) }];
    },
  };
}

async function lockedDigest(
  reference: RegistryReference,
  registries: RegistryClient,
  { root, isFrozen }: ImageMemory,
): Promise<Digest> {
  const name = nameOf(reference);
  const known = (await readLockFile(root))[name];
  if (known) return known;
  if (isFrozen) {
    throw new InvalidOptionError(
      `${name}: expected its digest in ${lockFileName}, found none; run "nx-oci lock ${name}" and commit the file, or name the image with its digest`,
      { expected: name, found: 'none' },
    );
  }
  const locked = await lockImages([reference], registries, root);
  return locked[name] as Digest;
}

/**
 * Writes down which digests tags stand for now. What is locked already stays, unless it is to be updated.
 *
 * @param references those to lock; with none and `update`, all that are locked.
 * @returns all that is locked.
 * @throws {InvalidOptionError} if there is nothing to lock, or a reference has a digest already.
 * @throws {NotInRegistryError} for a tag that there is not.
 */
export async function lockImages(
  references: readonly RegistryReference[],
  registries: RegistryClient,
  root: string,
  { update = false }: { readonly update?: boolean } = {},
): Promise<LockedImages> {
  const pinned = references.find(({ digest }) => digest !== undefined);
  if (pinned) {
    const found = formatRegistryReference(pinned);
    throw new InvalidOptionError(`${found}: expected a tag to lock, found a digest, which needs no lock`, { found });
  }
  return updateLockFile(root, async (locked) => {
    const names = references.length > 0 ? references.map(nameOf) : Object.keys(locked);
    if (names.length === 0) {
      throw new InvalidOptionError(
        `${join(root, lockFileName)}: expected images, found none; name one to lock, as registry/repository:tag`,
      );
    }
    const added: Record<string, Digest> = {};
    for (const name of names) {
      if (locked[name] === undefined || update) added[name] = await currentDigest(name, registries);
    }
    return { ...locked, ...added };
  });
}

async function currentDigest(name: string, registries: RegistryClient): Promise<Digest> {
  const reference = parseRegistryReference(name);
  const found = await registries.repository(reference).resolve({ tag: reference.tag ?? 'latest' });
  if (found) return found.digest;
  throw new NotInRegistryError(`${name}: expected an image in the registry, found none; check the name and the tag`, {
    status: 404,
  });
}

/** As it stands in the lock file: with its tag, and without a digest. */
function nameOf({ registry, repository, tag = 'latest' }: RegistryReference): string {
  return formatRegistryReference({ registry, repository, tag });
}
