import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Bytes } from './compression';
import { algorithmOf, createDigester, type Digest, type DigestAlgorithm } from './digest';
import {
  DigestMismatchError,
  FileSystemError,
  hasSystemCode,
  InvalidLayoutError,
  isSystemError,
  LimitError,
  MissingBlobError,
  SizeMismatchError,
} from './errors';
import type { Descriptor } from './spec/documents';
import { maxDocumentSize } from './spec/json';

/** Which bytes of a blob: from `start` (0 by default) up to, not including, `end` (the blob's size by default). */
export interface ByteRange {
  readonly start?: number;
  readonly end?: number;
}

/** Content of known size, in bytes, that can be opened again and again and streams. Nothing is read before it is opened. */
export interface Blob {
  readonly size: number;
  open(range?: ByteRange): Bytes;
}

/** A blob that is a whole file, so that it can be linked instead of copied. */
export interface FileBlob extends Blob {
  readonly path: string;
  /** The digest that this process computed while it wrote the file: it need not be read again to be believed. */
  readonly writtenAs?: Digest;
  /** The file is a copy of what is elsewhere. It may be missing or damaged, and `open` gets it again. */
  readonly isCopy?: boolean;
}

/** Where a `Ref` gets its content from. Content is not verified here; its readers verify. */
export interface Blobs {
  /** The content behind a descriptor of a config or a layer. */
  blob(descriptor: Descriptor): Blob;
  /** The bytes of a manifest or an index. */
  manifest(descriptor: Descriptor): Promise<Uint8Array>;
  /** Where the manifest behind this descriptor gets its own content from: one index may combine several sources. */
  blobs(descriptor: Descriptor): Blobs;
  /** The file that a manifest lies in, in a source that has files. */
  file?(descriptor: Descriptor): FileBlob | undefined;
}

/** Where blobs are written to. A blob has no name before its last byte is there, so the name is what comes back. */
export interface BlobSink {
  write(content: Bytes, algorithm?: DigestAlgorithm): Promise<WrittenBlob>;
}

/** What became of a written stream. */
export interface WrittenBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly blob: Blob;
}

/** A blob in memory. */
export function bytesBlob(bytes: Uint8Array): Blob {
  return {
    size: bytes.length,
    open: ({ start = 0, end = bytes.length } = {}) => bytesOnce(bytes.subarray(start, end)),
  };
}

/**
 * A regular file as a blob. A symbolic link in its place is refused: a layout must not lead out of itself.
 *
 * @param size in bytes, as the one who names the file expects it.
 */
export function fileBlob(path: string, size: number, writtenAs?: Digest): FileBlob {
  return { size, path, ...(writtenAs && { writtenAs }), open: (range) => fileBytes(path, size, range) };
}

/** Whether the blob is a file of its own. */
export function isFileBlob(blob: Blob): blob is FileBlob {
  return 'path' in blob && typeof blob.path === 'string';
}

/** Blobs kept in memory or found elsewhere by digest, before those of another source. */
export function layeredBlobs(own: ReadonlyMap<Digest, Blob>, below: Blobs): Blobs {
  return {
    blob: (descriptor) => own.get(descriptor.digest) ?? below.blob(descriptor),
    manifest: async (descriptor) => {
      const blob = own.get(descriptor.digest);
      return blob ? readVerified(blob, descriptor) : below.manifest(descriptor);
    },
    blobs: (descriptor) => (own.has(descriptor.digest) ? layeredBlobs(own, below) : below.blobs(descriptor)),
  };
}

/** The source that has nothing: below content that is complete without it. */
export const noBlobs: Blobs = {
  blob: ({ digest }) => {
    throw new MissingBlobError(digest, 'a manifest in memory');
  },
  manifest: async ({ digest }) => {
    throw new MissingBlobError(digest, 'an index in memory');
  },
  blobs: () => noBlobs,
};

/**
 * Streams a blob and verifies it on the way: a reader that comes to the end has read exactly what the descriptor names.
 * What came before an error must be thrown away.
 *
 * @param name names the blob in messages.
 * @throws {SizeMismatchError} as soon as one byte too many arrives, or at the end.
 * @throws {DigestMismatchError} at the end.
 */
export async function* verified(
  content: Bytes,
  expected: Pick<Descriptor, 'digest' | 'size'>,
  name = `blob ${expected.digest}`,
): AsyncGenerator<Uint8Array> {
  const digester = createDigester(algorithmOf(expected.digest));
  let size = 0;
  for await (const chunk of content) {
    size += chunk.length;
    if (size > expected.size) throw new SizeMismatchError(name, expected.size, 'more');
    digester.update(chunk);
    yield chunk;
  }
  if (size !== expected.size) throw new SizeMismatchError(name, expected.size, size);
  const found = digester.digest();
  if (found !== expected.digest) throw new DigestMismatchError(name, expected.digest, found);
}

/**
 * A whole blob in memory, verified.
 *
 * @throws {LimitError} before anything is allocated, if the descriptor names more than `limit` bytes (50 MiB).
 */
export async function readVerified(
  blob: Blob,
  descriptor: Pick<Descriptor, 'digest' | 'size'>,
  limit: number = maxDocumentSize,
): Promise<Uint8Array> {
  if (descriptor.size > limit) throw new LimitError(`blob ${descriptor.digest}`, limit, descriptor.size);
  return bytesOf(verified(blob.open(), descriptor));
}

/**
 * The bytes of a stream, as long as there are no more than `limit`.
 *
 * @throws {LimitError} naming `name`.
 */
export async function bytesOf(content: Bytes, limit: number = maxDocumentSize, name = 'content'): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of content) {
    size += chunk.length;
    if (size > limit) throw new LimitError(name, limit, 'more');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** Reads a small regular file that belongs to a layout; like {@link fileBlob} it follows no symbolic link. */
export async function readPlainFile(path: string, limit: number = maxDocumentSize): Promise<Uint8Array> {
  return bytesOf(fileBytes(path, limit), limit, path);
}

async function* bytesOnce(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

const largestRead = 256 * 1024;

/** The bytes of a file, read one chunk ahead. Without `end` it reads on to the real end, so that a longer file shows. */
async function* fileBytes(path: string, size: number, { start = 0, end }: ByteRange = {}): AsyncGenerator<Uint8Array> {
  const stop = Math.max(start, end ?? Number.POSITIVE_INFINITY);
  const chunkSize = Math.min(largestRead, Math.max(0, Math.min(size, stop) - start) + 1);
  let position = start;
  const file = await openPlainFile(path);
  const readChunk = () => {
    const length = Math.min(chunkSize, stop - position);
    return file.read(Buffer.allocUnsafe(length), 0, length, position);
  };
  let reading = readChunk();
  try {
    for (;;) {
      const { bytesRead, buffer } = await reading;
      if (bytesRead === 0) return;
      position += bytesRead;
      reading = readChunk();
      yield buffer.subarray(0, bytesRead);
    }
  } catch (error) {
    throw readError(error, path);
  } finally {
    await reading.catch(() => undefined);
    await file.close();
  }
}

/** Opens a file that must lie where it is named: a symbolic link is refused. */
export async function openPlainFile(path: string): Promise<FileHandle> {
  try {
    // A FIFO in a blob's place must not keep the reader waiting.
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    throw readError(error, path);
  }
}

/** What a failed reading of a file means to people. */
export function readError(error: unknown, path: string): unknown {
  if (hasSystemCode(error, 'ELOOP', 'EMLINK')) {
    return new InvalidLayoutError(`${path}: expected a regular file, found a symbolic link, which is not followed`);
  }
  return isSystemError(error) ? new FileSystemError('read', path, error) : error;
}
