import { createHash } from 'node:crypto';
import type { FilePart } from '../compression';
import type { LayerEntry, ListedFile } from './entry';
import { paddingAfter, tarEnd, tarHeader } from './tar-header';

/** An entry that is no file, or a file of the file system: what pieces are planned of. */
export type PlannedEntry = LayerEntry &
  ({ readonly source: ListedFile } | { readonly type: 'directory' | 'symlink' | 'link' });

/** A piece of a tar file before it is made: everything but the content of files. */
export interface PlannedPiece {
  readonly size: number;
  /** What lies where, in the order of the tar file. What no part covers is zero. */
  readonly bytes: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  readonly files: readonly FilePart[];
  /** The same for a piece of the same entries, whatever is in their files. */
  readonly key: string;
}

/** The most memory that a piece takes, in bytes, where pieces of about `target` are planned. */
export const largestPiece = (target: number): number => target + target / smallestShare + 64 * 1024;

/** Nothing smaller than this part of the target is cut off. */
const smallestShare = 4;

/**
 * Cuts the tar file of the entries into pieces of up to about `target` bytes. Where it is cut depends on the entries near
 * the cut alone: a change changes the pieces around it, and those that follow are what they were. A large file is cut at
 * multiples of the target, from its own start.
 *
 * @param mtime seconds since 1970, for every entry.
 */
export function* planPieces(entries: Iterable<PlannedEntry>, mtime: number, target: number): Generator<PlannedPiece> {
  let piece = newPiece();
  for (const entry of entries) {
    const header = tarHeader(entry, mtime);
    const source = entry.type === 'file' ? entry.source : undefined;
    const length = source?.size ?? 0;
    const size = header.length + length + paddingAfter(length);
    const isFull = piece.size() + size > target;
    if (piece.size() >= target / smallestShare && (isFull || isCutBefore(entry.name, size, target))) {
      yield piece.end();
      piece = newPiece();
    }
    piece.addBytes(header);
    if (source === undefined) continue;
    for (let start = 0; start < length; start += target) {
      piece.addFile(source, start, Math.min(target, length - start), entry.name);
      if (length - start <= target) break;
      yield piece.end();
      piece = newPiece();
    }
    // Of an empty file too it is looked at whether it is what it was.
    if (length === 0) piece.addFile(source, 0, 0, entry.name);
    piece.addPadding(paddingAfter(length));
  }
  piece.addBytes(tarEnd);
  yield piece.end();
}

/** As likely as the entry is large, so that pieces come out at about the target; and always the same for the same entry. */
function isCutBefore(name: string, size: number, target: number): boolean {
  return hashOf(name) / 2 ** 32 < size / target;
}

/** FNV-1a: quick, and spread well enough for names. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash >>> 0;
}

function newPiece() {
  const key = createHash('sha256');
  const bytes: { at: number; bytes: Uint8Array }[] = [];
  const files: FilePart[] = [];
  let size = 0;
  return {
    size: () => size,
    addBytes: (added: Uint8Array) => {
      bytes.push({ at: size, bytes: added });
      key.update(added);
      size += added.length;
    },
    addFile: (source: ListedFile, start: number, length: number, name: string) => {
      files.push({ source, start, length, at: size });
      if (start > 0) key.update(`${name}\0${start}\0${length}`);
      size += length;
    },
    addPadding: (length: number) => {
      size += length;
    },
    end: (): PlannedPiece => ({ size, bytes, files, key: key.digest('base64url') }),
  };
}

/**
 * The memory of a piece with everything in it but the content of files.
 *
 * @param memory of {@link largestPiece} bytes; what is in it does not matter.
 */
export function fillPlanned({ size, bytes, files }: PlannedPiece, memory: ArrayBuffer): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(memory, 0, size);
  for (const { at, bytes: added } of bytes) block.set(added, at);
  for (const { at, length } of files) block.fill(0, at + length, at + length + paddingAfter(length));
  return block;
}
