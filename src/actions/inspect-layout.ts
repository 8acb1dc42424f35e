import { AmbiguousManifestError } from '../errors';
import { asIndex, platformOf } from '../image-index';
import { listNames, tagOf } from '../layout/find';
import { readLayoutIndex } from '../layout/read';
import type { LayoutReference } from '../layout/reference';
import { readSource } from '../layout/source';
import { artifactTypeOf, type Ref, readConfig, walkRefs } from '../ref';
import type { Descriptor, ImageIndex } from '../spec/documents';
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
  readonly artifactType?: string;
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
}

/** What index.json lists. */
export interface InspectedLayout {
  readonly path: string;
  readonly manifests: readonly InspectedManifest[];
}

/** Reads everything of a layout but its layers; throws what reading it throws. */
export async function inspectLayout(path: string): Promise<InspectedLayout> {
  const index = await readLayoutIndex(path);
  // Bounds the depth, and meets every unreadable manifest before anything is said.
  await walkRefs(index, () => undefined);
  const manifests = [];
  for (const descriptor of index.children()) manifests.push(await inspect(await index.ref(descriptor), descriptor));
  return { path, manifests };
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
export async function inspectIndex(reference: LayoutReference): Promise<InspectedIndex> {
  const [only, ...more] = await readSource(reference);
  if (only === undefined || more.length > 0) {
    const found = [only, ...more].flatMap((source) => source?.descriptor ?? []);
    throw new AmbiguousManifestError(
      `${reference.path}: expected one index, found ${found.length} manifests (${listNames(found)}); pick one by tag or digest`,
      { expected: '1', found: String(found.length) },
    );
  }
  const index = asIndex(only.ref);
  await walkRefs(index, () => undefined);
  const instances = [];
  for (const child of index.children()) instances.push(await inspect(await index.ref(child), child));
  return { mediaType: index.mediaType, digest: index.digest, manifest: index.manifest, instances };
}

async function inspect(ref: Ref, descriptor: Descriptor): Promise<InspectedManifest> {
  const tag = tagOf(descriptor);
  const platform = descriptor.platform ?? (await platformOf(ref));
  const artifactType = artifactTypeOf(ref);
  const node = {
    ...blobOf({ mediaType: ref.mediaType, digest: ref.digest, size: ref.rawManifest.length }),
    ...(tag !== undefined && { tag }),
    ...(platform && { platform: formatPlatform(platform) }),
    ...(artifactType !== undefined && { artifactType }),
    ...(ref.manifest.annotations && { annotations: ref.manifest.annotations }),
  };
  if (ref.kind === 'index') {
    const manifests = [];
    for (const child of ref.children()) manifests.push(await inspect(await ref.ref(child), child));
    return { ...node, manifests };
  }
  const makers = await layerMakers(ref);
  const layers = ref.manifest.layers.map((layer, position) => {
    const createdBy = makers[position];
    return { ...blobOf(layer), ...(createdBy !== undefined && { createdBy }) };
  });
  return { ...node, config: blobOf(ref.manifest.config), layers };
}

/** The history entries that made a layer, in the order of the layers. */
async function layerMakers(ref: Ref): Promise<(string | undefined)[]> {
  if (ref.kind === 'index' || !isImageConfigType(ref.manifest.config.mediaType)) return [];
  const { history } = await readConfig(ref);
  return (history ?? []).filter((entry) => !entry.empty_layer).map((entry) => entry.created_by);
}

function blobOf({ mediaType, digest, size }: Pick<Descriptor, 'mediaType' | 'digest' | 'size'>): InspectedBlob {
  return { mediaType, digest, size };
}
