import { lstat, mkdir, rename } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type Blob, type BlobSink, type Blobs, bytesBlob, isFileBlob } from '../blob';
import { inLanes } from '../concurrency';
import type { Digest } from '../digest';
import { fileSystemStep, InvalidLayoutError } from '../errors';
import { asIndex, newIndex, platformOf } from '../image-index';
import { descriptorOf, type Index, newRef, type Ref, walkRefs } from '../ref';
import {
  type Descriptor,
  type ImageIndex,
  imageLayoutVersion,
  type Platform,
  refNameAnnotation,
} from '../spec/documents';
import { encodeJson } from '../spec/json';
import { reachableBlobs } from './create';
import { findDescriptor, listedDescriptor, tagOf, withoutTag } from './find';
import { withLayoutLock } from './lock';
import { blobIn, blobsDirectory, blobsIn, indexFile, markerFile } from './paths';
import { type LayoutParts, type LayoutSelection, readLayout, readLayoutIndex } from './read';
import { openStage, remove, removeAbandonedStages, type Stage, syncDirectory, writeLanes } from './stage';
import { checkOutput } from './write';

/** What an index.json says of a manifest beyond the manifest itself. */
export interface InsertOptions {
  /** Moves to this manifest if another one has it. */
  readonly tag?: string;
  /** Of an image, the one in its config unless given. */
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Takes how many bytes of all blobs are there; those that are shared instead of copied count at once. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

/** What a collection removed, or would remove. */
export interface Collected {
  readonly digests: readonly Digest[];
  /** In bytes. */
  readonly size: number;
}

/**
 * A layout that is edited in place. The one mutable thing of this library: each edit takes the layout's lock, reads
 * index.json anew, and replaces it in one step, so that edits of several processes all count and readers see one or the
 * other state. Blobs are written before the index that names them.
 */
export interface LayoutDirectory extends BlobSink {
  readonly path: string;
  /** index.json as it is now. */
  index(): Promise<Index>;
  /** The manifest that is selected, or the only one; throws as {@link readLayout} does. */
  ref(selection?: LayoutSelection): Promise<Ref>;
  /** The descriptor by a tag or, at any depth, by a digest. Throws {@link UnknownTagError}. */
  find(name: string): Promise<Descriptor>;
  /** Adds a manifest with all that it leads to; what is there already is shared or replaced by verified content. */
  insert(ref: Ref, options?: InsertOptions): Promise<Descriptor>;
  /** Makes a manifest the only one of index.json. The content of the others stays until it is collected. */
  replace(ref: Ref, options?: InsertOptions): Promise<Descriptor>;
  /** Gives a manifest, by tag or digest, another tag beside those that it has. */
  tag(name: string, tag: string): Promise<Descriptor>;
  /** Takes a tag away. A manifest without another entry in index.json is collected next time. */
  untag(tag: string): Promise<void>;
  /**
   * Replaces the index that a tag or digest of index.json names by what `change` makes of it.
   *
   * @throws {NotAnIndexError} if it is an image.
   */
  edit(name: string, change: (index: Index) => Index | Promise<Index>): Promise<Descriptor>;
  /** The manifests whose subject has the digest, with their artifact type and annotations. */
  referrers(digest: Digest, artifactType?: string): Promise<readonly Descriptor[]>;
  /**
   * Removes the blobs that index.json does not lead to. What can't be read may lead to anything: then it throws, and
   * nothing is removed.
   */
  collect(options?: { readonly dryRun?: boolean }): Promise<Collected>;
  /** Removes what was written and never inserted. */
  close(): Promise<void>;
}

/**
 * Opens a layout for editing.
 *
 * @throws {InvalidLayoutError} if it is none.
 */
export async function openLayout(path: string, { blobs }: LayoutParts = {}): Promise<LayoutDirectory> {
  const layout = resolve(path);
  const blobsPath = resolve(blobs ?? join(layout, blobsDirectory));
  await readLayoutIndex(layout, { blobs: blobsPath });
  return layoutDirectory(layout, blobsPath);
}

/**
 * Opens a layout for editing, and makes an empty one where there is nothing yet.
 *
 * @throws {InvalidLayoutError} if the directory holds other files.
 */
export async function ensureLayout(path: string, options: LayoutParts = {}): Promise<LayoutDirectory> {
  const layout = resolve(path);
  await checkOutput(layout);
  await fileSystemStep('create the directory', layout, () => mkdir(layout, { recursive: true }));
  await withLayoutLock(layout, async () => {
    const stage = await openStage(layout);
    try {
      const place = async (name: string, content: Uint8Array) => {
        const target = join(layout, name);
        if (!(await exists(target))) await moveInto(target, await stage.stageDocument(bytesBlob(content)));
      };
      await place(markerFile, encodeJson({ imageLayoutVersion }));
      if (options.blobs === undefined) await mkdir(join(layout, blobsDirectory, 'sha256'), { recursive: true });
      await place(indexFile, newIndex([]).rawManifest);
    } finally {
      await stage.close();
    }
  });
  return openLayout(layout, options);
}

function layoutDirectory(layout: string, blobsPath: string): LayoutDirectory {
  // A rename into place must stay within one file system.
  const stagingPlace = blobsPath === join(layout, blobsDirectory) ? layout : blobsPath;
  const index = () => readLayoutIndex(layout, { blobs: blobsPath });
  const find = async (name: string) => findDescriptor(await index(), name, layout);
  let written: Promise<Stage> | undefined;
  const known = new Map<Digest, Uint8Array>();

  /** One edit: what `change` returns becomes index.json. */
  const update = <T>(change: (current: Index) => Promise<{ manifests: Descriptor[]; result: T }>): Promise<T> =>
    withLayoutLock(layout, async (stillHeld) => {
      const stage = await openStage(layout);
      try {
        const current = await index();
        const { manifests, result } = await change(current);
        const document: ImageIndex = { ...current.manifest, manifests };
        const write = async (content: Uint8Array) => {
          const staged = await stage.stageDocument(bytesBlob(content));
          await stillHeld();
          await moveInto(join(layout, indexFile), staged);
        };
        await write(encodeJson(document));
        await syncDirectory(layout).catch(async (error: unknown) => {
          await write(current.rawManifest);
          throw error;
        });
        return result;
      } finally {
        await stage.close();
      }
    });

  const insertWith = (
    ref: Ref,
    options: InsertOptions,
    list: (manifests: readonly Descriptor[], added: Descriptor) => Descriptor[],
  ) =>
    update(async (current) => {
      await placeRef(ref, blobsPath, stagingPlace, options.onProgress);
      // As it lies here now: where it came from may be far away.
      const placed = newRef(ref.rawManifest, ref.mediaType, ref.digest, current.blobs);
      const result = await listedAs(placed, options);
      return { manifests: list(current.manifest.manifests, result), result };
    });

  return {
    path: layout,
    index,
    find,
    ref: (selection) => readLayout(layout, { ...selection, blobs: blobsPath }),
    insert: (ref, options = {}) => insertWith(ref, options, withListed),
    replace: (ref, options = {}) => insertWith(ref, options, (_, added) => [added]),
    tag: (name, tag) =>
      update(async (current) => {
        const found = withoutTag(await findDescriptor(current, name, layout));
        const result = { ...found, annotations: { ...found.annotations, [refNameAnnotation]: tag } };
        return { manifests: withListed(current.manifest.manifests, result), result };
      }),
    untag: (tag) =>
      update(async (current) => {
        listedDescriptor(current, tag, layout);
        return {
          manifests: current.manifest.manifests.filter((descriptor) => tagOf(descriptor) !== tag),
          result: undefined,
        };
      }),
    edit: (name, change) =>
      update(async (current) => {
        const found = listedDescriptor(current, name, layout);
        const changed = await change(asIndex(await current.ref(found)));
        await placeRef(changed, blobsPath, stagingPlace);
        const { annotations, platform } = found;
        const result = { ...descriptorOf(changed), ...(platform && { platform }), ...(annotations && { annotations }) };
        return {
          manifests: current.manifest.manifests.map((descriptor) => (descriptor === found ? result : descriptor)),
          result,
        };
      }),
    referrers: async (digest, artifactType) => {
      const { rawManifest, mediaType, blobs } = await index();
      const found = await referrersIn(newRef(rawManifest, mediaType, undefined, remembering(blobs, known)), digest);
      return artifactType === undefined
        ? found
        : found.filter((descriptor) => descriptor.artifactType === artifactType);
    },
    collect: ({ dryRun = false } = {}) =>
      withLayoutLock(layout, async () => collectBlobs(await index(), layout, blobsPath, dryRun)),
    write: async (content, algorithm) => {
      written ??= openStage(layout);
      return (await written).write(content, algorithm);
    },
    close: async () => {
      await (await written)?.close();
      written = undefined;
    },
  };
}

/** Writes what a ref leads to, each blob once; what lies in its place already, because it came from there, stays. */
async function placeRef(
  ref: Ref,
  blobsPath: string,
  stagingPlace: string,
  onProgress?: InsertOptions['onProgress'],
): Promise<void> {
  const blobs = await reachableBlobs(ref);
  const directories = new Set([...blobs.keys()].map((digest) => dirname(blobIn(blobsPath, digest))));
  for (const directory of directories) {
    await fileSystemStep('create the directory', directory, () => mkdir(directory, { recursive: true }));
  }
  const stage = await openStage(stagingPlace);
  const total = [...blobs.values()].reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  const report = (bytes: number) => {
    done += bytes;
    onProgress?.({ done, total });
  };
  try {
    await inLanes(blobs, writeLanes, async ([digest, blob]) => {
      const target = blobIn(blobsPath, digest);
      const isInPlace = isFileBlob(blob) && resolve(blob.path) === target && (await exists(target));
      const content = isFileBlob(blob) ? blob : watched(blob, report);
      if (!isInPlace) await moveInto(target, await stage.stageBlob(content, digest));
      if (isFileBlob(blob)) report(blob.size);
    });
  } finally {
    await stage.close();
  }
  for (const directory of directories) await syncDirectory(directory);
}

/** The blob, which says how much of it was read. */
function watched(blob: Blob, report: (bytes: number) => void): Blob {
  return {
    size: blob.size,
    open: async function* (range) {
      for await (const chunk of blob.open(range)) {
        report(chunk.length);
        yield chunk;
      }
    },
  };
}

async function moveInto(target: string, staged: string): Promise<void> {
  await fileSystemStep('rename a file to', target, () => rename(staged, target));
}

/** What index.json says of a ref. Of one with a subject also the annotations, as in the list of the subject's referrers. */
async function listedAs(ref: Ref, { tag, platform, annotations }: InsertOptions): Promise<Descriptor> {
  const ownPlatform = platform ?? (await platformOf(ref));
  // A tag is given by who lists a manifest, not by the manifest.
  const own = ref.manifest.subject && withoutTag({ ...descriptorOf(ref), annotations: ref.manifest.annotations });
  const all = {
    ...own?.annotations,
    ...annotations,
    ...(tag !== undefined && { [refNameAnnotation]: tag }),
  };
  return {
    ...descriptorOf(ref),
    ...(ownPlatform && { platform: ownPlatform }),
    ...(Object.keys(all).length > 0 && { annotations: all }),
  };
}

/** The list with one more entry: its tag is taken from another one, and an entry without a tag is not listed twice. */
function withListed(manifests: readonly Descriptor[], added: Descriptor): Descriptor[] {
  const tag = tagOf(added);
  const isSame = ({ digest }: Descriptor) => digest === added.digest;
  if (tag === undefined && manifests.some(isSame)) return [...manifests];
  const others = manifests.filter((other) => tagOf(other) !== tag && !(isSame(other) && tagOf(other) === undefined));
  return [...(tag === undefined ? manifests : others), added];
}

/** What lies below a ref and has the digest as its subject, listed as registries list referrers. */
async function referrersIn(root: Ref, digest: Digest): Promise<Descriptor[]> {
  const found: Descriptor[] = [];
  await walkRefs(root, (ref) => {
    const { annotations, subject } = ref.manifest;
    if (ref !== root && subject?.digest === digest) {
      found.push({ ...descriptorOf(ref), ...(annotations && { annotations }) });
    }
  });
  return found;
}

/** Reads each manifest once: what a digest names never changes. */
function remembering(below: Blobs, known: Map<Digest, Uint8Array>): Blobs {
  const blobs: Blobs = {
    blob: below.blob,
    manifest: async (descriptor) => {
      const bytes = known.get(descriptor.digest) ?? (await below.manifest(descriptor));
      known.set(descriptor.digest, bytes);
      return bytes;
    },
    blobs: () => blobs,
  };
  return blobs;
}

async function collectBlobs(index: Index, layout: string, blobsPath: string, dryRun: boolean): Promise<Collected> {
  if (blobsPath !== join(layout, blobsDirectory)) {
    throw new InvalidLayoutError(
      `${blobsPath}: expected the layout's own directory of blobs, found one that other layouts may share`,
    );
  }
  const kept = await reachableBlobs(index);
  const digests = (await blobsIn(blobsPath)).filter((digest) => !kept.has(digest));
  let size = 0;
  for (const digest of digests) {
    const file = blobIn(blobsPath, digest);
    size += (await fileSystemStep('read', file, () => lstat(file))).size;
    if (!dryRun) await remove(file);
  }
  if (!dryRun) await removeAbandonedStages(layout);
  return { digests, size };
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}
