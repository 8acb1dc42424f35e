import { type ArtifactFile, newArtifact } from '../artifact';
import type { Blob, BlobSink, WrittenBlob } from '../blob';
import { type Bytes, zstd } from '../compression';
import { createDigester } from '../digest';
import { InvalidOptionError, LimitError } from '../errors';
import { digested } from '../layer/layer';
import type { Image } from '../ref';
import { encodeJson, maxDocumentSize } from '../spec/json';
import {
  checkPayloads,
  hashChunkSize,
  osImageConfigSchema,
  osImageTypes,
  osImageVersion,
  type PayloadInfo,
  type ProductInfo,
  payloadNameSchema,
} from '../spec/os-image';
import { chunkHasher } from './chunk-hashes';

/**
 * The level of zstd behind each compression level of OS images. Monogon's writer has those of its encoder, which are
 * about as good as these of zstd: fastest, default, better and best.
 *
 * @see https://github.com/klauspost/compress/blob/v1.17.11/zstd/encoder_options.go
 */
const zstdLevels = { 1: 1, 2: 3, 3: 7, 4: 11 } as const;

/** From 0, which stores a payload as it is, to 4, which makes it smallest. */
export type PayloadCompression = 0 | keyof typeof zstdLevels;

/** Monogon's own default. */
export const defaultPayloadCompression: PayloadCompression = 2;

/** A payload that is ready to be part of an OS image. */
export interface Payload extends ArtifactFile {
  readonly info: PayloadInfo;
}

/**
 * Makes a payload of content. One pass: the hash of each chunk, the compression and the blob's own digest, as the bytes go by.
 *
 * @param name 1 to 80 letters, digits, `.`, `_` and `-`; the first no `.` or `_`, the last no `.`.
 * @param content a file is linked into a layout at level 0, where the file system can, and not copied.
 * @throws {InvalidOptionError} for another name.
 */
export async function writePayload(
  name: string,
  content: Blob,
  sink: BlobSink,
  level: PayloadCompression = defaultPayloadCompression,
): Promise<Payload> {
  checkPayloadName(name);
  const hasher = chunkHasher(hashChunkSize);
  let size = 0;
  const bytes = digested(content.open(), (chunk) => {
    hasher.update(chunk);
    size += chunk.length;
  });
  const written =
    level === 0 ? await digestInPlace(content, bytes) : await sink.write(zstd(bytes, { level: zstdLevels[level] }));
  const mediaType = level === 0 ? osImageTypes.payload : osImageTypes.payloadZstd;
  return {
    info: { name, size, hash_chunk_size: hashChunkSize, chunk_hashes_sha256: hasher.hashes() },
    descriptor: { mediaType, digest: written.digest, size: written.size },
    blob: written.blob,
  };
}

/** @throws {InvalidOptionError} for a name that no payload may have. */
export function checkPayloadName(name: string): string {
  const checked = payloadNameSchema.safeParse(name);
  if (checked.success) return name;
  const expected = checked.error.issues[0]?.message ?? '';
  throw new InvalidOptionError(`payload ${JSON.stringify(name)}: expected ${expected}`, { expected, found: name });
}

/** As a sink would give it back, but the blob is the content itself. */
async function digestInPlace(blob: Blob, bytes: Bytes): Promise<WrittenBlob> {
  const digester = createDigester();
  let size = 0;
  for await (const chunk of bytes) {
    digester.update(chunk);
    size += chunk.length;
  }
  return { digest: digester.digest(), size, blob };
}

/**
 * The OS image of these payloads, in their order. The same payloads and product info give the same digest.
 *
 * @param productInfo what the image contains; what the format does not know is left out.
 * @throws {InvalidOptionError} without any payload.
 * @throws {InvalidDocumentError} for two payloads of one name.
 * @throws {LimitError} for payloads of more than about 1 TiB in all, whose hashes no config holds.
 */
export function newOsImage(
  payloads: readonly Payload[],
  productInfo: ProductInfo,
  { annotations }: { annotations?: Readonly<Record<string, string>> } = {},
): Image {
  if (payloads.length === 0) throw new InvalidOptionError('OS image: expected at least one payload, found none');
  const config = {
    format_version: osImageVersion,
    product_info: ordered(productInfo),
    payloads: payloads.map(({ info }) => info),
  };
  checkPayloads(osImageConfigSchema.parse(config), 'config of the OS image');
  const content = encodeJson(config);
  if (content.length > maxDocumentSize) throw new LimitError('config of the OS image', maxDocumentSize, content.length);
  return newArtifact(payloads, {
    artifactType: osImageTypes.artifact,
    config: { mediaType: osImageTypes.config, content },
    ...(annotations && { annotations }),
  });
}

/** Every field that the format has, in its order. */
function ordered(info: ProductInfo): ProductInfo {
  const { id = '', name = '', version = '', variant = '', components } = info;
  const { commit_hash = '', commit_date = '', build_tree_dirty = false } = info;
  return {
    id,
    name,
    version,
    variant,
    commit_hash,
    commit_date,
    build_tree_dirty,
    ...(components && { components: components.map(({ id, version }) => ({ id, version })) }),
  };
}
