import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { writeRootfs } from '../../examples/os/rootfs';
import type { ImageOptions } from '../../src/actions/image-options';
import { repository, temporaryDirectory } from '../fixtures';
import { succeed } from './programs';

/** Node binaries from npm are some 180 MB each, so they stay for the next run. */
const nodes = process.env.NX_OCI_TEST_CACHE ?? join(tmpdir(), 'nx-oci-nodes');

async function installNode(architecture: 'x64' | 'arm64', version: number): Promise<string> {
  const name = `node-linux-${architecture}`;
  const directory = join(nodes, `${architecture}-${version}`);
  const binary = join(directory, 'node_modules', name, 'bin/node');
  if (existsSync(binary)) return binary;
  mkdirSync(directory, { recursive: true });
  // Without --force, npm refuses a package for another architecture.
  const quiet = ['--no-save', '--no-audit', '--no-fund', '--force'];
  await succeed('npm', ['install', '--prefix', directory, ...quiet, `${name}@${version}`]);
  return binary;
}

/** The ways to compress that must not depend on the machine. */
const compressions: readonly Pick<ImageOptions, 'compression' | 'compressionLevel'>[] = [
  { compressionLevel: 1 },
  { compressionLevel: 4 },
  { compressionLevel: 6 },
  { compressionLevel: 9 },
  { compression: 'zstd' },
  { compression: 'zstd', compressionLevel: 9 },
  { compression: 'none' },
];

/** Enough where only the surroundings differ, not the compressor. */
const defaultCompressions = [{ compression: 'gzip' }, { compression: 'zstd' }, { compression: 'none' }] as const;

/** A command line that runs `nx-oci`, and the directory with its input. */
interface Machine {
  readonly command: readonly [string, ...string[]];
  readonly input: string;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** The digest of an image of the input for each way to compress. */
async function digests({ command, input, cwd, env }: Machine, ways = compressions): Promise<string[]> {
  const [program, ...args] = command;
  const output = temporaryDirectory();
  chmodSync(output, 0o777);
  const found = [];
  for (const [position, way] of ways.entries()) {
    const options = join(input, `image-${position}.json`);
    const layers = [{ from: 'rootfs/linux-amd64' }, { from: 'data', to: '/data' }];
    writeFileSync(options, JSON.stringify({ layers, ...way, env: { A: '1' }, labels: { b: '2', a: '1' } }));
    chmodSync(options, 0o644);
    const layout = join(output, String(position));
    const image = ['image', '--options', options, '--output', layout, '--json'];
    const built = JSON.parse(await succeed(program, [...args, ...image], { cwd, env }));
    expect(readFileSync(join(layout, 'digest'), 'utf8')).toBe(built.digest);
    found.push(built.digest);
  }
  return found;
}

/** The root file system of examples/os, and data that a compressor has something to do with. */
function writeInput(bytes: number): string {
  const input = temporaryDirectory();
  chmodSync(input, 0o755);
  writeRootfs(join(input, 'rootfs'));
  writeData(join(input, 'data'), bytes);
  return input;
}

/** Files of about 1 MB, text and bytes in turns: words that recur, and numbers that do not. */
function writeData(directory: string, bytes: number): void {
  mkdirSync(directory);
  const random = randomNumbers(1);
  const fileSize = 1_000_003;
  for (let written = 0; written < bytes; written += fileSize) {
    const content = Buffer.alloc(Math.min(fileSize, bytes - written));
    for (let position = 0; position < content.length; ) {
      const number = random();
      position += content.write(number % 3 === 0 ? `${number.toString(36)}\n` : `word-${number % 500} `, position) || 1;
    }
    writeFileSync(join(directory, `file-${written}`), content);
  }
  writeFileSync(join(directory, 'empty'), '');
}

/** Whole numbers, the same on every run (a linear congruential generator). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 4;
  };
}

/** A copy of what was compiled with the packages it needs, elsewhere. */
function copyCheckout(): string {
  const copy = temporaryDirectory();
  chmodSync(copy, 0o755);
  const { packages } = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8'));
  const needed = Object.entries<{ dev?: true; link?: true }>(packages)
    .filter(([path, { dev, link }]) => path.startsWith('node_modules/') && !dev && !link)
    .map(([path]) => path);
  for (const path of ['package.json', 'lib/src', ...needed]) {
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    cpSync(join(repository, path), join(copy, path), { recursive: true });
  }
  return copy;
}

/** The same input in another place, as another file system would give it: other times, another order, another owner. */
function copyInput(input: string): string {
  const copy = temporaryDirectory();
  chmodSync(copy, 0o755);
  for (const name of readdirSync(input).sort().reverse())
    cpSync(join(input, name), join(copy, name), { recursive: true, verbatimSymlinks: true });
  for (const name of readdirSync(join(copy, 'data'))) utimesSync(join(copy, 'data', name), 1e9, 1e9);
  return copy;
}

describe('B2: the same digests', () => {
  const command = [process.execPath, join(repository, 'lib/src/cli.js')] as const;
  let input: string;
  let expected: string[];
  let expectedOfDefaults: string[];
  let checkout: string;

  beforeAll(async () => {
    input = writeInput(20_000_000);
    checkout = copyCheckout();
    expected = await digests({ command, input });
    expectedOfDefaults = await digests({ command, input }, defaultCompressions);
  });

  test('tell the ways to compress apart', () => {
    expect(new Set(expected).size).toBe(compressions.length);
  });

  test('with the input written again under umask 077', async () => {
    const umask = process.umask(0o077);
    try {
      expect(await digests({ command, input: writeInput(20_000_000) }, defaultCompressions)).toEqual(
        expectedOfDefaults,
      );
    } finally {
      process.umask(umask);
    }
  });

  test.each([22, 24, 26])('on Node %i', async (version) => {
    const node = await installNode('x64', version);
    expect(await succeed(node, ['--version'])).toMatch(`v${version}.`);
    expect(await digests({ command: [node, command[1]], input })).toEqual(expected);
  });

  test.each([
    ['in another checkout and directory', []],
    ['under umask 077', ['sh', '-c', 'umask 077; exec "$@"', 'sh']],
    ['for another user', ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups']],
    ['on one processor', ['taskset', '--cpu-list', '0']],
  ])('%s', async (_, prefix) => {
    const [program = process.execPath, ...args] = [...prefix, process.execPath, join(checkout, 'lib/src/cli.js')];
    const machine = { command: [program, ...args] as const, input: copyInput(input), cwd: temporaryDirectory() };
    chmodSync(machine.cwd, 0o755);
    expect(await digests(machine, defaultCompressions)).toEqual(expectedOfDefaults);
  });

  test.each([
    ['west of Greenwich, in the C locale', { TZ: 'America/St_Johns', LANG: 'C', LC_ALL: 'C' }],
    ['east of Greenwich, in Turkish', { TZ: 'Asia/Tokyo', LANG: 'tr_TR.UTF-8', LC_ALL: 'tr_TR.UTF-8' }],
    ['with one thread for compression', { UV_THREADPOOL_SIZE: '1' }],
  ])('%s', async (_, env) => {
    expect(await digests({ command, input, env }, defaultCompressions)).toEqual(expectedOfDefaults);
  });
});

test('B2: the same digests on arm64', async () => {
  const input = writeInput(1_200_000);
  // The fastest, the default and the smallest: a run takes some ten seconds under the emulator.
  const ways = [
    { compressionLevel: 1 },
    { compressionLevel: 4 },
    { compressionLevel: 9 },
    { compression: 'zstd' },
    { compression: 'zstd', compressionLevel: 19 },
  ] as const;
  const node = await installNode('arm64', 22);
  const cli = join(repository, 'lib/src/cli.js');
  const env = { QEMU_LD_PREFIX: process.env.QEMU_LD_PREFIX ?? '/usr/aarch64-linux-gnu' };
  const emulated = ['qemu-aarch64-static', node] as const;
  const [program, ...args] = emulated;
  expect(await succeed(program, [...args, '--print', 'process.arch'], { env })).toBe('arm64\n');
  const expected = await digests({ command: [process.execPath, cli], input }, ways);
  expect(await digests({ command: [...emulated, cli], input, env }, ways)).toEqual(expected);
});
