import { type Blob, type ByteRange, verified } from '../blob';
import { type Bytes, unzstd } from '../compression';
import { inBlocks } from '../compression/blocks';
import {
  DigestMismatchError,
  InvalidDocumentError,
  InvalidStreamError,
  SizeMismatchError,
  UnexpectedMediaTypeError,
  UnknownPayloadError,
} from '../errors';
import { artifactTypeOf, asImage, type Image, type Ref } from '../ref';
import type { Descriptor } from '../spec/documents';
import { parseDocument } from '../spec/json';
import {
  checkPayloads,
  chunkCount,
  type OsImageConfig,
  osImageConfigSchema,
  osImageTypes,
  type PayloadInfo,
} from '../spec/os-image';
import { chunkHash } from './chunk-hashes';

/** An OS image whose manifest and config are verified and checked. */
export interface OsImage {
  readonly image: Image;
  readonly config: OsImageConfig;
  /**
   * A payload, unpacked. Each chunk is verified before a byte of it is given out, so that what was read before an error is
   * right. A part of a payload that is stored plain is read alone; one that is compressed is unpacked from its beginning, and
   * no further than the part goes.
   *
   * @throws {UnknownPayloadError} that lists what is there.
   */
  payload(name: string): Blob;
}

/**
 * Reads an OS image from where the ref comes from: a layout, a registry. Payloads are read when they are opened; then wrong
 * content is a {@link DigestMismatchError}, a {@link SizeMismatchError} or an {@link InvalidStreamError} that names payload and
 * chunk.
 *
 * @throws {UnexpectedMediaTypeError} if it is none, or one whose payloads are of a kind that is not known here.
 * @throws {InvalidDocumentError} for a config of another version or another shape, or that does not match the manifest.
 */
export async function readOsImage(ref: Ref): Promise<OsImage> {
  const image = asImage(ref);
  const { config: descriptor, layers } = image.manifest;
  expectType(`manifest ${image.digest}: its artifactType`, osImageTypes.artifact, artifactTypeOf(image));
  expectType(`config ${descriptor.digest}`, osImageTypes.config, descriptor.mediaType);
  const name = `config ${descriptor.digest}`;
  const document = parseDocument(await image.readBlobVerified(descriptor), osImageConfigSchema, name);
  const config = checkPayloads(document, name);
  if (config.payloads.length !== layers.length) {
    throw new InvalidDocumentError(
      `${name}: expected as many payloads as manifest ${image.digest} has layers (${layers.length}), found ${config.payloads.length}`,
      { expected: String(layers.length), found: String(config.payloads.length) },
    );
  }
  const payloads = new Map<string, Blob>();
  for (const [position, info] of config.payloads.entries()) {
    payloads.set(info.name, payloadBlob(info, layers[position] as Descriptor, image));
  }
  return { image, config, payload: (name) => payloads.get(name) ?? unknownPayload(name, payloads, image) };
}

function expectType(thing: string, expected: string, found = 'none'): void {
  if (found !== expected) throw new UnexpectedMediaTypeError(thing, expected, found);
}

function unknownPayload(name: string, payloads: ReadonlyMap<string, Blob>, { digest }: Image): never {
  const found = [...payloads.keys()].join(', ') || 'none';
  throw new UnknownPayloadError(`OS image ${digest}: expected a payload ${JSON.stringify(name)}, found ${found}`, {
    expected: name,
    found,
  });
}

/** The bytes of the payload's chunks from one to another. */
type Chunks = (range: { readonly start: number; readonly end?: number }) => Bytes;

function payloadBlob(info: PayloadInfo, layer: Descriptor, image: Image): Blob {
  const thing = `payload ${info.name} (blob ${layer.digest})`;
  if (layer.mediaType === osImageTypes.payloadZstd) {
    const unpacked: Chunks = () => {
      // The blob is verified too: hashes of chunks say nothing of a frame without content, of which there could be many.
      const packed = verified(image.blob(layer).open(), layer, thing);
      // Monogon's writer makes no frame of no bytes.
      return info.size === 0 && layer.size === 0 ? packed : unzstd(packed);
    };
    return { size: info.size, open: (range) => verifiedPart(info, thing, { isPlain: false, chunks: unpacked }, range) };
  }
  if (layer.mediaType !== osImageTypes.payload) {
    throw new UnexpectedMediaTypeError(
      thing,
      `${osImageTypes.payload} or ${osImageTypes.payloadZstd}`,
      layer.mediaType,
    );
  }
  if (layer.size !== info.size)
    throw new SizeMismatchError(`${thing}: its size in the manifest`, info.size, layer.size);
  const chunks: Chunks = (range) => image.blob(layer).open(range);
  return { size: info.size, open: (range) => verifiedPart(info, thing, { isPlain: true, chunks }, range) };
}

/** Reads whole chunks, verifies each, and gives out of them what was asked for. */
async function* verifiedPart(
  info: PayloadInfo,
  thing: string,
  { isPlain, chunks }: { readonly isPlain: boolean; readonly chunks: Chunks },
  { start = 0, end = info.size }: ByteRange = {},
): AsyncGenerator<Uint8Array> {
  const { size, hash_chunk_size: chunkSize } = info;
  const stop = Math.min(end, size);
  if (start >= stop && size > 0) return;
  const count = chunkCount(info);
  const last = Math.ceil(stop / chunkSize);
  let position = isPlain ? Math.floor(start / chunkSize) : 0;
  const from = position * chunkSize;
  // Read on to the end, so that what stands behind it shows.
  const to = isPlain && last < count ? last * chunkSize : undefined;
  const bytes = exactly(
    chunks({ start: from, ...(to !== undefined && { end: to }) }),
    (to ?? size) - from,
    isPlain ? thing : `${thing}, unpacked`,
  );
  const named = () => `${thing}: chunk ${position + 1} of ${count}`;
  try {
    for await (const chunk of inBlocks(bytes, chunkSize)) {
      checkChunk(chunk, info.chunk_hashes_sha256[position] ?? '', named());
      const at = position * chunkSize;
      const part = chunk.subarray(Math.max(start - at, 0), Math.max(stop - at, 0));
      position++;
      if (part.length > 0) yield part;
      if (position === last && last < count) return;
    }
  } catch (error) {
    if (!(error instanceof InvalidStreamError)) throw error;
    throw new InvalidStreamError(`${named()}: ${error.message}`, { cause: error });
  }
}

function checkChunk(chunk: Uint8Array, expected: string, thing: string): void {
  const found = chunkHash(chunk);
  if (found !== expected) throw new DigestMismatchError(thing, digestText(expected), digestText(found));
}

/** The hash as digests are written elsewhere, for people to compare. */
function digestText(hash: string): string {
  return `sha256:${Buffer.from(hash, 'base64').toString('hex')}`;
}

/** The same bytes, of which there must be so many. One too many is not given out: a bomb ends here. */
async function* exactly(bytes: Bytes, expected: number, thing: string): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > expected) throw new SizeMismatchError(thing, expected, 'more');
    yield chunk;
  }
  if (size < expected) throw new SizeMismatchError(thing, expected, size);
}
