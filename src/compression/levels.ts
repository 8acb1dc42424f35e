import { InvalidOptionError } from '../errors';

/** What a layer may be compressed with. */
export const compressions = ['gzip', 'zstd', 'none'] as const;

export type Compression = (typeof compressions)[number];

/** zstd's levels above 19 take a window that decoders refuse unless they are told to (RFC 8878, section 3.1.1.1.2). */
const largestLevels = { gzip: 9, zstd: 19 };

/** The largest level of any compression. */
export const largestLevel = Math.max(...Object.values(largestLevels));

/** @throws {InvalidOptionError} for a level that the compression does not have. What is not compressed takes any. */
export function checkLevel(compression: Compression, level: number | undefined): void {
  if (level === undefined || compression === 'none') return;
  const largest = largestLevels[compression];
  if (Number.isInteger(level) && level >= 1 && level <= largest) return;
  const expected = `a whole number from 1 to ${largest}`;
  throw new InvalidOptionError(`compression level of ${compression}: expected ${expected}, found ${level}`, {
    expected,
    found: String(level),
  });
}
