import { RegistryError, UntrustedResponseError } from '../../errors';
import { redactedUrl } from './redaction';
import type { HttpRequest, HttpResponse, Transport } from './transport';

/** Browsers give up after twenty; registries redirect once or twice. */
const mostRedirects = 10;

const redirects = new Set([301, 302, 303, 307, 308]);

/** What another origin may know of a request: nothing that says who asks. */
const impersonalHeaders = ['range', 'accept', 'user-agent'];

/**
 * Follows redirects of GET and HEAD. What other methods are answered is the business of who sent them.
 *
 * @throws {UntrustedResponseError} for a redirect from https to http or to something else than HTTP.
 * @throws {RegistryError} for a loop, or more than ten redirects.
 */
export function withRedirects(inner: Transport): Transport {
  return async (request) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return inner(request);
    const visited = new Set<string>();
    for (let current = request; ; ) {
      const response = await inner(current);
      const location = response.headers.location;
      if (!redirects.has(response.status) || location === undefined) return response;
      await response.discard();
      const url = target(location, response, current);
      visited.add(current.url.href);
      if (visited.has(url.href) || visited.size > mostRedirects) throw endless(request, url);
      current = { ...current, url, ...(url.origin !== current.url.origin && { headers: impersonal(current.headers) }) };
    }
  };
}

function target(location: string, { url: from, status }: HttpResponse, { method }: HttpRequest): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (to !== undefined && (to.protocol === 'https:' || (to.protocol === 'http:' && from.protocol === 'http:'))) {
    return to;
  }
  const expected = from.protocol === 'https:' ? 'an https URL' : 'an http or https URL';
  const found = to === undefined ? 'other text' : to.protocol === 'http:' ? redactedUrl(to) : to.protocol;
  throw new UntrustedResponseError(
    `${method} ${redactedUrl(from)}: expected a redirect to ${expected}, found ${found}; it is not followed, ask who runs the registry`,
    { expected, found, status },
  );
}

function impersonal(headers: HttpRequest['headers'] = {}): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => impersonalHeaders.includes(name)));
}

function endless({ method, url }: HttpRequest, to: URL): RegistryError {
  return new RegistryError(
    `${method} ${redactedUrl(url)}: expected at most ${mostRedirects} redirects, each to another place, found more or a loop (at ${redactedUrl(to)}); ask who runs the registry`,
  );
}
