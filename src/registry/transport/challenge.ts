/** One way that a server offers to say who one is. */
export interface Challenge {
  /** In lower case: `basic`, `bearer`. */
  readonly scheme: string;
  /** By lower-case names: `realm`, `service`, `scope`. Of a name that stands twice the first counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

const separators = /[\s,]*/y;
const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const equals = /[ \t]*=[ \t]*/y;
/** Credentials in one piece, as `Negotiate` has them, up to the next comma. */
const token68 = /[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)/y;
/** Some registries forget the quotes. */
const bareValue = /[^\s,"]*/y;

/**
 * The challenges of all `WWW-Authenticate` headers of a response, in their order. What can't be understood is left away;
 * nothing is read behind it.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110.html#name-www-authenticate
 */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  // Each pattern is tried at one place only and takes what it finds once, so that the time is that of the length.
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(header)?.[0];
    at += found?.length ?? 0;
    return found;
  };
  for (;;) {
    take(separators);
    const name = take(token)?.toLowerCase();
    if (name === undefined) return challenges;
    if (challenges.length > 0 && take(equals) !== undefined) {
      const value = header[at] === '"' ? quotedString(header, at) : { text: take(bareValue) ?? '', end: at };
      if (value === undefined) return challenges;
      at = value.end;
      const { parameters } = challenges[challenges.length - 1] as (typeof challenges)[number];
      if (!parameters.has(name)) parameters.set(name, value.text);
    } else {
      challenges.push({ scheme: name, parameters: new Map() });
      take(token68);
    }
  }
}

/** The string whose opening quote is at `start`, and where it ends; `undefined` if it does not. */
function quotedString(header: string, start: number): { text: string; end: number } | undefined {
  let text = '';
  for (let at = start + 1; at < header.length; at++) {
    if (header[at] === '"') return { text, end: at + 1 };
    if (header[at] === '\\') at++;
    text += header[at] ?? '';
  }
  return undefined;
}
