import { createHash } from 'node:crypto';
import { stat, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import * as z from 'zod';
import { type FileBlob, fileBlob, isFileBlob, readPlainFile } from '../blob';
import type { StoredPiece } from '../compression';
import { type Digest, isDigest } from '../digest';
import { fileSystemStep, isSystemError, OciError } from '../errors';
import type { LayerEntry, ListedFile } from '../layer/entry';
import type { Layer, PieceEncoding } from '../layer/layer';
import type { PieceMemory } from '../layer/write-entries';
import { blobIn, blobsDirectory, namesIn } from '../layout/paths';
import { remove } from '../layout/stage';
import { descriptorSchema } from '../spec/documents';
import { keepFile, putIn } from './blobs';

/** Where a store has its records of layers: `<place>/<list>`. */
const layersDirectory = 'layers';

/**
 * Raise it when the same entries give other bytes than before, so that what an earlier version kept is not taken for what
 * this one would build.
 */
const layerFormat = 1;

/** More than any piece takes, in bytes: a record that says more is damaged. */
const largestStoredPiece = 16 * 2 ** 20;

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
  start: z.int().nonnegative(),
  length: z.int().positive().max(largestStoredPiece),
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
  const path = join(directory, listKey(inputs));
  const records = await readRecords(directory);
  const exact = records.find((record) => record.path === path)?.record;
  const known = new Map<string, StoredPiece[]>();
  for (const { record } of records.toReversed()) {
    const { path } = blobOf(store, record);
    for (const { key, ...piece } of record.pieces) known.set(key, [...(known.get(key) ?? []), { ...piece, path }]);
  }
  const learned: LayerRecord['pieces'] = [];
  if (exact) await utimes(path, new Date(), new Date()).catch(() => undefined);
  return {
    ...(exact?.isSettled && {
      layer: { descriptor: exact.descriptor, diffId: exact.diffId, blob: blobOf(store, exact) },
    }),
    pieces: {
      recall: (key) => known.get(key) ?? [],
      learn: (key, piece) => void learned.push({ key, ...piece }),
    },
    keep: async ({ descriptor, diffId, blob }) => {
      if (!isFileBlob(blob)) return;
      const record: LayerRecord = { isSettled: isSettled(inputs), descriptor, diffId, pieces: learned };
      await keepLayer(store, blob, record, path).catch((error: unknown) => {
        if (!(error instanceof OciError || isSystemError(error))) throw error;
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

/** The records of a place, the one that was used last at the end. What is damaged or can't be read is none. */
async function readRecords(directory: string): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  for (const name of await namesIn(directory).catch(() => [])) {
    const path = join(directory, name);
    try {
      const record = parseRecord(name, Buffer.from(await readPlainFile(path)).toString());
      if (record) records.push({ path, record, usedAt: (await stat(path)).mtimeMs });
    } catch {
      // Another build removed it, or it is damaged.
    }
  }
  return records.sort((a, b) => a.usedAt - b.usedAt);
}

/** A record behind its seal: without one a damaged record could name another layer, which is whole. */
function sealedRecord(name: string, record: LayerRecord): string {
  const text = JSON.stringify(record);
  return `${sealOf(name, text)}\n${text}`;
}

function parseRecord(name: string, sealed: string): LayerRecord | undefined {
  const [seal, text = ''] = sealed.split('\n');
  return seal === sealOf(name, text) ? recordSchema.parse(JSON.parse(text)) : undefined;
}

const sealOf = (name: string, text: string): string => createHash('sha256').update(name).update(text).digest('hex');

/** All layers that a store remembers. */
export async function storedLayers(
  store: string,
): Promise<{ readonly path: string; readonly digest: Digest; readonly usedAt: number }[]> {
  const places = join(store, layersDirectory);
  const names = await namesIn(places).catch(() => []);
  const records = await Promise.all(names.map((place) => readRecords(join(places, place))));
  return records.flat().map(({ path, record, usedAt }) => ({ path, digest: record.descriptor.digest, usedAt }));
}

async function keepLayer(store: string, blob: FileBlob, record: LayerRecord, path: string): Promise<void> {
  await keepFile(store, record.descriptor.digest, blob);
  await putIn(store, path, async (stage) => {
    const unfinished = stage.nextPath();
    await fileSystemStep('write', unfinished, () => writeFile(unfinished, sealedRecord(basename(path), record)));
    return unfinished;
  });
  await removeOlder(dirname(path));
}

/** What is damaged goes too. */
async function removeOlder(directory: string): Promise<void> {
  const paths = (await namesIn(directory)).map((name) => join(directory, name));
  const latest = new Set((await readRecords(directory)).slice(-layersPerPlace).map(({ path }) => path));
  for (const path of paths) if (!latest.has(path)) await remove(path);
}

/** Whatever else the bytes of a piece depend on is part of it, so that pieces of another kind are not taken. */
function placeKey({ place, mediaType, encoding }: LayerInputs): string {
  return createHash('sha256')
    .update(JSON.stringify([layerFormat, process.versions.zlib, place, mediaType, encoding]))
    .digest('hex');
}

/** What is to be built, and of what files: the same only if each of them is what it was. */
function listKey(inputs: LayerInputs): string {
  const { entries, mtime } = inputs;
  const key = createHash('sha256').update(JSON.stringify([placeKey(inputs), mtime]));
  for (const { name, type, mode, uid, gid, size, linkname, source } of entries) {
    const file = source && [source.dev, source.ino, source.mtimeMs, source.ctimeMs];
    key.update(JSON.stringify([name, type, mode, uid, gid, size, linkname, file]));
  }
  return key.digest('hex');
}

function isSettled({ entries, listedAt }: LayerInputs): boolean {
  const isOld = ({ mtimeMs, ctimeMs }: ListedFile) => Math.max(mtimeMs, ctimeMs) < listedAt - settlingTime;
  return entries.every(({ type, source }) => (source === undefined ? type !== 'file' : isOld(source)));
}

const blobOf = (store: string, { descriptor }: LayerRecord): FileBlob =>
  fileBlob(blobIn(join(store, blobsDirectory), descriptor.digest), descriptor.size);
