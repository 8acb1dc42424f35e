import { cp, mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

export interface Workload {
  readonly id: string;
  readonly description: string;
  readonly files?: number;
  readonly bytes?: number;
}

/** A directory tree to make one layer of. */
export interface Payload extends Workload {
  /** Its base name is `app`, so that `tar -C <parent> app` names the entries as an image has them below `/app`. */
  readonly directory: string;
  readonly files: number;
  readonly bytes: number;
}

interface Recipe {
  readonly description: string;
  fill(directory: string): Promise<void>;
}

const recipes = {
  W1: { description: 'an application: a real node_modules', fill: copyPackages },
  W2: { description: 'many small text files', fill: writeTextFiles },
  W3: { description: 'one file of machine code', fill: (directory) => writeMachineCode(directory, 500e6) },
  'W3-4GiB': { description: 'one file of machine code', fill: (directory) => writeMachineCode(directory, 4 * 2 ** 30) },
} satisfies Record<string, Recipe>;

export type PayloadId = keyof typeof recipes;

export async function preparePayload(id: PayloadId, scratch: string): Promise<Payload> {
  const { description, fill } = recipes[id];
  const directory = join(scratch, id, 'app');
  await mkdir(directory, { recursive: true });
  await fill(directory);
  return { id, description, directory, ...(await measureTree(directory)) };
}

/**
 * Waits until the files are so old that their times tell whether they change again: some file systems keep times in steps of
 * two seconds.
 */
export function settle(): Promise<void> {
  return setTimeout(3_000);
}

export async function removePayload({ directory }: Payload): Promise<void> {
  await rm(dirname(directory), { recursive: true });
}

async function measureTree(directory: string): Promise<{ files: number; bytes: number }> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const sizes = await Promise.all(files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).size));
  return { files: files.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

/** Sources, declarations and native binaries in about the mix of a deployed server: 3,000 files, 95 MB. */
const applicationPackages = [
  '@babel/helpers',
  '@nx/devkit',
  `@nx/nx-linux-${process.arch}-gnu`,
  '@swc/core',
  `@swc/core-linux-${process.arch}-gnu`,
  '@types/node',
  'nx',
  'typescript',
  'zod',
];

async function copyPackages(directory: string): Promise<void> {
  const installed = dirname(dirname(require.resolve('typescript/package.json')));
  for (const name of applicationPackages) {
    await cp(join(installed, name), join(directory, 'node_modules', name), { recursive: true });
  }
}

const folderCount = 100;
const filesPerFolder = 200;
const smallestText = 100;
const largestText = 4_000;

async function writeTextFiles(directory: string): Promise<void> {
  const random = seededRandom(20_000);
  const words = vocabulary(random);
  for (let folder = 0; folder < folderCount; folder++) {
    const folderPath = join(directory, `folder-${folder}`);
    await mkdir(folderPath);
    const texts = Array.from({ length: filesPerFolder }, () => text(words, random));
    await Promise.all(texts.map((content, file) => writeFile(join(folderPath, `file-${file}.txt`), content)));
  }
}

function text(words: readonly string[], random: () => number): string {
  const length = smallestText + Math.floor(random() * (largestText - smallestText + 1));
  let content = '';
  while (content.length < length) {
    content += words[Math.floor(random() ** 5 * words.length)]; // a few words are frequent, most are rare
    content += random() < 0.1 ? '\n' : ' ';
  }
  return content.slice(0, length);
}

function vocabulary(random: () => number): readonly string[] {
  const letters = 'eeeetaaoinshrdlucmfwypvbgk';
  const word = () =>
    Array.from({ length: 2 + Math.floor(random() * 9) }, () => letters[Math.floor(random() * letters.length)]).join('');
  return Array.from({ length: 5_000 }, word);
}

/** Mulberry32: the same numbers below 1 on every machine. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The running Node binary, repeated: it is far longer than the window of deflate, so the repetition saves nothing. */
async function writeMachineCode(directory: string, size: number): Promise<void> {
  const code = await readFile(process.execPath);
  await using file = await open(join(directory, 'payload.bin'), 'w');
  for (let written = 0; written < size; written += code.length) {
    await file.writeFile(code.subarray(0, size - written));
  }
}
