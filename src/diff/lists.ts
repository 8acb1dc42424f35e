import type { Digest } from '../digest';
import { platformOf } from '../image-index';
import { tagOf } from '../layout/find';
import { zstdAnnotation } from '../recompress';
import { artifactTypeOf, descriptorOf, type Ref } from '../ref';
import type { Descriptor } from '../spec/documents';
import { isIndexType, isManifestType } from '../spec/media-types';
import { formatPlatform, normalizePlatform } from '../spec/platform';
import { type ValueChange, valueChanges } from './json';
import { descriptionOf } from './layers';
import { counterparts, misplaced } from './pairing';

/** What an index says of a manifest or of a plain blob that it lists. */
export interface ListedFacts {
  readonly mediaType: string;
  readonly digest: Digest;
  /** In bytes. */
  readonly size: number;
  readonly platform?: string;
  readonly artifactType?: string;
  /** In a layout. */
  readonly tag?: string;
}

/** Something that one index lists, the other one, or both. */
export interface Listed<T> {
  /** `same`: one manifest; `changed`: see `difference`. */
  readonly kind: 'same' | 'changed' | 'added' | 'removed';
  readonly a?: ListedFacts;
  readonly b?: ListedFacts;
  /** Whether it stands elsewhere among those that both list. */
  readonly moved: boolean;
  /** What differs in the descriptors, but for digest and size. */
  readonly descriptor: readonly ValueChange[];
  /** How the manifests differ; not said again if the same two are listed more than once, nor of plain blobs. */
  readonly difference?: T;
}

interface Child extends ListedFacts {
  readonly position: number;
  readonly descriptor: Descriptor;
  readonly read?: () => Promise<Ref>;
}

/**
 * Compares what two refs list: by digest, else by tag, platform and kind, else by platform and kind.
 *
 * @param compare says how two manifests differ.
 */
export async function diffLists<T>(
  a: Ref,
  b: Ref,
  compare: (a: Ref, b: Ref) => Promise<T | undefined>,
): Promise<Listed<T>[]> {
  const from = await childrenOf(a, b);
  const to = await childrenOf(b, a);
  const found = counterparts(from, to, [({ digest }) => digest, exactKey, kindKey]);
  const pairs = [...found].sort(([, one], [, other]) => one.position - other.position);
  const elsewhere = misplaced(pairs.map(([child]) => child.position));
  const origins = new Map(
    pairs.map(([child, counterpart], index) => [counterpart, { child, moved: elsewhere.has(index) }]),
  );
  const listed: Listed<T>[] = [];
  for (const child of to) {
    const origin = origins.get(child);
    listed.push(
      origin
        ? await pairOf(origin.child, child, origin.moved, compare)
        : { kind: 'added', b: factsOf(child), moved: false, descriptor: [] },
    );
  }
  for (const child of from) {
    if (!found.has(child)) listed.push({ kind: 'removed', a: factsOf(child), moved: false, descriptor: [] });
  }
  return listed;
}

async function pairOf<T>(
  a: Child,
  b: Child,
  moved: boolean,
  compare: (a: Ref, b: Ref) => Promise<T | undefined>,
): Promise<Listed<T>> {
  const facts = {
    a: factsOf(a),
    b: factsOf(b),
    moved,
    descriptor: valueChanges(descriptionOf(a.descriptor), descriptionOf(b.descriptor)),
  };
  if (a.digest === b.digest) return { kind: 'same', ...facts };
  const difference = a.read && b.read && (await compare(await a.read(), await b.read()));
  return { kind: 'changed', ...facts, ...(difference && { difference }) };
}

/** What a ref lists; an image, itself. What the other ref does not list is read if nothing else says what it is for. */
async function childrenOf(ref: Ref, other: Ref): Promise<Child[]> {
  if (ref.kind === 'image') {
    const platform = await platformOf(ref);
    return [childOf({ ...descriptorOf(ref), ...(platform && { platform }) }, 0, async () => ref)];
  }
  const known = new Set<string>(
    other.kind === 'image' ? [other.digest] : other.manifest.manifests.map(({ digest }) => digest),
  );
  const children: Child[] = [];
  for (const [position, descriptor] of ref.manifest.manifests.entries()) {
    const { mediaType, digest } = descriptor;
    const read = isManifestType(mediaType) || isIndexType(mediaType) ? () => ref.ref(descriptor) : undefined;
    const child = childOf(descriptor, position, read);
    if (read === undefined || child.platform !== undefined || known.has(digest)) {
      children.push(child);
      continue;
    }
    const found = await read();
    const platform = await platformOf(found);
    const artifactType = artifactTypeOf(found);
    children.push({
      ...child,
      ...(platform && { platform: formatPlatform(normalizePlatform(platform)) }),
      ...(artifactType !== undefined && { artifactType }),
    });
  }
  return children;
}

function childOf(descriptor: Descriptor, position: number, read: Child['read']): Child {
  const { mediaType, digest, size, platform, artifactType } = descriptor;
  const tag = tagOf(descriptor);
  return {
    mediaType,
    digest,
    size,
    ...(platform && { platform: formatPlatform(normalizePlatform(platform)) }),
    ...(artifactType !== undefined && { artifactType }),
    ...(tag !== undefined && { tag }),
    position,
    descriptor,
    ...(read && { read }),
  };
}

const factsOf = ({ position: _, descriptor: __, read: ___, ...facts }: Child): ListedFacts => facts;

function exactKey({ mediaType, platform, artifactType, tag, descriptor }: Child): string {
  const { platform: listed, annotations } = descriptor;
  const system = [listed?.['os.version'], listed?.['os.features']];
  return JSON.stringify([isIndexType(mediaType), platform, system, artifactType, annotations?.[zstdAnnotation], tag]);
}

const kindKey = ({ mediaType, platform, artifactType }: Child) =>
  JSON.stringify([isIndexType(mediaType), platform, artifactType]);
