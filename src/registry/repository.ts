import type { Blob, Blobs } from '../blob';
import type { Digest } from '../digest';
import type { Ref } from '../ref';
import type { Descriptor } from '../spec/documents';
import type { RepositoryName } from './reference';
import type { UploadOptions, UploadOutcome } from './upload';

/** A manifest by tag, by digest, or by a tag that must name this digest. */
export interface ManifestName {
  readonly tag?: string;
  readonly digest?: Digest;
}

/** A repository of a registry: manifests and blobs to read, write and delete. Nothing is asked before it is needed. */
export interface Repository {
  readonly name: RepositoryName;
  /** Where blobs and manifests are read from by their descriptors. */
  readonly blobs: Blobs;

  /**
   * The image or index, verified against the digest that was asked for or, by tag alone, that the registry says.
   *
   * @throws {NotInRegistryError}
   * @throws what {@link newRef} throws.
   * @throws {LimitError} above 50 MiB.
   */
  read(name: ManifestName): Promise<Ref>;
  /** What a tag or digest names, without reading it where the registry says enough; `undefined` if there is none. */
  resolve(name: ManifestName): Promise<Pick<Descriptor, 'mediaType' | 'digest' | 'size'> | undefined>;
  hasBlob(descriptor: Pick<Descriptor, 'digest'>): Promise<boolean>;
  /** Sends a blob unless it is there; see {@link UploadOptions}. */
  putBlob(descriptor: Descriptor, blob: Blob, options?: UploadOptions): Promise<UploadOutcome>;
  /** Sends a manifest to a tag, or by its digest alone. What it leads to has to be there. */
  putManifest(ref: Ref, tag?: string): Promise<void>;
  /** All tags, sorted as the registry does. */
  tags(): Promise<string[]>;
  /** The manifests whose subject this is, from the registry's list or the tag that stands in for it. */
  referrers(digest: Digest, artifactType?: string): Promise<Descriptor[]>;
  /** Takes a manifest away with all its tags. */
  deleteManifest(digest: Digest): Promise<void>;
  /** Takes a tag away, and not its manifest. Not every registry can. */
  deleteTag(tag: string): Promise<void>;
  deleteBlob(digest: Digest): Promise<void>;
}
