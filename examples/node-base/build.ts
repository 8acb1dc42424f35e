import { constants, copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: build.js <directory>');
rmSync(directory, { recursive: true, force: true });

// The libraries lie where the loader found them, and so does the loader: the binary names its path.
for (const library of loadedLibraries()) copy(library, join(directory, 'libraries', library));
copy(process.execPath, join(directory, 'node/usr/bin/node'));

/** The libraries of this process, and their loader. What the kernel brings has no path. */
function loadedLibraries(): string[] {
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
  return sharedObjects.filter((path) => path.startsWith('/'));
}

/** Copies a file, or what a link leads to, without its bytes where the file system can. */
function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(from, to, constants.COPYFILE_FICLONE);
}
