import { lstat, mkdir, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Blob, type Blobs, bytesBlob, type FileBlob, fileBlob, readVerified } from '../blob';
import type { Digest } from '../digest';
import { fileSystemStep, hasSystemCode } from '../errors';
import { verifyBlob } from '../hashing';
import { blobIn, blobsDirectory } from '../layout/paths';
import { linkOrCopy, openStage, removeAbandonedStages, type Stage } from '../layout/stage';
import type { Descriptor } from '../spec/documents';

/**
 * The same content as below, kept in a directory, where it is found the next time without asking anyone. The directory may
 * be deleted at any time and used by several processes at once. What lies in it is verified, and fetched again if it is
 * damaged.
 */
export function storedBlobs(store: string, below: Blobs): Blobs {
  const directory = join(store, blobsDirectory);
  const stored = ({ digest, size }: Descriptor): FileBlob => fileBlob(blobIn(directory, digest), size);
  const blobs: Blobs = {
    blob: (descriptor) => {
      const file = stored(descriptor);
      return {
        ...file,
        isCopy: true,
        open: async function* (range) {
          if (!(await isWhole(file, descriptor))) await keep(store, descriptor.digest, below.blob(descriptor));
          yield* file.open(range);
        },
      };
    },
    manifest: async (descriptor) => {
      const file = stored(descriptor);
      if (await isWhole(file, descriptor)) return readVerified(file, descriptor);
      const bytes = await below.manifest(descriptor);
      await keep(store, descriptor.digest, bytesBlob(bytes));
      return bytes;
    },
    blobs: () => blobs,
    file: stored,
  };
  return blobs;
}

/**
 * A manifest that is in the store, by its digest alone.
 *
 * @returns `undefined` if it is not there, or damaged.
 */
export async function storedManifest(store: string, digest: Digest): Promise<Uint8Array | undefined> {
  const path = blobIn(join(store, blobsDirectory), digest);
  const size = (await lstat(path).catch(() => undefined))?.size;
  if (size === undefined) return undefined;
  return readVerified(fileBlob(path, size), { digest, size }).catch(() => undefined);
}

/** Puts verified content into the store. */
export async function keep(store: string, digest: Digest, content: Blob): Promise<void> {
  await putIn(store, placeOf(store, digest), (stage) => stage.stageBlob(content, digest));
}

/** Puts a file into the store that this process has just written as what it is; it is shared where the file system can. */
export async function keepFile(store: string, digest: Digest, file: FileBlob): Promise<void> {
  await putIn(store, placeOf(store, digest), async (stage) => {
    const path = stage.nextPath();
    await linkOrCopy(file, path);
    return path;
  });
}

const placeOf = (store: string, digest: Digest): string => blobIn(join(store, blobsDirectory), digest);

/** Moves a file that is complete to its place in the store. What a process that is killed leaves is swept by a later one. */
export async function putIn(store: string, target: string, staged: (stage: Stage) => Promise<string>): Promise<void> {
  await fileSystemStep('create the directory', dirname(target), () => mkdir(dirname(target), { recursive: true }));
  await keepOutOfGit(store);
  await swept(store);
  const stage = await openStage(store);
  try {
    const path = await staged(stage);
    await fileSystemStep('rename a file to', target, () => rename(path, target));
  } finally {
    await stage.close();
  }
}

/** Once for each store, before this process has stages there: one that is just being made looks like an abandoned one. */
const sweeps = new Map<string, Promise<void>>();

function swept(store: string): Promise<void> {
  const sweep = sweeps.get(store) ?? removeAbandonedStages(store);
  sweeps.set(store, sweep);
  sweep.catch(() => sweeps.delete(store));
  return sweep;
}

async function isWhole(file: FileBlob, descriptor: Descriptor): Promise<boolean> {
  return verifyBlob(file, descriptor).then(
    () => true,
    () => false,
  );
}

/** The store may lie in a workspace, and is never part of it. */
async function keepOutOfGit(store: string): Promise<void> {
  const path = join(store, '.gitignore');
  await fileSystemStep('write', path, () => writeFile(path, '*\n', { flag: 'wx' })).catch((error: unknown) => {
    if (!hasSystemCode(error, 'EEXIST')) throw error;
  });
}
