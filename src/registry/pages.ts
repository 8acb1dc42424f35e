import { UntrustedResponseError } from '../errors';
import { maxDocumentSize } from '../spec/json';
import { boundedBody } from './body';
import type { Exchange, Question } from './exchange';
import { redactedUrl } from './transport/redaction';

/** More pages than any list has: a list that goes on behind them was made to exhaust its readers. */
const mostPages = 10_000;

/** One part of an answer. */
export interface Page {
  readonly status: number;
  readonly body: Uint8Array;
}

/**
 * The answer to a question that may come in pages: each names the next one in its `Link` header. The pages must be of one
 * origin, and no page may come twice.
 *
 * @throws {UntrustedResponseError} naming the URL.
 * @throws {LimitError} if all pages together have more than 50 MiB.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
 */
export async function* pages(exchange: Exchange, question: Question): AsyncGenerator<Page> {
  const seen = new Set<string>();
  let left = maxDocumentSize;
  for (let url: URL | undefined = question.url; url; ) {
    seen.add(url.href);
    const response = await exchange.ask({ ...question, url });
    const body = await boundedBody(response, left, question.what);
    left -= body.length;
    yield { status: response.status, body };
    const next = nextPage(response.headers.link, url);
    const refuse = (expected: string, found: string) =>
      new UntrustedResponseError(
        `${question.what}: expected the next page in the Link header ${expected}, found ${found}`,
        { expected, found },
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
