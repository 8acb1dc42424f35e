import { once } from 'node:events';
import { Readable } from 'node:stream';
import { type Extract, extract, type Header } from 'tar-stream';
import { verified } from '../blob';
import type { Bytes, Compression } from '../compression';
import { algorithmOf, createDigester, type Digest } from '../digest';
import { DigestMismatchError, LimitError, OciError } from '../errors';
import type { Descriptor } from '../spec/documents';
import { digested } from './layer';
import { maxUnpackedSize, unpacked } from './tar-file';

/** One entry of a layer's tar file: all that its headers say, and the digest of its content in place of the content. */
export interface ListedEntry {
  /** As the tar file spells it, but without a slash at the end. */
  readonly name: string;
  /** `file`, `directory`, `symlink`, `link` and other types of POSIX; `unknown` for all others. */
  readonly type: string;
  /** Permission bits, with those of the file type where the header has them. */
  readonly mode: number;
  /** `uid:gid`, with their names behind them where the header has some: `0:0 (root:root)`. */
  readonly owner: string;
  /** RFC 3339, in UTC; to the nanosecond where the tar file is. */
  readonly mtime: string;
  /** Of the content, in bytes. */
  readonly size: number;
  /** Of the content; of a regular file always. */
  readonly digest?: Digest;
  /** What a link points to. */
  readonly linkname?: string;
  /** Of a device, `major:minor`. */
  readonly device?: string;
  /** Extended headers that say more than the above, such as extended attributes. */
  readonly pax?: Readonly<Record<string, string>>;
}

/** A layer with what is said of it. */
export interface LayerContent {
  readonly descriptor: Descriptor;
  readonly compression: Compression;
  /** What a config says that the tar file's digest is. */
  readonly diffId?: Digest;
  /** The bytes of the blob, from the beginning each time. */
  open(): Bytes;
}

/** What is in a layer. */
export interface LayerListing {
  /** The digest of the tar file. */
  readonly diffId: Digest;
  /** In the order of the tar file; a name may stand in it more than once. */
  readonly entries: readonly ListedEntry[];
}

/** How much is read of a layer before it is refused. */
export interface LayerLimits {
  /** Bytes that the layer may unpack to; {@link maxUnpackedSize} by default. */
  readonly unpackedSize?: number;
  /** Bytes that its listing may take; {@link maxListingSize} by default. */
  readonly listingSize?: number;
}

/**
 * The most memory that a listing may take, about: 256 MiB, which are half a million files with long names. Nothing but
 * headers is in a tar file of empty files, and a thousand to one is what they compress to.
 */
export const maxListingSize = 256 * 2 ** 20;

/** What one entry takes without its names: two digests' worth of text, and the object itself. */
const entryOverhead = 320;

/**
 * Lists a layer as it streams by; nothing of its content is kept. Digest, size and diffID are verified.
 *
 * @throws {DigestMismatchError}, {SizeMismatchError} if the layer or its tar file is not what is said of it.
 * @throws {LimitError} if it unpacks to more, or has more entries, than there may be.
 * @throws {OciError} if it can't be unpacked or is no tar file. All name the layer by its digest.
 */
export async function listLayer(layer: LayerContent, limits: LayerLimits = {}): Promise<LayerListing> {
  const name = `list of the files in layer ${layer.descriptor.digest}`;
  let entries: readonly ListedEntry[] = [];
  const diffId = await readLayer(layer, limits, async (tar) => {
    entries = await listTar(tar, limits.listingSize ?? maxListingSize, name);
  });
  return { diffId, entries };
}

/** Reads a layer for its diffID alone; throws as {@link listLayer} does. */
export async function checkLayer(layer: LayerContent, limits: LayerLimits = {}): Promise<Digest> {
  return readLayer(layer, limits, drain);
}

async function readLayer(
  { descriptor, compression, diffId, open }: LayerContent,
  { unpackedSize = maxUnpackedSize }: LayerLimits,
  read: (tar: Bytes) => Promise<void>,
): Promise<Digest> {
  const name = `layer ${descriptor.digest}`;
  const digester = createDigester(diffId && algorithmOf(diffId));
  try {
    const tar = unpacked(verified(open(), descriptor), compression, unpackedSize, name);
    await read(digested(tar, (chunk) => digester.update(chunk)));
  } catch (error) {
    if (!(error instanceof OciError) || error.message.includes(descriptor.digest)) throw error;
    // Bytes that are not what their digest names are the reason for whatever else is wrong with them.
    await drain(verified(open(), descriptor));
    throw new OciError(`${name}: ${error.message}`, { cause: error });
  }
  const found = digester.digest();
  if (diffId === undefined || found === diffId) return found;
  throw new DigestMismatchError(`${name}: its diffID in the config`, diffId, found);
}

async function drain(bytes: Bytes): Promise<void> {
  for await (const _ of bytes);
}

async function listTar(tar: Bytes, limit: number, name: string): Promise<ListedEntry[]> {
  const entries: ListedEntry[] = [];
  let size = 0;
  const reading = Readable.from(tar);
  const archive = extract();
  reading.on('error', (error) => archive.destroy(error)).pipe(archive as unknown as NodeJS.WritableStream);
  try {
    for await (const content of archive) {
      const entry = listed(content.header, await contentDigest(content));
      size += listedSize(entry);
      if (size > limit) throw new LimitError(name, limit, 'more');
      entries.push(entry);
    }
  } catch (error) {
    if (error instanceof OciError) throw error;
    throw new OciError(`expected a tar file, found ${(error as Error).message}`, { cause: error });
  } finally {
    archive.destroy();
    reading.destroy();
    if (!reading.closed) await once(reading, 'close');
  }
  return entries;
}

type Source = Extract extends AsyncIterable<infer T> ? T : never;

async function contentDigest(content: Source): Promise<Digest | undefined> {
  const { name, type, size } = content.header;
  // tar-stream takes some bytes that are no number for a size, of which it never finds the end.
  if (!Number.isSafeInteger(size)) throw new Error(`no number for the size of ${JSON.stringify(name)}`);
  // The size that a hostile directory may have is of no content, and waiting for that would never end.
  if (type === 'directory' || (size === 0 && !isRegular(type))) return undefined;
  const digester = createDigester();
  if (size > 0) for await (const chunk of content as AsyncIterable<Uint8Array>) digester.update(chunk);
  return digester.digest();
}

const isRegular = (type: Header['type'] | null) => type === 'file' || type === 'contiguous-file';

/** What the extended headers say that is in {@link ListedEntry} already. */
const knownRecords = ['path', 'linkpath', 'size', 'mtime', 'uid', 'gid', 'uname', 'gname'];

function listed(header: Header, digest: Digest | undefined): ListedEntry {
  const { name, size, mode, linkname, devmajor, devminor } = header;
  // tar-stream says `null` for a type that it does not know.
  const type: string = (header.type as Header['type'] | null) ?? 'unknown';
  const records = (header.pax ?? {}) as Record<string, string>;
  const others = Object.entries(records).filter(([key]) => !knownRecords.includes(key));
  return {
    name: name.length > 1 ? name.replace(/\/$/, '') : name,
    type,
    // Digits that are none are no number.
    mode: mode || 0,
    owner: ownerOf(header, records),
    mtime: timeOf(records.mtime ?? String(header.mtime.getTime() / 1000)),
    size: type === 'directory' ? 0 : size,
    ...(digest && { digest }),
    ...(linkname && { linkname }),
    ...(type.endsWith('-device') && { device: `${devmajor}:${devminor}` }),
    ...(others.length > 0 && { pax: Object.fromEntries(others) }),
  };
}

/** tar-stream leaves what extended headers say of owners and times to its callers. */
function ownerOf(header: Header, records: Readonly<Record<string, string>>): string {
  const { uid = header.uid, gid = header.gid, uname = header.uname, gname = header.gname } = records;
  return `${uid}:${gid}${uname || gname ? ` (${uname}:${gname})` : ''}`;
}

/** The last second that has a year of four digits. */
const lastSecond = 253_402_300_799;

/** @param seconds since 1970, in decimal digits with any number of them behind the point. */
function timeOf(seconds: string): string {
  const [, whole, digits = ''] = /^(\d{1,12})(?:\.(\d{1,30}))?$/.exec(seconds) ?? [];
  if (whole === undefined || Number(whole) > lastSecond) return `${seconds} seconds since 1970`;
  const time = new Date(Number(whole) * 1000).toISOString().slice(0, 19);
  const fraction = digits.replace(/0+$/, '');
  return `${time}${fraction && `.${fraction}`}Z`;
}

/** About how many bytes of memory an entry of a listing takes. */
export function listedSize({ name, owner, linkname = '', pax = {} }: ListedEntry): number {
  const records = Object.entries(pax).reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  return entryOverhead + name.length + owner.length + linkname.length + records;
}
