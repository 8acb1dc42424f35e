import { isDeepStrictEqual } from 'node:util';
import { chosenFrom } from '../actions/copy-manifests';
import type { Digest } from '../digest';
import { EmptyIndexError } from '../errors';
import { newIndex } from '../image-index';
import type { ImageSource } from '../layout/source';
import { type Image, maxDepth, type Ref, tooDeep } from '../ref';
import type { Descriptor, Platform } from '../spec/documents';
import { parseJson } from '../spec/json';
import { comparedConfig, configChanges } from './configs';
import { type ValueChange, valueChanges } from './json';
import { descriptionOf, diffLayers, type LayerDifference, type LayerReader, layerReader } from './layers';
import { diffLists, type Listed } from './lists';

/** A manifest that is compared. */
export interface ManifestFacts {
  readonly mediaType: string;
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
}

/** How two images, indexes or artifacts differ. */
export interface ManifestDifference {
  readonly a: ManifestFacts;
  readonly b: ManifestFacts;
  /** Whether they are the same to the byte. Then there is nothing else to say. */
  readonly identical: boolean;
  /** What differs in the manifests themselves, but for the digests and sizes of what they name. */
  readonly manifest: readonly ValueChange[];
  /** Of two images: what differs in their configs, but for the diffIDs; variables of the environment by their names. */
  readonly config: readonly ValueChange[];
  /** Of two images: their layers. */
  readonly layers: readonly LayerDifference[];
  /** Unless both are images: what they list. An image is as an index of itself. */
  readonly manifests: readonly Listed<ManifestDifference>[];
  /** Documents that differ in their bytes, but in no value: in white space, or in the order of keys. */
  readonly rewritten: readonly ('manifest' | 'config')[];
}

/** How much is read before it is refused. */
export interface DiffOptions {
  /** Bytes that a layer may unpack to; 64 GiB by default. */
  readonly maxUnpackedSize?: number;
  /** Bytes of memory that the names of files may take, about; 256 MiB by default. */
  readonly maxListingSize?: number;
}

/**
 * Says why two images, indexes or artifacts have different digests, down to the file in a layer. Layers that both have are
 * not read; all others are, as they stream by, and are verified.
 *
 * @param a the earlier, or expected, one.
 * @param b the one that is compared with it.
 * @throws {DigestMismatchError}, {SizeMismatchError} for content that is not what is said of it.
 * @throws {LimitError} for a layer that unpacks to more, or has more files, than the options allow.
 * @throws {OciError} for a layer that is no tar file. All name the layer.
 */
export function diffImages(a: Ref, b: Ref, options: DiffOptions = {}): Promise<ManifestDifference> {
  const { maxUnpackedSize, maxListingSize } = options;
  const layers = layerReader({ unpackedSize: maxUnpackedSize, listingSize: maxListingSize });
  const seen = new Set<string>();
  const compare = async (from: Ref, to: Ref, depth: number): Promise<ManifestDifference> => {
    if (depth > maxDepth) throw tooDeep(a, from);
    const sides = { a: factsOf(from), b: factsOf(to) };
    if (Buffer.compare(from.rawManifest, to.rawManifest) === 0) {
      return { ...sides, identical: true, ...noDifference };
    }
    if (from.kind === 'image' && to.kind === 'image') {
      return { ...sides, identical: false, ...noDifference, ...(await diffContent(from, to, layers)) };
    }
    const manifests = await diffLists(from, to, async (child, counterpart) => {
      const pair = `${child.digest} ${counterpart.digest}`;
      if (seen.has(pair)) return undefined;
      seen.add(pair);
      return compare(child, counterpart, depth + 1);
    });
    const manifest = valueChanges(withoutContent(from), withoutContent(to));
    const explained =
      manifest.length > 0 ||
      manifests.some(({ kind, moved, descriptor }) => kind !== 'same' || moved || descriptor.length > 0);
    return {
      ...sides,
      identical: false,
      ...noDifference,
      manifest,
      manifests,
      rewritten: explained ? [] : ['manifest'],
    };
  };
  return compare(a, b, 0);
}

/**
 * Compares what two references name. All manifests of a layout are compared as the index over them.
 *
 * @param options with `platform`, the images for it alone.
 * @throws {EmptyIndexError} if there is nothing, {@link NoMatchingPlatformError}, and as {@link diffImages} does.
 */
export async function diffSources(
  a: ImageSource,
  b: ImageSource,
  { platform, ...options }: DiffOptions & { readonly platform?: Platform } = {},
): Promise<ManifestDifference> {
  return diffImages(await rootOf(a, platform), await rootOf(b, platform), options);
}

async function rootOf(source: ImageSource, platform: Platform | undefined): Promise<Ref> {
  const found = await chosenFrom(await source.read(), platform && [platform], source.name);
  const [only, ...more] = found;
  if (only === undefined) {
    throw new EmptyIndexError(`${source.name}: expected an image, an index or an artifact to compare, found none`);
  }
  if (more.length === 0) return only.ref;
  return newIndex(found.map(({ ref, descriptor }) => ({ ref, ...listedAs(descriptor) })));
}

const listedAs = ({ platform, annotations }: Descriptor) => ({
  ...(platform && { platform }),
  ...(annotations && { annotations }),
});

const factsOf = ({ mediaType, digest, rawManifest }: Ref): ManifestFacts => ({
  mediaType,
  digest,
  size: rawManifest.length,
});

const noDifference = { manifest: [], config: [], layers: [], manifests: [], rewritten: [] };

/** Two images: their manifests, configs and layers. */
async function diffContent(
  a: Image,
  b: Image,
  reader: LayerReader,
): Promise<Pick<ManifestDifference, 'manifest' | 'config' | 'layers' | 'rewritten'>> {
  const manifest = valueChanges(
    { ...withoutContent(a), config: descriptionOf(a.manifest.config) },
    { ...withoutContent(b), config: descriptionOf(b.manifest.config) },
  );
  const configs = [await comparedConfig(a), await comparedConfig(b)] as const;
  const config = configChanges(...configs);
  const layers = await diffLayers(a, b, { a: configs[0].image, b: configs[1].image }, reader);
  const isSame = ({ kind, moved, descriptor }: LayerDifference) => kind === 'same' && !moved && descriptor.length === 0;
  const hasSameTars = isDeepStrictEqual(configs[0].image?.rootfs.diff_ids, configs[1].image?.rootfs.diff_ids);
  const hasSameConfig = a.manifest.config.digest === b.manifest.config.digest;
  const rewritten = [
    ...(manifest.length === 0 && hasSameConfig && layers.every(isSame) ? ['manifest' as const] : []),
    ...(config.length === 0 && hasSameTars && !hasSameConfig ? ['config' as const] : []),
  ];
  return { manifest, config, layers, rewritten };
}

/** What a manifest says of itself. */
function withoutContent(ref: Ref): object {
  const document = parseJson(ref.rawManifest, `manifest ${ref.digest}`) as Readonly<Record<string, unknown>>;
  const { config: _, layers: __, manifests: ___, ...others } = document;
  return others;
}
