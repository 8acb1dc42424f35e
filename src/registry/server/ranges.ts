/** Bytes of content, `end` not included. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/**
 * What a Range header asks for of content of this size: a range, `unsatisfiable`, or `undefined` for everything, where
 * the header is none of bytes or names several ranges, which a server may answer with all of it.
 *
 * A range that ends before it starts is malformed, and RFC 9110 leaves it to the server what to make of it; the
 * specification's own tests want a refusal.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-14.2
 */
export function rangeOf(header: string, size: number): Range | 'unsatisfiable' | undefined {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header.trim()) ?? [];
  if (first === undefined || last === undefined || first + last === '') return undefined;
  const range =
    first === ''
      ? { start: Math.max(0, size - Number(last)), end: size }
      : { start: Number(first), end: Math.min(size, last === '' ? size : Number(last) + 1) };
  return range.start < range.end ? range : 'unsatisfiable';
}

/** The chunk that a Content-Range header of an upload names; `undefined` if it is none. */
export function chunkOf(header: string): Range | undefined {
  const [, first, last] = /^(\d{1,15})-(\d{1,15})$/.exec(header) ?? [];
  if (first === undefined || Number(last) < Number(first)) return undefined;
  return { start: Number(first), end: Number(last) + 1 };
}
