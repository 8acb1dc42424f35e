import { isDigest } from '../digest';
import { UnknownTagError } from '../errors';
import { type Index, walkRefs } from '../ref';
import { type Descriptor, refNameAnnotation } from '../spec/documents';

/** The tag of a descriptor in an index.json. */
export function tagOf(descriptor: Descriptor): string | undefined {
  return descriptor.annotations?.[refNameAnnotation];
}

/** The descriptor without its tag. */
export function withoutTag({ annotations, ...descriptor }: Descriptor): Descriptor {
  const others = Object.entries(annotations ?? {}).filter(([key]) => key !== refNameAnnotation);
  return others.length === 0 ? descriptor : { ...descriptor, annotations: Object.fromEntries(others) };
}

/**
 * The entries of an index.json that have the tag or the digest: one, but for layouts that other tools made.
 *
 * @param layout names the layout in the message.
 * @throws {UnknownTagError} that lists what is there.
 */
export function listedDescriptors(index: Index, name: string, layout: string): Descriptor[] {
  const found = index.manifest.manifests.filter(
    (descriptor) => tagOf(descriptor) === name || descriptor.digest === name,
  );
  if (found.length > 0) return found;
  throw new UnknownTagError(
    `${layout}: expected a manifest ${isDigest(name) ? name : `with the tag ${JSON.stringify(name)}`}, found ${listNames(index.manifest.manifests)}`,
    { expected: name },
  );
}

/** The first of {@link listedDescriptors}. */
export function listedDescriptor(index: Index, name: string, layout: string): Descriptor {
  return listedDescriptors(index, name, layout)[0] as Descriptor;
}

/** As {@link listedDescriptor}, and by digest also what nested indexes list. */
export async function findDescriptor(index: Index, name: string, layout: string): Promise<Descriptor> {
  const isListed = index.manifest.manifests.some(({ digest }) => digest === name);
  if (!isDigest(name) || isListed) return listedDescriptor(index, name, layout);
  let nested: Descriptor | undefined;
  await walkRefs(index, (ref, descriptor) => {
    if (ref.digest === name) nested = descriptor;
  });
  return nested ?? listedDescriptor(index, name, layout);
}

/** How many of the manifests that are there an error lists. */
const listedManifests = 10;

/** The manifests by their tags or digests, for messages. */
export function listNames(descriptors: readonly Descriptor[]): string {
  const names = descriptors.slice(0, listedManifests).map((descriptor) => tagOf(descriptor) ?? descriptor.digest);
  const more = descriptors.length - names.length;
  return names.length === 0 ? 'none' : names.join(', ') + (more > 0 ? ` and ${more} more` : '');
}
