import { setImmediate } from 'node:timers/promises';
import type { Dispatcher } from 'undici';
import type { Bytes } from '../../compression';
import { untilAborted } from './abort';
import { isLocalHost, localAddress } from './addresses';
import { type ConnectionOptions, openAgents, undici } from './agents';
import { networkError } from './network-error';
import type { HttpRequest, HttpResponse, Transport } from './transport';

/** How long one waits, in milliseconds. */
export interface Timeouts {
  /** For a connection, TLS included. */
  readonly connect: number;
  /** For the head of the response after all of the request was sent; a registry may have to hash a blob before. */
  readonly response: number;
  /** For the next bytes of a response's body. */
  readonly idle: number;
}

export const defaultTimeouts: Timeouts = { connect: 15_000, response: 180_000, idle: 60_000 };

export interface HttpOptions extends ConnectionOptions {
  /** Those of {@link defaultTimeouts} that are to be others. */
  readonly timeouts?: Partial<Timeouts>;
}

/** A transport that keeps connections. */
export interface OpenTransport extends Transport {
  /** Ends all connections, those in use too. */
  close(): Promise<void>;
}

/** A body that nobody wants is read to its end if that costs less than a new connection: in bytes and milliseconds. */
const worthReading = { limit: 128 * 1024, wait: 1000 };

/** Fewer and larger chunks for the reader of a fast body. */
const highWaterMark = 256 * 1024;

/**
 * The innermost ring: one HTTP exchange, no more. Connections are kept, and there are as many to one host as requests are
 * under way.
 *
 * @throws {ConnectionError} when there is no response, and by its body when it breaks off.
 * @throws {UntrustedResponseError} for a local address where only public ones are allowed.
 * @throws {InvalidOptionError} at once, naming the option.
 */
export function httpTransport(options: HttpOptions = {}): OpenTransport {
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  const agents = openAgents(options, timeouts.connect);

  const send = async ({ method, url, headers, body, signal, publicOnly = false }: HttpRequest) => {
    if (publicOnly && isLocalHost(url.hostname)) throw localAddress(url.hostname, url.hostname);
    return undici().request(url, {
      dispatcher: await agents.agentFor(url, publicOnly),
      method,
      headers: { 'user-agent': 'nx-oci', ...headers, ...(body && { 'content-length': String(body.size) }) },
      body: body && body.size > 0 ? (body.open() as Bytes & Dispatcher.DispatchOptions['body']) : null,
      signal: signal ?? null,
      headersTimeout: timeouts.response,
      bodyTimeout: timeouts.idle,
      highWaterMark,
    });
  };

  const exchange = async (request: HttpRequest): Promise<HttpResponse> => {
    try {
      request.signal?.throwIfAborted();
      // undici looks at the signal only once there is a connection.
      return responseOf(await untilAborted(send(request), request.signal), request);
    } catch (error) {
      throw networkError(error, request);
    }
  };
  return Object.assign(exchange, { close: agents.close });
}

function responseOf({ statusCode, headers, body }: Dispatcher.ResponseData, request: HttpRequest): HttpResponse {
  let reading = false;
  // A body that breaks off while nobody reads it must not end the process.
  body.on('error', () => undefined);
  async function* read(): AsyncGenerator<Uint8Array> {
    reading = true;
    try {
      yield* body;
      await connectionFree();
    } catch (error) {
      throw networkError(error, request);
    }
  }
  const discard = async () => {
    if (reading) body.destroy();
    // What is left of a destroyed body is of no interest.
    else await body.dump({ ...worthReading, signal: AbortSignal.timeout(worthReading.wait) }).catch(() => undefined);
    await connectionFree();
  };
  return {
    status: statusCode,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value].flat().join(', ')])),
    url: request.url,
    body: read(),
    discard,
  };
}

/** undici uses a connection again one turn of the event loop later; who asks at once would open another one. */
const connectionFree = () => setImmediate();
