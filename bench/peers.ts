import { existsSync } from 'node:fs';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { isInstalled, run } from './measure';
import type { Payload } from './workloads';

/** A program that makes a layer of a payload, in a fresh directory of its own for each run: its room. */
export interface Program {
  readonly id: string;
  readonly name: string;
  /** Why it cannot run here; undefined when it can. */
  missing(): string | undefined;
  /** Prints its version, and that of what does the work for it. */
  readonly version: string;
  /** What has to be there before the timed command, and is not part of what it is compared for. */
  prepare?(payload: Payload, room: string): Promise<unknown>;
  command(payload: Payload, room: string): readonly string[];
  layerBytes?(room: string): Promise<number>;
}

export const cli = join(__dirname, '..', 'src', 'cli.js');

/** Our command; zstd at its default level where it is said. */
const ourImage = (id: string, name: string, compression: 'gzip' | 'zstd'): Program => ({
  id,
  name,
  missing: () => (existsSync(cli) ? undefined : `${cli} is not built`),
  version: `echo nx-oci $("${process.execPath}" "${cli}" --version)`,
  prepare: ({ directory }, room) =>
    writeFile(
      join(room, 'image.json'),
      JSON.stringify({
        layers: [{ name: 'app', from: relative(room, directory), to: '/app' }],
        platforms: ['linux/amd64'],
        compression,
      }),
    ),
  command: () => [process.execPath, cli, 'image', '--options', 'image.json', '--output', 'layout'],
  layerBytes: (room) => largestBlob(join(room, 'layout')),
});

export const ours = ourImage('nx-oci', 'nx-oci image', 'gzip');
export const oursWithZstd = ourImage('nx-oci-zstd', 'nx-oci image, zstd', 'zstd');

const umoci: Program = {
  id: 'umoci',
  name: 'umoci insert',
  missing: () => missingPrograms('umoci'),
  version: 'umoci --version',
  prepare: async (_, room) => {
    await run('umoci', ['init', '--layout', 'layout'], room);
    await run('umoci', ['new', '--image', 'layout:x'], room);
  },
  command: ({ directory }) => ['umoci', 'insert', '--image', 'layout:x', directory, '/app'],
  layerBytes: (room) => largestBlob(join(room, 'layout')),
};

const crane: Program = {
  id: 'crane',
  name: 'tar, then crane append',
  missing: () => missingPrograms('tar', 'crane'),
  version: 'echo crane $(crane version)',
  command: ({ directory }) =>
    shell('tar -cf layer.tar -C "$1" app && crane append -f layer.tar -t x -o image.tar', dirname(directory)),
  layerBytes: (room) => largestEntry('image.tar', room),
};

const pigz: Program = {
  id: 'pigz',
  name: 'tar, then pigz -6 -p2',
  missing: () => missingPrograms('tar', 'pigz'),
  version: 'pigz --version 2>&1',
  command: ({ directory }) => shell('tar -cf - -C "$1" app | pigz -6 -p2 > layer.tar.gz', dirname(directory)),
  layerBytes: async (room) => (await stat(join(room, 'layer.tar.gz'))).size,
};

const buildah: Program = {
  id: 'buildah',
  name: 'buildah copy, commit',
  missing: () => missingPrograms('buildah'),
  version: 'buildah --version',
  command: ({ directory }) =>
    shell(
      `buildah() { command buildah --root "$PWD/root" --runroot "$PWD/runroot" --storage-driver vfs "$@"; }
      container=$(buildah from scratch) &&
      buildah copy --quiet "$container" "$1" /app &&
      buildah commit --quiet --disable-compression=false "$container" oci:layout:x`,
      directory,
    ),
  layerBytes: (room) => largestBlob(join(room, 'layout')),
};

const openssl: Program = {
  id: 'openssl',
  name: 'openssl dgst -sha256 of the tar',
  missing: () => missingPrograms('tar', 'openssl'),
  version: 'openssl version',
  prepare: ({ directory }, room) => run('tar', ['-cf', 'layer.tar', '-C', dirname(directory), 'app'], room),
  command: () => ['openssl', 'dgst', '-sha256', 'layer.tar'],
};

export const peers: readonly Program[] = [umoci, crane, pigz, buildah, openssl];

export async function versionOf(program: Pick<Program, 'version'>): Promise<string> {
  const printed = await run('sh', ['-c', program.version], __dirname).catch(() => 'version unknown');
  return printed.trim().split('\n')[0] ?? '';
}

function missingPrograms(...programs: readonly string[]): string | undefined {
  const missing = programs.filter((program) => !isInstalled(program));
  return missing.length === 0 ? undefined : `${missing.join(', ')} not on the PATH nor among the Go programs`;
}

function shell(script: string, argument: string): readonly string[] {
  return ['sh', '-c', script, 'sh', argument];
}

/** The layer: everything else in such a layout is a few hundred bytes of JSON. */
async function largestBlob(layout: string): Promise<number> {
  const directory = join(layout, 'blobs', 'sha256');
  const names = await readdir(directory);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size));
  return Math.max(...sizes);
}

async function largestEntry(tarball: string, room: string): Promise<number> {
  const listing = await run('tar', ['-tvf', tarball], room);
  const sizes = listing
    .trim()
    .split('\n')
    .map((line) => Number(line.split(/\s+/)[2]));
  return Math.max(...sizes);
}
