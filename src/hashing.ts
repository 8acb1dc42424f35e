import type { FileHandle } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { type Blob, type FileBlob, fileBlob, isFileBlob, openPlainFile, readError, verified } from './blob';
import { algorithmOf, createDigester, type Digest, type DigestAlgorithm } from './digest';
import { DigestMismatchError, FileSystemError, SizeMismatchError } from './errors';
import { type HashingThread, hashingThreads, type ThreadAlgorithm } from './hashing-threads';
import type { Descriptor } from './spec/documents';

/** What was found in a file. */
export interface HashedFile {
  readonly digest: Digest;
  /** In bytes. One more than expected stands for any number more, and then the digest is that of no file. */
  readonly size: number;
}

/** What a blob has to be. */
export type ExpectedBlob = Pick<Descriptor, 'digest' | 'size'>;

/** Called with the bytes that were read since the last call. */
export type OnRead = (bytes: number) => void;

/** Threads at most, whatever the machine has: memory does not read faster than so many hash. */
const mostThreads = 16;

/** One pool for the process: it has as many cores, whoever asks. */
const threads = hashingThreads(Math.min(availableParallelism(), mostThreads));

/**
 * The digest of a regular file: on another thread where that pays, so that several files take as many cores. Memory does not
 * grow with the file.
 *
 * @param size that the file is expected to have, in bytes; it is read one byte further at most.
 * @throws {InvalidLayoutError} if a symbolic link lies in its place.
 * @throws {FileSystemError} naming the path.
 */
export function hashFile(
  path: string,
  size: number,
  algorithm: DigestAlgorithm = 'sha256',
  onRead: OnRead = () => undefined,
): Promise<HashedFile> {
  // It is JavaScript, which a thread would have to load first.
  if (algorithm === 'blake3') return hashHere(path, size, algorithm, onRead);
  return threads.run(size, (thread) =>
    thread ? hashThere(thread, path, size, algorithm, onRead) : hashHere(path, size, algorithm, onRead),
  );
}

/**
 * Reads a blob only to see whether it is what a descriptor names; a file as {@link hashFile} does.
 *
 * @throws {SizeMismatchError}
 * @throws {DigestMismatchError}
 */
export async function verifyBlob(blob: Blob, expected: ExpectedBlob, onRead: OnRead = () => undefined): Promise<void> {
  const found = isFileBlob(blob) && !blob.isCopy ? await hashIfReadable(blob, expected, onRead) : undefined;
  if (found) return checkHashed(found, expected);
  // Where the file of a blob can't be read, the blob may know where to get it again, or who misses it.
  for await (const { length } of verified(blob.open(), expected)) onRead(length);
}

/**
 * The digest of what is written to a file. Where a thread is free and that pays, it reads the file behind the writer, so that
 * hashing takes no time from what brings the bytes.
 *
 * @param file empty, and opened to read and write.
 * @param likelySize in bytes, as far as it is known.
 * @param write writes from the start of the file, and tells of chunks when they are in it.
 */
export function hashWritten(
  file: FileHandle,
  likelySize: number,
  algorithm: DigestAlgorithm,
  write: (wrote: OnWritten) => Promise<void>,
): Promise<HashedFile> {
  if (algorithm === 'blake3') return hashWrittenHere(algorithm, write);
  return threads.runNow(likelySize, (thread) =>
    thread ? hashWrittenThere(thread, file, algorithm, write) : hashWrittenHere(algorithm, write),
  );
}

/** Called with the chunks that were written since the last call, and the number of their bytes. */
export type OnWritten = (chunks: readonly Uint8Array[], size: number) => void;

async function hashWrittenHere(
  algorithm: DigestAlgorithm,
  write: (wrote: OnWritten) => Promise<void>,
): Promise<HashedFile> {
  const digester = createDigester(algorithm);
  let size = 0;
  await write((chunks, more) => {
    for (const chunk of chunks) digester.update(chunk);
    size += more;
  });
  return { digest: digester.digest(), size };
}

async function hashWrittenThere(
  thread: HashingThread,
  file: FileHandle,
  algorithm: ThreadAlgorithm,
  write: (wrote: OnWritten) => Promise<void>,
): Promise<HashedFile> {
  const followed = thread.follow(file.fd, algorithm);
  let written = 0;
  try {
    await write((_, more) => {
      written += more;
      followed.reached(written);
    });
    const { size, encoded } = await followed.end();
    return { digest: `${algorithm}:${encoded}`, size };
  } catch (error) {
    await followed.abandon();
    throw error;
  }
}

/** @throws {SizeMismatchError}, {@link DigestMismatchError} if what was found is not what was expected. */
export function checkHashed(found: HashedFile, { digest, size }: ExpectedBlob): void {
  const name = `blob ${digest}`;
  if (found.size > size) throw new SizeMismatchError(name, size, 'more');
  if (found.size < size) throw new SizeMismatchError(name, size, found.size);
  if (found.digest !== digest) throw new DigestMismatchError(name, digest, found.digest);
}

async function hashIfReadable(
  { path }: FileBlob,
  { digest, size }: ExpectedBlob,
  onRead: OnRead,
): Promise<HashedFile | undefined> {
  try {
    return await hashFile(path, size, algorithmOf(digest), onRead);
  } catch (error) {
    if (error instanceof FileSystemError) return undefined;
    throw error;
  }
}

async function hashThere(
  thread: HashingThread,
  path: string,
  expectedSize: number,
  algorithm: ThreadAlgorithm,
  onRead: OnRead,
): Promise<HashedFile> {
  const file = await openPlainFile(path);
  try {
    const { size, encoded } = await thread.hash(file.fd, expectedSize + 1, algorithm, onRead);
    return { digest: `${algorithm}:${encoded}`, size };
  } catch (error) {
    throw readError(error, path);
  } finally {
    await file.close();
  }
}

async function hashHere(
  path: string,
  expectedSize: number,
  algorithm: DigestAlgorithm,
  onRead: OnRead,
): Promise<HashedFile> {
  const digester = createDigester(algorithm);
  let size = 0;
  for await (const chunk of fileBlob(path, expectedSize).open({ end: expectedSize + 1 })) {
    digester.update(chunk);
    size += chunk.length;
    onRead(chunk.length);
  }
  return { digest: digester.digest(), size };
}
