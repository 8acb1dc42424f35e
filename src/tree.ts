import { type Blob, bytesBlob } from './blob';

/** A directory in memory: relative paths with `/` between names, each with the content of its file. */
export type Tree = ReadonlyMap<string, Blob>;

/** A file with these bytes at a path of a tree. */
export function treeFile(path: string, bytes: Uint8Array): [path: string, content: Blob] {
  return [path, bytesBlob(bytes)];
}
