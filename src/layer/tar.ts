import { extract, type Header, type Pack, pack } from 'tar-stream';
import type { Bytes } from '../compression';
import { OciError, SizeMismatchError } from '../errors';
import type { LayerEntry } from './entry';

type EntryHeader = Parameters<Pack['entry']>[0];

/** tar-stream writes six octal digits and cuts off what does not fit: owners above go into an extended header. */
const largestOctalOwner = 0o777777;

/** tar-stream keeps times in 32 bits; later ones go into an extended header. */
const largestPlainTime = 2 ** 31 - 1;

/** The longest name that a ustar header holds without its prefix field. */
const longestPlainName = 100;

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
  const stream = pack();
  const packing = packAll(stream, entries, mtime).catch((error: Error) => {
    stream.destroy(error);
    throw error;
  });
  packing.catch(() => undefined);
  try {
    yield* stream as AsyncIterable<Uint8Array>;
    await packing;
  } catch (error) {
    // The stream may report that it was destroyed before the reason for it.
    await packing;
    throw error;
  } finally {
    stream.destroy();
  }
}

async function packAll(
  stream: Pack,
  entries: Iterable<LayerEntry> | AsyncIterable<LayerEntry>,
  mtime: number,
): Promise<void> {
  for await (const entry of entries) {
    const header = headerOf(entry, mtime);
    const content = entry.type === 'file' ? (entry.content?.() ?? new Uint8Array()) : undefined;
    if (content === undefined) await packWhole(stream, header, undefined);
    else if (content instanceof Uint8Array) await packWhole(stream, header, checkedLength(content, entry));
    else await packStreaming(stream, header, ofLength(content, entry));
  }
  stream.finalize();
}

function checkedLength(content: Uint8Array, { name, size = 0 }: LayerEntry): Uint8Array {
  if (content.length === size) return content;
  throw new SizeMismatchError(`content of ${name}`, size, content.length);
}

async function* ofLength(content: Bytes, { name, size = 0 }: LayerEntry): AsyncGenerator<Uint8Array> {
  let found = 0;
  for await (const chunk of content) {
    found += chunk.length;
    if (found > size) throw new SizeMismatchError(`content of ${name}`, size, 'more');
    yield chunk;
  }
  if (found < size) throw new SizeMismatchError(`content of ${name}`, size, found);
}

function packWhole(stream: Pack, header: EntryHeader, content: Uint8Array | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error | null) => (error ? reject(error) : resolve());
    if (content === undefined) stream.entry(header, done);
    else stream.entry(header, content, done);
  });
}

function packStreaming(stream: Pack, header: EntryHeader, content: Bytes): Promise<void> {
  return new Promise((resolve, reject) => {
    const sink = stream.entry(header, (error) => (error ? reject(error) : resolve()));
    // A stream that fails without a listener ends the process.
    sink.on('error', reject);
    const feed = async () => {
      for await (const chunk of content) {
        if (sink.destroyed) return;
        if (!sink.write(chunk)) await drained(sink);
      }
      sink.end(null);
    };
    feed().catch(reject);
  });
}

function headerOf(entry: LayerEntry, mtime: number): EntryHeader {
  const name = entry.type === 'directory' ? `${entry.name}/` : entry.name;
  const pax: Record<string, string> = {};
  if (entry.uid > largestOctalOwner) pax.uid = String(entry.uid);
  if (entry.gid > largestOctalOwner) pax.gid = String(entry.gid);
  if (mtime > largestPlainTime) pax.mtime = String(mtime);
  // tar-stream would put all of a long directory name into the prefix and leave the name itself empty.
  const lastPart = name.slice(name.lastIndexOf('/', name.length - 2) + 1);
  const long = Buffer.byteLength(lastPart) > longestPlainName;
  return {
    name,
    type: entry.type,
    // tar-stream replaces a mode of 0; a bit above those that it writes keeps it.
    mode: entry.mode | 0o10000,
    uid: Math.min(entry.uid, largestOctalOwner),
    gid: Math.min(entry.gid, largestOctalOwner),
    mtime: new Date(Math.min(mtime, largestPlainTime) * 1000),
    size: entry.size ?? 0,
    ...(entry.linkname !== undefined && { linkname: entry.linkname }),
    ...((long || Object.keys(pax).length > 0) && { pax }),
  };
}

/**
 * Passes a tar file through and checks it on the way: each entry's header is given to `check`, which throws to refuse it.
 *
 * @throws {OciError} if it is no tar file or ends too early; the caller knows and names it.
 */
export async function* checkedTar(input: Bytes, check: (header: Header) => void): AsyncGenerator<Uint8Array> {
  const stream = extract();
  let failure: Error | undefined;
  const ended = new Promise<void>((resolve) => {
    stream.on('finish', resolve).on('close', resolve);
  });
  stream.on('error', (error) => {
    failure ??=
      error instanceof OciError ? error : new OciError(`invalid tar file (${error.message})`, { cause: error });
  });
  stream.on('entry', (header, content, next) => {
    try {
      check(header);
    } catch (error) {
      failure ??= error as Error;
    }
    // The content fails only with the whole stream, whose failure is met above; without a listener it ends the process.
    content.on('error', () => undefined);
    content.on('end', next).resume();
  });
  let isEmpty = true;
  try {
    for await (const chunk of input) {
      isEmpty = false;
      if (!stream.write(chunk)) await drained(stream);
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

/** When a stream takes more, or will take no more at all. */
function drained(stream: ReturnType<Pack['entry']>): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}
