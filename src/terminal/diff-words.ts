import type { ValueChange, ValuePath } from '../diff/json';
import { jsonPath } from '../spec/json';

/** Characters that could move the cursor, hide other words, or not be seen. */
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]|^\s|\s$/u;

/** Text of an image as it is or, with characters that a terminal would not show as they are, in quotes and escaped. */
export function escaped(text: string): string {
  if (!unseen.test(text)) return text;
  return `"${text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}"\\]/gu, escapedCharacter)}"`;
}

const namedEscapes: Readonly<Record<string, string>> = {
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '"': '\\"',
  '\\': '\\\\',
};

function escapedCharacter(character: string): string {
  const code = (character.codePointAt(0) ?? 0).toString(16);
  return namedEscapes[character] ?? (code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, '0')}`);
}

/** As much of a digest as one needs to tell two apart. */
export function shortDigest(digest: string): string {
  const start = digest.indexOf(':') + 13;
  return digest.length > start ? `${digest.slice(0, start)}…` : digest;
}

/** What people call the parts of a config. */
const executionWords: Readonly<Record<string, string>> = {
  Env: 'env',
  Labels: 'label',
  ExposedPorts: 'port',
  Volumes: 'volume',
  Entrypoint: 'entrypoint',
  Cmd: 'cmd',
  User: 'user',
  WorkingDir: 'working directory',
  StopSignal: 'stop signal',
};

const documentWords: Readonly<Record<string, string>> = {
  annotations: 'annotation',
  mediaType: 'media type',
  artifactType: 'artifact type',
};

/** Where a value stands, in words for the places that all know, else as a JSON path. */
export function pathWords(path: ValuePath): string {
  const [first, second] = path;
  const isExecution = first === 'config' && Object.hasOwn(executionWords, String(second));
  const words = isExecution
    ? executionWords[String(second)]
    : Object.hasOwn(documentWords, String(first)) && documentWords[String(first)];
  const rest = path.slice(isExecution ? 2 : 1);
  if (!words || rest.length > 1) return escaped(jsonPath(path).replace(/^\$\.?/, ''));
  return [words, ...rest.map((key) => escaped(String(key)))].join(' ');
}

/** How much of a value is shown unless all is asked for. */
const shownText = 160;

/** A value that was added, removed or changed, as a line. */
export function changedValue(words: string, { from, to }: ValueChange, all: boolean): string {
  const show = (value: unknown) => {
    const text = escaped(typeof value === 'string' ? value : JSON.stringify(value));
    return all || text.length <= shownText ? text : `${text.slice(0, shownText)}…`;
  };
  if (from === undefined) return `+ ${words}: ${show(to)}`;
  return to === undefined ? `- ${words}: ${show(from)}` : `~ ${words}: ${show(from)} → ${show(to)}`;
}
