import { extract, type Header, type Pack, pack } from 'tar-stream';
import type { Bytes } from '../compression';
import { OciError } from '../errors';
import type { LayerEntry } from './entry';

type EntryHeader = Parameters<Pack['entry']>[0];

/** The largest number that seven octal digits hold: owners above it go into an extended header. */
const largestOctalOwner = 0o7777777;

/** tar-stream keeps times in 32 bits; later ones go into an extended header. */
const largestPlainTime = 2 ** 31 - 1;

/** The longest name that a ustar header holds without its prefix field. */
const longestPlainName = 100;

/**
 * A tar file (POSIX ustar, with pax headers where a value does not fit) of the entries in their order, as it streams.
 *
 * @param mtime seconds since 1970, for every entry.
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
    const content = entry.content?.();
    if (content === undefined || content instanceof Uint8Array)
      await packWhole(stream, headerOf(entry, mtime), content);
    else await packStreaming(stream, headerOf(entry, mtime), content);
  }
  stream.finalize();
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
    const feed = async () => {
      for await (const chunk of content) {
        if (!sink.write(chunk)) await drained(sink);
        if (sink.destroyed) return;
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
    mode: entry.mode,
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
      failure = error as Error;
      stream.destroy(failure);
      return;
    }
    content.on('end', next).resume();
  });
  try {
    for await (const chunk of input) {
      if (!stream.write(chunk)) await drained(stream);
      if (failure) throw failure;
      yield chunk;
    }
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
