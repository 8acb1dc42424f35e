import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { type FileBlob, fileBlob, isFileBlob } from '../blob';
import type { StoredPiece } from '../compression';
import { type Digest, isDigest } from '../digest';
import { fileSystemStep, OciError } from '../errors';
import type { LayerEntry } from '../layer/entry';
import type { Layer, PieceEncoding } from '../layer/layer';
import type { PieceMemory } from '../layer/write-entries';
import { blobIn, blobsDirectory, namesIn } from '../layout/paths';
import { descriptorSchema } from '../spec/documents';
import { keepFile } from './blobs';

/** Where a store has its records of layers: `<place>/<list>.json`. */
const layersDirectory = 'layers';

/**
 * Raise it when the same entries give other bytes than before, so that what an earlier version kept is not taken for what
 * this one would build.
 */
const layerFormat = 1;

/** Layers of one place that are remembered: as many branches can be changed between without building again. */
const layersPerPlace = 4;

/**
 * A file that changed shorter ago than this when it was listed, in milliseconds, may change once more and look the same:
 * some file systems keep times in steps of two seconds.
 */
const settlingTime = 2000;

/** What identifies a layer before it is built. */
export interface LayerInputs {
  /** What is built: the same for all builds of the layer. */
  readonly place: string;
  readonly entries: readonly LayerEntry[];
  /** Milliseconds since 1970, before the entries were listed. */
  readonly listedAt: number;
  /** Seconds since 1970, of every entry. */
  readonly mtime: number;
  readonly mediaType: string;
  readonly encoding: PieceEncoding;
}

/** A layer that is in the store. Its blob may be gone or damaged. */
export interface RememberedLayer extends Layer {
  readonly blob: FileBlob;
}

/** What earlier builds left of a layer. */
export interface LayerMemory {
  /** The layer, if everything that it is built of is what it was then. */
  readonly layer?: RememberedLayer;
  readonly pieces: PieceMemory;
  /** Remembers the layer that was built of these inputs. Where that fails it costs time the next time, not this build. */
  keep(layer: Layer): Promise<void>;
}

const pieceSchema = z.object({
  key: z.string(),
  content: z.string(),
  stored: z.string(),
  start: z.number(),
  length: z.number(),
});

const recordSchema = z.object({
  /** Whether the files were old enough when they were listed for their times to tell whether they change again. */
  isSettled: z.boolean(),
  descriptor: descriptorSchema,
  diffId: z.custom<Digest>((text) => typeof text === 'string' && isDigest(text)),
  pieces: z.array(pieceSchema),
});

type LayerRecord = z.infer<typeof recordSchema>;

/**
 * What a store knows of a layer. It knows files by what the file system says of them, compressed pieces by their content,
 * and layers by the list of their entries; nothing of it is believed before it is verified.
 *
 * @param store absolute path of a directory that may be deleted at any time, and that several builds may use at once.
 */
export async function layerMemory(store: string, inputs: LayerInputs): Promise<LayerMemory> {
  const directory = join(store, layersDirectory, placeKey(inputs));
  const path = join(directory, `${listKey(inputs)}.json`);
  const records = await readRecords(directory);
  const exact = records.find((record) => record.path === path)?.record;
  const known = new Map<string, StoredPiece>();
  for (const { record } of records) {
    const blob = blobOf(store, record);
    for (const { key, ...piece } of record.pieces) known.set(key, { ...piece, path: blob.path });
  }
  const learned: LayerRecord['pieces'] = [];
  if (exact) await utimes(path, new Date(), new Date()).catch(() => undefined);
  return {
    ...(exact?.isSettled && {
      layer: { descriptor: exact.descriptor, diffId: exact.diffId, blob: blobOf(store, exact) },
    }),
    pieces: {
      recall: (key) => known.get(key),
      learn: (key, piece) => void learned.push({ key, ...piece }),
    },
    keep: async ({ descriptor, diffId, blob }) => {
      if (!isFileBlob(blob)) return;
      const record: LayerRecord = { isSettled: isSettled(inputs), descriptor, diffId, pieces: learned };
      await keepLayer(store, blob, record, path).catch((error: unknown) => {
        if (!(error instanceof OciError)) throw error;
      });
    },
  };
}

interface StoredRecord {
  readonly path: string;
  readonly record: LayerRecord;
  /** Milliseconds since 1970. */
  readonly usedAt: number;
}

/** The records of a place, the one that was used last at the end. What is damaged is none. */
async function readRecords(directory: string): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  for (const name of await namesIn(directory)) {
    const path = join(directory, name);
    try {
      const record = recordSchema.parse(JSON.parse(await readFile(path, 'utf8')));
      records.push({ path, record, usedAt: (await stat(path)).mtimeMs });
    } catch {
      // Another build removed it, or it was never complete.
    }
  }
  return records.sort((a, b) => a.usedAt - b.usedAt);
}

/** All layers that a store remembers. */
export async function storedLayers(
  store: string,
): Promise<{ readonly path: string; readonly digest: Digest; readonly usedAt: number }[]> {
  const places = join(store, layersDirectory);
  const records = await Promise.all((await namesIn(places)).map((place) => readRecords(join(places, place))));
  return records.flat().map(({ path, record, usedAt }) => ({ path, digest: record.descriptor.digest, usedAt }));
}

async function keepLayer(store: string, blob: FileBlob, record: LayerRecord, path: string): Promise<void> {
  await keepFile(store, record.descriptor.digest, blob);
  const directory = dirname(path);
  await fileSystemStep('create the directory', directory, () => mkdir(directory, { recursive: true }));
  const unfinished = `${path}.${process.pid}`;
  await fileSystemStep('write', unfinished, () => writeFile(unfinished, JSON.stringify(record)));
  await fileSystemStep('rename a file to', path, () => rename(unfinished, path));
  const older = (await readRecords(directory)).slice(0, -layersPerPlace);
  for (const { path } of older) await fileSystemStep('remove', path, () => rm(path, { force: true }));
}

function placeKey({ place, mediaType, encoding }: LayerInputs): string {
  return createHash('sha256')
    .update(JSON.stringify([place, mediaType, encoding]))
    .digest('hex');
}

/** What is to be built, and of what files: the same only if each of them is what it was. */
function listKey({ entries, mtime }: LayerInputs): string {
  const key = createHash('sha256').update(JSON.stringify([layerFormat, process.versions.zlib, mtime]));
  for (const { name, type, mode, uid, gid, size, linkname, source } of entries) {
    const file = source && [source.dev, source.ino, source.mtimeMs, source.ctimeMs];
    key.update(JSON.stringify([name, type, mode, uid, gid, size, linkname, file]));
  }
  return key.digest('hex');
}

function isSettled({ entries, listedAt }: LayerInputs): boolean {
  return entries.every(
    ({ source }) => source === undefined || Math.max(source.mtimeMs, source.ctimeMs) < listedAt - settlingTime,
  );
}

const blobOf = (store: string, { descriptor }: LayerRecord): FileBlob =>
  fileBlob(blobIn(join(store, blobsDirectory), descriptor.digest), descriptor.size);
