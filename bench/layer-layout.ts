import { createCipheriv } from 'node:crypto';
import { mkdir, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './measure';
import { cli } from './peers';
import type { Workload } from './workloads';

/** A layout of one image with a few layers. */
export interface LayerLayout extends Workload {
  readonly path: string;
  /** The digest of the largest layer. */
  readonly layer: string;
}

/** How many layers, and bytes in each. */
const shapes = {
  W5: { layers: 1, size: 200e6 },
  'W5-1GB': { layers: 1, size: 1e9 },
  'W5-2GB': { layers: 8, size: 250e6 },
} as const;

/** Made once for all measurements of a run. The layers are as they would be after compression: no byte tells of another one. */
export async function prepareLayerLayout(id: keyof typeof shapes, scratch: string): Promise<LayerLayout> {
  const room = join(scratch, id);
  const path = join(room, 'layout');
  const { layers, size } = shapes[id];
  const isThere = await stat(path).catch(() => undefined);
  if (!isThere) await makeLayout(room, layers, size);
  const description = `${layers === 1 ? 'one layer that does' : `${layers} layers that do`} not compress`;
  return { id, description, files: layers, bytes: layers * size, path, layer: await largestBlob(path) };
}

async function makeLayout(room: string, layers: number, size: number): Promise<void> {
  await mkdir(room, { recursive: true });
  const names = Array.from({ length: layers }, (_, layer) => `noise-${layer}`);
  for (const [layer, name] of names.entries()) await writeNoise(join(room, name), size, layer);
  const options = { layers: names.map((from) => ({ from, to: `/${from}` })), compression: 'none', tag: 'latest' };
  await writeFile(join(room, 'image.json'), JSON.stringify(options));
  await run(process.execPath, [cli, 'image', '--options', 'image.json', '--output', 'layout'], room);
  for (const name of names) await rm(join(room, name));
}

/** The same bytes on every machine, and others for another seed. */
async function writeNoise(path: string, size: number, seed: number): Promise<void> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, seed), Buffer.alloc(16));
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
