/** Chunks of bytes that arrive one after the other. */
export type Bytes = AsyncIterable<Uint8Array>;

/**
 * The same bytes in blocks of exactly `size`, the last one shorter. Each block is a buffer of its own.
 *
 * @param spare memory of that size, which is taken before new one.
 */
export async function* inBlocks(
  input: Bytes,
  size: number,
  spare: ArrayBuffer[] = [],
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const newBlock = () => new Uint8Array(spare.pop() ?? Buffer.allocUnsafeSlow(size).buffer);
  let block = newBlock();
  let filled = 0;
  for await (const chunk of input) {
    for (let taken = 0; taken < chunk.length; ) {
      const part = chunk.subarray(taken, taken + size - filled);
      block.set(part, filled);
      filled += part.length;
      taken += part.length;
      if (filled === size) {
        yield block;
        block = newBlock();
        filled = 0;
      }
    }
  }
  if (filled > 0) yield block.subarray(0, filled);
}
