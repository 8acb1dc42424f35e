import { resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import { parseImageReference, sourceAt } from '../actions/image-reference';
import { type LayoutReference, parseLayoutReference } from '../layout/reference';
import type { ImageSource } from '../layout/source';
import { registries } from './registries';

/** A layout on the command line: `path`, `path:tag` or `path@digest`. */
export function layoutReference(text: string): LayoutReference {
  const parsed = parseLayoutReference(text);
  return { ...parsed, path: resolve(parsed.path) };
}

/** Images on the command line: a layout or an archive, or `docker://` and a reference to a registry. */
export function imageSource(text: string): ImageSource {
  return sourceAt(parseImageReference(text, process.cwd()), registries());
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

export const jsonOption = () => new Option('--json', 'print it as JSON');
