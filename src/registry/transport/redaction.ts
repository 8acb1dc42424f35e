/** The longest URL and the longest name of a parameter in a message: longer ones hide what it says. */
const longestUrl = 400;
const longestName = 40;

/** A URL for people: without user and password, and of its query only the names, because a signed query is a password. */
export function redactedUrl(url: URL): string {
  const names = url.search.slice(1).split('&').filter(Boolean).map(redactedParameter);
  return shortened(
    `${url.protocol}//${url.host}${url.pathname}${names.length > 0 ? `?${names.join('&')}` : ''}`,
    longestUrl,
  );
}

function redactedParameter(parameter: string): string {
  const equals = parameter.indexOf('=');
  return equals > 0 && equals <= longestName ? `${parameter.slice(0, equals)}=…` : '…';
}

/** Text of others on one line, without what could move the cursor or hide other words on a terminal, and not too long. */
export function harmless(text: string, longest: number): string {
  return shortened(text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim(), longest);
}

function shortened(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text;
}

/** Text of others without secrets of ours that they may repeat, as they are or escaped as in a JSON string. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  return secrets
    .flatMap((secret) => [secret, JSON.stringify(secret).slice(1, -1)])
    .filter((secret) => secret !== '')
    .reduce((clean, secret) => clean.replaceAll(secret, '…'), text);
}

/** The shortest value of a query that is looked for in what comes back: shorter ones are numbers and flags. */
const shortestSecret = 8;

/** The values of a URL's query, which may be a signature, as they are and as they stand in the URL. */
export function secretsIn({ search, searchParams }: URL): readonly string[] {
  const raw = search.split('&').map((parameter) => parameter.slice(parameter.indexOf('=') + 1));
  return [...raw, ...searchParams.values()].filter((value) => value.length >= shortestSecret);
}
