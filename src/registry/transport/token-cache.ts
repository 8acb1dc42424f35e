import { untilAborted } from './abort';
import { coversScopes } from './scopes';
import type { Token } from './token';

/** The tokens for one registry that are there or on their way. */
export interface TokenCache {
  /**
   * A token for these scopes, one that allows more included. Those who ask for it at the same time share one fetch, which
   * ends when the last of them has gone.
   *
   * @param refused the token that the registry did not take: another one is wanted.
   */
  token(scopes: readonly string[], refused?: string, signal?: AbortSignal): Promise<Token>;
}

interface Entry {
  readonly scopes: readonly string[];
  readonly fetched: Promise<Token>;
  readonly abort: AbortController;
  waiting: number;
  token?: Token;
}

export function tokenCache(fetch: (scopes: readonly string[], signal: AbortSignal) => Promise<Token>): TokenCache {
  const entries = new Set<Entry>();

  const start = (scopes: readonly string[]): Entry => {
    const abort = new AbortController();
    const entry: Entry = { scopes, fetched: fetch(scopes, abort.signal), abort, waiting: 0 };
    entries.add(entry);
    entry.fetched.then(
      (token) => {
        entry.token = token;
      },
      // Who waits for it is told.
      () => undefined,
    );
    return entry;
  };

  const join = async (entry: Entry, signal?: AbortSignal): Promise<Token> => {
    entry.waiting++;
    try {
      return await untilAborted(entry.fetched, signal);
    } finally {
      entry.waiting--;
      if (entry.waiting === 0 && entry.token === undefined) {
        entries.delete(entry);
        entry.abort.abort();
      }
    }
  };

  return {
    token(scopes, refused, signal) {
      const now = performance.now();
      for (const entry of entries) {
        if (entry.token && (entry.token.expires <= now || entry.token.value === refused)) entries.delete(entry);
      }
      const known = [...entries].find((entry) => coversScopes(entry.scopes, scopes));
      return join(known ?? start(scopes), signal);
    },
  };
}
