import { readFileSync } from 'node:fs';
import {
  createServer as createHttpServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  request,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';
import type { Credentials } from '../../../src/credentials/credential';
import { withAuthorization } from '../../../src/registry/transport/authorization';
import { type HttpOptions, httpTransport, type OpenTransport } from '../../../src/registry/transport/http';
import { withRedirects } from '../../../src/registry/transport/redirects';
import { type Retries, withRetries } from '../../../src/registry/transport/retries';
import type { HttpRequest, HttpResponse, Transport } from '../../../src/registry/transport/transport';
import { collect, repository } from '../../fixtures';

const closing: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closing.splice(0)) await close();
});

export const certificateFile = (name: string) => join(repository, 'test/registry/certificates', name);
const pem = (name: string) => readFileSync(certificateFile(name), 'utf8');

/** The authority of all certificates here. */
export const authority = pem('ca.pem');

/** A request as a server got it. */
export interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface TestServer {
  /** By its number; with TLS or without. */
  readonly origin: string;
  readonly port: number;
  readonly received: readonly Received[];
  /** How many connections there were. */
  connections(): number;
  close(): Promise<void>;
}

/** What a server does once it has all of a request. */
export type Answer = (received: Received, response: ServerResponse, request: IncomingMessage) => unknown;

/** Answers paths differently. */
export const byPath =
  (answers: Readonly<Record<string, Answer>>, other: Answer): Answer =>
  (received, response, request) =>
    (answers[received.path] ?? other)(received, response, request);

/**
 * A server on a free port of this machine, until the test file ends.
 *
 * @param options.unread whether the requests' bodies are left to the answer.
 */
export async function serve(answer: Answer, { tls = false, port = 0, unread = false } = {}): Promise<TestServer> {
  const received: Received[] = [];
  const listener: RequestListener = async (request, response) => {
    // A client that goes away is part of the tests.
    const body = unread ? '' : await collect(request).catch(() => '');
    const { method = '', url: path = '', headers } = request;
    received.push({ method, path, headers, body: body.toString() });
    answer(received.at(-1) as Received, response, request);
  };
  const server = tls
    ? createHttpsServer({ cert: pem('server.pem'), key: pem('server-key.pem') }, listener)
    : createHttpServer(listener);
  const { number, connections, close } = await listening(server, port);
  return { origin: `${tls ? 'https' : 'http'}://127.0.0.1:${number}`, port: number, received, connections, close };
}

/** A server below HTTP. */
export async function serveSockets(onSocket: (socket: Socket) => unknown): Promise<{ readonly port: number }> {
  const { number } = await listening(createServer(onSocket), 0);
  return { port: number };
}

/** A port that nobody listens on, for now. */
export async function unusedPort(): Promise<number> {
  const { port, close } = await serve(() => undefined);
  await close();
  return port;
}

async function listening(server: Server, port: number) {
  const sockets = new Set<Socket>();
  let connections = 0;
  server.on('connection', (socket) => {
    connections++;
    sockets.add(socket.on('error', () => undefined).on('close', () => sockets.delete(socket)));
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  closing.push(close);
  return { number: (server.address() as AddressInfo).port, connections: () => connections, close };
}

/** A proxy for which every host is a server of these tests, so that they have public names. */
export async function serveProxy(hosts: Readonly<Record<string, { readonly port: number }>>) {
  const asked: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const server = createHttpServer((incoming, outgoing) => {
    const { host, href } = new URL(incoming.url ?? '');
    asked.push(`${incoming.method} ${href}`);
    authorizations.push(incoming.headers['proxy-authorization']);
    const target = hosts[host];
    if (!target) return outgoing.writeHead(502).end();
    const { pathname, search } = new URL(href);
    const options = { port: target.port, method: incoming.method, path: pathname + search, headers: incoming.headers };
    incoming.pipe(
      request({ host: '127.0.0.1', ...options }, (response) => {
        response.pipe(outgoing.writeHead(response.statusCode ?? 500, response.headers));
      }),
    );
  });
  server.on('connect', (incoming, socket: Socket) => {
    asked.push(`CONNECT ${incoming.url}`);
    authorizations.push(incoming.headers['proxy-authorization']);
    const target = hosts[incoming.url ?? ''];
    if (!target) return socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n');
    const tunnel = connect(target.port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n');
      socket.pipe(tunnel).pipe(socket);
    });
    tunnel.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('close', () => tunnel.destroy());
  });
  const { number } = await listening(server, 0);
  return { url: `http://127.0.0.1:${number}`, address: `127.0.0.1:${number}`, asked, authorizations };
}

/** A transport that is closed with the test file, and does not look at this machine's own proxies. */
export function http(options: HttpOptions = {}): OpenTransport {
  const transport = httpTransport({ environment: {}, ...options });
  closing.push(transport.close);
  return transport;
}

export const anonymous: Credentials = async () => undefined;

/** No time for waiting. */
export const impatient = { attempts: 3, deadline: 10_000, firstDelay: 2, longestDelay: 5 };

/** All rings, in the order that the client has them in. */
export function rings(options: HttpOptions & Retries & { credentials?: Credentials } = {}): Transport {
  const { credentials = anonymous, policy = impatient, onRetry } = options;
  return withRetries(withAuthorization(withRedirects(http(options)), credentials), policy, onRetry);
}

/** A request for a path, or for a whole URL. */
export const get = (origin: string, path = '/', more: Partial<HttpRequest> = {}): HttpRequest => ({
  method: 'GET',
  url: new URL(path, origin),
  ...more,
});

/** Status and text of a response. */
export async function read(response: HttpResponse): Promise<{ status: number; text: string }> {
  return { status: response.status, text: (await collect(response.body)).toString() };
}
