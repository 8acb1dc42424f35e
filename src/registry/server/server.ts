import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Gate } from './authentication';
import { Refusal, refusalBody, refusalOf } from './errors';
import { answer, answerJson, type Exchange, hasBody } from './exchange';
import { type Faults, noMisbehaviour } from './faults';
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

/** An HTTP server of a registry, not yet listening. */
export interface RegistryServer {
  readonly server: Server;
  /** When it is at work on nothing any more. */
  idle(): Promise<void>;
}

/** For how many milliseconds an idle connection is kept, longer than clients keep them, so that none is met half-closed. */
const keptAlive = 75_000;

/** How many bytes are read from a socket at once, and wait in it to be sent. */
const bufferSize = 256 * 1024;

export function createRegistryServer(served: Served): RegistryServer {
  let atWork = 0;
  let onIdle: () => void = () => undefined;
  const listener = async (request: IncomingMessage, response: ServerResponse) => {
    atWork++;
    try {
      await serve(request, response, served);
    } catch {
      response.destroy();
    } finally {
      atWork--;
      if (atWork === 0) onIdle();
    }
  };
  // An upload may take its time; what has no end ends with the server.
  const options = { requestTimeout: 0, keepAliveTimeout: keptAlive, noDelay: true, highWaterMark: bufferSize };
  const { tls } = served;
  return {
    server: tls ? createSecureServer({ ...options, ...tls }, listener) : createServer(options, listener),
    idle: () =>
      new Promise((resolve) => {
        onIdle = resolve;
        if (atWork === 0) resolve();
      }),
  };
}

const noQuery = new URLSearchParams();

async function serve(request: IncomingMessage, response: ServerResponse, served: Served): Promise<void> {
  const { method = '', url = '', headers } = request;
  const question = url.indexOf('?');
  const path = question < 0 ? url : url.slice(0, question);
  const search = question < 0 ? '' : url.slice(question);
  const record: OpenRequest = {
    method,
    path,
    query: search,
    headers: withoutSecrets(headers),
    bytesIn: 0,
    bytesOut: 0,
  };
  served.arrived(record);
  // What is written to a client that went away is lost; who writes sees to it.
  response.on('error', ignore).on('close', () => served.ended(record));
  const misbehaviour = served.faults.befalling({
    method,
    path,
    search,
    hasRange: headers.range !== undefined,
    hasBody: hasBody(request),
  });
  const query = search === '' ? noQuery : new URLSearchParams(search);
  const exchange: Exchange = { request, response, query, misbehaviour, record };
  try {
    if (misbehaviour !== noMisbehaviour && (await misbehave(exchange, served.closing))) return;
    const route = routeOf(path);
    if ('repository' in route) record.repository = route.repository;
    if (route.endpoint === 'token' && served.gate?.answerToken) await served.gate.answerToken(exchange);
    else {
      if (served.gate) await served.gate.authorize(exchange, route);
      await handlerOf(route, method)(exchange, route, served);
    }
  } catch (error) {
    await refuse(exchange, error);
  }
}

const ignore = (): void => undefined;

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
