import { InvalidOptionError } from '../errors';

/**
 * A tag that every registry takes.
 *
 * @throws {InvalidOptionError}
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
 */
export function checkTag(tag: string): string {
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/.test(tag)) return tag;
  throw new InvalidOptionError(
    `option "tag": expected up to 128 letters, digits, ".", "_" and "-", the first no "." or "-", found ${JSON.stringify(tag)}`,
    { expected: '[A-Za-z0-9_][A-Za-z0-9._-]{0,127}', found: tag },
  );
}
