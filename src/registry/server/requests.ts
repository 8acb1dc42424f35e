import type { IncomingHttpHeaders } from 'node:http';

/** A request that a registry got, and what became of it. */
export interface RegistryRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** With its question mark; empty if there is none. */
  readonly query: string;
  /** Of requests about one repository. */
  readonly repository?: string;
  /** As they came, by lower-case names, but for credentials: of these only the scheme is kept. */
  readonly headers: Readonly<IncomingHttpHeaders>;
  /** Of the answer; `undefined` until there is one. */
  readonly status?: number;
  /** Bytes of the request's body that were read. */
  readonly bytesIn: number;
  /** Bytes of the answer's body that were sent. */
  readonly bytesOut: number;
}

/** A request under way. */
export type OpenRequest = { -readonly [Key in keyof RegistryRequest]: RegistryRequest[Key] };

/** How many requests a registry remembers at most; when there are more, the older half is forgotten. */
export const maxRequests = 10_000;

/** Remembers a request, of which more is known later. */
export function remember(requests: RegistryRequest[], request: OpenRequest): void {
  if (requests.length >= maxRequests) requests.splice(0, maxRequests / 2);
  requests.push(request);
}

/** Headers as they may be shown to anybody. */
export function withoutSecrets(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  if (headers.authorization === undefined && headers.cookie === undefined) return headers;
  const { cookie: _, authorization, ...shown } = headers;
  return authorization === undefined ? shown : { ...shown, authorization: `${authorization.split(' ', 1)[0]} …` };
}
