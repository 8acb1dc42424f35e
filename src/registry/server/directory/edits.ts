import { mkdir, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { bytesBlob } from '../../../blob';
import type { Digest } from '../../../digest';
import { fileSystemStep, hasSystemCode, LayoutLockedError, LimitError } from '../../../errors';
import { blobFile, indexFile } from '../../../layout/paths';
import { remove, type Stage, syncDirectory } from '../../../layout/stage';
import { maxDocumentSize } from '../../../spec/json';
import { inBatches } from './batches';
import type { Contents } from './contents';
import { encodeListing, type Listed, type Listing, type Tagged } from './listing';
import type { Owner } from './owner';

/** What a repository has, and the only way to change it. */
export interface EditedContents {
  /** As it is on the disk. */
  now(): Contents;
  /**
   * Changes it. Edits that come while others are written are written together, with one index.json.
   *
   * @param digest of the content that it is about, whose file goes when it is neither blob nor manifest any more.
   * @param change does first what can fail, so that the draft gets all of it or nothing.
   */
  edit<T>(digest: Digest | undefined, change: (draft: Draft) => T | Promise<T>): Promise<T>;
  /** Ends when nothing is on its way to the disk. */
  settled(): Promise<void>;
}

/** What edits make of a repository. Nobody sees it before it is on the disk. */
export interface Draft {
  readonly listing: Listing;
  /** The same listing, to be changed: index.json will be written anew. */
  changedListing(): { readonly manifests: Map<Digest, Listed>; readonly tags: Map<string, Tagged> };
  isBlob(digest: Digest): boolean;
  setBlob(digest: Digest, isBlob: boolean): void;
  /** Moves a complete file to where its digest names it. */
  place(digest: Digest, staged: string): Promise<void>;
}

interface Edit {
  readonly digest: Digest | undefined;
  /** Changes the draft, and gives what tells the caller that this is on the disk. */
  apply(draft: Draft): Promise<() => void>;
  reject(error: unknown): void;
}

/** @param opened what the layout in `directory` has. */
export function editedContents(directory: string, opened: Contents, stage: Stage, owner: Owner): EditedContents {
  const { blobs } = opened;
  const indexPath = join(directory, indexFile);
  let contents = opened;

  const knows = (digest: Digest): boolean => blobs.has(digest) || contents.manifests.has(digest);

  const replaceIndex = async (listing: Listing, isBlob: (digest: Digest) => boolean): Promise<void> => {
    const bytes = encodeListing(contents.document, listing, isBlob);
    // Nobody could read it again.
    if (bytes.length > maxDocumentSize) throw new LimitError(indexPath, maxDocumentSize, bytes.length);
    const staged = await stage.stageDocument(bytesBlob(bytes));
    await owner.stillHeld();
    await fileSystemStep('rename a file to', indexPath, () => rename(staged, indexPath));
  };

  /** Removes the files of what is neither blob nor manifest, and gives why one could not be: then it is a blob still. */
  const sweep = async (digests: Iterable<Digest>): Promise<Map<Digest, unknown>> => {
    const failures = new Map<Digest, unknown>();
    for (const digest of digests) {
      if (knows(digest)) continue;
      await remove(blobFile(directory, digest)).catch((error: unknown) => {
        failures.set(digest, error);
        blobs.add(digest);
      });
    }
    return failures;
  };

  const { add, settled } = inBatches<Edit>(async (edits) => {
    const { draft, isListingChanged, changedBlobs, changedDirectories, placed } = newDraft(directory, contents);
    // What was never here is not ours to remove.
    const touched = new Set(edits.flatMap(({ digest }) => (digest && knows(digest) ? [digest] : [])));
    const applied: { edit: Edit; resolve: () => void }[] = [];
    try {
      await owner.stillHeld();
      for (const edit of edits) {
        const resolve = await edit.apply(draft).catch(edit.reject);
        if (resolve) applied.push({ edit, resolve });
      }
      for (const changed of changedDirectories) await syncDirectory(changed);
      if (isListingChanged()) {
        await replaceIndex(draft.listing, draft.isBlob);
        await syncDirectory(directory).catch(async (error: unknown) => {
          // As long as the old one is not back, what the new one names must stay.
          await replaceIndex(contents, (digest) => blobs.has(digest)).catch(() => placed.clear());
          throw error;
        });
      }
    } catch (error) {
      // What another process has taken is not ours to clean up.
      if (!(error instanceof LayoutLockedError)) await sweep(placed);
      for (const { reject } of edits) reject(error);
      return;
    }
    contents = { ...contents, ...draft.listing };
    for (const [digest, isBlob] of changedBlobs) {
      if (isBlob) blobs.add(digest);
      else blobs.delete(digest);
    }
    const failures = await sweep(new Set([...touched, ...placed]));
    for (const { edit, resolve } of applied) {
      const failure = edit.digest && failures.get(edit.digest);
      if (failure) edit.reject(failure);
      else resolve();
    }
  });

  return {
    now: () => contents,
    edit: (digest, change) =>
      new Promise((resolve, reject) => {
        const apply = async (draft: Draft) => {
          const result = await change(draft);
          return () => resolve(result);
        };
        add({ digest, apply, reject });
      }),
    settled,
  };
}

function newDraft(directory: string, contents: Contents) {
  let changed: ReturnType<Draft['changedListing']> | undefined;
  const changedBlobs = new Map<Digest, boolean>();
  const changedDirectories = new Set<string>();
  const placed = new Set<Digest>();
  const draft: Draft = {
    get listing() {
      return changed ?? contents;
    },
    changedListing() {
      changed ??= { manifests: new Map(contents.manifests), tags: new Map(contents.tags) };
      return changed;
    },
    isBlob: (digest) => changedBlobs.get(digest) ?? contents.blobs.has(digest),
    setBlob: (digest, isBlob) => void changedBlobs.set(digest, isBlob),
    async place(digest, staged) {
      const target = blobFile(directory, digest);
      const move = () => fileSystemStep('rename a file to', target, () => rename(staged, target));
      await move().catch(async (error: unknown) => {
        if (!hasSystemCode(error, 'ENOENT')) throw error;
        // The first one of its algorithm.
        await fileSystemStep('create the directory', dirname(target), () =>
          mkdir(dirname(target), { recursive: true }),
        );
        changedDirectories.add(dirname(dirname(target))).add(directory);
        await move();
      });
      placed.add(digest);
      changedDirectories.add(dirname(target));
    },
  };
  return { draft, changedBlobs, changedDirectories, placed, isListingChanged: () => changed !== undefined };
}
