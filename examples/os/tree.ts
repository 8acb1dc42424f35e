import { chmodSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

type Content = string | Uint8Array;

type Entry =
  | { readonly type: 'file'; readonly content: Content; readonly mode: number }
  | { readonly type: 'symlink'; readonly target: string }
  | { readonly type: 'directory' };

/** Entries by relative path. The directories above an entry are implied. */
export type Tree = Record<string, Entry>;

export const file = (content: Content): Entry => ({ type: 'file', content, mode: 0o644 });
export const executable = (content: Content): Entry => ({ type: 'file', content, mode: 0o755 });
export const symlink = (target: string): Entry => ({ type: 'symlink', target });
export const emptyDirectory: Entry = { type: 'directory' };

export function writeTree(root: string, tree: Tree): void {
  for (const [path, entry] of Object.entries(tree)) writeEntry(join(root, path), entry);
}

function writeEntry(path: string, entry: Entry): void {
  makeDirectory(dirname(path));
  switch (entry.type) {
    case 'file':
      writeFileSync(path, entry.content);
      chmodSync(path, entry.mode);
      break;
    case 'symlink':
      symlinkSync(entry.target, path);
      break;
    case 'directory':
      makeDirectory(path);
  }
}

/** Makes a directory and those above it. The umask narrows the mode given to `mkdir`, hence the `chmod`. */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  mkdirSync(path);
  chmodSync(path, 0o755);
}
