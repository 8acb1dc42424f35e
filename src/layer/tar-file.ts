import type { BlobSink } from '../blob';
import { type Bytes, type Compression, compressionOf, decompress } from '../compression';
import { createDigester } from '../digest';
import { LayerSourceError, LimitError, OciError } from '../errors';
import { layerTypeFor, mediaTypes } from '../spec/media-types';
import { entryName } from './entry';
import { steadyFile } from './files';
import { digested, type Layer, type LayerEncoder, writeLayer } from './layer';
import { checkedTar } from './tar';

/**
 * The most that one compressed layer may unpack to: 64 GiB. Deflate packs a thousand to one, and zstd more, so that a
 * small blob can keep a reader busy for days; no layer that is known to us comes near.
 */
export const maxUnpackedSize = 64 * 2 ** 30;

/**
 * A ready-made tar file as a layer. One that is compressed already is stored byte for byte; a plain one is compressed
 * by `encoder`. Both are read through first or on the way: a tar file, whole, whose entries stay inside the image.
 *
 * @param path absolute path of the tar file.
 * @param manifestType the media type of the manifest that the layer is for.
 * @throws {LayerSourceError} naming the path and what is wrong with it.
 */
export async function writeTarFile(
  path: string,
  sink: BlobSink,
  encoder: LayerEncoder,
  manifestType: string,
): Promise<Layer> {
  const file = steadyFile(path);
  const named = (bytes: Bytes) => checkedTar(bytes, ({ name }) => void entryName(name, path));
  try {
    const compression = compressionOf(await startOf(file.open()));
    if (compression === 'none') return await writeLayer(named(file.open()), sink, encoder);
    if (compression === 'zstd' && manifestType === mediaTypes.dockerManifest) {
      throw new LayerSourceError(
        `${path}: expected a tar file, plain or gzip, for a base in Docker's format, found zstd; copy the base with --format oci first`,
        { expected: 'plain or gzip', found: 'zstd' },
      );
    }
    const compressed = createDigester();
    const diffId = createDigester();
    const tar = unpacked(
      digested(file.open(), (chunk) => compressed.update(chunk)),
      compression,
      maxUnpackedSize,
      path,
    );
    for await (const chunk of named(tar)) diffId.update(chunk);
    const { digest, size: written, blob } = await sink.write(file.open());
    if (digest !== compressed.digest()) {
      throw new LayerSourceError(`${path}: expected a file that stays as it is while it is read, found it changed`);
    }
    const mediaType = layerTypeFor(manifestType, compression);
    return { descriptor: { mediaType, digest, size: written }, diffId: diffId.digest(), blob };
  } catch (error) {
    if (error instanceof OciError && !error.message.includes(path)) {
      throw new LayerSourceError(`${path}: expected a tar file, plain, gzip or zstd, found ${error.message}`, {
        cause: error,
      });
    }
    throw error;
  }
}

async function startOf(bytes: Bytes): Promise<Uint8Array> {
  for await (const chunk of bytes) return chunk;
  return new Uint8Array();
}

/**
 * Decompresses up to a bound.
 *
 * @throws {LimitError} naming `name`, as soon as one byte more than `limit` arrives.
 */
export async function* unpacked(
  compressed: Bytes,
  compression: Compression,
  limit: number,
  name: string,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of decompress(compressed, compression)) {
    size += chunk.length;
    if (size > limit) throw new LimitError(`${name}, unpacked`, limit, 'more');
    yield chunk;
  }
}
