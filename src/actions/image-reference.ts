import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { InvalidReferenceError } from '../errors';
import { type LayoutReference, parseLayoutReference } from '../layout/reference';
import { type ImageSource, layoutSource } from '../layout/source';
import type { RegistryClient } from '../registry/client';
import { beginsWithRegistry, parseRegistryReference, type RegistryReference } from '../registry/reference';
import { registrySource } from '../registry/source';

/** What an image is named by: a layout or an archive, or a repository of a registry. */
export type ImageReference = LayoutReference | RegistryReference;

/** Whether the reference is to a registry. */
export function isInRegistry(reference: ImageReference): reference is RegistryReference {
  return 'registry' in reference;
}

/**
 * Reads `docker://registry/repository:tag`, or a path as {@link parseLayoutReference} does. Without `docker://` a text that
 * begins with the name of a registry is a reference to it, unless there is a file or directory of that name.
 *
 * @param root what paths are relative to.
 */
export function parseImageReference(text: string, root: string): ImageReference {
  if (namesRegistry(text, root)) return parseReference(text);
  const layout = parseLayoutReference(text);
  return { ...layout, path: resolve(root, layout.path) };
}

/** Whether a text speaks of a registry, as {@link parseImageReference} takes it. */
export function namesRegistry(text: string, root: string): boolean {
  if (hasScheme(text)) return true;
  const begins = beginsWithRegistry(text) || user.test(text);
  return begins && !existsSync(resolve(root, parseLayoutReference(text).path));
}

/** Whether a text is a URL, or begins with `docker://`, the only one of its kind that names an image. */
export const hasScheme = (text: string): boolean => /^[a-z][a-z0-9+.-]+:\/\//i.test(text);

/** What stands before the host in a URL: a name and a password. */
const user = /^[^/]*:[^/]*@[^/]+\//;

/**
 * Reads a reference to a registry that somebody wrote. One that is a URL, or has a user in it, is refused without a word
 * of it, because it may hold a password.
 *
 * @throws {InvalidReferenceError}
 */
export function parseReference(text: string): RegistryReference {
  const [, rest = text] = text.split(/^docker:\/\//);
  const expected = 'registry/repository:tag, with docker:// before it or nothing';
  if (hasScheme(rest)) throw new InvalidReferenceError(`reference: expected ${expected}, found a URL`, { expected });
  if (!/@.*\//s.test(rest)) return parseRegistryReference(text);
  throw new InvalidReferenceError(
    `reference: expected ${expected}, found a user before "@"; docs/credentials.md says where credentials belong`,
    { expected },
  );
}

/** The manifests that a reference names. */
export function sourceAt(reference: ImageReference, registries: RegistryClient): ImageSource {
  if (!isInRegistry(reference)) return layoutSource(reference);
  return registrySource(reference, registries.repository(reference));
}
