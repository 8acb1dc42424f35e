import { availableParallelism } from 'node:os';
import type { Blob } from '../blob';
import type { Bytes, Compression } from '../compression';
import { inLanes } from '../concurrency';
import { algorithmOf, createDigester, type Digest, type DigestAlgorithm } from '../digest';
import { DigestMismatchError, OciError } from '../errors';
import { verifyBlob } from '../hashing';
import { maxUnpackedSize, unpacked } from '../layer/tar-file';
import { type Image, type Ref, readConfig, walkRefs } from '../ref';
import type { Descriptor } from '../spec/documents';
import { isImageConfigType, layerCompression } from '../spec/media-types';
import { readLayoutIndex } from './read';

/** One thing that is wrong with a layout. */
export interface Problem {
  /** The blob that it is wrong with. */
  readonly digest: Digest;
  /** The manifest or index that refers to the blob; `index.json` for what is listed there. */
  readonly referrer: string;
  readonly message: string;
}

/** What a verification found. */
export interface Verification {
  readonly problems: readonly Problem[];
  /** Images and indexes that were read, without index.json. */
  readonly manifests: number;
  /** Configs, layers and other blobs that were read. */
  readonly blobs: number;
  /** Bytes of those blobs. */
  readonly bytes: number;
  /** Layers whose diffID was not compared, because their media type is none that is known here. */
  readonly uncheckedDiffIds: readonly Digest[];
}

/** How a layout is verified. */
export interface VerifyOptions {
  /** The most that a compressed layer may unpack to, in bytes; 64 GiB by default. */
  readonly maxUnpackedSize?: number;
  /** Called with the bytes that were read since the last call. */
  readonly onProgress?: (bytes: number) => void;
}

/** A blob with all that is said of it; each is read once. */
interface BlobCheck {
  readonly descriptor: Descriptor;
  readonly referrer: string;
  readonly blob: () => Blob;
  /** Of a layer: what container images say of the tar file inside, each claim once. */
  readonly claims: Map<string, LayerClaim>;
}

/** What one container image says of a layer. */
interface LayerClaim {
  readonly diffId: Digest;
  readonly compression: Compression | undefined;
  readonly referrer: string;
}

type Report = (digest: Digest, referrer: string, error: unknown) => void;

/**
 * Checks everything that is reachable from index.json: digests, sizes, media types, configs, and that each layer
 * unpacks to its diffID. It finds all problems, not only the first.
 *
 * @throws {InvalidLayoutError} if the directory is no layout, and what {@link readLayoutIndex} throws besides.
 */
export async function verifyLayout(path: string, options: VerifyOptions = {}): Promise<Verification> {
  const problems: Problem[] = [];
  const report: Report = (digest, referrer, error) => {
    if (!(error instanceof OciError)) throw error;
    problems.push({ digest, referrer, message: error.message });
  };
  const index = await readLayoutIndex(path);
  const nameOf = (ref: Ref) => (ref === index ? 'index.json' : ref.digest);
  const checks = new Map<Digest, BlobCheck>();
  let manifests = 0;

  const visit = async (ref: Ref) => {
    if (ref !== index) manifests++;
    for (const descriptor of ref.descriptors()) {
      const known = checks.get(descriptor.digest);
      if (known === undefined) {
        const blob = () => ref.blob(descriptor);
        checks.set(descriptor.digest, { descriptor, referrer: nameOf(ref), blob, claims: new Map() });
      } else if (known.descriptor.size !== descriptor.size) {
        const sizes = `${known.descriptor.size} (${known.referrer}) and ${descriptor.size}`;
        report(
          descriptor.digest,
          nameOf(ref),
          new OciError(`blob ${descriptor.digest}: expected one size in all descriptors, found ${sizes}`),
        );
      }
    }
    if (ref.kind === 'image')
      await collectClaims(ref, checks).catch((error) => report(ref.manifest.config.digest, ref.digest, error));
  };
  await walkRefs(index, visit, {
    onError: (error, child, parent) => report(child.digest, nameOf(parent), error),
  }).catch((error) => report(index.digest, 'index.json', error));

  const uncheckedDiffIds: Digest[] = [];
  let bytes = 0;
  // A config that could not be read is a problem already.
  const known = new Set(problems.map(({ digest }) => digest));
  // The largest first: one that begins when all others have ended is read alone.
  const bySize = [...checks.values()].sort((a, b) => b.descriptor.size - a.descriptor.size);
  await inLanes(bySize, availableParallelism(), async (check) => {
    const { descriptor, referrer, claims } = check;
    if (known.has(descriptor.digest)) return;
    bytes += descriptor.size;
    if ([...claims.values()].some(isUncheckable)) uncheckedDiffIds.push(descriptor.digest);
    await checkBlob(check, options, report).catch((error) => report(descriptor.digest, referrer, error));
  });
  // Several are read at a time, and may end in any order.
  const order = new Map([...checks.keys()].map((digest, position) => [digest, position]));
  problems.sort((a, b) => (order.get(a.digest) ?? -1) - (order.get(b.digest) ?? -1));
  return { problems, manifests, blobs: checks.size, bytes, uncheckedDiffIds };
}

const isUncheckable = ({ compression }: LayerClaim) => compression === undefined;

async function collectClaims(image: Image, checks: ReadonlyMap<Digest, BlobCheck>): Promise<void> {
  if (!isImageConfigType(image.manifest.config.mediaType)) return;
  const { rootfs } = await readConfig(image);
  for (const [position, { digest, mediaType }] of image.manifest.layers.entries()) {
    const diffId = rootfs.diff_ids[position];
    const claims = checks.get(digest)?.claims;
    const key = `${diffId} ${mediaType}`;
    if (diffId === undefined || claims === undefined || claims.has(key)) continue;
    claims.set(key, { diffId, compression: layerCompression(mediaType), referrer: image.digest });
  }
}

/**
 * Compares a blob with its digest, and with what is said of the tar file inside. Both at once, because the one may run on
 * another thread while the other unpacks: what is read once more was in memory a moment ago.
 */
async function checkBlob(check: BlobCheck, options: VerifyOptions, report: Report): Promise<void> {
  const { descriptor, referrer, claims } = check;
  const blob = check.blob();
  const compressions = new Set([...claims.values()].flatMap(({ compression }) => compression ?? []));
  const [whole, ...tars] = await Promise.allSettled([
    verifyBlob(blob, descriptor, options.onProgress),
    ...[...compressions].map((compression) => checkTar(blob, check, compression, options)),
  ]);
  // If the bytes are not even what their digest names, that is the problem, and the others only follow from it.
  if (whole.status === 'rejected') throw whole.reason;
  for (const tar of tars) {
    if (tar.status === 'rejected') report(descriptor.digest, referrer, tar.reason);
    else for (const { referrer, mismatch } of tar.value) report(descriptor.digest, referrer, mismatch);
  }
}

/** Unpacks a layer, and tells which images are wrong about the tar file inside. */
async function checkTar(
  blob: Blob,
  { descriptor, claims }: BlobCheck,
  compression: Compression,
  { maxUnpackedSize: limit = maxUnpackedSize }: VerifyOptions,
): Promise<{ referrer: string; mismatch: DigestMismatchError }[]> {
  const ofThis = [...claims.values()].filter((claim) => claim.compression === compression);
  const algorithms = new Set(ofThis.map(({ diffId }) => algorithmOf(diffId)));
  const digests = await tarDigests(blob, descriptor, compression, algorithms, limit);
  return ofThis.flatMap(({ diffId, referrer }) => {
    const found = digests.get(algorithmOf(diffId)) as Digest;
    if (found === diffId) return [];
    const thing = `layer ${descriptor.digest}: its diffID in the config`;
    return { referrer, mismatch: new DigestMismatchError(thing, diffId, found) };
  });
}

/** The digests of the tar file inside a layer. Its bytes are not verified: that is somebody else's. */
async function tarDigests(
  blob: Blob,
  { digest, size }: Descriptor,
  compression: Compression,
  algorithms: ReadonlySet<DigestAlgorithm>,
  limit: number,
): Promise<ReadonlyMap<DigestAlgorithm, Digest>> {
  const isPlain = compression === 'none';
  // A plain layer is its own tar file.
  if (isPlain && [...algorithms].every((algorithm) => algorithm === algorithmOf(digest))) {
    return new Map([[algorithmOf(digest), digest]]);
  }
  const digesters = [...algorithms].map((algorithm) => [algorithm, createDigester(algorithm)] as const);
  const content = blob.open({ end: size });
  const tar = isPlain ? content : unpackedLayer(content, compression, limit, digest);
  for await (const chunk of tar) for (const [, digester] of digesters) digester.update(chunk);
  return new Map(digesters.map(([algorithm, digester]) => [algorithm, digester.digest()]));
}

async function* unpackedLayer(
  content: Bytes,
  compression: Compression,
  limit: number,
  digest: Digest,
): AsyncGenerator<Uint8Array> {
  try {
    yield* unpacked(content, compression, limit, `layer ${digest}`);
  } catch (error) {
    if (!(error instanceof OciError) || error.message.includes(digest)) throw error;
    throw new OciError(`layer ${digest}: ${error.message}`, { cause: error });
  }
}
