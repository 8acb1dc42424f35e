import type { Blob } from '../blob';
import { ConnectionError } from '../errors';
import { type RepositoryName, servingHost } from './reference';
import { isPublicRegistry } from './transport/addresses';
import { responseError } from './transport/response-error';
import type { HttpMethod, HttpResponse, Transport } from './transport/transport';

/** One request about a repository, with what is expected of its response. */
export interface Question {
  /** What is asked for, for messages: `manifest latest`. */
  readonly what: string;
  readonly method: HttpMethod;
  readonly url: URL;
  /** What one must be allowed to do: pull, push or delete. */
  readonly actions: string;
  /** The statuses that are answers; every other one is an error. */
  readonly expected: readonly number[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Blob;
  readonly idempotent?: boolean;
  /** Another repository that has to be read for it. */
  readonly from?: string;
  /** Ends this request, instead of the signal that ends all others. */
  readonly signal?: AbortSignal;
}

/** The requests about one repository: its URLs, what they need to be allowed to do, and which answers are errors. */
export interface Exchange {
  readonly name: RepositoryName;
  readonly signal?: AbortSignal;
  /** The URL of `/v2/<repository>/<path>`. */
  url(path: string, query?: Readonly<Record<string, string>>): Promise<URL>;
  /**
   * The response, if it has one of the expected statuses. A URL of another origin than the registry's is asked without
   * credentials, and may not lead from a public registry into this machine.
   *
   * @throws {NotInRegistryError}, {@link UnauthorizedError}, {@link RegistryError} naming what was asked for.
   */
  ask(question: Question): Promise<HttpResponse>;
}

/** @param origin where the registry is reached. */
export function exchange(
  name: RepositoryName,
  origin: () => Promise<URL>,
  transport: Transport,
  signal?: AbortSignal,
): Exchange {
  return {
    name,
    ...(signal && { signal }),
    url: async (path, query = {}) => {
      const url = new URL(`/v2/${name.repository}/${path}`, await origin());
      for (const [key, value] of Object.entries(query)) url.searchParams.append(key, value);
      return url;
    },
    ask: async ({ what, actions, expected, from, signal: ends = signal, ...request }) => {
      ends?.throwIfAborted();
      const own = await origin();
      const isOwn = request.url.origin === own.origin;
      const response = await transport({
        ...request,
        ...(isOwn ? { scopes: scopesOf(name, actions, from) } : { publicOnly: isPublicRegistry(own) }),
        ...(ends && { signal: ends }),
      });
      if (expected.includes(response.status)) return response;
      throw await responseError(response, `${name.registry}/${name.repository}: ${what}`, {
        expected: expected.join(' or '),
      });
    },
  };
}

/** @see https://distribution.github.io/distribution/spec/auth/scope/ */
function scopesOf({ repository }: RepositoryName, actions: string, from: string | undefined): string[] {
  const own = `repository:${repository}:${actions}`;
  return from === undefined ? [own] : [own, `repository:${from}:pull`];
}

/** Whether a host is this machine, where registries are commonly served without TLS. */
export function isLoopback(registry: string): boolean {
  const host = new URL(`http://${registry}`).hostname;
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127(\.\d+){3}$/.test(host);
}

/**
 * Where a registry is reached: by https, and without it only where it is this machine's own or named as insecure. There
 * one request, which carries nothing, finds out.
 */
export async function findOrigin(
  registry: string,
  isInsecure: boolean,
  transport: Transport,
  signal?: AbortSignal,
): Promise<URL> {
  const host = servingHost(registry);
  if (!isInsecure && !isLoopback(host)) return new URL(`https://${host}`);
  const schemes = isLoopback(host) ? ['http', 'https'] : ['https', 'http'];
  const failures: Partial<Record<string, unknown>> = {};
  for (const scheme of schemes) {
    const origin = new URL(`${scheme}://${host}`);
    try {
      const response = await transport({
        method: 'GET',
        url: new URL('/v2/', origin),
        idempotent: false,
        ...(signal && { signal }),
      });
      await response.discard();
      // A server that speaks TLS alone answers plain HTTP with a 400.
      if (scheme === 'https' || response.status !== 400) return origin;
    } catch (error) {
      signal?.throwIfAborted();
      failures[scheme] = error;
    }
  }
  throw isWithoutTls(failures.https) ? (failures.http ?? failures.https) : failures.https;
}

/** Whether somebody answered, and did not speak TLS: then what went wrong without it says more. */
function isWithoutTls(failure: unknown): boolean {
  return failure instanceof ConnectionError && /^(?:EPROTO|ERR_SSL_)/.test(failure.code);
}
