import { asDigest, type Digest } from '../digest';

/** A layout (or an archive) and, where one of its manifests is meant, which. */
export interface LayoutReference {
  readonly path: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/**
 * Reads `path`, `path:tag` or `path@digest`, as skopeo and umoci write it: what follows a colon in the last part of the
 * path is a tag.
 *
 * @throws {InvalidDigestError}
 */
export function parseLayoutReference(text: string): LayoutReference {
  const lastPart = Math.max(text.lastIndexOf('/'), text.lastIndexOf('\\')) + 1;
  const at = text.indexOf('@', lastPart);
  if (at > 0) return { path: text.slice(0, at), digest: asDigest(text.slice(at + 1)) };
  const colon = text.indexOf(':', lastPart);
  // `C:` is a drive, not a path with an empty tag.
  if (colon <= 1 || colon === text.length - 1) return { path: text };
  return { path: text.slice(0, colon), tag: text.slice(colon + 1) };
}
