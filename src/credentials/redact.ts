/** In characters. */
const maxWords = 300;

/** Variables whose values are no one's business. */
const secretName = /pass|secret|token|key|auth|credential/i;

/** In characters. To hide shorter values would hide every number and letter. */
const shortestSecret = 4;

/** What looks like a secret: what is called one, the user and the query of a URL, and long runs with digits in them. */
const secretLooks = [
  /(?<=(?:password|passwd|secret|token)["']?\s{0,3}[:=]\s{0,3}["']?)[^\s"',}]+/gi,
  /(?<=\b(?:bearer|basic)\s{1,3})\S+/gi,
  /(?<=:\/\/)[^\s/@]+(?=@)/g,
  /(?<=\?)[^\s?]+/g,
  /(?=[A-Za-z+/_=~-]{0,40}\d)[\w+/=~-]{24,}/g,
];

/**
 * What a program complained of, on one short line: without the secrets that are known, and without what looks like one.
 *
 * @param environment of the program; the values of its secret variables are known.
 * @param answered the secret that it gave, if it did.
 */
export function withoutSecrets(text: string, environment: NodeJS.ProcessEnv, answered = ''): string {
  const variables = Object.entries(environment).filter(([name]) => secretName.test(name));
  const known = [answered, ...variables.map(([, value]) => value ?? '')]
    .filter((secret) => secret.length >= shortestSecret)
    .sort((a, b) => b.length - a.length);
  const unknown = known.reduce((words, secret) => words.replaceAll(secret, '…'), text);
  const safe = secretLooks.reduce((words, look) => words.replace(look, '…'), unknown);
  const line = safe.replace(/[\p{Cc}\p{Cf}\p{Z}]+/gu, ' ').trim();
  return line.length > maxWords ? `${line.slice(0, maxWords)}…` : line;
}
