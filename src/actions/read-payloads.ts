import { lstat, rename } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Blob } from '../blob';
import type { Digest } from '../digest';
import {
  AmbiguousManifestError,
  EmptyIndexError,
  fileSystemStep,
  hasSystemCode,
  InvalidOptionError,
  OciError,
} from '../errors';
import { findPlatform, instancesOf } from '../image-index';
import { digested } from '../layer/layer';
import type { ImageSource } from '../layout/source';
import { openStage } from '../layout/stage';
import { type OsImage, readOsImage } from '../os-image/read';
import { artifactTypeOf, type Image } from '../ref';
import type { Descriptor, Platform } from '../spec/documents';
import { osImageTypes, type PayloadInfo, type ProductInfo } from '../spec/os-image';
import { formatPlatform } from '../spec/platform';

/** How far a payload is, in bytes. */
export type PayloadProgress = (payload: string, progress: { readonly done: number; readonly total: number }) => void;

/** An OS image with the platform that an index lists it for. */
interface FoundOsImage {
  readonly platform?: Platform;
  readonly image: Image;
}

/** An OS image with its payloads, none of which is read. */
export interface ListedOsImage {
  readonly digest: Digest;
  readonly platform?: string;
  readonly productInfo: ProductInfo;
  readonly payloads: readonly ListedPayload[];
}

export interface ListedPayload {
  readonly name: string;
  /** In bytes, unpacked. */
  readonly size: number;
  /** In bytes, as it is stored. */
  readonly storedSize: number;
  readonly mediaType: string;
  readonly digest: Digest;
}

/**
 * The OS images of a source: all, or that for a platform.
 *
 * @throws {NoMatchingPlatformError}, and what {@link readOsImage} throws.
 */
export async function listOsImages(source: ImageSource, platform?: Platform): Promise<ListedOsImage[]> {
  const listed: ListedOsImage[] = [];
  for (const found of await findOsImages(source, platform)) {
    const { image, config } = await readOsImage(found.image);
    listed.push({
      digest: image.digest,
      ...platformOf(found),
      productInfo: config.product_info,
      payloads: config.payloads.map((info, position) =>
        listedPayload(info, image.manifest.layers[position] as Descriptor),
      ),
    });
  }
  return listed;
}

/**
 * The one OS image of a source, or that for a platform.
 *
 * @throws {AmbiguousManifestError} that lists them, if there are several.
 */
export async function openOsImage(source: ImageSource, platform?: Platform): Promise<OsImage> {
  const found = await findOsImages(source, platform);
  const [only, ...more] = found;
  if (only && more.length === 0) return readOsImage(only.image);
  const names = found.map((one) => platformOf(one).platform ?? one.image.digest).join(', ');
  throw new AmbiguousManifestError(
    `${source.name}: expected one OS image, found ${found.length} (${names}); pick one by platform or tag`,
    { expected: '1', found: String(found.length) },
  );
}

/** What was found of a payload that was read as a whole. */
export interface VerifiedPayload {
  readonly image: Digest;
  readonly platform?: string;
  readonly name: string;
  /** In bytes, unpacked. */
  readonly size: number;
  /** What is wrong with it, if something is. */
  readonly problem?: string;
}

/**
 * Reads and verifies the payloads of the OS images of a source, or those of one name. It finds all problems, not only the first.
 *
 * @throws {UnknownPayloadError} if an image has no payload of the name, and what {@link listOsImages} throws.
 */
export async function verifyPayloads(
  source: ImageSource,
  { name, platform, onProgress }: { name?: string; platform?: Platform; onProgress?: PayloadProgress } = {},
): Promise<VerifiedPayload[]> {
  const verified: VerifiedPayload[] = [];
  for (const found of await findOsImages(source, platform)) {
    const { image, config, payload } = await readOsImage(found.image);
    const names = name === undefined ? config.payloads.map((info) => info.name) : [name];
    for (const one of names) {
      const content = payload(one);
      const problem = await problemOf(watched(one, content, onProgress));
      const { size } = content;
      verified.push({
        image: image.digest,
        ...platformOf(found),
        name: one,
        size,
        ...(problem !== undefined && { problem }),
      });
    }
  }
  return verified;
}

/**
 * Writes a payload to a file, which appears under its name when all of it is verified and on the disk.
 *
 * @throws {InvalidOptionError} if something that is no file has that name.
 */
export async function extractPayload(
  osImage: OsImage,
  name: string,
  file: string,
  onProgress?: PayloadProgress,
): Promise<void> {
  const path = resolve(file);
  const content = watched(name, osImage.payload(name), onProgress);
  await checkReplaceable(path);
  const stage = await openStage(dirname(path));
  try {
    const staged = await stage.stageDocument(content);
    await fileSystemStep('rename a file to', path, () => rename(staged, path));
  } finally {
    await stage.close();
  }
}

/** A rename would put a file in the place of a disk. */
async function checkReplaceable(path: string): Promise<void> {
  const stats = await fileSystemStep('read', path, () => lstat(path)).catch((error) => {
    if (!hasSystemCode(error, 'ENOENT')) throw error;
  });
  if (stats === undefined || stats.isFile() || stats.isSymbolicLink()) return;
  const found = stats.isDirectory() ? 'a directory' : 'a device or something like it';
  throw new InvalidOptionError(
    `${path}: expected a file, or nothing yet, found ${found}; the payload can go to standard output instead`,
    { expected: 'a file', found },
  );
}

/** Of several manifests those that are OS images; of what is none the first, which says so when it is read. */
async function findOsImages(source: ImageSource, platform: Platform | undefined): Promise<FoundOsImage[]> {
  const found = new Map<string, FoundOsImage>();
  for (const { ref, descriptor } of await source.read()) {
    for (const instance of await instancesOf(ref, descriptor)) {
      const { image } = instance;
      found.set(`${image.digest} ${platformOf(instance).platform ?? ''}`, instance);
    }
  }
  const all = [...found.values()];
  const osImages = all.filter(({ image }) => artifactTypeOf(image) === osImageTypes.artifact);
  const candidates = osImages.length > 0 ? osImages : all.slice(0, 1);
  if (platform) return [findPlatform(candidates, platform, source.name)];
  if (candidates.length > 0) return candidates;
  throw new EmptyIndexError(`${source.name}: expected an OS image, found no manifest`);
}

function platformOf({ platform }: FoundOsImage): { platform?: string } {
  return platform ? { platform: formatPlatform(platform) } : {};
}

function listedPayload({ name, size }: PayloadInfo, layer: Descriptor): ListedPayload {
  return { name, size, storedSize: layer.size, mediaType: layer.mediaType, digest: layer.digest };
}

async function problemOf(content: Blob): Promise<string | undefined> {
  try {
    for await (const _ of content.open());
    return undefined;
  } catch (error) {
    if (error instanceof OciError) return error.message;
    throw error;
  }
}

/** The payload, of which one sees how far it is read. */
function watched(name: string, content: Blob, onProgress: PayloadProgress | undefined): Blob {
  const open = () => {
    let done = 0;
    return digested(content.open(), (chunk) => {
      done += chunk.length;
      onProgress?.(name, { done, total: content.size });
    });
  };
  return { size: content.size, open };
}
