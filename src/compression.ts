import type { Bytes } from './compression/blocks';
import { defaultGzipLevel, gunzip, gzip, isGzip } from './compression/gzip';
import { type Compression, checkLevel } from './compression/levels';
import { isZstd, unzstd } from './compression/unzstd';
import { defaultZstdLevel, zstd } from './compression/zstd';

export type { Bytes } from './compression/blocks';
export { type DeflatedBlock, defaultGzipLevel, gunzip, gzip, gzipMember, gzipStart, isGzip } from './compression/gzip';
export { type Compression, checkLevel, compressions, largestLevel } from './compression/levels';
export {
  type FilePart,
  makeHere,
  type Piece,
  type PieceTask,
  type PieceThreads,
  pieceThreads,
  type SourceFile,
  type StoredPiece,
} from './compression/piece-threads';
export { isZstd, unzstd } from './compression/unzstd';
export { defaultZstdLevel, zstd } from './compression/zstd';

/**
 * Compresses as it is said.
 *
 * @param level from 1, the fastest; gzip goes to 9, zstd to 19. Each has its own default.
 * @throws {InvalidOptionError} before anything is read, for a level that the compression does not have.
 */
export function compress(bytes: Bytes, compression: Compression, level?: number): Bytes {
  checkLevel(compression, level);
  if (compression === 'gzip') return gzip(bytes, { level });
  return compression === 'zstd' ? zstd(bytes, { level }) : bytes;
}

/** The level that is taken where none is said; 0 where there are no levels. */
export const defaultLevels: Readonly<Record<Compression, number>> = {
  gzip: defaultGzipLevel,
  zstd: defaultZstdLevel,
  none: 0,
};

/** Undoes {@link compress}; throws as {@link gunzip} and {@link unzstd} do. */
export function decompress(bytes: Bytes, compression: Compression): Bytes {
  if (compression === 'gzip') return gunzip(bytes);
  return compression === 'zstd' ? unzstd(bytes) : bytes;
}

/** How a file is compressed that begins with these bytes. */
export function compressionOf(start: Uint8Array): Compression {
  if (isGzip(start)) return 'gzip';
  return isZstd(start) ? 'zstd' : 'none';
}
