import { constants } from 'node:fs';
import { copyFile, type FileHandle, link, lstat, mkdtemp, open, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Blob, type BlobSink, type FileBlob, fileBlob, isFileBlob } from '../blob';
import type { Bytes } from '../compression';
import { algorithmOf, type Digest, type DigestAlgorithm } from '../digest';
import { fileSystemStep, hasSystemCode, InvalidLayoutError, SizeMismatchError } from '../errors';
import { checkHashed, type ExpectedBlob, type HashedFile, hashWritten, type OnWritten, verifyBlob } from '../hashing';
import { namesIn, stagingPrefix } from './paths';

/**
 * A directory inside a layout's own, for files that are not complete: there they have names of no meaning, and a rename
 * moves them into place. Readers of the layout don't see it.
 */
export interface Stage extends BlobSink {
  /** A path that is not taken. */
  nextPath(): string;
  /**
   * A complete and verified file with the content of a blob: shared with the file that it is, where the file system can.
   *
   * @throws {DigestMismatchError}, {@link SizeMismatchError}
   */
  stageBlob(blob: Blob, digest: Digest): Promise<string>;
  /** A complete file with the bytes of a document. */
  stageDocument(content: Blob): Promise<string>;
  /** Removes what was not moved into place. Call it always. */
  close(): Promise<void>;
}

/** Files that are written at the same time: enough to keep a disk's queue filled with synchronisations. */
export const writeLanes = 16;

/** The staging directories of this process: another one with its process id is of a process that is gone. */
const inUse = new Set<string>();

/** Opens a stage in the directory of a layout. */
export async function openStage(layout: string): Promise<Stage> {
  const directory = await fileSystemStep('create a directory in', layout, () =>
    mkdtemp(join(layout, `${stagingPrefix}${process.pid}-`)),
  );
  inUse.add(directory);
  let files = 0;
  const nextPath = () => join(directory, String(files++));
  return {
    nextPath,
    write: async (content, algorithm) => {
      const path = nextPath();
      const { digest, size } = await writeHashed(path, content, algorithm);
      return { digest, size, blob: fileBlob(path, size, digest) };
    },
    stageBlob: async (blob, digest) => {
      const isWrittenHere = isFileBlob(blob) && blob.writtenAs === digest && dirname(blob.path) === directory;
      if (isWrittenHere) return blob.path;
      const expected = { digest, size: blob.size };
      const shared = isFileBlob(blob) ? await stageFile(blob, nextPath(), expected) : undefined;
      if (shared !== undefined) return shared;
      const path = nextPath();
      await writeVerified(path, blob, expected);
      return path;
    },
    stageDocument: async (content) => {
      const path = nextPath();
      await writeFileSynced(path, (file) => writeAll(file, path, content.open()), 0o644);
      return path;
    },
    close: async () => {
      await remove(directory);
      inUse.delete(directory);
    },
  };
}

/** Removes what killed processes left. */
export async function removeAbandonedStages(layout: string): Promise<void> {
  for (const name of await namesIn(layout)) {
    const path = join(layout, name);
    if (name.startsWith(stagingPrefix) && !inUse.has(path) && !isAlive(name)) await remove(path);
  }
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

/** The staged path; none if the blob's file is missing or damaged, and the blob knows how to get it again. */
async function stageFile(blob: FileBlob, path: string, expected: ExpectedBlob): Promise<string | undefined> {
  try {
    await linkOrCopy(blob, path);
    await verifyBlob(fileBlob(path, blob.size), expected);
    return path;
  } catch (error) {
    await rm(path, { force: true });
    if (!blob.isCopy) throw error;
    return undefined;
  }
}

/** Shares the bytes where the file system can (a reflink, else a hard link), copies them where it can't. */
export async function linkOrCopy(blob: FileBlob, target: string): Promise<void> {
  const stats = await lstat(blob.path).catch(() => undefined);
  if (stats && !stats.isFile())
    throw new InvalidLayoutError(`${blob.path}: expected a regular file, found something else, which is not followed`);
  try {
    return await copyFile(blob.path, target, constants.COPYFILE_FICLONE_FORCE | constants.COPYFILE_EXCL);
  } catch {
    // Not on this file system, or not between these two.
  }
  try {
    return await link(blob.path, target);
  } catch {
    // Another device, a limit on links, or a file system without them; a real failure shows again below, as the blob's own.
  }
  await writeFileSynced(target, (file) => writeAll(file, target, blob.open()));
}

/** @throws {DigestMismatchError}, {@link SizeMismatchError}; no file is left then. */
async function writeVerified(path: string, blob: Blob, expected: ExpectedBlob): Promise<void> {
  const content = atMost(blob.open(), expected);
  const found = await writeHashed(path, content, algorithmOf(expected.digest), expected.size);
  try {
    checkHashed(found, expected);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

/** What is longer than expected is not written first. */
async function* atMost(content: Bytes, { digest, size }: ExpectedBlob): AsyncGenerator<Uint8Array> {
  let left = size;
  for await (const chunk of content) {
    left -= chunk.length;
    if (left < 0) throw new SizeMismatchError(`blob ${digest}`, size, 'more');
    yield chunk;
  }
}

/** Writes a new file and tells the digest of what is in it. */
function writeHashed(
  path: string,
  content: Bytes,
  algorithm: DigestAlgorithm = 'sha256',
  likelySize = 0,
): Promise<HashedFile> {
  return writeFileSynced(path, (file) =>
    fileSystemStep('read', path, () =>
      hashWritten(file, likelySize, algorithm, (wrote) => writeAll(file, path, content, wrote)),
    ),
  );
}

/** Makes a new file, and returns when its bytes are on the disk. Blobs are read-only: nothing may change them in place. */
async function writeFileSynced<T>(path: string, write: (file: FileHandle) => Promise<T>, mode = 0o444): Promise<T> {
  const file = await fileSystemStep('create', path, () => open(path, 'wx+', mode));
  try {
    const written = await write(file);
    await fileSystemStep('write', path, () => file.sync());
    await fileSystemStep('write', path, () => file.close());
    return written;
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(path, { force: true });
    throw error;
  }
}

/** Bytes that go to the file together: each write costs as much as a small one. */
const batchSize = 1024 * 1024;

/** Bytes that are left to the disk while more come, so that the synchronisation at the end finds little to do. */
const flushEvery = 8 * 1024 * 1024;

/** While one batch is on its way to the disk, the next one is made. */
async function writeAll(
  file: FileHandle,
  path: string,
  content: Bytes,
  wrote: OnWritten = () => undefined,
): Promise<void> {
  let size = 0;
  let flushed = 0;
  let batch: Uint8Array[] = [];
  let batched = 0;
  let writing: Promise<void> | undefined;
  let flushing: Promise<void> | undefined;
  const begin = (work: () => Promise<void>): Promise<void> => {
    const running = fileSystemStep('write', path, work);
    // The failure is met where it is awaited; until then it must not count as unhandled.
    running.catch(() => undefined);
    return running;
  };
  const writeBatch = async () => {
    const [chunks, bytes] = [batch, batched];
    batch = [];
    batched = 0;
    await writing;
    writing = begin(async () => {
      await writeChunks(file, chunks, bytes);
      wrote(chunks, bytes);
    });
  };
  try {
    for await (const chunk of content) {
      size += chunk.length;
      batched += chunk.length;
      batch.push(chunk);
      if (batched >= batchSize) await writeBatch();
      if (size - flushed < flushEvery) continue;
      await flushing;
      flushed = size;
      flushing = begin(() => file.datasync());
    }
    if (batched > 0) await writeBatch();
    await writing;
  } finally {
    await Promise.allSettled([writing, flushing]);
  }
  await flushing;
}

async function writeChunks(file: FileHandle, chunks: readonly Uint8Array[], size: number): Promise<void> {
  const { bytesWritten } = await file.writev(chunks);
  // A file takes less than all of it only where the next write tells why.
  if (bytesWritten < size) await file.appendFile(Buffer.concat(chunks).subarray(bytesWritten));
}

/** Makes the names in a directory last. One that is missing needs nothing. */
export async function syncDirectory(path: string): Promise<void> {
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

/** Removes a file or a directory, if it is there. */
export async function remove(path: string): Promise<void> {
  await fileSystemStep('remove', path, () => rm(path, { recursive: true, force: true }));
}
