import type { Blob } from '../../blob';
import type { Bytes } from '../../compression';

/**
 * One exchange with a registry. Transports are rings around one another: each knows one thing (redirects, authorization,
 * retries) and leaves the rest to the one inside it; the innermost speaks HTTP.
 */
export type Transport = (request: HttpRequest) => Promise<HttpResponse>;

export type HttpMethod = 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export interface HttpRequest {
  readonly method: HttpMethod;
  readonly url: URL;
  /** By lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Opened anew for each try. */
  readonly body?: Blob;
  /** Ends the exchange at once, the reading of the response's body and all waiting included. */
  readonly signal?: AbortSignal;
  /**
   * What the request needs to be allowed to do, such as `repository:os:pull,push`, for the token that it is made with. A
   * request without scopes is made without credentials: a foreign URL, for one.
   */
  readonly scopes?: readonly string[];
  /** Whether the same request may be sent again when nobody knows what became of it. By default GET and HEAD alone. */
  readonly idempotent?: boolean;
  /**
   * Whether addresses of this machine and of its link are refused, wherever redirects and names lead: for a place that
   * somebody else named.
   */
  readonly publicOnly?: boolean;
}

export interface HttpResponse {
  readonly status: number;
  /** By lower-case names; several of one name are joined with ", ". */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Where the response came from in the end. */
  readonly url: URL;
  /** Streams once. Every response's body is read to its end or discarded, because a connection hangs on it. */
  readonly body: Bytes;
  /** Lets go of a body that nobody wants. */
  discard(): Promise<void>;
}
