import type * as z from 'zod';
import { InvalidDocumentError, LimitError } from '../errors';

/**
 * The largest manifest, index, config or other document that is read into memory: 50 MiB. Registries commonly stop at
 * 4 MiB for manifests; the bound is there so that a hostile size allocates nothing.
 */
export const maxDocumentSize = 50 * 1024 * 1024;

/** How deep arrays and objects may be nested. Real documents are ten deep; encoding again fails from about 4,000. */
const maxNesting = 1000;

/** Every JSON document that is written here: no white space, keys in the order of the value, UTF-8. */
export function encodeJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value), 'utf8');
}

/**
 * Reads one document at the door: bounded size and depth, UTF-8, JSON, no key twice (parsers differ in which one they
 * take, so two readers would see two documents), and the shape that the schema says. Unknown keys stay.
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
  try {
    checkBrackets(text, name);
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof InvalidDocumentError) throw error;
    throw new InvalidDocumentError(`${name}: expected JSON, found ${(error as Error).message}`, { cause: error });
  }
}

function decodeUtf8(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw new InvalidDocumentError(`${name}: expected JSON in UTF-8, found bytes that are no UTF-8`, { cause: error });
  }
}

/**
 * Refuses a key that stands twice in one object, and brackets that are nested too deep: before parsing, because it is
 * the parser that 25 million open brackets exhaust. Not a regular expression, because a long string overflows its stack.
 */
function checkBrackets(text: string, name: string): void {
  const keysByDepth: (Set<string> | undefined)[] = [];
  for (let at = 0; at < text.length; at++) {
    const token = text[at];
    if (token === '{' || token === '[') {
      if (keysByDepth.push(undefined) > maxNesting) throw nestedTooDeep(name);
    } else if (token === '}' || token === ']') {
      keysByDepth.pop();
    } else if (token === '"') {
      const end = endOfString(text, at);
      if (isKey(text, end) && keysByDepth.length > 0) {
        const written = text.slice(at + 1, end - 1);
        const key: string = written.includes('\\') ? JSON.parse(text.slice(at, end)) : written;
        const keys = keysByDepth.pop() ?? new Set();
        if (keys.has(key)) throw duplicateKey(name, key);
        keysByDepth.push(keys.add(key));
      }
      at = end - 1;
    }
  }
}

/** Behind the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '"') return at + 1;
  }
  return text.length;
}

const colon = /[ \t\n\r]*:/y;

/** Whether the string that ends at `end` is a key. */
function isKey(text: string, end: number): boolean {
  colon.lastIndex = end;
  return colon.test(text);
}

function nestedTooDeep(name: string): InvalidDocumentError {
  return new InvalidDocumentError(
    `${name}: expected at most ${maxNesting} arrays and objects inside one another, found more`,
    { expected: `<= ${maxNesting}`, found: 'more' },
  );
}

function duplicateKey(name: string, key: string): InvalidDocumentError {
  return new InvalidDocumentError(`${name}: expected each key once in an object, found ${JSON.stringify(key)} twice`, {
    expected: 'each key once',
    found: key,
  });
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
  const expected = issue.message
    .replace(/^(?:Invalid (?:input|option)|Too (?:small|big)): expected /, '')
    .replace(/, received .*$/, '');
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

/** Where in a document a value stands: `$.layers[0].size`. */
export function jsonPath(path: readonly PropertyKey[]): string {
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
  // A function, which options in a program may be.
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}
