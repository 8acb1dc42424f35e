import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { type FileBlob, fileBlob, readVerified } from '../../../blob';
import { type Digest, isDigest } from '../../../digest';
import { fileSystemStep, hasSystemCode, InvalidLayoutError, MissingBlobError } from '../../../errors';
import { blobFile, blobsDirectory, indexFile } from '../../../layout/paths';
import { layoutBlobs } from '../../../layout/read';
import type { Stage } from '../../../layout/stage';
import type { Descriptor } from '../../../spec/documents';
import type { StoredManifest } from '../storage';
import { type Contents, createLayoutIn, readContents } from './contents';
import { editedContents } from './edits';
import { isChild, type Listing, listedNew, taggedAs } from './listing';
import type { Owner } from './owner';
import type { RecentBytes } from './recent-bytes';

/** One repository: an OCI image layout that only this process changes, so that memory knows what it has. */
export interface StoredRepository {
  tags(): readonly string[];
  referrers(subject: Digest): readonly Descriptor[];
  blob(digest: Digest): Promise<FileBlob | undefined>;
  manifest(name: string): Promise<StoredManifest | undefined>;
  /** Takes a complete and verified file out of the stage. */
  putBlob(digest: Digest, staged: string): Promise<void>;
  putManifest(manifest: StoredManifest, tags: readonly string[], staged: string): Promise<void>;
  deleteBlob(digest: Digest): Promise<boolean>;
  deleteManifest(digest: Digest): Promise<boolean>;
  untag(tag: string): Promise<boolean>;
  /** Ends when nothing is on its way to the disk. */
  settled(): Promise<void>;
}

/** What the repositories of a storage share. */
export interface Shared {
  readonly stage: Stage;
  readonly owner: Owner;
  readonly recent: RecentBytes;
}

/** Reads a repository that is there; throws as {@link readContents} does. */
export async function openRepository(directory: string, shared: Shared): Promise<StoredRepository> {
  return repositoryIn(directory, await readContents(directory), shared);
}

/** Makes a repository that is not there. */
export async function createRepository(directory: string, shared: Shared): Promise<StoredRepository> {
  await shared.owner.stillHeld();
  return repositoryIn(directory, await createLayoutIn(directory, shared.stage), shared);
}

function repositoryIn(directory: string, opened: Contents, { stage, owner, recent }: Shared): StoredRepository {
  const { now, edit, settled } = editedContents(directory, opened, stage, owner);
  const files = layoutBlobs(join(directory, blobsDirectory));

  return {
    settled,
    tags: () => [...now().tags.keys()].sort(),

    referrers(subject) {
      const found: Descriptor[] = [];
      for (const { referrer, failure } of now().manifests.values()) {
        // What can't be read may refer to anything.
        if (failure) throw failure;
        if (referrer?.subject === subject) found.push(referrer.descriptor);
      }
      return found;
    },

    async blob(digest) {
      if (!now().blobs.has(digest)) return undefined;
      const file = blobFile(directory, digest);
      try {
        const stats = await fileSystemStep('read', file, () => lstat(file));
        if (stats.isFile()) return fileBlob(file, stats.size);
      } catch (error) {
        if (hasSystemCode(error, 'ENOENT')) return undefined;
        throw error;
      }
      throw new InvalidLayoutError(`${file}: expected a regular file, found something else, which is not followed`);
    },

    async manifest(name) {
      const digest = isDigest(name) ? name : now().tags.get(name)?.digest;
      const listed = digest && now().manifests.get(digest);
      if (!listed) return undefined;
      const { descriptor, referrer } = listed;
      const stored = (bytes: Uint8Array) => ({
        mediaType: descriptor.mediaType,
        digest,
        bytes,
        ...(referrer && { referrer }),
      });
      const known = recent.get(digest);
      if (known) return stored(known);
      try {
        const bytes = await readVerified(files.blob(descriptor), descriptor);
        recent.remember(digest, bytes);
        return stored(bytes);
      } catch (error) {
        if (!hasSystemCode(error, 'ENOENT')) throw error;
        if (now().manifests.get(digest) !== listed) return undefined;
        throw new MissingBlobError(digest, join(directory, indexFile), error);
      }
    },

    putBlob: (digest, staged) =>
      edit(digest, async (draft) => {
        await draft.place(digest, staged);
        draft.setBlob(digest, true);
        // Then index.json has to say that it is a blob too.
        if (draft.listing.manifests.has(digest) || isChild(draft.listing, digest)) draft.changedListing();
      }),

    async putManifest(manifest, tags, staged) {
      const { digest, bytes } = manifest;
      const listed = await listedNew(manifest, files);
      await edit(digest, async (draft) => {
        await draft.place(digest, staged);
        const listing = draft.changedListing();
        const named = listing.manifests.has(digest) ? tagsOf(digest, listing) : [];
        listing.manifests.set(digest, listed);
        for (const tag of [...named, ...tags]) listing.tags.set(tag, taggedAs(tag, listed));
      });
      recent.remember(digest, bytes);
    },

    deleteBlob: (digest) =>
      edit(digest, (draft) => {
        if (!draft.isBlob(digest)) return false;
        draft.setBlob(digest, false);
        if (draft.listing.manifests.has(digest)) draft.changedListing();
        return true;
      }),

    deleteManifest: (digest) =>
      edit(digest, (draft) => {
        if (!draft.listing.manifests.has(digest)) return false;
        const { manifests, tags } = draft.changedListing();
        manifests.delete(digest);
        for (const tag of tagsOf(digest, { tags })) tags.delete(tag);
        return true;
      }),

    untag: (tag) => edit(undefined, (draft) => draft.listing.tags.has(tag) && draft.changedListing().tags.delete(tag)),
  };
}

const tagsOf = (digest: Digest, { tags }: Pick<Listing, 'tags'>): string[] =>
  [...tags].flatMap(([tag, tagged]) => (tagged.digest === digest ? [tag] : []));
