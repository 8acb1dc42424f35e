import { type Blob, type BlobSink, layeredBlobs, verified } from './blob';
import type { Bytes, Compression } from './compression';
import { algorithmOf, createDigester, type Digest } from './digest';
import { DigestMismatchError, InvalidStreamError } from './errors';
import { indexOver, platformOf } from './image-index';
import { layerEncoder } from './layer/layer';
import { maxUnpackedSize, unpacked } from './layer/tar-file';
import { asImage, type Image, type Index, newRef, type Ref, readConfig, walkRefs } from './ref';
import type { Descriptor, Platform } from './spec/documents';
import { encodeJson } from './spec/json';
import { isForeignLayer, isImageConfigType, layerCompression } from './spec/media-types';

/** How layers are compressed anew. */
export interface RecompressOptions {
  /** From 1, the fastest; gzip goes to 9, zstd to 19. Each has its own default. */
  readonly level?: number;
}

/**
 * Says in an index that the layers of a manifest are zstd, so that who can't read it takes another one. The programs of
 * github.com/containers (podman, buildah, skopeo, CRI-O) write it and look for it.
 */
export const zstdAnnotation = 'io.github.containers.compression.zstd';

/**
 * The same image or index with all layers compressed alike. Configs and diffIDs stay, so that it is the same image to
 * those who run it; the manifests are new, and so are their digests. What needs no change comes back as it is: layers
 * that are compressed so already, those that are not for distribution, and artifacts.
 *
 * @param sink where the new layers go. None gets into a manifest before it was checked against its diffID.
 * @throws {UnexpectedMediaTypeError} for zstd in a manifest of Docker's.
 * @throws {InvalidStreamError}, {LimitError} for a layer that can't be unpacked.
 * @throws {DigestMismatchError} if it does not unpack to its diffID.
 * @throws {InvalidOptionError} for a level that the compression does not have.
 */
export async function recompressRef(
  root: Ref,
  compression: Compression,
  sink: BlobSink,
  options: RecompressOptions = {},
): Promise<Ref> {
  const recompressed = imageRecompressor(compression, sink, options);
  const results = new Map<Digest, Ref>();
  await walkRefs(root, async (ref) => {
    const result = ref.kind === 'image' ? await recompressed(ref) : withResults(ref, results, compression);
    results.set(ref.digest, result);
  });
  return results.get(root.digest) as Ref;
}

/**
 * The index with one more instance of each image, whose layers are zstd: listed behind the others, for the same platform,
 * and annotated. Clients that know the annotation take it, all others the first that fits. A platform that has such an
 * instance gets no second one.
 *
 * @throws as {@link recompressRef} does.
 * @see {@link zstdAnnotation}
 */
export async function addZstdInstances(root: Index, sink: BlobSink, options: RecompressOptions = {}): Promise<Index> {
  const recompressed = imageRecompressor('zstd', sink, options);
  const instances = new Map<Digest, ZstdInstance>();
  const results = new Map<Digest, Index>();
  await walkRefs(root, async (ref) => {
    if (ref.kind === 'image')
      instances.set(ref.digest, { ref: await recompressed(ref), platform: await platformOf(ref) });
    else results.set(ref.digest, withInstances(withResults(ref, results), instances));
  });
  return results.get(root.digest) as Index;
}

/** The image with zstd layers, and the platform in its config. */
interface ZstdInstance {
  readonly ref: Image;
  readonly platform: Platform | undefined;
}

function withInstances(index: Index, instances: ReadonlyMap<Digest, ZstdInstance>): Index {
  const { manifests } = index.manifest;
  const platformName = ({ platform, digest }: Descriptor) =>
    JSON.stringify(platform ?? instances.get(digest)?.platform);
  const served = new Set(
    manifests.filter(({ annotations }) => annotations?.[zstdAnnotation] === 'true').map(platformName),
  );
  const added: Descriptor[] = [];
  for (const child of manifests) {
    const instance = instances.get(child.digest);
    if (instance === undefined || instance.ref.digest === child.digest || served.has(platformName(child))) continue;
    served.add(platformName(child));
    added.push(leadingTo(instance.ref, child, 'zstd'));
  }
  if (added.length === 0) return index;
  return withManifests(
    index,
    [...manifests, ...added],
    [...instances.values()].map(({ ref }) => ref),
  );
}

/** The index with the results in the place of what it lists. */
function withResults(index: Index, results: ReadonlyMap<Digest, Ref>, compression?: Compression): Index {
  const isOther = ({ digest }: Descriptor) => (results.get(digest)?.digest ?? digest) !== digest;
  if (!index.manifest.manifests.some(isOther)) return index;
  const manifests = index.manifest.manifests.map((child) =>
    isOther(child) ? leadingTo(results.get(child.digest) as Ref, child, compression) : child,
  );
  return withManifests(index, manifests, [...results.values()]);
}

function withManifests(index: Index, manifests: readonly Descriptor[], refs: readonly Ref[]): Index {
  return indexOver(encodeJson({ ...index.manifest, manifests }), index.mediaType, refs, index.blobs);
}

/** What an index says of one manifest, said of another one. */
function leadingTo(ref: Ref, { data: _, ...descriptor }: Descriptor, compression: Compression | undefined): Descriptor {
  const { [zstdAnnotation]: __, ...others } = descriptor.annotations ?? {};
  const isZstd = ref.kind === 'image' && compression === 'zstd';
  const annotations = { ...others, ...(isZstd && { [zstdAnnotation]: 'true' }) };
  return {
    ...descriptor,
    digest: ref.digest,
    size: ref.rawManifest.length,
    ...((descriptor.annotations || isZstd) && { annotations }),
  };
}

/** Recompresses images; a layer that several of them share is compressed once. */
function imageRecompressor(
  compression: Compression,
  sink: BlobSink,
  { level }: RecompressOptions,
): (image: Image) => Promise<Image> {
  const written = new Map<string, NewLayer>();
  return async (image) => {
    if (!isImageConfigType(image.manifest.config.mediaType)) return image;
    const encoder = layerEncoder(compression, { level, manifestType: image.mediaType });
    const { rootfs } = await readConfig(image);
    const own = new Map<Digest, Blob>();
    const layers: Descriptor[] = [];
    for (const [position, layer] of image.manifest.layers.entries()) {
      const diffId = rootfs.diff_ids[position] as Digest;
      const found = layerCompression(layer.mediaType);
      if (found === undefined || found === compression || isForeignLayer(layer.mediaType)) {
        layers.push(layer);
        continue;
      }
      const key = `${layer.digest} ${diffId}`;
      const { blob, ...facts } =
        written.get(key) ?? (await writeAnew(image, layer, found, diffId, encoder.encode, sink));
      written.set(key, { blob, ...facts });
      own.set(facts.digest, blob);
      layers.push({ ...keptFacts(layer), mediaType: encoder.mediaType, ...facts });
    }
    if (own.size === 0) return image;
    const rawManifest = encodeJson({ ...image.manifest, layers });
    return asImage(newRef(rawManifest, image.mediaType, undefined, layeredBlobs(own, image.blobs)));
  };
}

interface NewLayer {
  readonly digest: Digest;
  readonly size: number;
  readonly blob: Blob;
}

/** What is said of places inside the compressed bytes, for reading files out of them (eStargz, zstd:chunked). */
const tableOfContents =
  /^(containerd\.io\/snapshot\/stargz\/|io\.containers\.estargz\.|io\.github\.containers\.zstd-chunked\.)/;

/** Of what a descriptor says, that which does not speak of the compressed bytes. */
function keptFacts({ data: _, urls: __, annotations, ...others }: Descriptor): Descriptor {
  const kept = Object.entries(annotations ?? {}).filter(([key]) => !tableOfContents.test(key));
  return { ...others, ...(annotations && { annotations: Object.fromEntries(kept) }) };
}

async function writeAnew(
  image: Image,
  layer: Descriptor,
  compression: Compression,
  diffId: Digest,
  encode: (tar: Bytes) => Bytes,
  sink: BlobSink,
): Promise<NewLayer> {
  const name = `layer ${layer.digest}`;
  const content = verified(image.blob(layer).open(), layer);
  const tar = checkedAgainst(unpacked(content, compression, maxUnpackedSize, name), diffId, name);
  try {
    return await sink.write(encode(tar), algorithmOf(layer.digest));
  } catch (error) {
    if (!(error instanceof InvalidStreamError)) throw error;
    throw new InvalidStreamError(`${name}: ${error.message}`, { cause: error });
  }
}

/** @throws {DigestMismatchError} at the end, so that nobody comes to the end of a wrong tar file. */
async function* checkedAgainst(tar: Bytes, diffId: Digest, name: string): AsyncGenerator<Uint8Array> {
  const digester = createDigester(algorithmOf(diffId));
  for await (const chunk of tar) {
    digester.update(chunk);
    yield chunk;
  }
  const found = digester.digest();
  if (found !== diffId) throw new DigestMismatchError(`${name}: its diffID in the config`, diffId, found);
}
