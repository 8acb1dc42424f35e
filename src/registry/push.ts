import type { Blob } from '../blob';
import { inLanes } from '../concurrency';
import type { Digest } from '../digest';
import { isNewDigest, type Ref, walkRefs } from '../ref';
import { baseNameAnnotation, type Descriptor } from '../spec/documents';
import { isForeignLayer } from '../spec/media-types';
import { parseRegistryReference, type RepositoryName } from './reference';
import type { Repository } from './repository';
import type { UploadOptions, UploadOutcome } from './upload';

/** How an image or index is pushed. */
export interface PushOptions extends Pick<UploadOptions, 'chunkSize'> {
  /** The tags that it gets; without any it is there by its digest. */
  readonly tags?: readonly string[];
  /**
   * A repository of the same registry that may have the blobs. Without it, those of an image that says what it is built on
   * are looked for in the repository of that.
   */
  readonly mountFrom?: string;
  readonly onProgress?: (progress: PushProgress) => void;
}

/** How far a push has come, in bytes of all blobs; those that were there count as sent. */
export interface PushProgress {
  readonly done: number;
  readonly total: number;
}

/** What a push did. */
export interface Pushed {
  readonly digest: Digest;
  readonly manifests: number;
  readonly blobs: Readonly<Record<UploadOutcome, number>>;
  /** Of the blobs that were sent. */
  readonly bytes: number;
}

/** Blobs that are on their way at the same time: enough to hide waiting, few enough for a registry's patience. */
const lanes = 6;

/**
 * Pushes an image or index with all that it leads to: blobs first, each once; then manifests, children before their
 * parents; the root and its tags last. A push that ends early leaves the tags where they were.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#push
 */
export async function pushRef(
  root: Ref,
  repository: Repository,
  { tags = [], mountFrom, chunkSize, onProgress }: PushOptions = {},
): Promise<Pushed> {
  const { blobs, images, indexes } = await contentOf(root, repository.name);
  const outcomes: Record<UploadOutcome, number> = { present: 0, mounted: 0, uploaded: 0 };
  const total = [...blobs.values()].reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  const sent = new Map<Digest, number>();
  let done = 0;
  let bytes = 0;
  const report = (digest: Digest, now: number) => {
    done += now - (sent.get(digest) ?? 0);
    sent.set(digest, now);
    onProgress?.({ done, total });
  };
  await inLanes(blobs.values(), lanes, async ({ descriptor, blob, origin }) => {
    const from = mountFrom ?? origin;
    const outcome = await repository.putBlob(descriptor, blob, {
      ...(from !== undefined && { mountFrom: from }),
      ...(chunkSize !== undefined && { chunkSize }),
      onProgress: (now) => report(descriptor.digest, now),
    });
    outcomes[outcome] += 1;
    if (outcome === 'uploaded') bytes += descriptor.size;
    report(descriptor.digest, descriptor.size);
  });
  const children = (refs: readonly Ref[]) => refs.filter((ref) => ref !== root);
  await inLanes(children(images), lanes, (image) => repository.putManifest(image));
  for (const index of children(indexes)) await repository.putManifest(index);
  for (const tag of tags.length === 0 ? [undefined] : tags) await repository.putManifest(root, tag);
  return { digest: root.digest, manifests: images.length + indexes.length, blobs: outcomes, bytes };
}

/** What a push would send to a registry that has nothing of it yet. */
export async function planPush(root: Ref): Promise<Pushed> {
  const { blobs, images, indexes } = await contentOf(root);
  const bytes = [...blobs.values()].reduce((sum, { descriptor }) => sum + descriptor.size, 0);
  return {
    digest: root.digest,
    manifests: images.length + indexes.length,
    blobs: { present: 0, mounted: 0, uploaded: blobs.size },
    bytes,
  };
}

interface Content {
  readonly blobs: ReadonlyMap<Digest, PushedBlob>;
  readonly images: readonly Ref[];
  /** Children before their parents. */
  readonly indexes: readonly Ref[];
}

interface PushedBlob {
  readonly descriptor: Descriptor;
  readonly blob: Blob;
  /** A repository of the same registry where it may come from. */
  readonly origin?: string;
}

/** Layers that lie elsewhere for good are not pushed: those who pull them go there, too (image-spec, layer.md). */
const isElsewhere = ({ mediaType, urls = [] }: Descriptor) => urls.length > 0 && isForeignLayer(mediaType);

async function contentOf(root: Ref, target?: RepositoryName): Promise<Content> {
  const blobs = new Map<Digest, PushedBlob>();
  const images: Ref[] = [];
  const indexes: Ref[] = [];
  const seen = new Map<Digest, number>();
  await walkRefs(root, (ref) => {
    (ref.kind === 'image' ? images : indexes).push(ref);
    const origin = target && baseRepository(ref, target);
    for (const descriptor of ref.descriptors()) {
      if (isElsewhere(descriptor) || !isNewDigest(descriptor, seen)) continue;
      blobs.set(descriptor.digest, { descriptor, blob: ref.blob(descriptor), ...(origin !== undefined && { origin }) });
    }
  });
  return { blobs, images, indexes };
}

/** Where the lower layers of an image may lie already: the repository of its base, if that is in the same registry. */
function baseRepository({ manifest }: Ref, target: RepositoryName): string | undefined {
  const name = manifest.annotations?.[baseNameAnnotation];
  if (name === undefined) return undefined;
  try {
    const { registry, repository } = parseRegistryReference(name);
    return registry === target.registry && repository !== target.repository ? repository : undefined;
  } catch {
    // An annotation may say anything.
    return undefined;
  }
}
