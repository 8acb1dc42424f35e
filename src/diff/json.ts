import { isDeepStrictEqual } from 'node:util';

/** Where a value stands in a document: keys and positions from the top. */
export type ValuePath = readonly (string | number)[];

/** One value that differs between two documents; without `from` it was added, without `to` removed. */
export interface ValueChange {
  readonly path: ValuePath;
  readonly from?: unknown;
  readonly to?: unknown;
}

/** Objects whose keys are the user's: each key is a change of its own, also where one document has no such object. */
const maps: ReadonlySet<string | number | undefined> = new Set([
  'annotations',
  'config',
  'Env',
  'ExposedPorts',
  'Labels',
  'Volumes',
]);

/** The values that differ between two JSON values. The order of keys does not count. */
export function valueChanges(from: unknown, to: unknown, path: ValuePath = []): ValueChange[] {
  if (Array.isArray(from) && Array.isArray(to) && [...from, ...to].some(isObject)) return itemChanges(from, to, path);
  const isMap = maps.has(path.at(-1));
  const before = isMap ? (from ?? {}) : from;
  const after = isMap ? (to ?? {}) : to;
  if (isObject(before) && isObject(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...keys].flatMap((key) => valueChanges(memberOf(before, key), memberOf(after, key), [...path, key]));
  }
  if (isDeepStrictEqual(from, to)) return [];
  return [{ path, ...(from !== undefined && { from }), ...(to !== undefined && { to }) }];
}

/** Lists are alike at their beginnings and ends; what is between is compared in turn. */
function itemChanges(from: readonly unknown[], to: readonly unknown[], path: ValuePath): ValueChange[] {
  const shorter = Math.min(from.length, to.length);
  let start = 0;
  while (start < shorter && isDeepStrictEqual(from[start], to[start])) start++;
  let end = 0;
  while (end < shorter - start && isDeepStrictEqual(from.at(-1 - end), to.at(-1 - end))) end++;
  const places = Array.from({ length: Math.max(from.length, to.length) - end - start }, (_, index) => start + index);
  return places.flatMap((at) => {
    const before = at < from.length - end ? from[at] : undefined;
    const after = at < to.length - end ? to[at] : undefined;
    return valueChanges(before, after, [...path, at]);
  });
}

/** An object of JSON's, which is no list. */
function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const memberOf = (object: Readonly<Record<string, unknown>>, key: string) =>
  Object.hasOwn(object, key) ? object[key] : undefined;
