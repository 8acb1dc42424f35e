import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type LayoutReference, parseLayoutReference } from '../layout/reference';
import { type ImageSource, layoutSource } from '../layout/source';
import type { RegistryClient } from '../registry/client';
import {
  beginsWithRegistry,
  hasRegistryScheme,
  parseRegistryReference,
  type RegistryReference,
} from '../registry/reference';
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
  if (hasRegistryScheme(text)) return parseRegistryReference(text);
  const layout = parseLayoutReference(text);
  const path = resolve(root, layout.path);
  if (beginsWithRegistry(text) && !existsSync(path)) return parseRegistryReference(text);
  return { ...layout, path };
}

/** The manifests that a reference names. */
export function sourceAt(reference: ImageReference, registries: RegistryClient): ImageSource {
  if (!isInRegistry(reference)) return layoutSource(reference);
  return registrySource(reference, registries.repository(reference));
}
