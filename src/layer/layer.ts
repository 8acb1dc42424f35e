import type { Blob, BlobSink } from '../blob';
import { type Bytes, type Compression, checkLevel, compress, defaultLevels } from '../compression';
import { createDigester, type Digest } from '../digest';
import type { Descriptor } from '../spec/documents';
import { layerTypeFor, mediaTypes } from '../spec/media-types';

/** A finished layer: what a manifest and a config say of it, and its content. */
export interface Layer {
  readonly descriptor: Descriptor;
  /** The digest of the tar file before compression (image-spec, config.md, "Layer DiffID"). */
  readonly diffId: Digest;
  readonly blob: Blob;
}

/** How the tar file of a layer is encoded, and the media type that says so. Write your own for another compression. */
export interface LayerEncoder {
  readonly mediaType: string;
  encode(tar: Bytes): Bytes;
  /** Says that pieces of the tar file may be compressed each by itself, which is faster and gives other bytes. */
  readonly inPieces?: PieceEncoding;
}

/** How each piece of a tar file is compressed. */
export interface PieceEncoding {
  readonly compression: Compression;
  readonly level: number;
}

/**
 * The encoder for a compression.
 *
 * @param manifestType the media type of the manifest that the layer is for: OCI's or Docker's.
 * @param level of gzip, 1 to 9, or of zstd, 1 to 19; see `defaultGzipLevel` and `defaultZstdLevel`.
 * @throws {UnexpectedMediaTypeError} for zstd in a manifest of Docker's.
 * @throws {InvalidOptionError} for a level that the compression does not have.
 */
export function layerEncoder(
  compression: Compression,
  { level, manifestType = mediaTypes.imageManifest }: { level?: number; manifestType?: string } = {},
): LayerEncoder {
  checkLevel(compression, level);
  return {
    mediaType: layerTypeFor(manifestType, compression),
    encode: (tar) => compress(tar, compression, level),
    inPieces: { compression, level: level ?? defaultLevels[compression] },
  };
}

/** Writes a tar file as a layer. One pass: the diffID, the compression and the blob's own digest, as the bytes go by. */
export async function writeLayer(tar: Bytes, sink: BlobSink, encoder: LayerEncoder): Promise<Layer> {
  const digester = createDigester();
  const { digest, size, blob } = await sink.write(encoder.encode(digested(tar, (chunk) => digester.update(chunk))));
  return { descriptor: { mediaType: encoder.mediaType, digest, size }, diffId: digester.digest(), blob };
}

/** The same bytes, each chunk shown to `see` as it passes. */
export async function* digested(bytes: Bytes, see: (chunk: Uint8Array) => void): AsyncGenerator<Uint8Array> {
  for await (const chunk of bytes) {
    see(chunk);
    yield chunk;
  }
}
