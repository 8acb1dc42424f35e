import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Workload } from './workloads';

const layoutCount = 10;
const imagesPerLayout = 100;
const sharedLayers = 8;
const sharedLayerBytes = 1_000_000;
const ownLayerBytes = 100_000;

/** Layouts to make an index of. */
export interface Sources extends Workload {
  readonly layouts: readonly string[];
}

/** Ten layouts of a hundred images, which have all their layers but one in common. Nothing unpacks the layers. */
export async function prepareSources(scratch: string): Promise<Sources> {
  const layouts = [];
  for (let layout = 0; layout < layoutCount; layout++) {
    const path = join(scratch, `source-${layout}`);
    await writeSource(path, layout * imagesPerLayout);
    layouts.push(path);
  }
  const images = layoutCount * imagesPerLayout;
  return { id: `${images} images in ${layoutCount} layouts`, description: 'images that share most layers', layouts };
}

async function writeSource(path: string, firstImage: number): Promise<void> {
  const blobs = join(path, 'blobs', 'sha256');
  await mkdir(blobs, { recursive: true });

  const store = async (kind: string, content: Uint8Array) => {
    const hash = createHash('sha256').update(content).digest('hex');
    await writeFile(join(blobs, hash), content, { mode: 0o444 });
    return { mediaType: `application/vnd.oci.image.${kind}`, digest: `sha256:${hash}`, size: content.length };
  };
  const storeJson = (kind: string, document: object) => store(kind, Buffer.from(JSON.stringify(document)));
  const storeLayer = (name: string, size: number) => store('layer.v1.tar', Buffer.alloc(size, `${name} `));

  const shared = [];
  for (let layer = 0; layer < sharedLayers; layer++)
    shared.push(await storeLayer(`shared layer ${layer}`, sharedLayerBytes));
  const manifests = [];
  for (let image = firstImage; image < firstImage + imagesPerLayout; image++) {
    const layers = [...shared, await storeLayer(`layer of image ${image}`, ownLayerBytes)];
    const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
    const config = await storeJson('config.v1+json', { architecture: 'amd64', os: 'linux', rootfs });
    const manifest = { schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', config, layers };
    manifests.push(await storeJson('manifest.v1+json', manifest));
  }
  await writeFile(join(path, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
  await writeFile(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
}

/**
 * The bytes of those blobs of a layout that are neither new nor the same file as in a source. Undefined on a file system
 * with reflinks, which are different files.
 */
export async function copiedBytes(layout: string, sources: readonly string[]): Promise<number | undefined> {
  if (await canReflink(layout)) return undefined;
  const known = new Map<string, Set<number>>();
  for (const source of sources) {
    for (const { name, inode } of await blobFiles(source)) known.set(name, (known.get(name) ?? new Set()).add(inode));
  }
  const blobs = await blobFiles(layout);
  const copies = blobs.filter(({ name, inode }) => known.get(name)?.has(inode) === false);
  return copies.reduce((sum, { size }) => sum + size, 0);
}

async function blobFiles(layout: string): Promise<{ name: string; inode: number; size: number }[]> {
  const directory = join(layout, 'blobs', 'sha256');
  const names = await readdir(directory);
  return Promise.all(
    names.map(async (name) => {
      const { ino: inode, size } = await stat(join(directory, name));
      return { name, inode, size };
    }),
  );
}

async function canReflink(layout: string): Promise<boolean> {
  const room = await mkdtemp(join(layout, 'reflink-'));
  try {
    return await copyFile(join(layout, 'oci-layout'), join(room, 'clone'), constants.COPYFILE_FICLONE_FORCE).then(
      () => true,
      () => false,
    );
  } finally {
    await rm(room, { recursive: true });
  }
}
