import type { LayerEntry } from './entry';

/** A tar file is a sequence of blocks of this many bytes. */
export const tarBlock = 512;

/** How many bytes follow these, up to the end of their last block. */
export const paddingAfter = (length: number): number => (tarBlock - (length % tarBlock)) % tarBlock;

/** What ends a tar file: two blocks of zeros. */
export const tarEnd = new Uint8Array(2 * tarBlock);

/** What the six octal digits of an owner hold; larger numbers go into an extended header. */
const largestOwner = 0o777777;

/** What the eleven octal digits of a size hold; larger ones are written in base 256, as GNU tar does. */
const largestSize = 0o77777777777;

/** Later times go into an extended header: readers keep those of the field in 32 bits. */
const largestTime = 2 ** 31 - 1;

/** Bytes of the two fields that a name may be divided into at a slash. */
const nameLength = 100;
const prefixLength = 155;

const typeFlags = { file: '0', link: '1', symlink: '2', directory: '5', extension: 'x' } as const;

interface DividedName {
  readonly name: string;
  readonly prefix: string;
}

/**
 * The header of an entry, POSIX ustar; where something does not fit, with an extended header before it (pax).
 *
 * @param mtime seconds since 1970.
 * @returns whole blocks.
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html#tag_20_94_13_06
 */
export function tarHeader(entry: LayerEntry, mtime: number): Uint8Array {
  const path = entry.type === 'directory' ? `${entry.name}/` : entry.name;
  const { linkname = '' } = entry;
  const divided = dividedName(path);
  const isPlain =
    divided !== undefined &&
    entry.uid <= largestOwner &&
    entry.gid <= largestOwner &&
    mtime <= largestTime &&
    (linkname === '' || Buffer.byteLength(linkname) <= nameLength);
  if (isPlain) return encoded(divided, entry.type, entry, mtime, linkname);

  const extension = extended(path, linkname, entry, mtime);
  const standIn = { name: 'PaxHeader', prefix: '' };
  const link = linkname === '' ? '' : 'PaxHeader';
  return Buffer.concat([
    encoded(standIn, 'extension', { ...entry, size: extension.length }, mtime, link),
    extension,
    Buffer.alloc(paddingAfter(extension.length)),
    encoded(standIn, entry.type, entry, mtime, link),
  ]);
}

/** A name as the two fields hold it; `undefined` for one that they can't. */
function dividedName(path: string): DividedName | undefined {
  if (!isAscii(path)) return undefined;
  if (path.length <= nameLength) return { name: path, prefix: '' };
  // The name must have something in it: of a directory, more than the slash at its end.
  const slash = path.indexOf('/', path.length - nameLength - 1);
  if (slash < 0 || slash === path.length - 1 || slash > prefixLength) return undefined;
  return { name: path.slice(slash + 1), prefix: path.slice(0, slash) };
}

const isAscii = (text: string): boolean => Buffer.byteLength(text) === text.length;

/** Records of `length key=value`, where the length counts its own digits. */
function extended(path: string, linkpath: string, { uid, gid }: LayerEntry, mtime: number): Uint8Array {
  const values = {
    path,
    ...(linkpath !== '' && { linkpath }),
    ...(uid > largestOwner && { uid }),
    ...(gid > largestOwner && { gid }),
    ...(mtime > largestTime && { mtime }),
  };
  const record = ([key, value]: [string, string | number]): string => {
    const text = ` ${key}=${value}\n`;
    const bytes = Buffer.byteLength(text);
    let digits = String(bytes).length;
    if (String(bytes + digits).length > digits) digits++;
    return `${bytes + digits}${text}`;
  };
  return Buffer.from(Object.entries(values).map(record).join(''));
}

/** What is the same in every header. */
const blank = Buffer.alloc(tarBlock);
blank.write('ustar\x0000', 257);
blank.write('000000 ', 329);
blank.write('000000 ', 337);

/** A header of one block. What is too large for its field stands in an extended header, and as the largest here. */
function encoded(
  { name, prefix }: DividedName,
  type: keyof typeof typeFlags,
  { mode, uid, gid, size = 0 }: Pick<LayerEntry, 'mode' | 'uid' | 'gid' | 'size'>,
  mtime: number,
  linkname: string,
): Uint8Array {
  const block = Buffer.from(blank);
  block.write(name, 0, 'latin1');
  block.write(octal(mode, 6), 100, 'latin1');
  block.write(octal(Math.min(uid, largestOwner), 6), 108, 'latin1');
  block.write(octal(Math.min(gid, largestOwner), 6), 116, 'latin1');
  if (size > largestSize) writeBase256(block, size);
  else block.write(octal(size, 11), 124, 'latin1');
  block.write(octal(Math.min(mtime, largestTime), 11), 136, 'latin1');
  block.write(typeFlags[type], 156, 'latin1');
  if (linkname !== '') block.write(linkname, 157);
  if (prefix !== '') block.write(prefix, 345, 'latin1');
  // The sum of all bytes, those of its own field taken as spaces.
  let sum = 8 * 0x20;
  for (let at = 0; at < tarBlock; at++) sum += block[at] as number;
  block.write(octal(sum, 6), 148, 'latin1');
  return block;
}

const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, '0')} `;

function writeBase256(block: Buffer, size: number): void {
  block.writeUInt8(0x80, 124);
  block.writeUInt32BE(Math.floor(size / 2 ** 32), 128);
  block.writeUInt32BE(size % 2 ** 32, 132);
}
