import { copyFile, lstat, mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type BlobSink, type FileBlob, fileBlob, readPlainFile } from '../blob';
import { inLanes } from '../concurrency';
import type { Digest } from '../digest';
import { fileSystemStep, hasSystemCode, InvalidLayoutError } from '../errors';
import type { Tree } from '../tree';
import { blobPath, blobsDirectory, blobsIn, digestAt, indexFile, markerFile, namesIn, ownPrefix } from './paths';
import { checkBlobDirectories, checkMarkerBytes } from './read';
import { openStage, remove, removeAbandonedStages, type Stage, syncDirectory, writeLanes } from './stage';

/**
 * An output directory while its next layout is made. Everything is staged inside the directory itself, so that moving
 * it into place is a rename, and so that nothing outside is touched. Until `commit`, the directory's layout is as it was.
 */
export interface LayoutWriter extends BlobSink {
  /**
   * Takes a file as a blob, shared where the file system can.
   *
   * @throws {DigestMismatchError} if it is not what its name says, {@link FileSystemError} if it is not there.
   */
  adopt(file: FileBlob, digest: Digest): Promise<FileBlob>;
  /** Makes the directory hold exactly this layout: blobs first, index.json last, then what is no longer named goes. */
  commit(tree: Tree): Promise<void>;
  /** Removes what was staged, and the directory itself if it was made for a layout that never came. Call it always. */
  close(): Promise<void>;
}

/**
 * Writes a tree of {@link createLayout} to a directory. Readers see the old layout or the new one; a process that is
 * killed in between leaves the old one, and the next run succeeds.
 *
 * @param path is made if it is missing; otherwise it must be empty or a layout.
 * @throws {InvalidLayoutError} if it holds other files; nothing is written or deleted then.
 * @throws {DigestMismatchError} if a blob is not what its name says; its like is written nowhere.
 * @throws {FileSystemError} with the system's code; what was staged is removed.
 */
export async function writeTree(tree: Tree, path: string): Promise<void> {
  const writer = await layoutWriter(path);
  try {
    await writer.commit(tree);
  } finally {
    await writer.close();
  }
}

/** Prepares a directory for a layout; throws as {@link writeTree} does. */
export async function layoutWriter(path: string): Promise<LayoutWriter> {
  const layout = resolve(path);
  await checkOutput(layout);
  const created = await fileSystemStep('create the directory', layout, () => mkdir(layout, { recursive: true }));
  const stage = await openStage(layout).catch(async (error) => {
    await removeEmpty(layout, created);
    throw error;
  });
  return {
    write: stage.write,
    adopt: async (file, digest) => fileBlob(await stage.stageBlob(file, digest), file.size, digest),
    commit: (tree) => commit(tree, layout, stage),
    close: async () => {
      await stage.close();
      await removeEmpty(layout, created);
    },
  };
}

/** A user's directory must not become a layout by a slip in an option. */
export async function checkOutput(layout: string): Promise<void> {
  const stats = await fileSystemStep('read', layout, () => lstat(layout)).catch((error: unknown) => {
    if (!hasSystemCode(error, 'ENOENT')) throw error;
  });
  if (stats === undefined) return;
  if (!stats.isDirectory()) {
    const found = stats.isSymbolicLink() ? 'a symbolic link' : 'a file';
    throw new InvalidLayoutError(`${layout}: expected a directory for the layout, found ${found}`, { found });
  }
  const names = await fileSystemStep('list', layout, () => readdir(layout));
  if (names.includes(markerFile)) {
    const marker = join(layout, markerFile);
    checkMarkerBytes(await readPlainFile(marker), marker);
  } else {
    const foreign = names.find((name) => !name.startsWith(ownPrefix));
    if (foreign !== undefined) {
      throw new InvalidLayoutError(
        `${layout}: expected an empty directory or an OCI image layout to write to, found ${JSON.stringify(foreign)} and no ${markerFile}; choose another output directory or empty this one`,
        { expected: 'an empty directory or a layout', found: foreign },
      );
    }
  }
  await checkBlobDirectories(join(layout, blobsDirectory));
}

/**
 * Everything is complete and on the disk before the first file is moved into place, so that only a rename can still
 * fail; then what was moved goes back.
 */
async function commit(tree: Tree, layout: string, stage: Stage): Promise<void> {
  const staged = new Map<string, string>();
  await inLanes(tree, writeLanes, async ([path, content]) => {
    const digest = digestAt(path);
    staged.set(
      path,
      digest === undefined ? await stage.stageDocument(content) : await stage.stageBlob(content, digest),
    );
  });
  const blobs = new Set((await blobsIn(join(layout, blobsDirectory))).map(blobPath));
  const documents = new Map<string, string | undefined>();
  for (const path of tree.keys()) {
    if (!digestAt(path)) documents.set(path, await copyOf(join(layout, path), stage.nextPath()));
  }
  try {
    await place(staged, layout);
  } catch (error) {
    await putBack(blobs, documents, layout).catch(() => undefined);
    throw error;
  }
  for (const path of blobs) if (!tree.has(path)) await remove(join(layout, path));
  await removeAbandonedStages(layout);
}

/**
 * Moves files into place. A blob that is there already under its name is replaced, whatever it contains, so that a build
 * repairs what was damaged. Replacing costs a rename; believing the old one would cost reading it.
 */
async function place(staged: ReadonlyMap<string, string>, layout: string): Promise<void> {
  const move = async ([path, from]: [path: string, from: string]) => {
    const target = join(layout, path);
    await fileSystemStep('rename a file to', target, () => rename(from, target));
  };
  const all = [...staged];
  const blobs = all.filter(([path]) => digestAt(path));
  const only = (name: string) => all.filter(([path]) => path === name);
  const others = all.filter(([path]) => !digestAt(path) && path !== markerFile && path !== indexFile);

  // The marker comes first: whatever happens then, the directory is known as a layout and the next run goes on in it.
  for (const file of only(markerFile)) await move(file);
  const directories = new Set(blobs.map(([path]) => join(layout, dirname(path))));
  for (const directory of directories) {
    await fileSystemStep('create the directory', directory, () => mkdir(directory, { recursive: true }));
  }
  await inLanes(blobs, writeLanes, move);
  for (const directory of [...directories, join(layout, blobsDirectory)]) await syncDirectory(directory);

  // What speaks of an index.json is absent while another one is there.
  for (const [path] of others) await remove(join(layout, path));
  for (const file of only(indexFile)) await move(file);
  for (const file of others) await move(file);
  await syncDirectory(layout);
}

/** Makes a layout what it was: its documents, from the copies, and its blobs. */
async function putBack(
  blobs: ReadonlySet<string>,
  documents: ReadonlyMap<string, string | undefined>,
  layout: string,
): Promise<void> {
  for (const [path, copy] of documents) {
    if (copy === undefined) await remove(join(layout, path));
    else await rename(copy, join(layout, path));
  }
  for (const path of (await blobsIn(join(layout, blobsDirectory))).map(blobPath)) {
    if (!blobs.has(path)) await remove(join(layout, path));
  }
  if (blobs.size > 0) return;
  for (const algorithm of await namesIn(join(layout, blobsDirectory))) {
    await rmdir(join(layout, blobsDirectory, algorithm));
  }
  await rmdir(join(layout, blobsDirectory));
}

/** Copies a document, if there is one. */
async function copyOf(path: string, target: string): Promise<string | undefined> {
  return fileSystemStep('copy', path, () => copyFile(path, target)).then(
    () => target,
    (error: unknown) => {
      if (hasSystemCode(error, 'ENOENT')) return undefined;
      throw error;
    },
  );
}

/** Removes a directory that was made for nothing, and those above it up to the first that was made with it. */
async function removeEmpty(path: string, firstCreated: string | undefined): Promise<void> {
  if (firstCreated === undefined) return;
  for (let directory = path; directory.length >= firstCreated.length; directory = dirname(directory)) {
    try {
      await rmdir(directory);
    } catch {
      return;
    }
    if (basename(directory) === '') return;
  }
}
