import type { Bytes, SourceFile } from '../compression';
import { LayerSourceError } from '../errors';

/** One entry of a layer's tar file. Owners are numbers: names would depend on the machine that unpacks. */
export interface LayerEntry {
  /** Path in the image, without a slash at either end. */
  readonly name: string;
  readonly type: 'directory' | 'file' | 'symlink' | 'link';
  /** Permission bits, `0o7777` at most. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a file, in bytes. */
  readonly size?: number;
  /** Of a symlink its text, of a link the name of an earlier entry. */
  readonly linkname?: string;
  /** Of a file: exactly `size` bytes, read when the tar file gets there. */
  content?(): Uint8Array | Bytes;
  /** Where `content` is read from, of an entry that is a file of the file system. */
  readonly source?: ListedFile;
}

/** A file of the file system as it was when it was listed. */
export interface ListedFile extends SourceFile {
  readonly ctimeMs: number;
}

/** Orders names as their UTF-8 bytes do, on every machine and in every locale. */
export function compareNames(a: string, b: string): number {
  // UTF-16 order differs from byte order only where surrogates are.
  if (surrogate.test(a) || surrogate.test(b)) return Buffer.compare(Buffer.from(a), Buffer.from(b));
  return a < b ? -1 : a > b ? 1 : 0;
}

const surrogate = /[\ud800-\udfff]/;

/** What nearly all names are, and what nothing is to be done with: parts of letters and digits, none of which begins with a dot. */
const plainName = /^[\w@+-][\w@+.-]*(?:\/[\w@+-][\w@+.-]*)*$/;

/**
 * The name under which a path lies in a tar file: no slash at either end, no empty or `.` parts.
 *
 * A path that leads up, or that would on Windows, is refused on every system, so that a build does not pass on one
 * machine and fail on another.
 *
 * @param path absolute in the image, or relative to its root.
 * @param thing what gave the path, for the message.
 * @throws {LayerSourceError}
 */
export function entryName(path: string, thing: string): string {
  if (plainName.test(path)) return path;
  const parts = path.split('/').filter((part) => part !== '' && part !== '.');
  if (path.includes('\0') || /^[A-Za-z]:[\\/]/.test(path) || path.split(/[\\/]/).includes('..')) {
    throw new LayerSourceError(
      `${thing}: expected a path inside the image, with / between names and without "..", found ${JSON.stringify(path)}`,
      { expected: 'a path inside the image', found: path },
    );
  }
  return parts.join('/');
}

/**
 * @throws {LayerSourceError} if a name on the path would make it a whiteout, which deletes in the layers below.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts
 */
export function rejectWhiteout(name: string, path: string): void {
  if (!name.includes('.wh.')) return;
  const whiteout = name.split('/').find((part) => part.startsWith('.wh.'));
  if (whiteout === undefined) return;
  throw new LayerSourceError(
    `${path}: expected a file name that does not begin with ".wh.", which marks a deletion in a layer, found ${JSON.stringify(whiteout)}; exclude the file or rename it`,
    { expected: 'a name without the prefix .wh.', found: whiteout },
  );
}
