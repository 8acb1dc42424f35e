import { mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bytesBlob } from '../../../blob';
import { inLanes } from '../../../concurrency';
import type { Digest } from '../../../digest';
import { FileSystemError, fileSystemStep, hasSystemCode, MissingBlobError } from '../../../errors';
import { newIndex } from '../../../image-index';
import { blobsDirectory, blobsIn, indexFile, markerFile } from '../../../layout/paths';
import { readLayoutIndex } from '../../../layout/read';
import { type Stage, syncDirectory, writeLanes } from '../../../layout/stage';
import type { Index } from '../../../ref';
import { type Descriptor, type ImageIndex, imageLayoutVersion } from '../../../spec/documents';
import { encodeJson } from '../../../spec/json';
import {
  isBlobMark,
  type Listed,
  type Listing,
  listedAs,
  parsedManifest,
  registryTagOf,
  type Tagged,
  taggedAs,
} from './listing';

/** What a repository has, as it is on the disk. */
export interface Contents extends Listing {
  readonly blobs: Set<Digest>;
  /** What index.json says beyond its manifests. */
  readonly document: ImageIndex;
}

/**
 * Reads what the layout of a repository has, the one of another tool too.
 *
 * What index.json lists is a manifest, and so is what an index among them lists, if it is there. Every other file is a
 * blob; so is one that index.json marks as such. A manifest that is missing or damaged is listed with that as the reason.
 *
 * @throws {InvalidLayoutError} if it is no layout, and what {@link readLayoutIndex} throws besides.
 */
export async function readContents(directory: string): Promise<Contents> {
  const index = await readLayoutIndex(directory);
  const files = await fileSystemStep('list', directory, () => blobsIn(join(directory, blobsDirectory)));
  const entries = index.manifest.manifests;
  const marked = new Set(entries.filter(isBlobMark).map(({ digest }) => digest));
  const manifests = await readManifests(
    index,
    entries.filter((entry) => !isBlobMark(entry)),
    new Set(files.filter((digest) => !marked.has(digest))),
  );
  const tags = new Map<string, Tagged>();
  for (const entry of entries) {
    const tag = registryTagOf(entry);
    // Where other tools list a tag twice, readers of layouts take the first.
    if (tag !== undefined && !tags.has(tag)) tags.set(tag, taggedAs(tag, manifests.get(entry.digest) as Listed));
  }
  const blobs = new Set(files.filter((digest) => marked.has(digest) || !manifests.has(digest)));
  return { manifests, tags, blobs, document: index.manifest };
}

/** Reads each manifest once, then those that indexes among them list. */
async function readManifests(
  { blobs }: Index,
  entries: readonly Descriptor[],
  files: ReadonlySet<Digest>,
): Promise<Map<Digest, Listed>> {
  const found = new Map<Digest, Listed>();
  for (let level = entries; level.length > 0; ) {
    const unread: Descriptor[] = [];
    for (const entry of level) {
      if (found.has(entry.digest)) continue;
      // The order of the entries stays, whichever is read first.
      found.set(entry.digest, { descriptor: entry, children: [] });
      unread.push(entry);
    }
    const next: Descriptor[] = [];
    const follow = ({ data: _, ...child }: Descriptor) => {
      if (files.has(child.digest)) next.push(child);
    };
    await inLanes(unread, writeLanes, async (entry) => {
      try {
        const ref = parsedManifest({ ...entry, bytes: await blobs.manifest(entry) }, blobs);
        found.set(entry.digest, listedAs(entry, ref));
        if (ref?.kind === 'index') ref.children().forEach(follow);
      } catch (failure) {
        const isMissing = hasSystemCode(failure, 'ENOENT');
        // It may be readable the next time, and must not be taken for damaged.
        if (failure instanceof FileSystemError && !isMissing) throw failure;
        const reason = isMissing ? new MissingBlobError(entry.digest, 'index.json', failure) : failure;
        found.set(entry.digest, { ...listedAs(entry), failure: reason });
      }
    });
    level = next;
  }
  return found;
}

/** Makes the layout of a repository that has nothing yet, in one step. */
export async function createLayoutIn(directory: string, stage: Stage): Promise<Contents> {
  const staged = stage.nextPath();
  const empty = newIndex([]);
  await fileSystemStep('create the directory', staged, () =>
    mkdir(join(staged, blobsDirectory, 'sha256'), { recursive: true }),
  );
  const place = async (name: string, content: Uint8Array) => {
    const document = await stage.stageDocument(bytesBlob(content));
    await fileSystemStep('rename a file to', join(staged, name), () => rename(document, join(staged, name)));
  };
  await place(markerFile, encodeJson({ imageLayoutVersion }));
  await place(indexFile, empty.rawManifest);
  await syncDirectory(staged);
  await fileSystemStep('rename a directory to', directory, () => rename(staged, directory));
  await syncDirectory(dirname(directory)).catch(async (error: unknown) => {
    await rename(directory, staged);
    throw error;
  });
  return { manifests: new Map(), tags: new Map(), blobs: new Set(), document: empty.manifest };
}
