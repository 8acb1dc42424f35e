import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { isInRegistry, namesRegistry, parseImageReference, parseReference, sourceAt } from '../actions/image-reference';
import { InvalidOptionError } from '../errors';
import { type LayoutReference, parseLayoutReference } from '../layout/reference';
import type { ImageSource } from '../layout/source';
import type { RegistryClient } from '../registry/client';
import { formatRegistryReference, type RegistryReference } from '../registry/reference';
import type { Repository } from '../registry/repository';
import { registries } from '../terminal/registries';

/** A layout on the command line: `path`, `path:tag` or `path@digest`. */
export function layoutReference(text: string): LayoutReference {
  const parsed = parseLayoutReference(text);
  return { ...parsed, path: resolve(parsed.path) };
}

/** What a command that reaches registries is told of them. */
export interface Reach {
  readonly insecure?: true;
}

export function withInsecure(command: Command): Command {
  return command.option('--insecure', 'reach the registry without TLS, or with a certificate that nobody vouches for');
}

/** The client for these references. */
export function reached(references: readonly RegistryReference[], { insecure }: Reach): RegistryClient {
  return registries(insecure ? references.map(({ registry }) => registry) : []);
}

/** How one names images on the command line; see {@link imageSource}. */
export const imageWords = 'layout or archive (path, path:tag or path@digest), or docker://registry/repository:tag';

/** Images on the command line: a layout or an archive, or a reference to a registry, with `docker://` before it or without. */
export function imageSource(text: string, reach: Reach): ImageSource {
  const reference = parseImageReference(text, process.cwd());
  return sourceAt(reference, reached(isInRegistry(reference) ? [reference] : [], reach));
}

/**
 * A whole repository on the command line, where a layout could stand as well.
 *
 * @returns `undefined` for a layout.
 */
export function repositoryAt(text: string, reach: Reach): Repository | undefined {
  if (!namesRegistry(text, process.cwd())) return undefined;
  const reference = parseReference(text);
  const { registry, repository, tag, digest } = reference;
  const found = digest ?? tag;
  if (found === undefined) return reached([reference], reach).repository(reference);
  const name = formatRegistryReference({ registry, repository });
  throw new InvalidOptionError(`${name}: expected a repository alone, found ${found} behind it`, { found });
}

/** A list in one argument, as in `linux/amd64,linux/arm64`. */
export function list(text: string): string[] {
  return text.split(',').map((item) => item.trim());
}

/** Collects `key=value` arguments of an option that may be given again. */
export function keyValue(text: string, before: Record<string, string> = {}): Record<string, string> {
  const equals = text.indexOf('=');
  if (equals <= 0) throw new InvalidArgumentError('expected key=value.');
  return { ...before, [text.slice(0, equals)]: text.slice(equals + 1) };
}

/** @param most above it a number is no such thing. */
export function wholeNumber(text: string, most = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= most) return value;
  throw new InvalidArgumentError(`expected a whole number${most < 1e6 ? ` up to ${most}` : ''}.`);
}
