/**
 * Finds for items of one list their counterparts in another: first those that agree in the first key, then of what is
 * left those that agree in the second, and so on. Where several agree, the first goes with the first.
 *
 * @param keys text that two items must have in common; `undefined` agrees with nothing.
 */
export function counterparts<T>(
  from: readonly T[],
  to: readonly T[],
  keys: readonly ((item: T) => string | undefined)[],
): Map<T, T> {
  const found = new Map<T, T>();
  const taken = new Set<T>();
  for (const keyOf of keys) {
    const waiting = new Map<string, T[]>();
    // The last first, so that the first is taken from the end.
    for (const item of to.toReversed()) {
      const key = taken.has(item) ? undefined : keyOf(item);
      if (key === undefined) continue;
      const others = waiting.get(key);
      if (others) others.push(item);
      else waiting.set(key, [item]);
    }
    for (const item of from) {
      const key = found.has(item) ? undefined : keyOf(item);
      const counterpart = key === undefined ? undefined : waiting.get(key)?.pop();
      if (counterpart === undefined) continue;
      found.set(item, counterpart);
      taken.add(counterpart);
    }
  }
  return found;
}

/**
 * What stands elsewhere in a new order: the fewest items that must be moved to get there.
 *
 * @param places of the items in the new order, listed in the old one.
 * @returns which of them, by their index in `places`.
 */
export function misplaced(places: readonly number[]): ReadonlySet<number> {
  // The longest ascending run stays. `ends[n]` is where the best run of n + 1 items ends, `before` leads back along it.
  const ends: number[] = [];
  const before: (number | undefined)[] = [];
  for (const [index, place] of places.entries()) {
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((places[ends[middle] as number] as number) < place) low = middle + 1;
      else high = middle;
    }
    before[index] = ends[low - 1];
    ends[low] = index;
  }
  const moved = new Set(places.keys());
  for (let index = ends.at(-1); index !== undefined; index = before[index]) moved.delete(index);
  return moved;
}
