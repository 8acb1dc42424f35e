import type { Blob, ByteRange } from '../blob';
import { UntrustedResponseError } from '../errors';
import type { Descriptor } from '../spec/documents';
import type { Exchange } from './exchange';
import { type Retries, retrying } from './transport/retries';
import type { HttpResponse } from './transport/transport';

/**
 * The content behind a descriptor as a blob that is fetched when it is opened. A body that breaks off is taken up where
 * it broke. Not verified here: its readers verify, so that what was put together of several bodies is right or refused.
 *
 * @throws {UntrustedResponseError} while it is read, if the registry sends another range than the one asked for.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-blobs
 */
export function remoteBlob(exchange: Exchange, descriptor: Descriptor, retries: Retries): Blob {
  return { size: descriptor.size, open: (range) => resumedBytes(exchange, descriptor, range ?? {}, retries) };
}

async function* resumedBytes(
  exchange: Exchange,
  descriptor: Descriptor,
  { start = 0, end }: ByteRange,
  retries: Retries,
): AsyncGenerator<Uint8Array> {
  const url = await exchange.url(`blobs/${descriptor.digest}`);
  let position = start;
  let etag: string | undefined;
  let body: AsyncGenerator<Uint8Array> | undefined;
  const nextChunk = async (): Promise<IteratorResult<Uint8Array, void>> => {
    if (body === undefined) {
      // Broken off behind the last byte: there is no range to ask for.
      if (position > 0 && position >= descriptor.size) return { done: true, value: undefined };
      const response = await openAt(
        exchange,
        url,
        descriptor,
        { start: position, ...(end !== undefined && { end }) },
        etag,
      );
      etag ??= strongEtag(response);
      body = contentFrom(response, position, end);
    }
    try {
      return await body.next();
    } catch (error) {
      body = undefined;
      throw error;
    }
  };
  try {
    while (end === undefined || position < end) {
      const next = await retrying(nextChunk, { ...retries, url, signal: exchange.signal });
      if (next.done) return;
      position += next.value.length;
      yield next.value;
    }
  } finally {
    await body?.return(undefined);
  }
}

async function openAt(
  exchange: Exchange,
  url: URL,
  { digest, size, urls = [] }: Descriptor,
  { start, end }: { readonly start: number; readonly end?: number },
  etag: string | undefined,
): Promise<HttpResponse> {
  const isWhole = start === 0 && end === undefined;
  const range = `bytes=${start}-${end === undefined ? '' : end - 1}`;
  const what = `blob ${digest}`;
  const question = {
    what,
    method: 'GET' as const,
    actions: 'pull',
    expected: isWhole ? [200] : [200, 206],
    headers: isWhole ? {} : { range, ...(etag !== undefined && { 'if-range': etag }) },
  };
  const places = [url, ...urls.flatMap(httpUrl)];
  const response = await firstAnswer(places, (url) => exchange.ask({ ...question, url }));
  if (response.status === 206) await checkRange(response, start, size, `${what} (${range})`);
  return response;
}

/** Layers that may not be distributed lie elsewhere, where their descriptors say (image-spec, descriptor.md). */
async function firstAnswer(places: readonly URL[], ask: (url: URL) => Promise<HttpResponse>): Promise<HttpResponse> {
  const [first, ...others] = places as [URL, ...URL[]];
  try {
    return await ask(first);
  } catch (error) {
    for (const url of others) {
      const response = await ask(url).catch(() => undefined);
      if (response) return response;
    }
    throw error;
  }
}

function httpUrl(text: string): URL[] {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url && (url.protocol === 'https:' || url.protocol === 'http:') ? [url] : [];
}

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-14.4 */
async function checkRange(response: HttpResponse, position: number, size: number, what: string): Promise<void> {
  const found = response.headers['content-range'] ?? 'none';
  const [, first, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(found) ?? [];
  if (first === String(position) && (total === '*' || total === String(size))) return;
  await response.discard();
  const expected = `bytes ${position}-…/${size}`;
  throw new UntrustedResponseError(
    `${what}: expected a response with Content-Range ${expected}, found ${JSON.stringify(found)}; the registry or a proxy before it does not serve ranges as it should`,
    { expected, found, status: response.status },
  );
}

/** The content from a position on: a registry that knows no ranges sends all of it. */
async function* contentFrom(
  response: HttpResponse,
  position: number,
  end: number | undefined,
): AsyncGenerator<Uint8Array> {
  let at = response.status === 206 ? position : 0;
  try {
    for await (const chunk of response.body) {
      const from = Math.max(position - at, 0);
      const to = end === undefined ? chunk.length : Math.min(chunk.length, end - at);
      at += chunk.length;
      if (to > from) yield chunk.subarray(from, to);
      if (end !== undefined && at >= end) return;
    }
  } finally {
    await response.discard();
  }
}

/** By a strong entity tag a server knows whether the rest would be of the same content (RFC 9110, section 13.1.5). */
function strongEtag({ headers }: HttpResponse): string | undefined {
  return headers.etag?.startsWith('"') ? headers.etag : undefined;
}
