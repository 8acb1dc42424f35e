import { titleAnnotation } from '../artifact';
import { inLanes } from '../concurrency';
import type { Digest } from '../digest';
import {
  checkLayer,
  type LayerContent,
  type LayerLimits,
  type LayerListing,
  listedSize,
  listLayer,
  maxListingSize,
} from '../layer/listing';
import type { Image } from '../ref';
import type { Descriptor, ImageConfig } from '../spec/documents';
import { isForeignLayer, layerCompression } from '../spec/media-types';
import { compareEntries, type EntriesComparison, type EntryDifference, entryDifferences } from './entries';
import { type ValueChange, valueChanges } from './json';
import { counterparts, misplaced } from './pairing';

/** What is known of a layer without reading it. */
export interface LayerFacts {
  /** From 0, the lowest, on. */
  readonly position: number;
  /** What made the layer, as the history says, or the title of a file of an artifact. */
  readonly name?: string;
  readonly mediaType: string;
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
  readonly diffId?: Digest;
}

/** A layer of one image, of the other one, or of both. */
export interface LayerDifference {
  /**
   * - `same`: one blob;
   * - `recompressed`: other blobs of the same tar file;
   * - `rewritten`: other tar files of the same entries in the same order;
   * - `changed`: see `entries` and `reordered`; without them the content is no tar file that is known here, or not to be had.
   */
  readonly kind: 'same' | 'recompressed' | 'rewritten' | 'changed' | 'added' | 'removed';
  readonly a?: LayerFacts;
  readonly b?: LayerFacts;
  /** Whether it stands elsewhere among the layers that both images have. */
  readonly moved: boolean;
  /** What differs in the descriptors, but for digest and size. */
  readonly descriptor: readonly ValueChange[];
  /** The files that differ; of a layer that one image alone has, all. */
  readonly entries?: readonly EntryDifference[];
  /** Names of the files that both have, but in another order within the tar file. */
  readonly reordered?: readonly string[];
}

/** A layer, and how it is read; no `content` if it is no tar file or not for distribution. */
interface Layer extends LayerFacts {
  readonly descriptor: Descriptor;
  readonly content?: LayerContent;
}

/** What several comparisons share. */
export interface LayerReader {
  compare(a: Layer | undefined, b: Layer | undefined): Promise<Compared>;
}

interface Compared {
  readonly kind: LayerDifference['kind'];
  readonly comparison?: EntriesComparison;
}

/** The layers of two images, pair by pair in the order of the newer image; what that has no more stands where it was. */
export async function diffLayers(
  a: Image,
  b: Image,
  configs: { readonly a?: ImageConfig; readonly b?: ImageConfig },
  reader: LayerReader,
): Promise<LayerDifference[]> {
  const pairs = pairLayers(layersOf(a, configs.a), layersOf(b, configs.b));
  const shared = pairs.filter((pair) => pair.a && pair.b);
  const elsewhere = misplaced(shared.map((pair) => pair.a?.position as number));
  const moved = new Set(shared.filter((_, index) => elsewhere.has(index)));
  const compared: Compared[] = [];
  for (const pair of pairs) compared.push(await reader.compare(pair.a, pair.b));
  const entries = entryDifferences(
    pairs.map((pair, index) => ({
      a: pair.a?.position,
      b: pair.b?.position,
      comparison: compared[index]?.comparison ?? noDifference,
    })),
  );
  return pairs.map((pair, index) => {
    const { kind, comparison } = compared[index] as Compared;
    return {
      kind,
      ...(pair.a && { a: factsOf(pair.a) }),
      ...(pair.b && { b: factsOf(pair.b) }),
      moved: moved.has(pair),
      descriptor:
        pair.a && pair.b ? valueChanges(descriptionOf(pair.a.descriptor), descriptionOf(pair.b.descriptor)) : [],
      ...(comparison && { entries: entries[index], reordered: comparison.reordered }),
    };
  });
}

const noDifference: EntriesComparison = { changed: [], added: [], removed: [], reordered: [] };

/** What a descriptor says beside what it names. */
export function descriptionOf({ digest: _, size: __, data, ...description }: Descriptor): object {
  return { ...description, ...(data !== undefined && { data: 'embedded' }) };
}

interface Pair {
  readonly a?: Layer;
  readonly b?: Layer;
}

/** By digest, else by diffID, else by name, and else as neighbours of a pair; a title is a name for good. */
function pairLayers(a: readonly Layer[], b: readonly Layer[]): Pair[] {
  const found = counterparts(a, b, [({ digest }) => digest, ({ diffId }) => diffId, ({ name }) => name]);
  const origins = new Map([...found].map(([from, to]) => [to, from]));
  const pairWith = (from: Layer, to: Layer | undefined) => {
    if (to === undefined || found.has(from) || origins.has(to) || isTitled(from) || isTitled(to)) return;
    found.set(from, to);
    origins.set(to, from);
  };
  const placeOf = (position: number) =>
    position < 0 ? -1 : position < a.length ? found.get(a[position] as Layer)?.position : b.length;
  for (const layer of a) {
    const below = placeOf(layer.position - 1);
    if (below !== undefined) pairWith(layer, b[below + 1]);
  }
  for (const layer of a.toReversed()) {
    const above = placeOf(layer.position + 1);
    if (above !== undefined) pairWith(layer, b[above - 1]);
  }
  // What is gone stands where it was: above the last layer that is not.
  const gone = new Map<Layer | undefined, Pair[]>();
  let last: Layer | undefined;
  for (const layer of a) {
    if (found.has(layer)) last = layer;
    else if (gone.has(last)) gone.get(last)?.push({ a: layer });
    else gone.set(last, [{ a: layer }]);
  }
  const above = (layer: Layer | undefined) => gone.get(layer) ?? [];
  return [
    ...above(undefined),
    ...b.flatMap((layer) => {
      const origin = origins.get(layer);
      return [{ a: origin, b: layer }, ...(origin ? above(origin) : [])];
    }),
  ];
}

const isTitled = ({ descriptor }: Layer) => descriptor.annotations?.[titleAnnotation] !== undefined;

function layersOf(image: Image, config: ImageConfig | undefined): Layer[] {
  const { layers } = image.manifest;
  const makers = (config?.history ?? []).filter((entry) => !entry.empty_layer);
  return layers.map((descriptor, position) => {
    const { mediaType, digest, size, annotations } = descriptor;
    const diffId = config?.rootfs.diff_ids[position];
    const maker = makers.length === layers.length ? makers[position]?.created_by : undefined;
    const name = annotations?.[titleAnnotation] ?? maker;
    const compression = isForeignLayer(mediaType) ? undefined : layerCompression(mediaType);
    return {
      position,
      ...(name !== undefined && { name }),
      mediaType,
      digest,
      size,
      ...(diffId !== undefined && { diffId }),
      descriptor,
      ...(compression !== undefined && {
        content: { descriptor, compression, diffId, open: () => image.blob(descriptor).open() },
      }),
    };
  });
}

const factsOf = ({ descriptor: _, content: __, ...facts }: Layer): LayerFacts => facts;

/**
 * Reads layers for comparisons, each pair once: the images of an index share layers. What differs stays in memory, and
 * leaves less of `listingSize` to the layers that follow.
 */
export function layerReader({ listingSize = maxListingSize, ...limits }: LayerLimits): LayerReader {
  const compared = new Map<string, Promise<Compared>>();
  const keyOf = (layer: Layer | undefined) => `${layer?.digest} ${layer?.diffId} ${layer?.mediaType}`;
  let left = listingSize;
  const compare = async (a: Layer | undefined, b: Layer | undefined) => {
    const found = await compareLayers(a, b, { ...limits, listingSize: left });
    left -= found.comparison ? heldSize(found.comparison) : 0;
    return found;
  };
  return {
    compare: (a, b) => {
      const key = `${keyOf(a)} ${keyOf(b)}`;
      const comparing = compared.get(key) ?? compare(a, b);
      compared.set(key, comparing);
      return comparing;
    },
  };
}

function heldSize({ changed, added, removed }: EntriesComparison): number {
  const entries = [...changed.flatMap(({ a, b }) => [a, b]), ...[...added, ...removed].map(({ entry }) => entry)];
  return entries.reduce((sum, entry) => sum + (entry ? listedSize(entry) : 0), 0);
}

async function compareLayers(a: Layer | undefined, b: Layer | undefined, limits: LayerLimits): Promise<Compared> {
  if (a === undefined || b === undefined) {
    const kind = a === undefined ? 'added' : 'removed';
    const content = (a ?? b)?.content;
    if (content === undefined) return { kind };
    const { entries } = await listLayer(content, limits);
    return { kind, comparison: a === undefined ? compareEntries([], entries) : compareEntries(entries, []) };
  }
  // One blob of which two configs claim different content is read, to find out which of them lies.
  const isDisputed = a.diffId !== undefined && b.diffId !== undefined && a.diffId !== b.diffId;
  if (a.digest === b.digest && !isDisputed) return { kind: 'same' };
  if (!a.content || !b.content) return { kind: a.digest === b.digest ? 'same' : 'changed' };
  if (a.diffId !== undefined && a.diffId === b.diffId) {
    await inLanes([a.content, b.content], 2, async (content) => void (await checkLayer(content, limits)));
    return { kind: 'recompressed' };
  }
  const listings = new Map<LayerContent, LayerListing>();
  await inLanes([a.content, b.content], 2, async (content) => {
    listings.set(content, await listLayer(content, limits));
  });
  const before = listings.get(a.content) as LayerListing;
  const after = listings.get(b.content) as LayerListing;
  if (before.diffId === after.diffId) return { kind: 'recompressed' };
  const comparison = compareEntries(before.entries, after.entries);
  const { changed, added, removed, reordered } = comparison;
  const differs = [changed, added, removed, reordered].some(({ length }) => length > 0);
  return differs ? { kind: 'changed', comparison } : { kind: 'rewritten' };
}
