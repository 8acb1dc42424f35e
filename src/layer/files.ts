import { closeSync, constants, lstatSync, openSync, readlinkSync, readSync, type Stats, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, posix, relative, sep } from 'node:path';
import fastGlob from 'fast-glob';
import type { Bytes } from '../compression';
import { FileSystemError, fileChanged, InvalidOptionError, isSystemError, LayerSourceError } from '../errors';
import { compareNames, entryName, type LayerEntry, type ListedFile, rejectWhiteout } from './entry';

/** Which files go into a layer, and as what. */
export interface FileSources {
  /** Absolute paths: of a directory the content is taken, a file is taken itself. */
  readonly from: readonly string[];
  /** Glob patterns below a directory; all by default. Files whose names begin with a dot match like others. */
  readonly include?: readonly string[];
  /** Glob patterns below a directory of what stays out; an excluded directory stays out with all that is in it. */
  readonly exclude?: readonly string[];
  /** Where it lies in the image; `/` by default. A single file gets this path, or lies in it if it ends with `/`. */
  readonly to?: string;
  /**
   * `normalized` (the default): 0755 for directories and executables, 0644 for other files, as git keeps them.
   * `preserve`: as the file system has it, hard links too. A number: for files, and for directories with the execute
   * bit added where there is the read bit.
   */
  readonly mode?: 'normalized' | 'preserve' | number;
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** Takes what a symbolic link points to instead of the link. */
  readonly followSymlinks?: boolean;
  /** Absolute paths that are left out wherever they are met: what a build writes is no part of what it is built from. */
  readonly leftOut?: readonly string[];
}

/** What a file system entry was when it was listed. */
interface Listed {
  readonly path: string;
  readonly stats: Stats;
}

/** Files up to this size are read at once, without a round trip through the thread pool, which costs more than the reading. */
const smallFile = 1024 * 1024;

/** Larger files are read in pieces of this size, one ahead. */
const pieceSize = 512 * 1024;

/**
 * The entries of a layer: sorted by the bytes of their names, each directory above an entry named explicitly.
 *
 * @throws {LayerSourceError} naming the path of what can't be in a layer (a FIFO, a socket, a device, a whiteout's name),
 *   of what is not there, or of two sources with the same place in the image.
 * @throws {InvalidOptionError} naming a pattern that leads out of the source.
 */
export async function listFiles(sources: FileSources): Promise<LayerEntry[]> {
  const listed = new Map<string, Listed>();
  for (const from of sources.from) {
    for (const [name, found] of await listSource(from, sources)) {
      const other = listed.get(name);
      if (other && !(other.stats.isDirectory() && found.stats.isDirectory())) {
        throw new LayerSourceError(
          `${name}: expected one source for each path in the image, found two: ${other.path} and ${found.path}`,
          { found: found.path },
        );
      }
      listed.set(name, found);
    }
  }
  const entries = new Map<string, LayerEntry>();
  for (const [name, found] of listed) entries.set(name, entryOf(name, found, sources));
  for (const name of listed.keys()) addParents(name, entries);
  const sorted = [...entries.values()].sort((a, b) => compareNames(a.name, b.name));
  return sources.mode === 'preserve' ? withHardLinks(sorted, listed) : sorted;
}

async function listSource(from: string, sources: FileSources): Promise<[name: string, found: Listed][]> {
  const root = sourceStatus(from);
  const to = sources.to ?? '/';
  const target = checkedName(to, 'option "to"');
  const within = (name: string) => (target === '' ? name : `${target}/${name}`);
  const listed = (path: string): Listed => ({
    path,
    stats: checkedKind(statusOf(path, sources.followSymlinks ?? false), path),
  });
  if (!root.isDirectory()) {
    const isDirectory = target === '' || /\/\.?$/.test(to);
    return [[isDirectory ? within(checkedName(basename(from), from)) : target, listed(from)]];
  }
  const names = (await globbed(from, sources)).map((path) => checkedName(path, `${from}/${path}`));
  const entries = withParents(names).map((name): [string, Listed] => [within(name), listed(`${from}/${name}`)]);
  if (target !== '') entries.push([target, { path: from, stats: root }]);
  return entries;
}

/** A directory that leads to what was found is the source's own, even where no pattern matches it. */
function withParents(names: readonly string[]): string[] {
  const all = new Set(names);
  for (const name of names) {
    for (let parent = posix.dirname(name); parent !== '.' && !all.has(parent); parent = posix.dirname(parent)) {
      all.add(parent);
    }
  }
  return [...all];
}

async function globbed(from: string, sources: FileSources): Promise<string[]> {
  const { include, exclude = [], leftOut = [] } = sources;
  const included = (include ?? ['**']).map((pattern) => checkedPattern(pattern, 'include'));
  const excluded = exclude.map((pattern) => checkedPattern(pattern, 'exclude'));
  for (const path of leftOut) if (isWithin(path, from)) excluded.push(fastGlob.escapePath(relative(from, path)));
  const all = await globEntries(from, included, excluded, sources.followSymlinks ?? false);
  const found = leftOut.reduce((names, path) => withoutParentsOf(path, names, from), all);
  if (include === undefined || found.length > 0) return found;
  throw new LayerSourceError(
    `${from}: expected files that match ${include.map((pattern) => JSON.stringify(pattern)).join(', ')}, found none`,
    { expected: include.join(', '), found: 'none' },
  );
}

/** Directories that hold nothing but what is left out go with it: it may be what they were made for, at an earlier build. */
function withoutParentsOf(path: string, names: string[], from: string): string[] {
  if (!isWithin(path, from)) return names;
  const below = relative(from, path).split(sep);
  for (let depth = below.length - 1; depth > 0; depth--) {
    const parent = below.slice(0, depth).join('/');
    if (names.some((name) => name.startsWith(`${parent}/`))) return names;
    names = names.filter((name) => name !== parent);
  }
  return names;
}

async function globEntries(
  from: string,
  included: string[],
  excluded: readonly string[],
  followSymlinks: boolean,
): Promise<string[]> {
  try {
    return await fastGlob.glob(included, {
      cwd: from,
      ignore: excluded.flatMap((pattern) => [pattern, `${pattern}/**`]),
      dot: true,
      onlyFiles: false,
      followSymbolicLinks: followSymlinks,
    });
  } catch (error) {
    throw isSystemError(error) ? new FileSystemError('list', error.path ?? from, error) : error;
  }
}

function isWithin(path: string, directory: string): boolean {
  const [first = ''] = relative(directory, path).split(sep);
  return first !== '' && first !== '..';
}

function checkedPattern(pattern: string, option: string): string {
  const parts = pattern.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.length > 0 && !parts.includes('..') && !pattern.startsWith('/')) return parts.join('/');
  throw new InvalidOptionError(
    `option "${option}": expected a pattern of paths below the source, relative to it and without "..", found ${JSON.stringify(pattern)}`,
    { found: pattern },
  );
}

function checkedName(name: string, path: string): string {
  if (name.includes('\ufffd')) {
    throw new LayerSourceError(`${path}: expected a file name in UTF-8, found other bytes; rename or exclude the file`);
  }
  rejectWhiteout(name, path);
  return entryName(name, path);
}

function checkedKind(stats: Stats, path: string): Stats {
  if (stats.isFile() || stats.isDirectory() || stats.isSymbolicLink()) return stats;
  const kind = stats.isFIFO() ? 'FIFO' : stats.isSocket() ? 'socket' : 'device';
  throw new LayerSourceError(`${path}: expected a file, a directory or a symbolic link, found a ${kind}; exclude it`, {
    expected: 'a file, a directory or a symbolic link',
    found: kind,
  });
}

function sourceStatus(from: string): Stats {
  try {
    return statSync(from);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    if (error.code !== 'ENOENT') throw new FileSystemError('read', from, error);
    throw new LayerSourceError(
      `${from}: expected a file or directory for the layer, found none; does a target that this one depends on make it?`,
      { found: 'none', cause: error },
    );
  }
}

function statusOf(path: string, follow: boolean): Stats {
  try {
    return follow ? statSync(path) : lstatSync(path);
  } catch (error) {
    throw isSystemError(error) ? new FileSystemError('read', path, error) : error;
  }
}

function entryOf(name: string, { path, stats }: Listed, sources: FileSources): LayerEntry {
  const { uid, gid } = sources.owner ?? { uid: 0, gid: 0 };
  const type = stats.isDirectory() ? 'directory' : stats.isSymbolicLink() ? 'symlink' : 'file';
  const entry = { name, type, mode: modeOf(stats, sources.mode), uid, gid } as const;
  if (type === 'symlink') return { ...entry, linkname: linkText(path) };
  if (type === 'directory') return entry;
  const { size, mtimeMs, ctimeMs, ino, dev } = stats;
  const source = { path, follow: sources.followSymlinks ?? false, size, mtimeMs, ctimeMs, ino, dev };
  return { ...entry, size, source, content: () => contentOf(source) };
}

function modeOf(stats: Stats, mode: FileSources['mode'] = 'normalized'): number {
  // The bits of a symbolic link mean nothing, and differ between systems.
  if (stats.isSymbolicLink()) return 0o777;
  if (mode === 'preserve') return stats.mode & 0o7777;
  if (mode === 'normalized') return stats.isDirectory() || stats.mode & 0o100 ? 0o755 : 0o644;
  return stats.isDirectory() ? mode | ((mode & 0o444) >> 2) : mode;
}

function linkText(path: string): string {
  const text = readLink(path);
  if (!text.includes('\ufffd')) return text;
  throw new LayerSourceError(
    `${path}: expected a symbolic link to a name in UTF-8, found other bytes; exclude the link`,
  );
}

function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    throw isSystemError(error) ? new FileSystemError('read', path, error) : error;
  }
}

/** Unpackers make up the mode and time of a directory that no entry names, each in its own way. */
function addParents(name: string, entries: Map<string, LayerEntry>): void {
  for (let slash = name.lastIndexOf('/'); slash > 0; slash = name.lastIndexOf('/', slash - 1)) {
    const parent = name.slice(0, slash);
    const known = entries.get(parent);
    if (known?.type === 'directory') return;
    if (known) {
      throw new LayerSourceError(`${parent}: expected a directory, because ${name} lies in it, found a ${known.type}`);
    }
    entries.set(parent, { name: parent, type: 'directory', mode: 0o755, uid: 0, gid: 0 });
  }
}

/** Files that are one file under several names: the first name carries the content, the others link to it. */
function withHardLinks(entries: readonly LayerEntry[], listed: ReadonlyMap<string, Listed>): LayerEntry[] {
  const first = new Map<string, string>();
  return entries.map((entry) => {
    const stats = listed.get(entry.name)?.stats;
    if (entry.type !== 'file' || stats === undefined || stats.nlink < 2) return entry;
    const inode = `${stats.dev}:${stats.ino}`;
    const linkname = first.get(inode);
    if (linkname === undefined) {
      first.set(inode, entry.name);
      return entry;
    }
    const { name, mode, uid, gid } = entry;
    return { name, type: 'link', mode, uid, gid, linkname };
  });
}

function contentOf(file: ListedFile): Uint8Array | Bytes {
  return file.size <= smallFile ? readAtOnce(file) : readInPieces(file);
}

/** A file as it is now, to be read as often as needed; reading it fails if it is no longer the same. */
export function steadyFile(path: string): { open(): Bytes } {
  const { size, mtimeMs, ctimeMs, ino, dev } = checkedKind(statusOf(path, true), path);
  const file = { path, follow: true, size, mtimeMs, ctimeMs, ino, dev };
  return { open: () => readInPieces(file) };
}

const openFlags = (follow: boolean) => constants.O_RDONLY | constants.O_NONBLOCK | (follow ? 0 : constants.O_NOFOLLOW);

function readAtOnce(file: ListedFile): Uint8Array {
  const { path, size, follow } = file;
  try {
    const descriptor = openSync(path, openFlags(follow));
    try {
      // One byte more than expected, so that a longer file shows.
      const buffer = Buffer.allocUnsafe(size + 1);
      let length = 0;
      for (;;) {
        const read = readSync(descriptor, buffer, length, buffer.length - length, null);
        if (read === 0) break;
        length += read;
        if (length === buffer.length) break;
      }
      checkUnchanged(file, length);
      return buffer.subarray(0, length);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    throw isSystemError(error) ? new FileSystemError('read', path, error) : error;
  }
}

async function* readInPieces(file: ListedFile): AsyncGenerator<Uint8Array> {
  const { path, size, follow } = file;
  try {
    const handle = await open(path, openFlags(follow));
    let length = 0;
    const readPiece = (position: number) => handle.read(Buffer.allocUnsafeSlow(pieceSize), 0, pieceSize, position);
    let reading = readPiece(0);
    try {
      for (;;) {
        const { bytesRead, buffer } = await reading;
        length += bytesRead;
        if (bytesRead === 0 || length > size) break;
        reading = readPiece(length);
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await reading.catch(() => undefined);
      await handle.close();
    }
    checkUnchanged(file, length);
  } catch (error) {
    throw isSystemError(error) ? new FileSystemError('read', path, error) : error;
  }
}

function checkUnchanged({ path, follow, size, mtimeMs, ino, dev }: ListedFile, length: number): void {
  const now = statusOf(path, follow);
  const same = now.size === size && now.mtimeMs === mtimeMs && now.ino === ino && now.dev === dev;
  if (!same || length !== size) throw fileChanged(path, size, length, now.size);
}
