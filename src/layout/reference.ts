/** A layout directory and, where it holds several manifests, the tag of one. */
export interface LayoutReference {
  readonly path: string;
  readonly tag?: string;
}

/** Reads `path` or `path:tag`, as skopeo and umoci write it: what follows a colon in the last part of the path is a tag. */
export function parseLayoutReference(text: string): LayoutReference {
  const colon = text.indexOf(':', Math.max(text.lastIndexOf('/'), text.lastIndexOf('\\')) + 1);
  // `C:` is a drive, not a path with an empty tag.
  if (colon <= 1 || colon === text.length - 1) return { path: text };
  return { path: text.slice(0, colon), tag: text.slice(colon + 1) };
}
