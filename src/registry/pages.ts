import { UntrustedResponseError } from '../errors';
import type { Exchange, Question } from './exchange';
import { redactedUrl } from './transport/redaction';
import type { HttpResponse } from './transport/transport';

/** More pages than any list has: a list that goes on behind them was made to exhaust its readers. */
const mostPages = 10_000;

/**
 * The responses to a question whose answer may come in pages: each names the next one in its `Link` header. The pages
 * must be of one origin, and no page may come twice.
 *
 * @throws {UntrustedResponseError} naming the URL.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
 */
export async function* pages(exchange: Exchange, question: Question): AsyncGenerator<HttpResponse> {
  const seen = new Set<string>();
  for (let url: URL | undefined = question.url; url; ) {
    seen.add(url.href);
    const response = await exchange.ask({ ...question, url });
    const next = nextPage(response.headers.link, url);
    try {
      yield response;
    } finally {
      await response.discard();
    }
    const refuse = (expected: string, found: string) =>
      new UntrustedResponseError(
        `${question.what}: expected the next page in the Link header ${expected}, found ${found}`,
        {
          expected,
          found,
        },
      );
    if (next === undefined) return;
    if (next === 'invalid') throw refuse('as a URL', 'other text');
    if (next.origin !== question.url.origin) throw refuse(`at ${question.url.origin}`, redactedUrl(next));
    if (seen.has(next.href)) throw refuse('to be another page', `${redactedUrl(next)} again`);
    if (seen.size >= mostPages) throw refuse(`to end after ${mostPages} pages`, redactedUrl(next));
    url = next;
  }
}

/** @see https://www.rfc-editor.org/rfc/rfc8288#section-3 */
function nextPage(header: string | undefined, base: URL): URL | 'invalid' | undefined {
  for (const [, target = '', parameters = ''] of (header ?? '').matchAll(/<([^<>]*)>([^<]*)/g)) {
    if (!/;\s*rel\s*=\s*(?:"(?:[^"]* )?next(?: [^"]*)?"|next\b)/i.test(parameters)) continue;
    return URL.canParse(target, base.href) ? new URL(target, base) : 'invalid';
  }
  return undefined;
}
