import type { z } from 'zod';
import { InvalidDocumentError, LimitError } from '../errors';

/**
 * The largest manifest, index, config or other document that is read into memory: 50 MiB. Registries commonly stop at
 * 4 MiB for manifests; the bound is there so that a hostile size allocates nothing.
 */
export const maxDocumentSize = 50 * 1024 * 1024;

/** Every JSON document that is written here: no white space, keys in the order of the value, UTF-8. */
export function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value), 'utf8');
}

/**
 * Reads one document at the door: bounded size, UTF-8, JSON, no key twice (parsers differ in which one they take, so
 * two readers would see two documents), and the shape that the schema says. Unknown keys stay.
 *
 * @param name names the document in messages: a path or a digest.
 * @throws {LimitError} if the document is larger than {@link maxDocumentSize}.
 * @throws {InvalidDocumentError} in every other case, naming the JSON path where there is one.
 */
export function parseDocument<T>(bytes: Uint8Array, schema: z.ZodType<T>, name: string): T {
  return checkDocument(parseJson(bytes, name), schema, name);
}

/** Checks a value that was JSON before; the value itself comes back, not a copy, so that unknown keys survive as they were. */
export function checkDocument<T>(value: unknown, schema: z.ZodType<T>, name: string): T {
  const result = schema.safeParse(value);
  if (!result.success) throw invalidShape(result.error, value, name);
  return value as T;
}

/** The JSON value of the bytes, checked as {@link parseDocument} does but for its shape. */
export function parseJson(bytes: Uint8Array, name: string): unknown {
  if (bytes.length > maxDocumentSize) throw new LimitError(name, maxDocumentSize, bytes.length);
  const text = decodeUtf8(bytes, name);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new InvalidDocumentError(`${name}: expected JSON, found ${(error as Error).message}`, { cause: error });
  }
  const key = duplicateKey(text);
  if (key !== undefined) {
    throw new InvalidDocumentError(`${name}: expected each key once in an object, found ${JSON.stringify(key)} twice`, {
      expected: 'each key once',
      found: key,
    });
  }
  return value;
}

function decodeUtf8(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new InvalidDocumentError(`${name}: expected JSON in UTF-8, found bytes that are no UTF-8`, { cause: error });
  }
}

/** The tokens of JSON that matter for keys: brackets and strings, a string with its colon where it is a key. */
const keyTokens = /[{}[\]]|"([^"\\]*(?:\\.[^"\\]*)*)"(\s*:)?/g;

/** The first key that stands twice in one object. The text is JSON already, so that tokens suffice. */
function duplicateKey(text: string): string | undefined {
  const objects: (Set<string> | undefined)[] = [];
  for (const [token, content, colon] of text.matchAll(keyTokens)) {
    if (token === '{') objects.push(new Set());
    else if (token === '[') objects.push(undefined);
    else if (token === '}' || token === ']') objects.pop();
    else if (colon !== undefined && content !== undefined) {
      const key = content.includes('\\') ? (JSON.parse(`"${content}"`) as string) : content;
      const keys = objects.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

function invalidShape(error: z.ZodError, value: unknown, name: string): InvalidDocumentError {
  const issue = deepest(error.issues);
  const place = `${name}: ${jsonPath(issue.path)}`;
  const more = error.issues.length > 1 ? ` (and ${error.issues.length - 1} more)` : '';
  if (issue.code === 'unrecognized_keys') {
    const keys = issue.keys.map((key) => JSON.stringify(key)).join(', ');
    return new InvalidDocumentError(`${place}: expected only options that there are, found ${keys}${more}`, {
      found: keys,
    });
  }
  const found = describe(valueAt(value, issue.path));
  const expected = issue.message.replace(/^Invalid (?:input|option): expected /, '').replace(/, received .*$/, '');
  return new InvalidDocumentError(`${place}: expected ${expected}, found ${found}${more}`, { expected, found });
}

/** In a union every branch fails; the branch that got furthest tells most. */
function deepest(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue {
  const first = issues[0] as z.core.$ZodIssue;
  if (first.code !== 'invalid_union' || first.errors.length === 0) return first;
  const inner = first.errors
    .filter((branch) => branch.length > 0)
    .map((branch) => deepest(branch))
    .reduce((best, next) => (next.path.length > best.path.length ? next : best));
  return { ...inner, path: [...first.path, ...inner.path] };
}

function jsonPath(path: readonly PropertyKey[]): string {
  const steps = path.map((step) =>
    typeof step === 'number'
      ? `[${step}]`
      : /^[A-Za-z_]\w*$/.test(String(step))
        ? `.${String(step)}`
        : `[${JSON.stringify(step)}]`,
  );
  return `$${steps.join('')}`;
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let here = value;
  for (const step of path) {
    if (typeof here !== 'object' || here === null || !Object.hasOwn(here, step)) return undefined;
    here = (here as Record<PropertyKey, unknown>)[step];
  }
  return here;
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  // JSON has no infinity, yet 1e999 parses to it.
  if (typeof value === 'number') return String(value);
  const text = JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
