import { constants } from 'node:fs';
import {
  copyFile,
  type FileHandle,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  rename,
  rm,
  rmdir,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type Blob, type BlobSink, type FileBlob, fileBlob, isFileBlob, readPlainFile, verified } from '../blob';
import type { Bytes } from '../compression';
import { inLanes } from '../concurrency';
import { createDigester, type Digest, isDigest } from '../digest';
import { fileSystemStep, hasSystemCode, InvalidLayoutError } from '../errors';
import type { Tree } from '../tree';
import { blobsDirectory, indexFile, markerFile, stagingPrefix } from './paths';
import { checkBlobDirectories, checkMarkerBytes } from './read';

/**
 * An output directory while its next layout is made. Everything is staged inside the directory itself, so that moving
 * it into place is a rename, and so that nothing outside is touched. Until `commit`, the directory's layout is as it was.
 */
export interface LayoutWriter extends BlobSink {
  /** Makes the directory hold exactly this layout: blobs first, index.json last, then what is no longer named goes. */
  commit(tree: Tree): Promise<void>;
  /** Removes what was staged, and the directory itself if it was made for a layout that never came. Call it always. */
  close(): Promise<void>;
}

/** Blobs that are written at the same time: enough to keep a disk's queue filled with synchronisations. */
const writeLanes = 16;

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
  const staging = await fileSystemStep('create a directory in', layout, () =>
    mkdtemp(join(layout, `${stagingPrefix}${process.pid}-`)),
  ).catch(async (error) => {
    await removeEmpty(layout, created);
    throw error;
  });
  inUse.add(staging);
  const stage = stageIn(staging);
  return {
    write: (content, algorithm) => stageBlob(content, stage.nextPath(), createDigester(algorithm)),
    commit: (tree) => commit(tree, layout, stage),
    close: async () => {
      await remove(staging);
      inUse.delete(staging);
      await removeEmpty(layout, created);
    },
  };
}

/** The staging directories of this process: another one with its process id is of a process that is gone. */
const inUse = new Set<string>();

/** The directory in which files of a coming layout have names of no meaning. */
interface Stage {
  nextPath(): string;
  holds(path: string): boolean;
}

function stageIn(directory: string): Stage {
  let files = 0;
  return { nextPath: () => join(directory, String(files++)), holds: (path) => dirname(path) === directory };
}

/** A user's directory must not become a layout by a slip in an option. */
async function checkOutput(layout: string): Promise<void> {
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
    const foreign = names.find((name) => !name.startsWith(stagingPrefix));
    if (foreign !== undefined) {
      throw new InvalidLayoutError(
        `${layout}: expected an empty directory or an OCI image layout to write to, found ${JSON.stringify(foreign)} and no ${markerFile}; choose another output directory or empty this one`,
        { expected: 'an empty directory or a layout', found: foreign },
      );
    }
  }
  await checkBlobDirectories(layout);
}

async function stageBlob(content: Bytes, path: string, digester: ReturnType<typeof createDigester>) {
  const size = await writeFileSynced(path, content, (chunk) => digester.update(chunk));
  const digest = digester.digest();
  return { digest, size, blob: fileBlob(path, size, digest) };
}

/**
 * Everything is complete and on the disk before the first file is moved into place, so that only a rename can still
 * fail; then what was moved goes back.
 */
async function commit(tree: Tree, layout: string, stage: Stage): Promise<void> {
  const staged = new Map<string, string>();
  await inLanes(tree, writeLanes, async ([path, content]) => {
    staged.set(path, await stageFile(path, content, stage));
  });
  const blobs = await blobsIn(layout);
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
  await removeAbandoned(layout);
}

/** The digest that a tree's path names, if it is a blob's. */
function digestAt(path: string): Digest | undefined {
  const [directory, algorithm, encoded, ...deeper] = path.split('/');
  const digest = `${algorithm}:${encoded}`;
  return directory === blobsDirectory && deeper.length === 0 && isDigest(digest) ? digest : undefined;
}

/** Returns the path of the complete file. */
async function stageFile(path: string, content: Blob, stage: Stage): Promise<string> {
  const digest = digestAt(path);
  if (digest === undefined) {
    const staged = stage.nextPath();
    await writeFileSynced(staged, content.open(), () => undefined, 0o644);
    return staged;
  }
  if (isFileBlob(content) && content.writtenAs === digest && stage.holds(content.path)) return content.path;
  const staged = stage.nextPath();
  const expected = { digest, size: content.size };
  if (isFileBlob(content)) {
    await linkOrCopy(content, staged);
    for await (const _ of verified(fileBlob(staged, content.size).open(), expected));
  } else {
    await writeFileSynced(staged, verified(content.open(), expected), () => undefined);
  }
  return staged;
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
  for (const path of await blobsIn(layout)) if (!blobs.has(path)) await remove(join(layout, path));
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

/** Shares the bytes where the file system can (a reflink, else a hard link), copies them where it can't. */
async function linkOrCopy(blob: FileBlob, target: string): Promise<void> {
  const stats = await fileSystemStep('read', blob.path, () => lstat(blob.path));
  if (!stats.isFile())
    throw new InvalidLayoutError(`${blob.path}: expected a regular file, found something else, which is not followed`);
  try {
    return await copyFile(blob.path, target, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
  } catch {
    // Not on this file system, or not between these two.
  }
  try {
    return await link(blob.path, target);
  } catch {
    // Another device, a limit on links, or a file system without them; a real failure shows again below.
  }
  await writeFileSynced(target, blob.open(), () => undefined);
}

/** Writes a new file, and returns when its bytes are on the disk. Blobs are read-only: nothing may change them in place. */
async function writeFileSynced(
  path: string,
  content: Bytes,
  see: (chunk: Uint8Array) => void,
  mode = 0o444,
): Promise<number> {
  const file = await fileSystemStep('create', path, () => open(path, 'wx', mode));
  try {
    const size = await writeAll(file, path, content, see);
    await fileSystemStep('write', path, () => file.sync());
    await fileSystemStep('write', path, () => file.close());
    return size;
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(path, { force: true });
    throw error;
  }
}

/** While one chunk is on its way to the disk, the next one is made. */
async function writeAll(
  file: FileHandle,
  path: string,
  content: Bytes,
  see: (chunk: Uint8Array) => void,
): Promise<number> {
  let size = 0;
  let writing: Promise<void> = Promise.resolve();
  for await (const chunk of content) {
    see(chunk);
    size += chunk.length;
    await writing;
    writing = fileSystemStep('write', path, () => file.appendFile(chunk));
    writing.catch(() => undefined);
  }
  await writing;
  return size;
}

async function syncDirectory(path: string): Promise<void> {
  // Windows can't open a directory, and needs no such step.
  if (process.platform === 'win32') return;
  const directory = await fileSystemStep('open', path, () =>
    open(path, constants.O_RDONLY | constants.O_DIRECTORY),
  ).catch((error) => {
    if (hasSystemCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (directory === undefined) return;
  try {
    await fileSystemStep('synchronise', path, () => directory.sync());
  } finally {
    await directory.close();
  }
}

/** The paths of all blobs in a layout. */
async function blobsIn(layout: string): Promise<Set<string>> {
  const paths = new Set<string>();
  for (const algorithm of await namesIn(join(layout, blobsDirectory))) {
    for (const encoded of await namesIn(join(layout, blobsDirectory, algorithm))) {
      const path = `${blobsDirectory}/${algorithm}/${encoded}`;
      if (digestAt(path)) paths.add(path);
    }
  }
  return paths;
}

/** Removes what killed processes left. */
async function removeAbandoned(layout: string): Promise<void> {
  for (const name of await namesIn(layout)) {
    const path = join(layout, name);
    if (name.startsWith(stagingPrefix) && !inUse.has(path) && !isAlive(name)) await remove(path);
  }
}

async function remove(path: string): Promise<void> {
  await fileSystemStep('remove', path, () => rm(path, { recursive: true, force: true }));
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}

/** Whether another process that named a staging directory still runs. */
function isAlive(stagingName: string): boolean {
  const pid = Number.parseInt(stagingName.slice(stagingPrefix.length), 10);
  if (!(pid > 0) || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return hasSystemCode(error, 'EPERM');
  }
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
