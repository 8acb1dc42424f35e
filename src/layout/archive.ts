import { createReadStream } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { posix } from 'node:path';
import { extract } from 'tar-stream';
import * as z from 'zod';
import { type Blob, type Blobs, bytesOf, fileBlob } from '../blob';
import { isGzip } from '../compression';
import { createDigester, type Digest } from '../digest';
import { FileSystemError, fileSystemStep, InvalidLayoutError, isSystemError, MissingBlobError } from '../errors';
import { type IndexEntry, newIndex, platformOf } from '../image-index';
import { type Index, newRef } from '../ref';
import { type Descriptor, refNameAnnotation } from '../spec/documents';
import { encodeJson, parseDocument } from '../spec/json';
import { mediaTypes } from '../spec/media-types';
import { blobPath, indexFile, markerFile } from './paths';
import { checkMarkerBytes } from './read';

/** What `docker save` lists its images in. */
const dockerArchiveFile = 'manifest.json';

const dockerArchiveSchema = z
  .array(
    z.looseObject({
      Config: z.string(),
      RepoTags: z.array(z.string()).nullish(),
      Layers: z.array(z.string()).nullable(),
    }),
  )
  .min(1);

/**
 * A tar file that holds images, as an index: an OCI layout as skopeo's `oci-archive:` and newer `docker save` write it,
 * or an older `docker save` archive. Nothing is unpacked: its blobs are parts of the file.
 *
 * @throws {InvalidLayoutError} if it is neither.
 */
export async function readArchive(path: string): Promise<Index> {
  const files = await listArchive(path);
  if (files.has(markerFile) && files.has(indexFile)) return readOciArchive(files, path);
  const images = files.get(dockerArchiveFile);
  if (images) return readDockerArchive(images, files, path);
  throw new InvalidLayoutError(
    `${path}: expected an OCI layout (${markerFile}, ${indexFile}) or ${dockerArchiveFile} of docker save in the archive, found neither`,
  );
}

type Files = ReadonlyMap<string, Blob>;

async function readOciArchive(files: Files, path: string): Promise<Index> {
  const read = (name: string) => bytesOf((files.get(name) as Blob).open(), undefined, `${path}: ${name}`);
  checkMarkerBytes(await read(markerFile), `${path}: ${markerFile}`);
  const blobs = blobsBy((digest) => files.get(blobPath(digest)), path);
  return newRef(await read(indexFile), mediaTypes.imageIndex, undefined, blobs) as Index;
}

/** Its layers have names of no meaning, so that each is read once for its digest. */
async function readDockerArchive(list: Blob, files: Files, path: string): Promise<Index> {
  const name = `${path}: ${dockerArchiveFile}`;
  const images = parseDocument(await bytesOf(list.open(), undefined, name), dockerArchiveSchema, name);
  const found = new Map<Digest, Blob>();
  const describe = async (file: string, mediaTypeOf: (start: Uint8Array) => string): Promise<Descriptor> => {
    const blob = files.get(posix.normalize(file));
    if (!blob)
      throw new InvalidLayoutError(`${name}: expected the file ${JSON.stringify(file)} in the archive, found none`);
    const digester = createDigester();
    let start: Uint8Array | undefined;
    for await (const chunk of blob.open()) {
      start ??= chunk;
      digester.update(chunk);
    }
    const digest = digester.digest();
    found.set(digest, blob);
    return { mediaType: mediaTypeOf(start ?? new Uint8Array()), digest, size: blob.size };
  };
  const layerType = (start: Uint8Array) => (isGzip(start) ? mediaTypes.dockerLayerGzip : mediaTypes.dockerLayer);
  const entries: IndexEntry[] = [];
  for (const { Config, Layers, RepoTags } of images) {
    const config = await describe(Config, () => mediaTypes.dockerConfig);
    const layers: Descriptor[] = [];
    for (const layer of Layers ?? []) layers.push(await describe(layer, layerType));
    const rawManifest = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.dockerManifest, config, layers });
    const ref = newRef(
      rawManifest,
      mediaTypes.dockerManifest,
      undefined,
      blobsBy((digest) => found.get(digest), path),
    );
    const platform = await platformOf(ref);
    const entry = { ref, ...(platform && { platform }) };
    const tags = (RepoTags ?? []).map((name) => name.replace(/^.*:/, ''));
    if (tags.length === 0) entries.push(entry);
    for (const tag of tags) entries.push({ ...entry, annotations: { [refNameAnnotation]: tag } });
  }
  return newIndex(entries);
}

function blobsBy(find: (digest: Digest) => Blob | undefined, path: string): Blobs {
  const blobs: Blobs = {
    blob: ({ digest }) => {
      const blob = find(digest);
      if (blob) return blob;
      throw new MissingBlobError(digest, path);
    },
    manifest: async (descriptor) =>
      bytesOf(blobs.blob(descriptor).open(), descriptor.size, `manifest ${descriptor.digest}`),
    blobs: () => blobs,
  };
  return blobs;
}

/** The files of a tar file by their names, each as a part of it; links stand for what they point to. */
async function listArchive(path: string): Promise<Files> {
  const files = new Map<string, Blob>();
  const links = new Map<string, string>();
  // What the user names may be a link to the archive.
  const real = await fileSystemStep('read', path, () => realpath(path));
  const reading = createReadStream(real, { highWaterMark: 1024 * 1024 });
  const archive = reading.pipe(extract() as unknown as NodeJS.WritableStream) as unknown as ReturnType<typeof extract>;
  reading.on('error', (error) => archive.destroy(error));
  try {
    for await (const entry of archive) {
      const { name, type, size, linkname } = entry.header;
      const file = posix.normalize(name);
      // tar-stream's types do not know where it says that the content begins.
      const { byteOffset } = entry.header as typeof entry.header & { byteOffset: number };
      if (type === 'file') files.set(file, partOf(real, byteOffset, size));
      else if (type === 'symlink') links.set(file, posix.join(posix.dirname(file), linkname));
      else if (type === 'link') links.set(file, posix.normalize(linkname));
      entry.resume();
    }
  } catch (error) {
    if (isSystemError(error)) throw new FileSystemError('read', path, error);
    throw new InvalidLayoutError(`${path}: expected an uncompressed tar file, found ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    reading.destroy();
  }
  for (const [name, target] of links) {
    const blob = files.get(target);
    if (blob) files.set(name, blob);
  }
  return files;
}

function partOf(path: string, offset: number, size: number): Blob {
  const { open } = fileBlob(path, offset + size);
  return {
    size,
    open: ({ start = 0, end = size } = {}) => open({ start: offset + start, end: offset + Math.min(end, size) }),
  };
}
