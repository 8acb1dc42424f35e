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
  const stage = stageIn(staging);
  return {
    write: (content, algorithm) => stageBlob(content, stage.nextPath(), createDigester(algorithm)),
    commit: (tree) => commit(tree, layout, stage),
    close: async () => {
      await rm(staging, { recursive: true, force: true });
      await removeEmpty(layout, created);
    },
  };
}

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

async function commit(tree: Tree, layout: string, stage: Stage): Promise<void> {
  const blobs: [path: string, digest: Digest, blob: Blob][] = [];
  const documents: [path: string, content: Blob][] = [];
  for (const [path, content] of tree) {
    const digest = digestAt(path);
    if (digest) blobs.push([path, digest, content]);
    else documents.push([path, content]);
  }
  // The marker comes first: whatever happens then, the directory is known as a layout and the next run goes on in it.
  documents.sort(([a], [b]) => documentOrder(a) - documentOrder(b));
  const index = documents.findIndex(([path]) => path === indexFile);
  const before = index < 0 ? documents : documents.slice(0, index);
  for (const [path, content] of before) await placeDocument(content, join(layout, path), stage.nextPath());

  const directories = new Set(blobs.map(([path]) => join(layout, dirname(path))));
  for (const directory of directories) {
    await fileSystemStep('create the directory', directory, () => mkdir(directory, { recursive: true }));
  }
  await inLanes(blobs, writeLanes, ([path, digest, blob]) => placeBlob(blob, digest, join(layout, path), stage));
  for (const directory of [...directories, join(layout, blobsDirectory)]) await syncDirectory(directory);

  if (index >= 0) {
    for (const [path, content] of documents.slice(index))
      await placeDocument(content, join(layout, path), stage.nextPath());
    await syncDirectory(layout);
  }
  await prune(tree, layout);
}

function documentOrder(path: string): number {
  return path === markerFile ? 0 : path === indexFile ? 2 : 1;
}

/** The digest that a tree's path names, if it is a blob's. */
function digestAt(path: string): Digest | undefined {
  const [directory, algorithm, encoded, ...deeper] = path.split('/');
  const digest = `${algorithm}:${encoded}`;
  return directory === blobsDirectory && deeper.length === 0 && isDigest(digest) ? digest : undefined;
}

async function placeDocument(content: Blob, target: string, temporary: string): Promise<void> {
  await writeFileSynced(temporary, content.open(), () => undefined, 0o644);
  await fileSystemStep('rename a file to', target, () => rename(temporary, target));
}

/**
 * A blob that is there already under this name is replaced, whatever it contains, so that a build repairs what was
 * damaged. Replacing costs a link; believing the old one would cost reading it.
 */
async function placeBlob(blob: Blob, digest: Digest, target: string, stage: Stage): Promise<void> {
  const staged = isFileBlob(blob) && blob.writtenAs === digest && stage.holds(blob.path) ? blob.path : stage.nextPath();
  if (!isFileBlob(blob)) {
    await writeFileSynced(staged, verified(blob.open(), { digest, size: blob.size }), () => undefined);
  } else if (staged !== blob.path) {
    await linkOrCopy(blob, staged);
    for await (const _ of verified(fileBlob(staged, blob.size).open(), { digest, size: blob.size }));
  }
  await fileSystemStep('rename a file to', target, () => rename(staged, target));
  // Renaming a link over another link to the same file leaves both.
  await rm(staged, { force: true });
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
    await file.close();
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

/** Removes the blobs of earlier layouts, and what killed processes left. */
async function prune(tree: Tree, layout: string): Promise<void> {
  for (const algorithm of await namesIn(join(layout, blobsDirectory))) {
    for (const encoded of await namesIn(join(layout, blobsDirectory, algorithm))) {
      const path = `${blobsDirectory}/${algorithm}/${encoded}`;
      if (isDigest(`${algorithm}:${encoded}`) && !tree.has(path)) await rm(join(layout, path), { force: true });
    }
  }
  for (const name of await namesIn(layout)) {
    if (name.startsWith(stagingPrefix) && !isAlive(name))
      await rm(join(layout, name), { recursive: true, force: true });
  }
}

async function namesIn(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => []);
}

/** Whether the process that named a staging directory still runs. */
function isAlive(stagingName: string): boolean {
  const pid = Number.parseInt(stagingName.slice(stagingPrefix.length), 10);
  if (!(pid > 0)) return false;
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
