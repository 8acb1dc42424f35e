import { type Extract, extract, type Header } from 'tar-stream';
import type { Bytes } from '../compression';
import { OciError, SizeMismatchError } from '../errors';
import type { LayerEntry } from './entry';
import { paddingAfter, tarEnd, tarHeader } from './tar-header';

/**
 * A tar file (POSIX ustar, with pax headers where a value does not fit) of the entries in their order, as it streams.
 *
 * @param mtime seconds since 1970, for every entry.
 * @throws {SizeMismatchError} naming a file whose content is not of the size that its entry says.
 */
export async function* tarOf(
  entries: Iterable<LayerEntry> | AsyncIterable<LayerEntry>,
  mtime = 0,
): AsyncGenerator<Uint8Array> {
  for await (const entry of entries) {
    yield tarHeader(entry, mtime);
    if (entry.type !== 'file') continue;
    yield* contentOf(entry);
    const padding = paddingAfter(entry.size ?? 0);
    if (padding > 0) yield new Uint8Array(padding);
  }
  yield tarEnd;
}

async function* contentOf({ name, size = 0, content }: LayerEntry): AsyncGenerator<Uint8Array> {
  const all = content?.() ?? new Uint8Array();
  let found = 0;
  for await (const chunk of all instanceof Uint8Array ? [all] : all) {
    found += chunk.length;
    if (found > size)
      throw new SizeMismatchError(`content of ${name}`, size, all instanceof Uint8Array ? found : 'more');
    yield chunk;
  }
  if (found < size) throw new SizeMismatchError(`content of ${name}`, size, found);
}

/**
 * Passes a tar file through and checks it on the way: each entry's header is given to `check`, which throws to refuse it.
 *
 * @throws {OciError} if it is no tar file or ends too early; the caller knows and names it.
 */
export async function* checkedTar(input: Bytes, check: (header: Header) => void): AsyncGenerator<Uint8Array> {
  const stream = extract();
  let failure: Error | undefined;
  let stop = () => {};
  const ended = new Promise<void>((resolve) => {
    stop = resolve;
    stream.on('finish', resolve).on('close', resolve);
  });
  const fail = (error: Error) => {
    failure ??= error;
    stop();
  };
  stream.on('error', (error) => {
    fail(error instanceof OciError ? error : new OciError(`invalid tar file (${error.message})`, { cause: error }));
  });
  stream.on('entry', (header, content, next) => {
    // The content fails only with the whole stream, whose failure is met above; without a listener it ends the process.
    content.on('error', () => undefined);
    try {
      checkSize(header);
      check(header);
    } catch (error) {
      return fail(error as Error);
    }
    // A directory has no content, whatever its size says, and that of tar-stream has no end then.
    if (header.type === 'directory') next();
    else content.on('end', next).resume();
  });
  let isEmpty = true;
  try {
    for await (const chunk of input) {
      isEmpty = false;
      if (!stream.write(chunk)) await Promise.race([drained(stream), ended]);
      if (failure) throw failure;
      yield chunk;
    }
    if (isEmpty) throw new OciError('invalid tar file (it is empty)');
    stream.end(null);
    await ended;
    if (failure) throw failure;
  } finally {
    stream.destroy();
  }
}

/** tar-stream takes some bytes that are no number for a size, of which it never finds the end. */
function checkSize({ name, size }: Header): void {
  if (Number.isSafeInteger(size)) return;
  throw new OciError(`invalid tar file (no number for the size of ${JSON.stringify(name)})`);
}

/** When a stream takes more, or will take no more at all. */
function drained(stream: Extract): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}
