import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import type * as z from 'zod';
import { type Blobs, fileBlob, readPlainFile, readVerified } from '../blob';
import { digestAlgorithms } from '../digest';
import {
  AmbiguousManifestError,
  EmptyIndexError,
  FileSystemError,
  fileSystemStep,
  hasSystemCode,
  InvalidDocumentError,
  InvalidLayoutError,
  MissingIndexError,
} from '../errors';
import { findPlatform, listInstances } from '../image-index';
import { type Index, newRef, type Ref } from '../ref';
import { type Descriptor, imageLayoutVersion, layoutMarkerSchema, type Platform } from '../spec/documents';
import { parseDocument } from '../spec/json';
import { mediaTypes } from '../spec/media-types';
import { listedDescriptors, listNames } from './find';
import { blobFile, blobIn, blobsDirectory, indexFile, markerFile } from './paths';

/** Which of a layout's manifests is meant, where there are several. */
export interface LayoutSelection {
  /** The manifest whose `org.opencontainers.image.ref.name` this is. */
  readonly tag?: string;
  /** The image for this platform, looked for in nested indexes too. */
  readonly platform?: Platform;
}

/** Where the parts of a layout are. */
export interface LayoutParts {
  /** The directory of the blobs, if it is not `blobs` in the layout: several layouts may share one. */
  readonly blobs?: string;
}

/**
 * The index.json of a layout as an index; what is behind it is read when it is asked for.
 *
 * @param path of the layout directory.
 * @throws {InvalidLayoutError} if it is no layout, is one of another version, or leads out of itself by a symbolic link.
 * @throws {MissingIndexError} if index.json is missing.
 */
export async function readLayoutIndex(
  path: string,
  { blobs = join(path, blobsDirectory) }: LayoutParts = {},
): Promise<Index> {
  await checkMarker(path);
  await checkBlobDirectories(blobs);
  const file = join(path, indexFile);
  const raw = await readPlainFile(file).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    throw new MissingIndexError(`${file}: expected the index of the layout, found none`, { cause: error });
  });
  try {
    return newRef(raw, mediaTypes.imageIndex, undefined, layoutBlobs(blobs)) as Index;
  } catch (error) {
    if (error instanceof InvalidDocumentError)
      throw new InvalidDocumentError(`${file}: ${error.message}`, { cause: error });
    throw error;
  }
}

/**
 * The one manifest of a layout, or the one that is selected.
 *
 * @throws {EmptyIndexError} if there is none.
 * @throws {AmbiguousManifestError} if there are several and nothing selects one; the message lists them.
 * @throws {UnknownTagError}
 * @throws {NoMatchingPlatformError}
 */
export async function readLayout(
  path: string,
  { tag, platform, ...parts }: LayoutSelection & LayoutParts = {},
): Promise<Ref> {
  const index = await readLayoutIndex(path, parts);
  const tagged = tag === undefined ? index.children() : listedDescriptors(index, tag, path);
  if (platform) {
    const instances = [];
    for (const descriptor of tagged) instances.push(...(await listInstances(await index.ref(descriptor), descriptor)));
    return findPlatform(instances, platform, path).read();
  }
  const [only, ...more] = tagged;
  if (only === undefined) throw new EmptyIndexError(`${path}: expected one manifest in its index.json, found none`);
  if (more.length > 0) {
    throw new AmbiguousManifestError(
      `${path}: expected one manifest in its index.json, found ${tagged.length} (${listNames(tagged)}); pick one by tag or platform`,
      { expected: '1', found: String(tagged.length) },
    );
  }
  return index.ref(only);
}

/** A directory of blobs, such as `blobs` in a layout, as a source of content. */
export function layoutBlobs(directory: string): Blobs {
  const blobs: Blobs = {
    blob: ({ digest, size }) => fileBlob(blobIn(directory, digest), size),
    manifest: (descriptor) => readVerified(blobs.blob(descriptor), descriptor),
    blobs: () => blobs,
    file: ({ digest, size }) => fileBlob(blobIn(directory, digest), size),
  };
  return blobs;
}

/** Whether the layout's index.json lists the manifest. */
export async function hasManifest(path: string, { digest }: Pick<Descriptor, 'digest'>): Promise<boolean> {
  return (await readLayoutIndex(path)).manifest.manifests.some((listed) => listed.digest === digest);
}

/**
 * A JSON blob of a layout, verified and of the shape that the schema says.
 *
 * @throws {DigestMismatchError}, {@link InvalidDocumentError}
 */
export async function readJsonBlob<T>(path: string, descriptor: Descriptor, schema: z.ZodType<T>): Promise<T> {
  const blob = layoutBlobs(join(path, blobsDirectory)).blob(descriptor);
  return parseDocument(await readVerified(blob, descriptor), schema, `blob ${descriptor.digest}`);
}

/** Whether a layout has the blob, by its name only. */
export async function hasBlob(path: string, { digest }: Pick<Descriptor, 'digest'>): Promise<boolean> {
  try {
    return (await lstat(blobFile(path, digest))).isFile();
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

async function checkMarker(path: string): Promise<void> {
  const file = join(path, markerFile);
  const raw = await readPlainFile(file).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    throw new InvalidLayoutError(
      `${file}: expected the marker file of an OCI image layout, found none; is ${path} a layout?`,
      {
        cause: error,
      },
    );
  });
  checkMarkerBytes(raw, file);
}

/** @throws {InvalidLayoutError} naming the file and the version. */
export function checkMarkerBytes(raw: Uint8Array, file: string): void {
  const { imageLayoutVersion: version } = parseDocument(raw, layoutMarkerSchema, file);
  if (version === imageLayoutVersion) return;
  throw new InvalidLayoutError(
    `${file}: expected imageLayoutVersion ${imageLayoutVersion}, found ${JSON.stringify(version)}`,
    {
      expected: imageLayoutVersion,
      found: version,
    },
  );
}

/**
 * A link in the place of a directory would lead every read and write of a blob somewhere else.
 *
 * @throws {InvalidLayoutError} naming the path.
 */
export async function checkBlobDirectories(blobs: string): Promise<void> {
  for (const full of [blobs, ...digestAlgorithms.map((algorithm) => join(blobs, algorithm))]) {
    const stats = await fileSystemStep('read', full, () => lstat(full)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    if (stats && !stats.isDirectory()) {
      const found = stats.isSymbolicLink() ? 'a symbolic link, which is not followed' : 'something else';
      throw new InvalidLayoutError(`${full}: expected a directory, found ${found}`, { expected: 'a directory', found });
    }
  }
}

function isMissing(error: unknown): error is FileSystemError {
  return error instanceof FileSystemError && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
