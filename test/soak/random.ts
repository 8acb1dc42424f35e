/** Numbers that look random and are the same for the same seed (Mulberry32). */
export interface Random {
  /** From 0 up to, not including, 1. */
  next(): number;
  /** A whole number from 0 up to, not including, `end`. */
  below(end: number): number;
  one<T>(items: readonly T[]): T;
  bytes(size: number): Buffer;
}

export function seededRandom(seed: number): Random {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (end: number) => Math.floor(next() * end);
  return {
    next,
    below,
    one: <T>(items: readonly T[]) => items[below(items.length)] as T,
    bytes: (size) => {
      const bytes = Buffer.allocUnsafe(size);
      for (let at = 0; at < size; at++) bytes[at] = below(256);
      return bytes;
    },
  };
}
