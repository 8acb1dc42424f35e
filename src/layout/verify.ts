import { availableParallelism } from 'node:os';
import { type Blob, verified } from '../blob';
import type { Bytes, Compression } from '../compression';
import { inLanes } from '../concurrency';
import { algorithmOf, createDigester, type Digest } from '../digest';
import { DigestMismatchError, LimitError, OciError } from '../errors';
import { digested } from '../layer/layer';
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
  await inLanes(checks.values(), availableParallelism(), async (check) => {
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

/** Reads a blob for its digest and for what is said of the tar file inside: once, unless its compression is disputed. */
async function checkBlob(check: BlobCheck, options: VerifyOptions, report: Report): Promise<void> {
  const compressions = new Set([...check.claims.values()].map(({ compression = 'none' }) => compression));
  for (const compression of compressions.size === 0 ? (['none'] as const) : compressions) {
    await checkContent(check, compression, options, report);
  }
}

async function checkContent(
  { descriptor, blob, claims }: BlobCheck,
  compression: Compression,
  options: VerifyOptions,
  report: Report,
): Promise<void> {
  const digesting = [...claims.values()]
    .filter((claim) => claim.compression === compression)
    .map((claim) => ({ ...claim, digester: createDigester(algorithmOf(claim.diffId)) }));
  const content = digested(verified(blob().open(), descriptor), (chunk) => options.onProgress?.(chunk.length));
  const limit = options.maxUnpackedSize ?? maxUnpackedSize;
  const tar = compression === 'none' ? content : unpackedWhole(content, compression, limit, descriptor.digest);
  for await (const chunk of tar) for (const { digester } of digesting) digester.update(chunk);
  for (const { diffId, digester, referrer } of digesting) {
    const found = digester.digest();
    if (found === diffId) continue;
    const thing = `layer ${descriptor.digest}: its diffID in the config`;
    report(descriptor.digest, referrer, new DigestMismatchError(thing, diffId, found));
  }
}

/**
 * Unpacks, and when that fails reads the compressed bytes to their end all the same: if they are not even what their
 * digest names, that is the problem, and the broken stream only follows from it.
 */
async function* unpackedWhole(
  content: AsyncGenerator<Uint8Array>,
  compression: Compression,
  limit: number,
  digest: Digest,
): AsyncGenerator<Uint8Array> {
  // The decoder reads ahead, so that it may be the one who is told that the compressed bytes are wrong.
  let failure: unknown;
  const next = () =>
    content.next().catch((error: unknown) => {
      failure = error;
      throw error;
    });
  // Ending the reader of the stream must not end the stream.
  const kept: Bytes = { [Symbol.asyncIterator]: () => ({ next }) };
  try {
    yield* unpacked(kept, compression, limit, `layer ${digest}`);
  } catch (error) {
    if (!(error instanceof LimitError)) await drain(kept);
    if (failure !== undefined) throw failure;
    if (!(error instanceof OciError) || error.message.includes(digest)) throw error;
    throw new OciError(`layer ${digest}: ${error.message}`, { cause: error });
  } finally {
    await content.return(undefined);
  }
}

async function drain(content: Bytes): Promise<void> {
  for await (const _ of content);
}
