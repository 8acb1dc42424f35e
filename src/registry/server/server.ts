import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Gate } from './authentication';
import { Refusal, refusalBody, refusalOf } from './errors';
import { answer, answerJson, type Exchange } from './exchange';
import type { Faults } from './faults';
import type { Handler, Registered } from './handler';
import { listReferrers, listRepositories, listTags } from './listing';
import { misbehave } from './misbehave';
import { getBlob, getManifest } from './pull';
import { putManifest } from './push';
import { deleteBlob, deleteManifest } from './removal';
import { type OpenRequest, withoutSecrets } from './requests';
import { type Route, routeOf } from './routes';
import { cancelUpload, getUpload, patchUpload, putUpload, startUpload } from './uploads';

/** What a server serves, and how. */
export interface Served extends Registered {
  readonly faults: Faults;
  readonly gate?: Gate;
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer };
  /** Gets each request as it arrives, and fills in later what became of it. */
  readonly arrived: (request: OpenRequest) => void;
  /** Gets each request when its exchange is over. */
  readonly ended: (request: OpenRequest) => void;
  /** Aborted when the server is to close. */
  readonly closing: AbortSignal;
}

/** An HTTP server of a registry, not yet listening, and what it is at work on. */
export interface RegistryServer {
  readonly server: Server;
  readonly atWork: ReadonlySet<Promise<void>>;
}

/** For how many milliseconds an idle connection is kept, longer than clients keep them, so that none is met half-closed. */
const keptAlive = 75_000;

/** How much of a body that nobody wants is read, so that its client comes to read the answer: 64 MiB. */
const maxUnwanted = 64 * 1024 * 1024;

export function createRegistryServer(served: Served): RegistryServer {
  const atWork = new Set<Promise<void>>();
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    const work = serve(request, response, served)
      .catch(() => void response.destroy())
      .finally(() => atWork.delete(work));
    atWork.add(work);
  };
  // An upload may take its time; what has no end ends with the server.
  const options = { requestTimeout: 0, keepAliveTimeout: keptAlive, noDelay: true, highWaterMark: 256 * 1024 };
  const server = served.tls
    ? createSecureServer({ ...options, ...served.tls }, listener)
    : createServer(options, listener);
  return { server, atWork };
}

async function serve(request: IncomingMessage, response: ServerResponse, served: Served): Promise<void> {
  const { method = '', url = '' } = request;
  const question = url.indexOf('?');
  const path = question < 0 ? url : url.slice(0, question);
  const search = question < 0 ? '' : url.slice(question);
  const record: OpenRequest = {
    method,
    path,
    query: search,
    headers: withoutSecrets(request.headers),
    bytesIn: 0,
    bytesOut: 0,
  };
  served.arrived(record);
  // Both fail when the client goes away, which whoever reads or writes notices.
  response.on('error', () => undefined).on('close', () => served.ended(record));
  request.on('error', () => undefined);
  const target = { method, path, search, hasRange: request.headers.range !== undefined };
  const misbehaviour = served.faults.befalling(target);
  const exchange = { request, response, query: new URLSearchParams(search), misbehaviour, record };
  try {
    if (await misbehave(exchange, served.closing)) return;
    const route = routeOf(path);
    if ('repository' in route) record.repository = route.repository;
    await respond(exchange, route, served);
  } catch (error) {
    await refuse(exchange, error);
  }
  if (!request.complete) discardBody(request);
}

async function respond(exchange: Exchange, route: Route, served: Served): Promise<void> {
  if (route.endpoint === 'token' && served.gate?.answerToken) return served.gate.answerToken(exchange);
  await served.gate?.authorize(exchange, route);
  await handlerOf(route, exchange.request.method ?? '')(exchange, route, served);
}

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#determining-support */
const answerBase: Handler<'base'> = (exchange) =>
  answerJson(exchange, {}, { 'docker-distribution-api-version': 'registry/2.0' });

type Handlers = { [Endpoint in Route['endpoint']]: Readonly<Record<string, Handler<Endpoint>>> };

/** What answers a request, by endpoint and method. What answers GET answers HEAD. */
const handlers: Handlers = {
  base: { GET: answerBase },
  catalog: { GET: listRepositories },
  manifest: { GET: getManifest, PUT: putManifest, DELETE: deleteManifest },
  blob: { GET: getBlob, DELETE: deleteBlob },
  uploads: { POST: startUpload },
  upload: { GET: getUpload, PATCH: patchUpload, PUT: putUpload, DELETE: cancelUpload },
  tags: { GET: listTags },
  referrers: { GET: listReferrers },
  token: {},
};

function handlerOf(route: Route, method: string): Handler<Route['endpoint']> {
  const methods = handlers[route.endpoint];
  const handler = Object.hasOwn(methods, method) ? methods[method] : method === 'HEAD' ? methods.GET : undefined;
  if (handler) return handler as Handler<Route['endpoint']>;
  const allowed = Object.keys(methods).join(', ');
  throw allowed === ''
    ? new Refusal(404, 'UNSUPPORTED', 'token endpoint: found none; this registry has none')
    : new Refusal(405, 'UNSUPPORTED', `method ${method}: expected one of ${allowed}`, { allow: allowed });
}

/** Tells the client why, if nothing was sent yet; else the connection's end has to do. */
async function refuse(exchange: Exchange, error: unknown): Promise<void> {
  const { response } = exchange;
  if (response.headersSent) return void response.destroy();
  const refusal = refusalOf(error);
  const headers = { 'content-type': 'application/json', ...refusal.headers };
  await answer(exchange, refusal.status, headers, refusalBody(refusal));
}

/** Most clients read no answer before they sent all; those that go on sending are cut off. */
function discardBody(request: IncomingMessage): void {
  let discarded = 0;
  request.on('data', (chunk: Buffer) => {
    discarded += chunk.length;
    if (discarded > maxUnwanted) request.destroy();
  });
}
