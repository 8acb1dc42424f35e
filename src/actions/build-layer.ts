import { realpathSync } from 'node:fs';
import { resolve } from 'node:path';
import type { PieceThreads } from '../compression';
import { InvalidOptionError, OciError } from '../errors';
import type { LayerEntry } from '../layer/entry';
import { type FileSources, listFiles } from '../layer/files';
import { type Layer, type LayerEncoder, layerEncoder } from '../layer/layer';
import { splitNode } from '../layer/split-node';
import { writeTarFile } from '../layer/tar-file';
import { writeEntries } from '../layer/write-entries';
import type { LayoutWriter } from '../layout/write';
import type { Platform } from '../spec/documents';
import { formatPlatform } from '../spec/platform';
import { layerMemory, type RememberedLayer } from '../store/layers';
import type { ImageOptions, LayerOptions } from './image-options';
import { forPlatform } from './platform-path';

/** How far a layer is. */
export interface LayerProgress {
  readonly platform: string;
  readonly layer: string;
  /** Bytes that went into the layer, and about how many there will be. */
  readonly done: number;
  readonly total: number;
}

/** What all layers of one build share. */
export interface LayerContext {
  readonly options: Pick<ImageOptions, 'compression' | 'compressionLevel'>;
  /** Absolute path that sources are relative to. */
  readonly root: string;
  /** Absolute path of the layout that is built, which is no part of its own layers. */
  readonly output: string;
  /** Takes what is built, and what an earlier build left. */
  readonly sink: Pick<LayoutWriter, 'write' | 'adopt'>;
  /** Seconds since 1970, of every file. */
  readonly mtime: number;
  /** Absolute path of the store of what earlier builds left; without one everything is built. */
  readonly store?: string;
  /** Do the reading and compressing. */
  readonly threads: PieceThreads;
  readonly onProgress?: (progress: LayerProgress) => void;
}

/** A layer, and what the summary and the history of the image call it. */
export interface NamedLayer {
  readonly name: string;
  readonly layer: Layer;
}

/** Builds a layer, or those that it is split into, for a platform and a manifest of this media type. */
export type LayerBuilder = (
  layer: LayerOptions,
  platform: Platform,
  manifestType: string,
) => Promise<readonly NamedLayer[]>;

/** A builder that makes each layer once: platforms share those whose sources do not name a platform. */
export function layerBuilder(context: LayerContext): LayerBuilder {
  const { options, root } = context;
  const built = new Map<string, Promise<readonly NamedLayer[]>>();
  return (layer, platform, manifestType) => {
    const absolute = (path: string) => resolve(root, forPlatform(path, platform));
    const tar = layer.tar === undefined ? undefined : absolute(layer.tar);
    const resolved = { ...layer, from: sourcesOf(layer).map(absolute), tar };
    const key = JSON.stringify([resolved, manifestType]);
    const known = built.get(key);
    if (known) return known;
    const encoder = layerEncoder(options.compression ?? 'gzip', { manifestType, level: options.compressionLevel });
    const building =
      tar !== undefined
        ? writeTarFile(tar, context.sink, encoder, manifestType).then((made) => [
            { name: layerName(layer), layer: made },
          ])
        : writeFiles(layer, resolved.from, formatPlatform(platform), encoder, context);
    built.set(key, building);
    return building;
  };
}

/** The same in every checkout. */
function layerName(layer: LayerOptions): string {
  return layer.name ?? layer.tar ?? sourcesOf(layer).join(' ');
}

async function writeFiles(
  layer: LayerOptions,
  from: readonly string[],
  platform: string,
  encoder: LayerEncoder,
  context: LayerContext,
): Promise<NamedLayer[]> {
  const { include, exclude, to, followSymlinks } = layer;
  const listedAt = Date.now();
  const entries = await listFiles({
    from,
    include,
    exclude,
    to,
    followSymlinks,
    leftOut: [context.output, ...(context.store === undefined ? [] : [context.store])],
    mode: modeOf(layer.mode),
    owner: ownerOf(layer.owner),
  });
  const written: NamedLayer[] = [];
  for (const { name, entries: own } of partsOf(layer, from, entries)) {
    const place = JSON.stringify([from, layer, name]);
    const part = { name, place, platform, entries: own, listedAt };
    written.push({ name, layer: await writePart(part, encoder, context) });
  }
  return written;
}

interface LayerPart {
  readonly name: string;
  readonly entries: readonly LayerEntry[];
}

/** What becomes a layer of its own. */
function partsOf(layer: LayerOptions, from: readonly string[], entries: readonly LayerEntry[]): LayerPart[] {
  const name = layerName(layer);
  if (layer.split === undefined) return [{ name, entries }];
  // Relative links lead on from where a source really lies; absolute ones may have either path.
  const sources = { from: [...new Set(from.flatMap((path) => [realpathSync(path), path]))], to: layer.to };
  return splitNode(entries, sources).map(({ group, entries }) => ({ name: `${name}: ${group}`, entries }));
}

interface PlacedPart extends LayerPart {
  /** The same at each build of the layer. */
  readonly place: string;
  readonly platform: string;
  /** Milliseconds since 1970, before the entries were listed. */
  readonly listedAt: number;
}

/** Builds a layer of entries, or takes what earlier builds left of it; the bytes are the same. */
async function writePart(
  { name, place, platform, entries, listedAt }: PlacedPart,
  encoder: LayerEncoder,
  { sink, mtime, store, threads, onProgress }: LayerContext,
): Promise<Layer> {
  const { mediaType, inPieces: encoding } = encoder;
  const isRemembered = store !== undefined && encoding !== undefined;
  const inputs = { place, entries, listedAt, mtime, mediaType };
  const memory = isRemembered ? await layerMemory(store, { ...inputs, encoding }) : undefined;
  const earlier = memory?.layer && (await adopted(memory.layer, sink));
  if (earlier) return earlier;
  const total = entries.reduce((sum, { size = 0 }) => sum + size, 0);
  let written = 0;
  const onBytes = (bytes: number) => {
    written += bytes;
    onProgress?.({ platform, layer: name, done: Math.min(written, total), total });
  };
  onBytes(0);
  const built = await writeEntries(entries, sink, encoder, { mtime, threads, onBytes, memory: memory?.pieces });
  await memory?.keep(built);
  return built;
}

/** The layer that an earlier build left, if its blob is there and what its digest says. */
async function adopted(layer: RememberedLayer, sink: LayerContext['sink']): Promise<Layer | undefined> {
  try {
    return { ...layer, blob: await sink.adopt(layer.blob, layer.descriptor.digest) };
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

/**
 * Where a layer's content comes from, as it is written in the options.
 *
 * @throws {InvalidOptionError} if it is not said, or in two ways.
 */
function sourcesOf(layer: LayerOptions): string[] {
  const { name, tar, ...forFiles } = layer;
  const sources = [layer.from ?? []].flat();
  if (tar === undefined) {
    if (sources.length > 0) return sources;
    throw new InvalidOptionError(`layer ${JSON.stringify(name ?? '')}: expected "from" or "tar", found neither`);
  }
  const other = Object.keys(forFiles)[0];
  if (other === undefined) return [];
  throw new InvalidOptionError(
    `layer ${JSON.stringify(name ?? tar)}: expected "tar" alone, found ${JSON.stringify(other)} beside it`,
    {
      expected: 'tar',
      found: other,
    },
  );
}

function modeOf(mode: string | undefined): FileSources['mode'] {
  if (mode === undefined) return 'normalized';
  return mode === 'preserve' ? 'preserve' : Number.parseInt(mode, 8);
}

/** The largest number of a user or a group; the one above means "none" to the kernel. */
const largestId = 2 ** 32 - 2;

/** As docker does: a user without a group has the group of the same number. */
function ownerOf(owner = '0:0'): { uid: number; gid: number } {
  const [uid = 0, gid = uid] = owner.split(':').map(Number);
  if (uid <= largestId && gid <= largestId) return { uid, gid };
  throw new InvalidOptionError(`option "owner": expected numbers up to ${largestId}, found ${JSON.stringify(owner)}`, {
    expected: `<= ${largestId}`,
    found: owner,
  });
}
