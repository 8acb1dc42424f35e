import { expect } from '@jest/globals';
import {
  asImage,
  type Blob,
  type Blobs,
  type ByteRange,
  type Bytes,
  bytesBlob,
  type Descriptor,
  type Digest,
  digestOf,
  encodeJson,
  type Image,
  type ImageManifest,
  newRef,
  type OciError,
  type OsImageConfig,
} from '../../src';
import { collect, failureOf } from '../fixtures';

export const mebibyte = 1024 * 1024;

/** What a source says of a blob, whatever is right. */
export type Source = (right: Blob) => Blob;

/** The image with another source of all its layers. */
export function from(image: Image, source: Source): Image {
  const blobs: Blobs = {
    ...image.blobs,
    blob: (descriptor) => {
      const right = image.blobs.blob(descriptor);
      return descriptor.digest === image.manifest.config.digest ? right : source(right);
    },
  };
  return asImage(newRef(image.rawManifest, image.mediaType, image.digest, blobs));
}

/** A source that has other bytes than it should, and may still cut ranges out of them. */
export const other =
  (change: (bytes: Buffer) => Uint8Array): Source =>
  (right) => ({
    size: right.size,
    open: async function* (range?: ByteRange) {
      const bytes = change(await collect(right.open())).subarray(range?.start ?? 0, range?.end);
      for (let at = 0; at < bytes.length; at += 64 * 1024) yield bytes.subarray(at, at + 64 * 1024);
    },
  });

export interface Forgery {
  readonly config?: (config: OsImageConfig) => object;
  readonly manifest?: (manifest: ImageManifest) => object;
  /** The layers' bytes, to which descriptors are made that match. */
  readonly layers?: readonly Uint8Array[];
}

/** An OS image by a maker that lies: all digests are right, and what they are of is not. */
export async function forged(
  image: Image,
  { config = (one) => one, manifest = (one) => one, layers }: Forgery,
): Promise<Image> {
  const right = JSON.parse(Buffer.from(await image.readBlobVerified(image.manifest.config)).toString());
  const rawConfig = encodeJson(config(right));
  const contents = new Map<Digest, Blob>([[digestOf(rawConfig), bytesBlob(rawConfig)]]);
  for (const bytes of layers ?? []) contents.set(digestOf(bytes), bytesBlob(bytes));
  const describe = (descriptor: Descriptor, bytes: Uint8Array): Descriptor => ({
    ...descriptor,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const forgedManifest = manifest({
    ...image.manifest,
    config: describe(image.manifest.config, rawConfig),
    layers: image.manifest.layers.map((layer, position) => {
      const bytes = layers?.[position];
      return bytes ? describe(layer, bytes) : layer;
    }),
  });
  const blobs: Blobs = { ...image.blobs, blob: (one) => contents.get(one.digest) ?? image.blobs.blob(one) };
  return asImage(newRef(encodeJson(forgedManifest), image.mediaType, undefined, blobs));
}

/** What a reader was given before the error that it must end with. */
export async function readUntil<E extends OciError>(
  type: new (...facts: never[]) => E,
  content: Bytes,
): Promise<{ bytes: Buffer; error: E }> {
  const chunks: Uint8Array[] = [];
  const error = await failureOf(type, async () => {
    for await (const one of content) chunks.push(one);
  });
  return { bytes: Buffer.concat(chunks), error };
}

/** Comparing large buffers by digest, because their difference would take minutes to print. */
export function expectBytes(found: Uint8Array, expected: Uint8Array): void {
  expect({ size: found.length, digest: digestOf(found) }).toEqual({
    size: expected.length,
    digest: digestOf(expected),
  });
}

/** As the config has it. */
export function hashText(bytes: Uint8Array): string {
  return Buffer.from(digestOf(bytes).slice('sha256:'.length), 'hex').toString('base64').slice(0, 43);
}
