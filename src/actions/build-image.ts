import type { Digest } from '../digest';
import { InvalidOptionError } from '../errors';
import {
  annotate,
  appendLayer,
  draftFrom,
  emptyImage,
  type ImageDraft,
  sealImage,
  withCreated,
  withExecution,
} from '../image';
import { findPlatform, type IndexEntry, type Instance, instancesOf, newIndex, platformOf } from '../image-index';
import { createLayout } from '../layout/create';
import { readLayout, readLayoutIndex } from '../layout/read';
import type { LayoutReference } from '../layout/reference';
import { layoutWriter } from '../layout/write';
import type { Image } from '../ref';
import { type ImageManifest, type Platform, refNameAnnotation } from '../spec/documents';
import { mediaTypes } from '../spec/media-types';
import { formatPlatform, parsePlatform, platformSuffix } from '../spec/platform';
import { treeFile } from '../tree';
import { type LayerBuilder, type LayerProgress, layerBuilder, layerName } from './build-layer';
import { createdTime } from './created';
import { executionOf } from './image-config';
import type { ImageOptions, LayerOptions } from './image-options';
import { checkTag } from './tag';

/** What one build of an image takes. */
export interface BuildImage {
  readonly options: ImageOptions;
  /** Absolute path that `from` and `tar` are relative to. */
  readonly root: string;
  /** Absolute path of the layout to write. */
  readonly output: string;
  /** The layout behind `options.base`, found by the caller, who knows what a target is. */
  readonly base?: LayoutReference;
  /** SOURCE_DATE_EPOCH, in seconds. */
  readonly epoch?: number;
  readonly onProgress?: (progress: LayerProgress) => void;
}

/** What was built. */
export interface BuiltImage {
  /** The digest of the image or, where there are several, of index.json. */
  readonly digest: Digest;
  readonly path: string;
  readonly images: readonly {
    readonly platform: string;
    readonly tag: string;
    readonly digest: Digest;
    /** Of all its layers, in bytes. */
    readonly size: number;
    readonly layers: readonly BuiltLayer[];
  }[];
}

export interface BuiltLayer {
  /** `undefined` for a layer of the base. */
  readonly name?: string;
  readonly digest: Digest;
  readonly size: number;
}

/**
 * Builds one image per platform and writes them to one layout. The layout that was there before stays as it is until
 * the new one is complete.
 *
 * @throws {InvalidOptionError} naming the option.
 * @throws {LayerSourceError} naming the file.
 * @throws what {@link layoutWriter} and {@link readLayout} throw.
 */
export async function buildImage({ options, root, output, base, epoch, onProgress }: BuildImage): Promise<BuiltImage> {
  const tag = checkTag(options.tag ?? 'latest');
  const bases = base && (await baseInstances(base));
  const platforms = platformsOf(options, bases);
  const created = createdTime(options.created, epoch);
  const tagFor = (platform: Platform) =>
    platforms.length === 1 ? tag : checkTag(`${tag}-${platformSuffix(platform)}`);
  for (const platform of platforms) tagFor(platform);
  const starts: [wanted: Platform, start: ImageDraft][] = [];
  for (const wanted of platforms) {
    const from = bases && findPlatform(bases, wanted, `base ${base?.path}`).image;
    const draft = withCreated(from ? await draftOnBase(from) : emptyImage(wanted), created);
    starts.push([wanted, withExecution(draft, (execution) => executionOf(options, execution))]);
  }

  const writer = await layoutWriter(output);
  try {
    const layers = layerBuilder({
      options,
      root,
      sink: writer,
      mtime: epoch ?? 0,
      onProgress: onProgress ?? (() => undefined),
    });
    const built: { entry: IndexEntry; summary: BuiltImage['images'][number] }[] = [];
    for (const [wanted, start] of starts) {
      const { draft, names } = await withLayers(start, wanted, options.layers ?? [], created, layers);
      const image = sealImage(annotate(draft, options.annotations ?? {}));
      const platform = (await platformOf(image)) ?? wanted;
      const imageTag = tagFor(platform);
      if (built.some(({ summary }) => summary.tag === imageTag)) throw sameInstance(wanted, platform);
      const entry = { ref: image, platform, annotations: { [refNameAnnotation]: imageTag } };
      built.push({ entry, summary: summaryOf(image, platform, imageTag, names) });
    }
    const entries = built.map(({ entry }) => entry);
    const [only, ...more] = entries;
    const digest = only && more.length === 0 ? only.ref.digest : newIndex(entries).digest;
    const tree = await createLayout(entries);
    await writer.commit(new Map([...tree, treeFile('digest', Buffer.from(digest))]));
    return { digest, path: output, images: built.map(({ summary }) => summary) };
  } finally {
    await writer.close();
  }
}

async function baseInstances({ path, tag }: LayoutReference): Promise<Instance[]> {
  if (tag !== undefined) return instancesOf(await readLayout(path, { tag }));
  return instancesOf(await readLayoutIndex(path));
}

/** Not the machine's own platform by default: the same workspace must give the same digest everywhere. */
function platformsOf(options: ImageOptions, bases: readonly Instance[] | undefined): Platform[] {
  const wanted =
    options.platforms?.map(parsePlatform) ?? bases?.flatMap(({ platform }) => platform ?? []).filter(isRunnable);
  const platforms = wanted === undefined || wanted.length === 0 ? [parsePlatform('linux/amd64')] : wanted;
  return [...new Map(platforms.map((platform) => [formatPlatform(platform), platform])).values()];
}

/** Attestations lie beside the images that they attest, for a platform `unknown/unknown`. */
const isRunnable = ({ os }: Platform) => os !== 'unknown';

function sameInstance(wanted: Platform, platform: Platform): InvalidOptionError {
  const found = formatPlatform(platform);
  return new InvalidOptionError(
    `option "platforms": expected an instance of the base for each platform, found that ${formatPlatform(wanted)} and another are both built on ${found}`,
    { expected: formatPlatform(wanted), found },
  );
}

/** The annotations and the subject of the base speak of the base, not of what is built on it. */
async function draftOnBase(base: Image): Promise<ImageDraft> {
  const draft = await draftFrom(base);
  const { annotations: _, subject: __, ...manifest } = draft.manifest;
  return { ...draft, manifest: manifest as ImageManifest };
}

async function withLayers(
  start: ImageDraft,
  platform: Platform,
  layers: readonly LayerOptions[],
  created: string,
  build: LayerBuilder,
): Promise<{ draft: ImageDraft; names: (string | undefined)[] }> {
  let draft = start;
  const names: (string | undefined)[] = start.manifest.layers.map(() => undefined);
  for (const layer of layers) {
    const name = layerName(layer);
    const built = await build(layer, platform, start.manifest.mediaType ?? mediaTypes.imageManifest);
    draft = appendLayer(draft, built, { created, created_by: `nx-oci image: layer ${name}` });
    names.push(name);
  }
  return { draft, names };
}

function summaryOf(
  image: Image,
  platform: Platform,
  tag: string,
  names: readonly (string | undefined)[],
): BuiltImage['images'][number] {
  const layers = image.manifest.layers.map(({ digest, size }, position) => {
    const name = names[position];
    return { digest, size, ...(name !== undefined && { name }) };
  });
  const size = layers.reduce((sum, layer) => sum + layer.size, 0);
  return { platform: formatPlatform(platform), tag, digest: image.digest, size, layers };
}
