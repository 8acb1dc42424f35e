import { lstat, mkdir, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { bytesBlob } from '../../blob';
import { inLanes } from '../../concurrency';
import type { Digest } from '../../digest';
import { fileSystemStep, hasSystemCode, InvalidLayoutError } from '../../errors';
import { ownPrefix } from '../../layout/paths';
import { linkOrCopy, openStage, remove, removeAbandonedStages } from '../../layout/stage';
import { isRepository } from '../reference';
import { ownDirectory } from './directory/owner';
import { recentBytes } from './directory/recent-bytes';
import { createRepository, openRepository, type Shared, type StoredRepository } from './directory/repository';
import { fileUpload } from './directory/upload';
import type { RegistryStorage } from './storage';

/** Manifests that were used last are kept in memory, up to this many bytes: 32 MiB. */
const rememberedBytes = 32 * 1024 * 1024;

/** Layouts that are read at the same time when a storage is opened; each reads several manifests at a time. */
const openingLanes = 4;

/** What stands for a slash in the name of a directory; no repository has it in its name. */
const slash = '+';

/**
 * Keeps a registry in a directory: for each repository an OCI image layout, in a directory with the repository's name,
 * where `+` stands for `/`. Every tool for layouts can read them, and write them while the storage is not open.
 *
 * What index.json lists is a manifest, under its tag if it has one; so is what an index among them lists, if it is there.
 * Every other file of a layout is a blob. Content that was pushed as both is both: then index.json lists it a second time,
 * as `application/octet-stream`. A process that is killed may leave the file of a manifest that it was about to list or
 * had just taken from the list; without its place in index.json that is a blob which nobody refers to.
 *
 * @param path is made if it is missing.
 * @throws {InvalidLayoutError} if something else than layouts is in it; nothing is written or deleted then.
 * @throws {LayoutLockedError} if another process has the storage open.
 */
export async function directoryStorage(path: string): Promise<RegistryStorage> {
  const root = resolve(path);
  await repositoriesIn(root);
  await fileSystemStep('create the directory', root, () => mkdir(root, { recursive: true }));
  const owner = await ownDirectory(root);
  try {
    await removeAbandonedStages(root);
    const stage = await openStage(root);
    try {
      return await storageIn(root, { owner, stage, recent: recentBytes(rememberedBytes) });
    } catch (error) {
      await stage.close();
      throw error;
    }
  } catch (error) {
    await owner.release();
    throw error;
  }
}

async function storageIn(root: string, shared: Shared): Promise<RegistryStorage> {
  const { stage, owner } = shared;
  const repositories = new Map<string, StoredRepository>();
  await inLanes(await repositoriesIn(root), openingLanes, async (name) => {
    repositories.set(name, await openRepository(directoryOf(root, name), shared));
  });

  const beingMade = new Map<string, Promise<StoredRepository>>();
  const make = async (name: string) => {
    try {
      const made = await createRepository(directoryOf(root, name), shared);
      repositories.set(name, made);
      return made;
    } finally {
      beingMade.delete(name);
    }
  };
  const repositoryNamed = async (name: string): Promise<StoredRepository> => {
    const known = repositories.get(name) ?? beingMade.get(name);
    if (known) return known;
    const making = make(name);
    beingMade.set(name, making);
    return making;
  };
  const putBlob = async (repository: string, digest: Digest, staged: string) =>
    (await repositoryNamed(repository)).putBlob(digest, staged);

  /** Gives a repository a blob of another one; not if that one has it no more. */
  const share = async (from: StoredRepository, digest: Digest, repository: string): Promise<boolean> => {
    const blob = await from.blob(digest);
    if (blob === undefined) return false;
    const staged = stage.nextPath();
    try {
      await linkOrCopy(blob, staged);
      await putBlob(repository, digest, staged);
      return true;
    } catch (error) {
      await remove(staged);
      if (await from.blob(digest)) throw error;
      return false;
    }
  };

  const close = async () => {
    await Promise.allSettled(beingMade.values());
    await Promise.all([...repositories.values()].map((repository) => repository.settled()));
    try {
      await stage.close();
    } finally {
      await owner.release();
    }
  };
  let closing: Promise<void> | undefined;

  return {
    repositories: async () => [...repositories.keys()].sort(),

    blob: async (repository, digest) => repositories.get(repository)?.blob(digest),
    startUpload: (repository) => fileUpload(stage.nextPath(), (digest, staged) => putBlob(repository, digest, staged)),
    async mount(repository, digest, from) {
      const target = repositories.get(repository);
      const isThere = (from === undefined || from === repository) && (await target?.blob(digest)) !== undefined;
      if (isThere) return true;
      const others = from === undefined ? repositories.values() : [repositories.get(from)];
      for (const other of others) {
        if (other && other !== target && (await share(other, digest, repository))) return true;
      }
      return false;
    },
    async addBlob(repository, digest, blob) {
      // A stage of its own, so that content that turns out to be another leaves nothing.
      const own = await openStage(root);
      try {
        await putBlob(repository, digest, await own.stageBlob(blob, digest));
      } finally {
        await own.close();
      }
    },
    deleteBlob: async (repository, digest) => (await repositories.get(repository)?.deleteBlob(digest)) ?? false,

    manifest: async (repository, name) => repositories.get(repository)?.manifest(name),
    async putManifest(repository, manifest, tags) {
      const { bytes, digest } = manifest;
      const staged = await stage.stageBlob(bytesBlob(bytes), digest);
      try {
        await (await repositoryNamed(repository)).putManifest(manifest, tags, staged);
      } catch (error) {
        await remove(staged);
        throw error;
      }
    },
    deleteManifest: async (repository, digest) => (await repositories.get(repository)?.deleteManifest(digest)) ?? false,
    untag: async (repository, tag) => (await repositories.get(repository)?.untag(tag)) ?? false,
    tags: async (repository) => repositories.get(repository)?.tags(),
    referrers: async (repository, subject) => repositories.get(repository)?.referrers(subject) ?? [],

    close() {
      closing ??= close();
      return closing;
    },
  };
}

const directoryOf = (root: string, repository: string) => join(root, repository.replaceAll('/', slash));

/**
 * The repositories that a storage has by the names of its directories; none if it is missing.
 *
 * @throws {InvalidLayoutError} if there is something else.
 */
async function repositoriesIn(root: string): Promise<string[]> {
  const found = await fileSystemStep('read', root, () => lstat(root)).catch((error: unknown) => {
    if (!hasSystemCode(error, 'ENOENT')) throw error;
  });
  if (found === undefined) return [];
  if (!found.isDirectory()) throw noDirectory(root, 'a directory', found);
  const entries = await fileSystemStep('list', root, () => readdir(root, { withFileTypes: true }));
  return entries
    .filter(({ name }) => !name.startsWith(ownPrefix))
    .map((entry) => {
      const repository = entry.name.replaceAll(slash, '/');
      if (!isRepository(repository)) {
        throw new InvalidLayoutError(
          `${join(root, entry.name)}: expected the name of a repository, with "${slash}" for "/", found another; choose another directory for the registry`,
          { found: entry.name },
        );
      }
      if (!entry.isDirectory()) throw noDirectory(join(root, entry.name), 'the layout of a repository', entry);
      return repository;
    });
}

function noDirectory(path: string, expected: string, entry: { isSymbolicLink(): boolean }): InvalidLayoutError {
  const found = entry.isSymbolicLink() ? 'a symbolic link, which is not followed' : 'a file';
  const next = 'choose another directory for the registry';
  return new InvalidLayoutError(`${path}: expected ${expected}, found ${found}; ${next}`, { expected, found });
}
