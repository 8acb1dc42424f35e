import type { Blob } from '../../blob';
import type { Bytes } from '../../compression';
import type { Digest } from '../../digest';
import type { Descriptor } from '../../spec/documents';

/**
 * What a registry keeps. Names and digests were checked at the door. A repository is there as soon as something was put
 * into it.
 */
export interface RegistryStorage {
  /** The names of all repositories, sorted. */
  repositories(): Promise<readonly string[]>;

  /** The blob, if this repository has it. Manifests are no blobs. */
  blob(repository: string, digest: Digest): Promise<Blob | undefined>;
  startUpload(repository: string): Promise<BlobUpload>;
  /** Gives a repository a blob that another one has, without copying it where that can be; without `from`, any other one. */
  mount(repository: string, digest: Digest, from?: string): Promise<boolean>;
  /** Gives a repository content that lies elsewhere, such as a blob of a layout: linked or only remembered, not copied. */
  addBlob(repository: string, digest: Digest, blob: Blob): Promise<void>;
  deleteBlob(repository: string, digest: Digest): Promise<boolean>;

  /** By tag or digest. */
  manifest(repository: string, name: string): Promise<StoredManifest | undefined>;
  /** Keeps a manifest, under tags too if there are some: these move. One step: readers see all of it or nothing. */
  putManifest(repository: string, manifest: StoredManifest, tags: readonly string[]): Promise<void>;
  /** Takes a manifest away with all tags that name it. */
  deleteManifest(repository: string, digest: Digest): Promise<boolean>;
  untag(repository: string, tag: string): Promise<boolean>;
  /** Sorted as the distribution specification says (ASCIIbetically); `undefined` if there is no such repository. */
  tags(repository: string): Promise<readonly string[] | undefined>;
  /** The manifests whose subject has this digest, as the list of referrers shows them. */
  referrers(repository: string, subject: Digest): Promise<readonly Descriptor[]>;

  /** Lets go of files and locks; what was put stays. */
  close(): Promise<void>;
}

/** A manifest with what was read of it at the door. */
export interface StoredManifest {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  /** Of a manifest with a subject: by which digest, and what the list of its referrers says of this manifest. */
  readonly referrer?: { readonly subject: Digest; readonly descriptor: Descriptor };
}

/** A blob on its way in. It has no name before its last byte is there. */
export interface BlobUpload {
  /** Bytes that are there. */
  readonly size: number;
  /** Adds bytes; if the stream fails, those that came before stay. */
  append(content: Bytes): Promise<void>;
  /**
   * Makes it a blob of the repository.
   *
   * @throws {DigestMismatchError} then the upload is gone.
   */
  complete(digest: Digest): Promise<void>;
  /** Forgets it. */
  cancel(): Promise<void>;
}
