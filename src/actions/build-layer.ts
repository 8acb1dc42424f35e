import { resolve } from 'node:path';
import type { BlobSink } from '../blob';
import { InvalidOptionError } from '../errors';
import { type FileSources, listFiles } from '../layer/files';
import { digested, type Layer, type LayerEncoder, layerEncoder, writeLayer } from '../layer/layer';
import { tarOf } from '../layer/tar';
import { writeTarFile } from '../layer/tar-file';
import type { Platform } from '../spec/documents';
import { formatPlatform, platformSuffix } from '../spec/platform';
import type { ImageOptions, LayerOptions } from './image-options';

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
  readonly sink: BlobSink;
  /** Seconds since 1970, of every file. */
  readonly mtime: number;
  readonly onProgress?: (progress: LayerProgress) => void;
}

/** Builds a layer for a platform, for a manifest of this media type. */
export type LayerBuilder = (layer: LayerOptions, platform: Platform, manifestType: string) => Promise<Layer>;

/** A builder that makes each layer once: platforms share those whose sources do not name a platform. */
export function layerBuilder(context: LayerContext): LayerBuilder {
  const { options, root } = context;
  const built = new Map<string, Promise<Layer>>();
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
        ? writeTarFile(tar, context.sink, encoder, manifestType)
        : writeFiles(layer, resolved.from, formatPlatform(platform), encoder, context);
    built.set(key, building);
    return building;
  };
}

/** What the summary and the history call a layer: the same in every checkout. */
export function layerName(layer: LayerOptions): string {
  return layer.name ?? layer.tar ?? sourcesOf(layer).join(' ');
}

async function writeFiles(
  layer: LayerOptions,
  from: readonly string[],
  platform: string,
  encoder: LayerEncoder,
  { output, sink, mtime, onProgress }: LayerContext,
): Promise<Layer> {
  const { include, exclude, to, followSymlinks } = layer;
  const entries = await listFiles({
    from,
    include,
    exclude,
    to,
    followSymlinks,
    output,
    mode: modeOf(layer.mode),
    owner: ownerOf(layer.owner),
  });
  const total = entries.reduce((sum, { size = 0 }) => sum + size, 0);
  const name = layerName(layer);
  let written = 0;
  const tar = digested(tarOf(entries, mtime), (chunk) => {
    written += chunk.length;
    onProgress?.({ platform, layer: name, done: Math.min(written, total), total });
  });
  return writeLayer(tar, sink, encoder);
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

function forPlatform(path: string, platform: Platform): string {
  const values: Readonly<Record<string, string>> = {
    os: platform.os,
    arch: platform.architecture,
    variant: platform.variant ?? '',
    platform: platformSuffix(platform),
  };
  return path.replace(/\{(os|arch|variant|platform)\}/g, (_, token: string) => values[token] ?? '');
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
