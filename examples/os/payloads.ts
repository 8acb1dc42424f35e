import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { uint32 } from './little-endian.js';
import { architectures } from './processors.js';

const MEBIBYTE = 1024 * 1024;
const PAGE_SIZE = 4096;

/** The sizes of a small kernel and a small file system, in MiB. */
const SIZES = { 'kernel.efi': 8, system: 192 };

/** Writes stand-ins for a kernel and a file system per architecture, in `linux-amd64` and `linux-arm64`, replacing what was there. */
export function writePayloads(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  for (const architecture of architectures) {
    const room = join(directory, `linux-${architecture}`);
    mkdirSync(room, { recursive: true });
    for (const [name, size] of Object.entries(SIZES)) {
      writePages(join(room, name), size, `${name} for linux/${architecture} `);
    }
  }
}

/** Pages of text, each with its number: they compress well, and no two chunks are the same. */
function writePages(path: string, mebibytes: number, text: string): void {
  const pages = Buffer.alloc(MEBIBYTE, text);
  const file = openSync(path, 'w');
  try {
    for (let written = 0; written < mebibytes; written++) {
      for (let at = 0; at < MEBIBYTE; at += PAGE_SIZE) uint32(written * MEBIBYTE + at).copy(pages, at);
      writeSync(file, pages);
    }
  } finally {
    closeSync(file);
  }
}
