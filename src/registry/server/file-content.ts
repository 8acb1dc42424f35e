import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Range } from './ranges';

/** Large enough that calls cost little, small enough for many downloads at once: each has two buffers of 512 KiB. */
const bufferSize = 512 * 1024;

/**
 * The bytes of a file, read one chunk ahead. Reading into the same two buffers again and again takes half the time of
 * reading into new ones, so that a chunk is good only until the next one is asked for.
 */
export async function* fileContent(path: string, { start, end }: Range): AsyncGenerator<Uint8Array> {
  // Neither a link nor a FIFO in a blob's place leads anywhere.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const size = Math.min(bufferSize, end - start);
  let [now, next] = [Buffer.allocUnsafeSlow(size), Buffer.allocUnsafeSlow(size)];
  let position = start;
  const read = (buffer: Buffer) => file.read(buffer, 0, Math.min(size, end - position), position);
  let reading = read(now);
  try {
    while (position < end) {
      const { bytesRead } = await reading;
      if (bytesRead === 0) return;
      position += bytesRead;
      if (position < end) reading = read(next);
      yield now.subarray(0, bytesRead);
      [now, next] = [next, now];
    }
  } finally {
    await reading.catch(() => undefined);
    await file.close();
  }
}
