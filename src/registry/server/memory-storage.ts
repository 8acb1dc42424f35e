import type { Blob } from '../../blob';
import type { Digest } from '../../digest';
import { LimitError } from '../../errors';
import type { Descriptor } from '../../spec/documents';
import { type MemoryBudget, memoryUpload } from './memory-upload';
import type { RegistryStorage, StoredManifest } from './storage';

/**
 * How much everything that was uploaded may hold: 2 GiB, so that a client gone wild does not take the machine with it.
 * What lies elsewhere and is only remembered does not count.
 */
const maxUploaded = 2 * 1024 ** 3;

interface Repository {
  readonly blobs: Map<Digest, Blob>;
  readonly manifests: Map<Digest, StoredManifest>;
  readonly tags: Map<string, Digest>;
  /** By subject, then by the manifest's own digest. */
  readonly referrers: Map<Digest, Map<Digest, Descriptor>>;
}

/**
 * Keeps everything in memory, and of a blob that lies elsewhere only where that is.
 *
 * @param limit how many bytes all uploads may hold together, complete or not; the one that goes beyond ends with a
 *   {@link LimitError}.
 */
export function memoryStorage(limit: number = maxUploaded): RegistryStorage {
  const repositories = new Map<string, Repository>();
  const uploads = uploadedBlobs(limit);

  const repositoryNamed = (name: string): Repository => {
    const there = repositories.get(name);
    if (there) return there;
    const made = { blobs: new Map(), manifests: new Map(), tags: new Map(), referrers: new Map() };
    repositories.set(name, made);
    return made;
  };
  const findBlob = (digest: Digest, from?: string): Blob | undefined => {
    if (from !== undefined) return repositories.get(from)?.blobs.get(digest);
    for (const { blobs } of repositories.values()) {
      const blob = blobs.get(digest);
      if (blob) return blob;
    }
    return undefined;
  };
  const give = (name: string, digest: Digest, blob: Blob) => {
    const { blobs } = repositoryNamed(name);
    uploads.hold(blob);
    uploads.letGo(blobs.get(digest));
    blobs.set(digest, blob);
  };

  return {
    repositories: async () => [...repositories.keys()].sort(),

    blob: async (repository, digest) => repositories.get(repository)?.blobs.get(digest),
    startUpload: async (repository) =>
      memoryUpload(uploads.budget, (digest, blob) => {
        const known = findBlob(digest);
        if (known) uploads.budget.release(blob.size);
        else uploads.add(blob);
        give(repository, digest, known ?? blob);
      }),
    async mount(repository, digest, from) {
      const blob = findBlob(digest, from);
      if (blob) give(repository, digest, blob);
      return blob !== undefined;
    },
    addBlob: async (repository, digest, blob) => give(repository, digest, blob),
    async deleteBlob(repository, digest) {
      const blobs = repositories.get(repository)?.blobs;
      uploads.letGo(blobs?.get(digest));
      return blobs?.delete(digest) ?? false;
    },

    async manifest(repository, name) {
      const found = repositories.get(repository);
      // Every digest has a colon, and no tag has one.
      const digest = name.includes(':') ? (name as Digest) : found?.tags.get(name);
      return digest && found?.manifests.get(digest);
    },
    async putManifest(repository, manifest, tags) {
      const into = repositoryNamed(repository);
      into.manifests.set(manifest.digest, manifest);
      for (const tag of tags) into.tags.set(tag, manifest.digest);
      if (!manifest.referrer) return;
      const { subject, descriptor } = manifest.referrer;
      const others = into.referrers.get(subject) ?? new Map<Digest, Descriptor>();
      into.referrers.set(subject, others.set(manifest.digest, descriptor));
    },
    async deleteManifest(repository, digest) {
      const from = repositories.get(repository);
      const manifest = from?.manifests.get(digest);
      if (!from || !manifest) return false;
      from.manifests.delete(digest);
      for (const [tag, tagged] of from.tags) if (tagged === digest) from.tags.delete(tag);
      if (manifest.referrer) from.referrers.get(manifest.referrer.subject)?.delete(digest);
      return true;
    },
    untag: async (repository, tag) => repositories.get(repository)?.tags.delete(tag) ?? false,
    async tags(repository) {
      const found = repositories.get(repository);
      return found && [...found.tags.keys()].sort();
    },
    referrers: async (repository, subject) => [
      ...(repositories.get(repository)?.referrers.get(subject)?.values() ?? []),
    ],

    close: async () => undefined,
  };
}

/** Counts the bytes of uploads, and of their blobs as long as a repository has them. */
function uploadedBlobs(limit: number) {
  const holders = new WeakMap<Blob, number>();
  let bytes = 0;
  const budget: MemoryBudget = {
    reserve(more) {
      if (bytes + more > limit) throw new LimitError('uploads kept in memory', limit, bytes + more);
      bytes += more;
    },
    release(fewer) {
      bytes -= fewer;
    },
  };
  return {
    budget,
    /** An upload became a blob. */
    add: (blob: Blob) => void holders.set(blob, 0),
    hold(blob: Blob) {
      const count = holders.get(blob);
      if (count !== undefined) holders.set(blob, count + 1);
    },
    letGo(blob: Blob | undefined) {
      const count = blob && holders.get(blob);
      if (!blob || !count) return;
      holders.set(blob, count - 1);
      if (count === 1) budget.release(blob.size);
    },
  };
}
