import * as http from 'node:http';
import * as https from 'node:https';
import type { Socket } from 'node:net';
import { urlToHttpOptions } from 'node:url';
import type { Blob } from '../../blob';
import { hasSystemCode } from '../../errors';
import { untilAborted } from './abort';
import { isLocalHost, localAddress } from './addresses';
import { type Agents, type ConnectionOptions, openAgents } from './agents';
import { failure, networkError } from './network-error';
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
const cheapest = { limit: 128 * 1024, wait: 1000 };

/**
 * The innermost ring: one HTTP exchange, no more. Connections are kept, and there are as many to one host as requests are
 * under way. It is Node's own client, because every other one takes longer to load than a small push takes.
 *
 * @throws {ConnectionError} when there is no response, and by its body when it breaks off.
 * @throws {UntrustedResponseError} for a local address where only public ones are allowed.
 * @throws {InvalidOptionError} at once, naming the option.
 */
export function httpTransport(options: HttpOptions = {}): OpenTransport {
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  const agents = openAgents(options);
  const underWay = new Set<http.ClientRequest>();
  let isClosed = false;

  const exchange = async (request: HttpRequest): Promise<HttpResponse> => {
    try {
      request.signal?.throwIfAborted();
      if (isClosed) throw failure('closed', 'ECONNABORTED');
      const response = await untilAborted(sendOnFreshSocket(request, agents, timeouts, underWay), request.signal);
      return responseOf(response, request, timeouts.idle);
    } catch (error) {
      throw networkError(error, request);
    }
  };
  const close = async () => {
    isClosed = true;
    for (const request of underWay) request.destroy(failure('closed', 'ECONNABORTED'));
    agents.close();
  };
  return Object.assign(exchange, { close });
}

interface Answer {
  readonly sent: http.ClientRequest;
  readonly received: http.IncomingMessage;
}

/**
 * A kept connection may end just as it is used again. Most likely the server did nothing then, and a request that may be
 * made twice is made on another one.
 */
async function sendOnFreshSocket(
  request: HttpRequest,
  agents: Agents,
  timeouts: Timeouts,
  underWay: Set<http.ClientRequest>,
): Promise<Answer> {
  const { method, idempotent = method === 'GET' || method === 'HEAD' } = request;
  for (;;) {
    const sent = open(request, agents);
    underWay.add(sent);
    sent.once('close', () => underWay.delete(sent));
    try {
      return { sent, received: await answered(sent, request.body, timeouts) };
    } catch (error) {
      const isStale = idempotent && sent.reusedSocket && hasSystemCode(error, 'ECONNRESET');
      if (!isStale) throw error;
    }
  }
}

function open(request: HttpRequest, agents: Agents): http.ClientRequest {
  const { method, url, headers, body, signal, publicOnly = false } = request;
  if (publicOnly && isLocalHost(url.hostname)) throw localAddress(url.hostname, url.hostname);
  const { auth: _, ...target } = urlToHttpOptions(url);
  const hasBody = body !== undefined || ['POST', 'PUT', 'PATCH'].includes(method);
  const { request: newRequest } = url.protocol === 'https:' ? https : http;
  return newRequest({
    ...target,
    ...agents.optionsFor(url, publicOnly),
    method,
    headers: { 'user-agent': 'nx-oci', ...headers, ...(hasBody && { 'content-length': String(body?.size ?? 0) }) },
    ...(signal && { signal }),
  });
}

/** The head of the response, which may come before the request's body has ended: that of a refusal does. */
function answered(sent: http.ClientRequest, body: Blob | undefined, timeouts: Timeouts): Promise<http.IncomingMessage> {
  let timer: NodeJS.Timeout | undefined;
  let isAnswered = false;
  const within = (milliseconds: number, what: string, code: string) => {
    clearTimeout(timer);
    if (isAnswered) return;
    timer = setTimeout(() => sent.destroy(failure(what, code)), milliseconds);
  };
  // A proxy that refuses answers for itself; that must not be taken for the registry's answer.
  sent.once('proxyConnect', ({ statusCode }: { statusCode: number }) => {
    if (statusCode !== 200) sent.destroy(failure(`status ${statusCode} of the proxy`, 'PROXY_REFUSED'));
  });
  return new Promise<http.IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve);
    sent.on('error', reject);
    within(timeouts.connect, 'no connection in time', 'CONNECT_TIMEOUT');
    sent.once('socket', (socket) =>
      whenConnected(socket, sent.reusedSocket, () => {
        clearTimeout(timer);
        sent.once('finish', () => within(timeouts.response, 'no response in time', 'RESPONSE_TIMEOUT'));
        feed(sent, body).catch((error: Error) => sent.destroy(error));
      }),
    );
  }).finally(() => {
    isAnswered = true;
    clearTimeout(timer);
  });
}

/** A socket that a request was given is there, or is being connected; over TLS it has to be secured then. */
function whenConnected(socket: Socket, isReused: boolean, ready: () => void): void {
  const isSecured = 'encrypted' in socket;
  if (isReused || (!isSecured && !socket.connecting)) ready();
  else socket.once(isSecured ? 'secureConnect' : 'connect', ready);
}

/** Sends the body as fast as it is taken. */
async function feed(sent: http.ClientRequest, body: Blob | undefined): Promise<void> {
  if (body && body.size > 0) {
    for await (const chunk of body.open()) {
      if (sent.destroyed) return;
      if (!sent.write(chunk)) await drained(sent);
    }
  }
  sent.end();
}

/** Until more is taken, or nothing will be. */
function drained(sent: http.ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      sent.off('drain', done).off('close', done);
      resolve();
    };
    sent.on('drain', done).on('close', done);
  });
}

function responseOf({ sent, received }: Answer, request: HttpRequest, idle: number): HttpResponse {
  let isRead = false;
  // A body that breaks off while nobody reads it must not end the process.
  received.on('error', () => undefined);
  // A connection on which a request was left unfinished can't take another one.
  received.once('end', () => {
    if (!sent.writableEnded) sent.destroy();
  });
  async function* read(): AsyncGenerator<Uint8Array> {
    isRead = true;
    const chunks = received[Symbol.asyncIterator]();
    try {
      for (;;) {
        const timer = setTimeout(() => received.destroy(failure('silence', 'IDLE_TIMEOUT')), idle);
        const { done, value } = await chunks.next().finally(() => clearTimeout(timer));
        if (done) return;
        yield value;
      }
    } catch (error) {
      throw networkError(error, request);
    } finally {
      if (!received.readableEnded) received.destroy();
    }
  }
  const headers = Object.entries(received.headers).map(([name, value]) => [name, [value].flat().join(', ')]);
  return {
    status: received.statusCode ?? 0,
    headers: Object.fromEntries(headers),
    url: request.url,
    body: read(),
    discard: async () => {
      if (isRead) received.destroy();
      else await readAway(received);
    },
  };
}

/** Reads a short body to its end, so that its connection can be kept, and ends a long or slow one. */
async function readAway(received: http.IncomingMessage): Promise<void> {
  if (received.readableEnded || received.destroyed) return;
  let size = Number(received.headers['content-length'] ?? 0);
  if (size > cheapest.limit) return void received.destroy();
  size = 0;
  const timer = setTimeout(() => received.destroy(), cheapest.wait);
  received.on('data', ({ length }: Buffer) => {
    size += length;
    if (size > cheapest.limit) received.destroy();
  });
  await new Promise((resolve) => received.once('end', resolve).once('close', resolve));
  clearTimeout(timer);
}
