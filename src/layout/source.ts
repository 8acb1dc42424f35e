import { stat } from 'node:fs/promises';
import type { Index, Ref } from '../ref';
import type { Descriptor } from '../spec/documents';
import { readArchive } from './archive';
import { findDescriptor, listedDescriptors } from './find';
import { readLayoutIndex } from './read';
import type { LayoutReference } from './reference';

/** A manifest with what the layout or registry that it comes from says of it. */
export interface SourcedRef {
  readonly ref: Ref;
  readonly descriptor: Descriptor;
}

/** Where images come from: a layout, an archive, a repository of a registry. Nothing is read before it is asked for. */
export interface ImageSource {
  /** Names the place in messages; behind it a tag (`:v1`) or a digest (`@sha256:…`) can stand. */
  readonly name: string;
  /** Of an image in a registry, how everybody names it: `registry/repository:tag`. */
  readonly reference?: string;
  /** The manifests that are meant: one, or all that there are. */
  read(): Promise<SourcedRef[]>;
}

/** The manifests of a layout or an archive; see {@link readSource}. */
export function layoutSource(reference: LayoutReference): ImageSource {
  return { name: reference.path, read: () => readSource(reference) };
}

/** The index.json of a layout or of an archive. */
export async function readSourceIndex(path: string): Promise<Index> {
  // What is missing or can't be looked at is no archive; reading it as a layout says what is wrong.
  const isFile = await stat(path)
    .then((stats) => stats.isFile())
    .catch(() => false);
  return isFile ? readArchive(path) : readLayoutIndex(path);
}

/**
 * The manifests that a reference names: the one of its tag or digest or, without one, all of the layout or archive.
 *
 * @throws {UnknownTagError}
 */
export async function readSource({ path, tag, digest }: LayoutReference): Promise<SourcedRef[]> {
  const index = await readSourceIndex(path);
  const byTag = tag === undefined ? index.children() : listedDescriptors(index, tag, path);
  const descriptors = digest === undefined ? byTag : [await findDescriptor(index, digest, path)];
  const refs: SourcedRef[] = [];
  for (const descriptor of descriptors) refs.push({ descriptor, ref: await index.ref(descriptor) });
  return refs;
}
