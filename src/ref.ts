import { type Blob, type Blobs, type ByteRange, bytesBlob, type FileBlob, readVerified } from './blob';
import { algorithmOf, asDigest, type Digest, digestOf, parseDigest } from './digest';
import {
  DepthError,
  DigestMismatchError,
  FileSystemError,
  InvalidDocumentError,
  LimitError,
  MissingBlobError,
  SizeMismatchError,
  UnexpectedMediaTypeError,
} from './errors';
import {
  configSchema,
  type Descriptor,
  type ImageConfig,
  type ImageIndex,
  type ImageManifest,
  indexSchema,
  manifestSchema,
} from './spec/documents';
import { checkDocument, maxDocumentSize, parseDocument, parseJson } from './spec/json';
import { isImageConfigType, isIndexType, isManifestType, mediaTypes, withoutParameters } from './spec/media-types';

/** An image manifest or an image index with the content behind it. Made by {@link newRef}; immutable. */
export type Ref = Image | Index;

interface Node {
  readonly mediaType: string;
  /** The digest of `rawManifest`, in the algorithm that it was asked for by. */
  readonly digest: Digest;
  /** The bytes as they came. They are never encoded again, so that the digest stays. */
  readonly rawManifest: Uint8Array;
  /** Where the content behind the manifest comes from. */
  readonly blobs: Blobs;
  /** The file that the manifest was read from, where it was one: so that it is shared like other blobs, and not copied. */
  readonly file?: FileBlob;
}

interface Content {
  /** The blobs that the manifest names itself: of an image its config, then its layers in their order. */
  descriptors(): readonly Descriptor[];
  /** The content of one of them, from the descriptor's own `data` where it has some. Not verified. */
  blob(descriptor: Descriptor): Blob;
  /** The whole content in memory, verified. Throws {@link LimitError} above 50 MiB. */
  readBlobVerified(descriptor: Descriptor): Promise<Uint8Array>;
}

/** An image manifest: a container image, or an artifact. */
export interface Image extends Node, Content {
  readonly kind: 'image';
  readonly manifest: ImageManifest;
}

/** An image index, or Docker's manifest list. What it lists of unknown media types are plain blobs to it. */
export interface Index extends Node, Content {
  readonly kind: 'index';
  readonly manifest: ImageIndex;
  /** The descriptors of the images and indexes that it lists, in their order. */
  children(): readonly Descriptor[];
  /** The image or index behind one of them, verified. */
  ref(descriptor: Descriptor): Promise<Ref>;
}

/** How deep indexes may be nested. Real ones are two deep; a chain longer than this was made to exhaust its readers. */
export const maxDepth = 32;

/**
 * Parses a manifest once, at the door.
 *
 * @param mediaType as the descriptor or the Content-Type header says; parameters are dropped.
 * @param expectedDigest `undefined` only where nobody knows a digest yet, as when pulling by tag.
 * @param blobs where the content behind the manifest comes from.
 * @throws {InvalidDigestError} if what was asked for is no digest.
 * @throws {DigestMismatchError} if the bytes are not what was asked for.
 * @throws {UnexpectedMediaTypeError} if it is neither manifest nor index, or its body says another type than `mediaType`.
 * @throws {InvalidDocumentError} if the body is not what its type says, or could be read as either of two types.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
 */
export function newRef(
  rawManifest: Uint8Array,
  mediaType: string,
  expectedDigest: Digest | undefined,
  blobs: Blobs,
): Ref {
  const algorithm = expectedDigest === undefined ? 'sha256' : parseDigest(expectedDigest).algorithm;
  const name = `manifest ${expectedDigest ?? `of ${rawManifest.length} bytes`}`;
  if (rawManifest.length > maxDocumentSize) throw new LimitError(name, maxDocumentSize, rawManifest.length);
  const digest = digestOf(rawManifest, algorithm);
  if (expectedDigest !== undefined && expectedDigest !== digest) {
    throw new DigestMismatchError(name, expectedDigest, digest);
  }
  const type = withoutParameters(mediaType);
  if (!isManifestType(type) && !isIndexType(type)) {
    throw new UnexpectedMediaTypeError(
      `manifest ${digest}`,
      `${mediaTypes.imageManifest} or ${mediaTypes.imageIndex}`,
      type,
    );
  }
  const body = parseJson(rawManifest, `manifest ${digest}`);
  rejectAmbiguous(body, digest);
  const node = { mediaType: type, digest, rawManifest, blobs };
  return isIndexType(type) ? indexRef(node, body) : imageRef(node, body);
}

/**
 * The ref as an image, where only an image can be handled.
 *
 * @throws {UnexpectedMediaTypeError} naming the media type of what it is instead.
 */
export function asImage(ref: Ref): Image {
  if (ref.kind === 'image') return ref;
  throw new UnexpectedMediaTypeError(
    `manifest ${ref.digest}`,
    `${mediaTypes.imageManifest} (one image; pick one of the index by its platform)`,
    ref.mediaType,
  );
}

/** The descriptor by which an index names this ref. */
export function descriptorOf(ref: Ref): Descriptor {
  const artifactType = artifactTypeOf(ref);
  return {
    mediaType: ref.mediaType,
    ...(artifactType !== undefined && { artifactType }),
    digest: ref.digest,
    size: ref.rawManifest.length,
  };
}

/**
 * What kind of artifact a manifest is: its own `artifactType`, else the media type of a config that is no image's.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md#guidelines-for-artifact-usage
 */
export function artifactTypeOf(ref: Ref): string | undefined {
  if (ref.manifest.artifactType !== undefined) return ref.manifest.artifactType;
  if (ref.kind === 'index') return undefined;
  const configType = ref.manifest.config.mediaType;
  return isImageConfigType(configType) ? undefined : configType;
}

/**
 * The parsed config of a container image.
 *
 * @throws {UnexpectedMediaTypeError} if it is an artifact, which has no such config.
 * @throws {InvalidDocumentError} if it names another number of diffIDs than there are layers.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
 */
export async function readConfig(image: Image): Promise<ImageConfig> {
  const descriptor = image.manifest.config;
  if (!isImageConfigType(descriptor.mediaType)) {
    throw new UnexpectedMediaTypeError(`config ${descriptor.digest}`, mediaTypes.imageConfig, descriptor.mediaType);
  }
  const parsed = parseDocument(await image.readBlobVerified(descriptor), configSchema, `config ${descriptor.digest}`);
  const diffIds = parsed.rootfs.diff_ids ?? [];
  const layers = image.manifest.layers.length;
  if (diffIds.length !== layers) {
    throw new InvalidDocumentError(
      `config ${descriptor.digest}: expected as many diff_ids as manifest ${image.digest} has layers (${layers}), found ${diffIds.length}`,
      { expected: String(layers), found: String(diffIds.length) },
    );
  }
  return { ...parsed, rootfs: { ...parsed.rootfs, diff_ids: diffIds } };
}

/** What {@link walkRefs} does on its way. */
export interface WalkOptions {
  /** Takes an image or index that can't be read, and what lists it; the walk goes on without it. Without this it throws. */
  readonly onError?: (error: unknown, descriptor: Descriptor, parent: Index) => void;
}

/**
 * Visits everything that is reachable through indexes, depth first, children before their parents, each digest once.
 *
 * @param visit gets the ref and the descriptor that it was reached by first; none for the root.
 * @throws {DepthError} below {@link maxDepth} nested indexes.
 * @throws {SizeMismatchError} if two descriptors name one digest with different sizes.
 */
export async function walkRefs(
  root: Ref,
  visit: (ref: Ref, descriptor?: Descriptor) => void | Promise<void>,
  { onError }: WalkOptions = {},
): Promise<void> {
  const seen = new Map<Digest, number>([[root.digest, root.rawManifest.length]]);
  const descend = async (ref: Ref, descriptor: Descriptor | undefined, depth: number): Promise<void> => {
    if (depth > maxDepth) throw tooDeep(root, ref);
    if (ref.kind === 'index') {
      for (const child of ref.children()) {
        const found = await readChild(ref, child).catch((error: unknown) => {
          if (onError === undefined) throw error;
          onError(error, child, ref);
        });
        if (found) await descend(found, child, depth + 1);
      }
    }
    await visit(ref, descriptor);
  };
  const readChild = async (index: Index, child: Descriptor): Promise<Ref | undefined> =>
    isNewDigest(child, seen) ? index.ref(child) : undefined;
  await descend(root, undefined, 0);
}

/** The error of who follows indexes below {@link maxDepth}. */
export function tooDeep(root: Ref, ref: Ref): DepthError {
  return new DepthError(
    `index ${root.digest}: expected at most ${maxDepth} nested indexes, found more (depth ${maxDepth + 1} at ${ref.digest})`,
    { expected: `<= ${maxDepth}`, found: 'more' },
  );
}

/**
 * Whether the descriptor's digest was not met before, and remembers it.
 *
 * @throws {SizeMismatchError} if it was met with another size: one of the two descriptors lies.
 */
export function isNewDigest({ digest, size }: Pick<Descriptor, 'digest' | 'size'>, seen: Map<Digest, number>): boolean {
  const known = seen.get(digest);
  if (known === undefined) {
    seen.set(digest, size);
    return true;
  }
  if (known !== size)
    throw new SizeMismatchError(`blob ${digest}, which two descriptors name with different sizes`, known, size);
  return false;
}

function imageRef(node: Node, body: unknown): Image {
  const parsed = checkDocument(body, manifestSchema, `manifest ${node.digest}`);
  checkBodyType(node, parsed.mediaType);
  const manifest: ImageManifest = { ...parsed, layers: parsed.layers ?? [] };
  return { ...node, ...contentOf(node, [manifest.config, ...manifest.layers]), kind: 'image', manifest };
}

function indexRef(node: Node, body: unknown): Index {
  const parsed = checkDocument(body, indexSchema, `index ${node.digest}`);
  checkBodyType(node, parsed.mediaType);
  const manifests = parsed.manifests ?? [];
  const isRef = ({ mediaType }: Descriptor) => isManifestType(mediaType) || isIndexType(mediaType);
  const children = manifests.filter(isRef);
  return {
    ...node,
    // An unknown media type must not be an error (image-spec, image-index.md).
    ...contentOf(
      node,
      manifests.filter((descriptor) => !isRef(descriptor)),
    ),
    kind: 'index',
    manifest: { ...parsed, manifests },
    children: () => children,
    ref: (descriptor) =>
      readRef(descriptor, node.blobs).catch((error) => Promise.reject(withReferrer(error, descriptor, node))),
  };
}

function contentOf(node: Node, descriptors: readonly Descriptor[]): Content {
  for (const descriptor of descriptors) checkEmptyDescriptor(descriptor, node.digest);
  const blob = (descriptor: Descriptor) => embedded(descriptor) ?? referredBlob(descriptor, node);
  return {
    descriptors: () => descriptors,
    blob,
    readBlobVerified: (descriptor) => readVerified(blob(descriptor), descriptor),
  };
}

/** The blob from its source, which says who refers to it if it is missing there. */
function referredBlob(descriptor: Descriptor, node: Node): Blob {
  const blob = node.blobs.blob(descriptor);
  async function* open(range?: ByteRange): AsyncGenerator<Uint8Array> {
    try {
      yield* blob.open(range);
    } catch (error) {
      throw withReferrer(error, descriptor, node);
    }
  }
  return { ...blob, size: blob.size, open };
}

function withReferrer(error: unknown, { digest }: Descriptor, node: Node): unknown {
  const isMissing = error instanceof FileSystemError && error.code === 'ENOENT';
  return isMissing ? new MissingBlobError(digest, `manifest ${node.digest}`, error) : error;
}

/**
 * The image or index that a descriptor names, from where `blobs` has it.
 *
 * @throws {LimitError} before anything is read, if the descriptor names more than 50 MiB.
 */
export async function readRef(descriptor: Descriptor, blobs: Blobs): Promise<Ref> {
  const { mediaType, size } = descriptor;
  const digest = asDigest(descriptor.digest);
  if (!isManifestType(mediaType) && !isIndexType(mediaType)) {
    throw new UnexpectedMediaTypeError(
      `manifest ${digest}`,
      `${mediaTypes.imageManifest} or ${mediaTypes.imageIndex}`,
      mediaType,
    );
  }
  if (size > maxDocumentSize) throw new LimitError(`manifest ${digest}`, maxDocumentSize, size);
  const data = embedded(descriptor);
  const raw = data ? await readVerified(data, descriptor) : await blobs.manifest(descriptor);
  if (raw.length !== size) throw new SizeMismatchError(`manifest ${digest}`, size, raw.length);
  const ref = newRef(raw, mediaType, digest, blobs.blobs(descriptor));
  const file = data ? undefined : blobs.file?.(descriptor);
  return file ? { ...ref, file } : ref;
}

/**
 * The content that a descriptor carries itself.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#embedded-content
 */
function embedded({ data, digest, size }: Descriptor): Blob | undefined {
  if (data === undefined) return undefined;
  const bytes = Buffer.from(data, 'base64');
  // Buffer reads sloppy base64 as well as it can; only the canonical spelling comes back as it was.
  if (bytes.toString('base64') !== data) {
    throw new InvalidDocumentError(
      `descriptor ${digest}: expected data in padded standard base64 (RFC 4648, section 4), found other text`,
    );
  }
  if (bytes.length !== size) throw new SizeMismatchError(`descriptor ${digest}: data`, size, bytes.length);
  const found = digestOf(bytes, algorithmOf(digest));
  if (found !== digest) throw new DigestMismatchError(`descriptor ${digest}: data`, digest, found);
  return bytesBlob(bytes);
}

const emptyJson = Buffer.from('{}');

/** The empty descriptor: for a config or a layer where an artifact has none (image-spec, manifest.md, guidance). */
export const emptyDescriptor: Descriptor = {
  mediaType: mediaTypes.empty,
  digest: digestOf(emptyJson),
  size: emptyJson.length,
  data: emptyJson.toString('base64'),
};

/** The content behind {@link emptyDescriptor}. */
export const emptyBlob: Blob = bytesBlob(emptyJson);

function checkEmptyDescriptor(descriptor: Descriptor, manifest: Digest): void {
  if (descriptor.mediaType !== mediaTypes.empty) return;
  const digest = digestOf(emptyJson, algorithmOf(descriptor.digest));
  if (descriptor.digest === digest && descriptor.size === emptyJson.length) return;
  throw new InvalidDocumentError(
    `manifest ${manifest}: descriptor of media type ${mediaTypes.empty}: expected ${digest} of ${emptyJson.length} bytes, found ${descriptor.digest} of ${descriptor.size} bytes`,
    { expected: digest, found: descriptor.digest },
  );
}

/** A body that one client reads as an image and another as an index could smuggle content past a check (CVE-2021-41190). */
function rejectAmbiguous(body: unknown, digest: Digest): void {
  if (typeof body !== 'object' || body === null || !Object.hasOwn(body, 'manifests')) return;
  const other = ['config', 'layers'].find((key) => Object.hasOwn(body, key));
  if (other === undefined) return;
  throw new InvalidDocumentError(
    `manifest ${digest}: ambiguous: expected either "manifests" of an index or "config" and "layers" of an image, found "manifests" beside "${other}"`,
  );
}

function checkBodyType(node: Node, bodyType: string | undefined): void {
  if (bodyType === undefined || bodyType === node.mediaType) return;
  throw new UnexpectedMediaTypeError(`manifest ${node.digest}: mediaType of the body`, node.mediaType, bodyType);
}
