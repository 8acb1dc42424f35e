import { AmbiguousManifestError } from '../errors';
import { asIndex, configPlatform } from '../image-index';
import { listNames, tagOf, withoutTag } from '../layout/find';
import type { ImageSource } from '../layout/source';
import { artifactTypeOf, type Ref, readConfig, walkRefs } from '../ref';
import type { Descriptor, ImageConfig, ImageIndex, Platform } from '../spec/documents';
import { isImageConfigType } from '../spec/media-types';
import { formatPlatform } from '../spec/platform';

/** A blob that a manifest names. */
export interface InspectedBlob {
  readonly mediaType: string;
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
}

/** An image or an index with what is below it. */
export interface InspectedManifest extends InspectedBlob {
  readonly tag?: string;
  readonly platform?: string;
  readonly 'os.version'?: string;
  readonly 'os.features'?: readonly string[];
  readonly artifactType?: string;
  /** The digest of the manifest that this one speaks of. */
  readonly subject?: string;
  /** Its own, and over them what the index that lists it says of it. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Of an index. */
  readonly manifests?: readonly InspectedManifest[];
  /** Of an image. */
  readonly config?: InspectedBlob;
  /** Of an image, the lowest first. */
  readonly layers?: readonly InspectedLayer[];
}

export interface InspectedLayer extends InspectedBlob {
  /** What made the layer, as the history of the config says. */
  readonly createdBy?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What index.json lists, or what of it was asked for. */
export interface InspectedLayout {
  readonly path: string;
  readonly manifests: readonly InspectedManifest[];
}

/** Reads everything of a layout or a repository, or of one manifest in it, but the layers; throws what reading it throws. */
export async function inspectLayout(source: ImageSource): Promise<InspectedLayout> {
  const manifests = [];
  for (const { ref, descriptor } of await source.read()) manifests.push(await inspectRoot(ref, descriptor));
  return { path: source.name, manifests };
}

/** Everything of one index: its own document, and what it lists. */
export interface InspectedIndex {
  readonly mediaType: string;
  readonly digest: string;
  readonly manifest: ImageIndex;
  readonly instances: readonly InspectedManifest[];
}

/**
 * Reads an index and all that it lists but layers.
 *
 * @throws {NotAnIndexError} if it is an image.
 */
export async function inspectIndex(source: ImageSource): Promise<InspectedIndex> {
  const [only, ...more] = await source.read();
  if (only === undefined || more.length > 0) {
    const found = [only, ...more].flatMap((source) => source?.descriptor ?? []);
    throw new AmbiguousManifestError(
      `${source.name}: expected one index, found ${found.length} manifests (${listNames(found)}); pick one by tag or digest`,
      { expected: '1', found: String(found.length) },
    );
  }
  const index = asIndex(only.ref);
  const { manifests: instances = [] } = await inspectRoot(index, only.descriptor);
  return { mediaType: index.mediaType, digest: index.digest, manifest: index.manifest, instances };
}

async function inspectRoot(ref: Ref, descriptor: Descriptor): Promise<InspectedManifest> {
  // Bounds the depth, and meets every unreadable manifest before anything is said.
  const refs = new Map<string, Ref>();
  await walkRefs(ref, (found) => void refs.set(found.digest, found));
  return inspect(ref, descriptor, refs);
}

async function inspect(ref: Ref, descriptor: Descriptor, below: ReadonlyMap<string, Ref>): Promise<InspectedManifest> {
  const tag = tagOf(descriptor);
  const config = await configOf(ref);
  const platform = descriptor.platform ?? (config && configPlatform(config));
  const artifactType = artifactTypeOf(ref);
  const { subject } = ref.manifest;
  const annotations = { ...ref.manifest.annotations, ...withoutTag(descriptor).annotations };
  const node = {
    ...blobOf({ mediaType: ref.mediaType, digest: ref.digest, size: ref.rawManifest.length }),
    ...(tag !== undefined && { tag }),
    ...(platform && platformWords(platform)),
    ...(artifactType !== undefined && { artifactType }),
    ...(subject && { subject: subject.digest }),
    ...(Object.keys(annotations).length > 0 && { annotations }),
  };
  if (ref.kind === 'index') {
    const manifests = [];
    for (const child of ref.children()) manifests.push(await inspect(below.get(child.digest) as Ref, child, below));
    return { ...node, manifests };
  }
  const makers = config ? layerMakers(config) : [];
  const layers = ref.manifest.layers.map((layer, position) => {
    const createdBy = makers[position];
    const { annotations } = layer;
    return { ...blobOf(layer), ...(createdBy !== undefined && { createdBy }), ...(annotations && { annotations }) };
  });
  return { ...node, config: blobOf(ref.manifest.config), layers };
}

function platformWords(platform: Platform): Pick<InspectedManifest, 'platform' | 'os.version' | 'os.features'> {
  const { 'os.version': version, 'os.features': features } = platform;
  return {
    platform: formatPlatform(platform),
    ...(version !== undefined && { 'os.version': version }),
    ...(features !== undefined && { 'os.features': features }),
  };
}

/** The config of an image; an artifact and an index have none. */
async function configOf(ref: Ref): Promise<ImageConfig | undefined> {
  const hasConfig = ref.kind === 'image' && isImageConfigType(ref.manifest.config.mediaType);
  return hasConfig ? readConfig(ref) : undefined;
}

/** The history entries that made a layer, in the order of the layers. */
function layerMakers({ history }: ImageConfig): (string | undefined)[] {
  return (history ?? []).filter((entry) => !entry.empty_layer).map((entry) => entry.created_by);
}

function blobOf({ mediaType, digest, size }: Pick<Descriptor, 'mediaType' | 'digest' | 'size'>): InspectedBlob {
  return { mediaType, digest, size };
}
