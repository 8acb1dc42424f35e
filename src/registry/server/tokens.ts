import { randomBytes } from 'node:crypto';

/** How many tokens are known at once; the oldest are forgotten first. */
const maxTokens = 10_000;

/** What a token stands for, until it expires. */
export interface Tokens<Meaning> {
  issue(meaning: Meaning): string;
  /** `undefined` for a token that is unknown or expired. */
  find(token: string): Meaning | undefined;
}

/** @param lifetime of a token in seconds. */
export function createTokens<Meaning>(lifetime: number): Tokens<Meaning> {
  const tokens = new Map<string, { readonly meaning: Meaning; readonly expires: number }>();
  return {
    issue(meaning) {
      const token = randomBytes(32).toString('base64url');
      tokens.set(token, { meaning, expires: Date.now() + lifetime * 1000 });
      const [oldest] = tokens.keys();
      if (tokens.size > maxTokens && oldest !== undefined) tokens.delete(oldest);
      return token;
    },
    find(token) {
      const found = tokens.get(token);
      return found && found.expires > Date.now() ? found.meaning : undefined;
    },
  };
}
