import type { Blobs } from '../../../blob';
import type { Digest } from '../../../digest';
import { FileSystemError, OciError } from '../../../errors';
import { platformOf } from '../../../image-index';
import { tagOf, withoutTag } from '../../../layout/find';
import { descriptorOf, newRef, type Ref } from '../../../ref';
import {
  type Descriptor,
  descriptorSchema,
  type ImageIndex,
  type Platform,
  refNameAnnotation,
} from '../../../spec/documents';
import { checkDocument } from '../../../spec/json';
import { isTag } from '../../reference';
import type { StoredManifest } from '../storage';

/** A manifest of a repository, and what is known of it without reading it again. */
export interface Listed {
  /** By which index.json lists it, but for the tag. */
  readonly descriptor: Descriptor;
  readonly referrer?: NonNullable<StoredManifest['referrer']>;
  /** The manifests that it lists itself, there or not. */
  readonly children: readonly Pick<Descriptor, 'digest' | 'size'>[];
  /** Why it could not be read when the repository was opened. */
  readonly failure?: unknown;
}

/** What the index.json of a repository says. */
export interface Listing {
  readonly manifests: ReadonlyMap<Digest, Listed>;
  readonly tags: ReadonlyMap<string, Tagged>;
}

/** The manifest that a tag names. */
export interface Tagged {
  readonly digest: Digest;
  /** Its entry in index.json, encoded once: of thousands that are written again, one is new. */
  readonly json: string;
}

/**
 * What marks in index.json that content is a blob, which would be taken for a manifest alone without it: because a manifest
 * with its digest was pushed too, or because an index names it as one.
 */
const blobType = 'application/octet-stream';

/** Whether an entry of an index.json is such a mark. */
export const isBlobMark = (descriptor: Descriptor): boolean =>
  descriptor.mediaType === blobType && tagOf(descriptor) === undefined;

/** The tag of an entry. Other tools write names there that no registry knows as tags; these are left as they are. */
export function registryTagOf(descriptor: Descriptor): string | undefined {
  const tag = tagOf(descriptor);
  return tag !== undefined && isTag(tag) ? tag : undefined;
}

/** A manifest as an entry of an index.json lists it, with what was read of it. */
export function listedAs(entry: Descriptor, ref?: Ref): Listed {
  const descriptor = registryTagOf(entry) === undefined ? entry : withoutTag(entry);
  if (ref === undefined) return { descriptor, children: [] };
  const { subject, annotations } = ref.manifest;
  return {
    descriptor,
    ...(subject && {
      referrer: { subject: subject.digest, descriptor: { ...descriptorOf(ref), ...(annotations && { annotations }) } },
    }),
    children: ref.kind === 'index' ? ref.children().map(({ digest, size }) => ({ digest, size })) : [],
  };
}

/**
 * A manifest that arrives, as a layout would list it: with its platform, if its config is there, and with its annotations
 * if it has a subject. What is neither image nor index is listed by its media type alone.
 */
export async function listedNew(manifest: StoredManifest, blobs: Blobs): Promise<Listed> {
  const { mediaType, digest, bytes, referrer } = manifest;
  const ref = parsedManifest(manifest, blobs);
  const platform = ref && (await knownPlatform(ref));
  const annotations = ref?.manifest.subject && ref.manifest.annotations;
  const entry = {
    ...(ref ? descriptorOf(ref) : { mediaType, digest, size: bytes.length }),
    ...(platform && { platform }),
    ...(annotations && { annotations }),
  };
  // What is written must be readable again.
  checkDocument(entry, descriptorSchema, `manifest ${digest}`);
  return { ...listedAs(withoutTag(entry), ref), ...(referrer && { referrer }) };
}

/** The platform by the config of an image, unless that is missing or wrong: it may come later, or never. */
async function knownPlatform(ref: Ref): Promise<Platform | undefined> {
  try {
    return await platformOf(ref);
  } catch (error) {
    if (error instanceof OciError && !(error instanceof FileSystemError)) return undefined;
    throw error;
  }
}

/** The image or index that the bytes are; the registry's door may let other manifests in, too. */
export function parsedManifest(
  { bytes, mediaType, digest }: Pick<StoredManifest, 'bytes' | 'mediaType' | 'digest'>,
  blobs: Blobs,
): Ref | undefined {
  try {
    return newRef(bytes, mediaType, digest, blobs);
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

/** A manifest under a tag, as readers of layouts look for it. */
export function taggedAs(tag: string, { descriptor }: Listed): Tagged {
  const annotations = { ...descriptor.annotations, [refNameAnnotation]: tag };
  return { digest: descriptor.digest, json: JSON.stringify({ ...descriptor, annotations }) };
}

/** Whether an index of the listing names the content as a manifest. */
export function isChild({ manifests }: Listing, digest: Digest): boolean {
  for (const { children } of manifests.values()) {
    if (children.some((child) => child.digest === digest)) return true;
  }
  return false;
}

/**
 * The bytes of an index.json: an entry for each tag, one for each manifest without a tag, and the marks.
 *
 * @param document what it says beyond its manifests.
 */
export function encodeListing(document: ImageIndex, listing: Listing, isBlob: (digest: Digest) => boolean): Uint8Array {
  const entries: string[] = [];
  const tagged = new Set<Digest>();
  for (const { digest, json } of listing.tags.values()) {
    entries.push(json);
    tagged.add(digest);
  }
  const marks = new Map<Digest, string>();
  const mark = ({ digest, size }: Pick<Descriptor, 'digest' | 'size'>) => {
    if (isBlob(digest)) marks.set(digest, JSON.stringify({ mediaType: blobType, digest, size }));
  };
  for (const [digest, { descriptor, children }] of listing.manifests) {
    if (!tagged.has(digest)) entries.push(JSON.stringify(descriptor));
    mark(descriptor);
    children.forEach(mark);
  }
  const { manifests: _, ...rest } = document;
  return Buffer.from(`${JSON.stringify(rest).slice(0, -1)},"manifests":[${[...entries, ...marks.values()].join()}]}`);
}
