import { createCipheriv } from 'node:crypto';
import { mkdir, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './measure';
import { cli } from './peers';
import type { Workload } from './workloads';

/** A layout of one image with one layer. */
export interface LayerLayout extends Workload {
  readonly path: string;
  /** The digest of the layer. */
  readonly layer: string;
}

const sizes = { W5: 200e6, 'W5-1GB': 1e9 } as const;

/** Made once for all measurements of a run. The layer is as it would be after compression: no byte tells of another one. */
export async function prepareLayerLayout(id: keyof typeof sizes, scratch: string): Promise<LayerLayout> {
  const room = join(scratch, id);
  const path = join(room, 'layout');
  const bytes = sizes[id];
  const isThere = await stat(path).catch(() => undefined);
  if (!isThere) await makeLayout(room, bytes);
  return { id, description: 'one layer that does not compress', files: 1, bytes, path, layer: await largestBlob(path) };
}

async function makeLayout(room: string, bytes: number): Promise<void> {
  await mkdir(room, { recursive: true });
  await writeNoise(join(room, 'noise'), bytes);
  const options = { layers: [{ from: 'noise', to: '/noise' }], compression: 'none', tag: 'latest' };
  await writeFile(join(room, 'image.json'), JSON.stringify(options));
  await run(process.execPath, [cli, 'image', '--options', 'image.json', '--output', 'layout'], room);
  await rm(join(room, 'noise'));
}

/** The same bytes on every machine. */
async function writeNoise(path: string, size: number): Promise<void> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
  const zeros = Buffer.alloc(1e6);
  await using file = await open(path, 'w');
  for (let written = 0; written < size; written += zeros.length) await file.writeFile(cipher.update(zeros));
}

async function largestBlob(layout: string): Promise<string> {
  const directory = join(layout, 'blobs', 'sha256');
  let largest = { name: '', size: 0 };
  for (const name of await readdir(directory)) {
    const { size } = await stat(join(directory, name));
    if (size > largest.size) largest = { name, size };
  }
  return `sha256:${largest.name}`;
}
