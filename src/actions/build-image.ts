import { sep } from 'node:path';
import { checkLevel, pieceThreads } from '../compression';
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
import {
  configPlatform,
  findPlatform,
  type IndexEntry,
  type ListedInstance,
  listInstances,
  newIndex,
} from '../image-index';
import { createLayout } from '../layout/create';
import type { ImageSource } from '../layout/source';
import { layoutWriter } from '../layout/write';
import type { Image } from '../ref';
import {
  baseDigestAnnotation,
  baseNameAnnotation,
  type ImageManifest,
  type Platform,
  refNameAnnotation,
} from '../spec/documents';
import { mediaTypes } from '../spec/media-types';
import { chosenPlatform, formatPlatform, parsePlatform, platformSuffix } from '../spec/platform';
import { boundStore } from '../store/bound';
import { treeFile } from '../tree';
import { type LayerBuilder, type LayerProgress, layerBuilder } from './build-layer';
import { createdTime } from './created';
import { executionOf } from './image-config';
import type { ImageOptions } from './image-options';
import { checkTag } from './tag';

/** What one build of an image takes. */
export interface BuildImage {
  readonly options: ImageOptions;
  /** Absolute path that `from` and `tar` are relative to. */
  readonly root: string;
  /** Absolute path of the layout to write. */
  readonly output: string;
  /** What `options.base` names, found by the caller, who knows what a target is. */
  readonly base?: ImageSource;
  /** SOURCE_DATE_EPOCH, in seconds. */
  readonly epoch?: number;
  /** Absolute path of a directory that keeps what a later build can use again; see docs/store.md. */
  readonly store?: string;
  readonly onProgress?: (progress: LayerProgress) => void;
}

/** What was built. */
export interface BuiltImage {
  /** The digest of the image or, where there are several, of index.json. */
  readonly digest: Digest;
  readonly path: string;
  readonly images: readonly BuiltInstance[];
}

/** The image for one platform. */
export interface BuiltInstance {
  readonly platform: string;
  readonly tag: string;
  readonly digest: Digest;
  /** Of all its layers, in bytes. */
  readonly size: number;
  readonly layers: readonly BuiltLayer[];
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
 * @throws what {@link layoutWriter} and reading the base throws.
 */
export async function buildImage({
  options,
  root,
  output,
  base,
  epoch,
  store,
  onProgress,
}: BuildImage): Promise<BuiltImage> {
  if (store !== undefined) checkStore(store, output);
  const created = createdTime(options.created, epoch);
  const plans = await planImages(options, base, created);
  const writer = await layoutWriter(output);
  const threads = pieceThreads();
  try {
    const build = layerBuilder({ options, root, output, sink: writer, mtime: epoch ?? 0, threads, store, onProgress });
    const entries: IndexEntry[] = [];
    const images: BuiltInstance[] = [];
    for (const plan of plans) {
      const { image, layers } = await sealPlan(plan, options, created, build);
      entries.push({ ref: image, platform: plan.platform, annotations: { [refNameAnnotation]: plan.tag } });
      const size = layers.reduce((sum, layer) => sum + layer.size, 0);
      images.push({ platform: formatPlatform(plan.platform), tag: plan.tag, digest: image.digest, size, layers });
    }
    const digest = images.length === 1 ? (images[0] as BuiltInstance).digest : newIndex(entries).digest;
    const tree = await createLayout(entries);
    await writer.commit(new Map([...tree, treeFile('digest', Buffer.from(digest))]));
    if (store !== undefined) await boundStore(store);
    return { digest, path: output, images };
  } finally {
    await threads.end();
    await writer.close();
  }
}

/** A layout is replaced as a whole, and a store may be deleted as one. */
function checkStore(store: string, output: string): void {
  const isWithin = (inner: string, outer: string) => inner === outer || inner.startsWith(`${outer}${sep}`);
  if (!isWithin(store, output) && !isWithin(output, store)) return;
  const expected = `a directory apart from the output ${output}`;
  throw new InvalidOptionError(`store: expected ${expected}, found ${store}; set the option "store" or NX_OCI_STORE`, {
    expected,
    found: store,
  });
}

/** One image before its layers are built: what it starts from, and what it will be called. */
interface Plan {
  readonly platform: Platform;
  readonly tag: string;
  readonly start: ImageDraft;
  /** Which image it is built on. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** Everything that can be refused before a layer is built is refused here. */
async function planImages(
  options: ImageOptions,
  base: ImageSource | undefined,
  created: string,
): Promise<readonly Plan[]> {
  const tag = checkTag(options.tag ?? 'latest');
  checkLevel(options.compression ?? 'gzip', options.compressionLevel);
  const bases = base && (await baseInstances(base));
  const platforms = platformsOf(options, bases);
  const plans: Plan[] = [];
  for (const wanted of platforms) {
    const from = bases && (await findPlatform(bases, wanted, `base ${base?.name}`).read());
    const draft = withCreated(from ? await draftOnBase(from, wanted) : emptyImage(wanted), created);
    if (options.compression === 'zstd') checkHasZstd(draft, base);
    const start = withExecution(draft, (execution) => executionOf(options, execution));
    const platform = configPlatform(start.config);
    const annotations = baseAnnotations(base?.reference, from);
    plans.push({
      platform,
      start,
      annotations,
      tag: platforms.length === 1 ? tag : checkTag(`${tag}-${platformSuffix(platform)}`),
    });
  }
  return plans;
}

/** The layers of an image speak the language of its base; see {@link layerTypeFor}. */
function checkHasZstd({ manifest }: ImageDraft, base: ImageSource | undefined): void {
  if (manifest.mediaType !== mediaTypes.dockerManifest) return;
  throw new InvalidOptionError(
    `option "compression": expected "gzip" or "none" on base ${base?.name}, which is in Docker's format and that has no media type for zstd, found "zstd"; copy the base with "nx-oci copy --format oci" first`,
    { expected: 'gzip or none', found: 'zstd' },
  );
}

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/annotations.md#pre-defined-annotation-keys */
function baseAnnotations(reference: string | undefined, base: Image | undefined): Readonly<Record<string, string>> {
  if (reference === undefined || base === undefined) return {};
  return { [baseDigestAnnotation]: base.digest, [baseNameAnnotation]: reference };
}

async function baseInstances(base: ImageSource): Promise<ListedInstance[]> {
  const instances: ListedInstance[] = [];
  for (const { ref, descriptor } of await base.read()) instances.push(...(await listInstances(ref, descriptor)));
  return instances;
}

/** The machine's own platform only where it is asked for: the same workspace must give the same digest everywhere. */
function platformsOf(options: ImageOptions, bases: readonly ListedInstance[] | undefined): Platform[] {
  const wanted =
    options.platforms?.map(chosenPlatform) ?? bases?.flatMap(({ platform }) => platform ?? []).filter(isRunnable);
  const platforms = wanted === undefined || wanted.length === 0 ? [parsePlatform('linux/amd64')] : wanted;
  return [...new Map(platforms.map((platform) => [formatPlatform(platform), platform])).values()];
}

/** Attestations lie beside the images that they attest, for a platform `unknown/unknown`. */
const isRunnable = ({ os }: Platform) => os !== 'unknown';

/**
 * Operating system and architecture are the base's. The variant is the one that is built for, which may need more of the
 * processor than the base does. The annotations and the subject of the base speak of the base, not of what is built on it.
 */
async function draftOnBase(base: Image, { variant }: Platform): Promise<ImageDraft> {
  const { manifest, config, ...draft } = await draftFrom(base);
  const { annotations: _, subject: __, ...inherited } = manifest;
  return {
    ...draft,
    manifest: inherited as ImageManifest,
    config: { ...config, ...(variant !== undefined && { variant }) },
  };
}

async function sealPlan(
  { start, platform, annotations }: Plan,
  options: ImageOptions,
  created: string,
  build: LayerBuilder,
): Promise<{ image: Image; layers: BuiltLayer[] }> {
  let draft = start;
  const layers: BuiltLayer[] = start.manifest.layers.map(({ digest, size }) => ({ digest, size }));
  const manifestType = start.manifest.mediaType ?? mediaTypes.imageManifest;
  for (const entry of options.layers ?? []) {
    for (const { name, layer } of await build(entry, platform, manifestType)) {
      draft = appendLayer(draft, layer, { created, created_by: `nx-oci image: layer ${name}` });
      layers.push({ name, digest: layer.descriptor.digest, size: layer.descriptor.size });
    }
  }
  return { image: sealImage(annotate(draft, { ...annotations, ...options.annotations })), layers };
}
