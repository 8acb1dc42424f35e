import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/** Every path below a directory with all that an image says of it: type, mode, owner, link text, content. */
export function fileTree(directory: string): Record<string, string> {
  const paths = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  return Object.fromEntries(paths.map((path) => [path, describeEntry(join(directory, path))]));
}

function describeEntry(path: string): string {
  const stats = lstatSync(path);
  const owner = `${stats.uid}:${stats.gid}`;
  if (stats.isSymbolicLink()) return `symlink ${owner} ${readlinkSync(path)}`;
  const mode = (stats.mode & 0o7777).toString(8);
  if (stats.isDirectory()) return `directory ${owner} ${mode}`;
  if (stats.isFile()) return `file ${owner} ${mode} ${createHash('sha256').update(readFileSync(path)).digest('hex')}`;
  return `something else ${owner} ${mode}`;
}
