import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import * as z from 'zod';
import { InvalidOptionError } from '../../errors';
import type { Ref } from '../../ref';
import { checkDocument } from '../../spec/json';
import { type Authentication, createGate } from './authentication';
import { directoryStorage } from './directory-storage';
import { createFaults, type Fault, type FaultHandle, faultSchema } from './faults';
import { addLayouts, addRef, type ServedLayout } from './layouts';
import { memoryStorage } from './memory-storage';
import { type RegistryRequest, remember } from './requests';
import { createRegistryServer, type RegistryServer } from './server';
import { createSessions } from './sessions';
import type { RegistryStorage } from './storage';

/** What a registry serves from its start, and how. */
export interface RegistryOptions {
  readonly layouts?: readonly ServedLayout[];
  /** By default any free one. */
  readonly port?: number;
  /** The address to listen at; `127.0.0.1` by default, which this machine alone can reach. */
  readonly host?: string;
  /** What keeps the content: memory by default, or a directory by its path. */
  readonly storage?: RegistryStorage | string;
  /** PEM; https then. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer };
  /** Who may come in; everybody by default. */
  readonly auth?: Authentication;
  /** What goes wrong from the start. */
  readonly faults?: readonly Fault[];
  /**
   * Whether a manifest is taken before what it refers to, as the specification lets a registry decide; true by default.
   * Many registries do not.
   */
  readonly sparse?: boolean;
  /** How many entries a list has at most before it goes on by a `Link` header; no bound by default. */
  readonly pageSize?: number;
  /** Gets each request when its exchange is over. */
  readonly onRequest?: (request: RegistryRequest) => void;
}

/** A registry that runs. */
export interface Registry extends AsyncDisposable {
  /** `http://127.0.0.1:5000` */
  readonly url: string;
  /** `127.0.0.1:5000`, as references begin. */
  readonly host: string;
  /** The requests that there were, in the order in which they came: the last 10,000 at most, and 5,000 at least. */
  readonly requests: readonly RegistryRequest[];
  readonly storage: RegistryStorage;
  /**
   * Serves an image or index with all that it refers to. Its content is remembered or linked, not copied.
   *
   * @param tag without one it is there by its digest alone.
   */
  addRef(repository: string, tag: string | undefined, ref: Ref): Promise<void>;
  /**
   * Lets something go wrong, until it is stopped or happened as often as it was to.
   *
   * @throws {InvalidDocumentError} for a fault that there is not, naming the field.
   */
  misbehave(fault: Fault): FaultHandle;
  /** Ends everything that is under way, and lets go of the port. */
  close(): Promise<void>;
}

/** What TypeScript says, for JavaScript. What makes the certificate and the users looks at them itself, and tells no secret. */
const optionsSchema = z.strictObject({
  layouts: z.array(z.strictObject({ path: z.string(), repository: z.string(), tag: z.string().optional() })).optional(),
  port: z.int().optional(),
  host: z.string().optional(),
  storage: z
    .union([z.string(), z.custom<RegistryStorage>((value) => typeof value === 'object' && value !== null)])
    .optional(),
  tls: z.unknown().optional(),
  auth: z.unknown().optional(),
  faults: z.array(faultSchema).optional(),
  sparse: z.boolean().optional(),
  pageSize: z.int().min(1).optional(),
  onRequest: z.custom<() => void>((value) => typeof value === 'function', 'a function').optional(),
});

/** How many milliseconds the work under way has to end when its connections are gone. */
const patience = 1_000;

/**
 * Starts a registry: the whole distribution specification 1.1, over http or https.
 *
 * @throws {InvalidDocumentError} for an option that there is not, or of another type.
 * @throws {InvalidOptionError} if it can't listen there, or the certificate or the htpasswd file can't be used.
 * @throws what reading the layouts throws.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
 */
export async function startRegistry(options: RegistryOptions = {}): Promise<Registry> {
  checkDocument(options, optionsSchema, 'options of startRegistry');
  if (options.tls) checkCertificate(options.tls, 'tls');
  const { host = '127.0.0.1', port = 0, layouts = [], sparse = true, pageSize = Number.POSITIVE_INFINITY } = options;
  const gate = options.auth && (await createGate(options.auth));
  const storage = await openStorage(options.storage);
  const requests: RegistryRequest[] = [];
  const faults = createFaults();
  for (const fault of options.faults ?? []) faults.add(fault);
  const sessions = createSessions(storage);
  const closing = new AbortController();
  const release = async () => {
    await sessions.close();
    // Who opened it closes it.
    if (typeof options.storage !== 'object') await storage.close();
  };
  try {
    await addLayouts(storage, layouts);
    const isLogged = process.env.DEBUG?.includes('nx-oci:registry') ?? false;
    const running = createRegistryServer({
      storage,
      sessions,
      sparse,
      pageSize,
      faults,
      ...(gate && { gate }),
      ...(options.tls && { tls: options.tls }),
      arrived: (request) => remember(requests, request),
      ended: (request) => {
        if (isLogged) logRequest(request);
        options.onRequest?.(request);
      },
      closing: closing.signal,
    });
    const shutDown = await listen(running, port, host);
    const authority = `${urlHost(host)}:${(running.server.address() as AddressInfo).port}`;
    let closed: Promise<void> | undefined;
    const close = () => {
      closed ??= (async () => {
        closing.abort();
        await shutDown();
        await release();
      })();
      return closed;
    };
    return {
      url: `${options.tls ? 'https' : 'http'}://${authority}`,
      host: authority,
      requests,
      storage,
      addRef: (repository, tag, ref) => addRef(storage, repository, tag, ref),
      misbehave: faults.add,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await release();
    throw error;
  }
}

async function openStorage(storage: RegistryStorage | string | undefined): Promise<RegistryStorage> {
  if (typeof storage === 'object') return storage;
  return storage === undefined ? memoryStorage() : directoryStorage(storage);
}

/**
 * @param name names both in messages; they themselves stay secret.
 * @throws {InvalidOptionError} if they are no certificate and its key.
 */
export function checkCertificate({ cert, key }: NonNullable<RegistryOptions['tls']>, name: string): void {
  const expected = 'a certificate and its key in PEM';
  // Node takes one without the other, and then fails whoever connects.
  if (!cert || !key)
    throw new InvalidOptionError(`${name}: expected ${expected}, found only one of them`, { expected });
  try {
    createSecureContext({ cert, key });
  } catch (error) {
    // OpenSSL's own words, where there are any, without its numbers.
    const { reason, message } = error as Error & { readonly reason?: string };
    const found = reason ?? message;
    throw new InvalidOptionError(`${name}: expected ${expected}, found some that can't be used (${found})`, {
      expected,
      found,
    });
  }
}

/**
 * Listens, and returns what ends it all.
 *
 * @throws {InvalidOptionError}
 */
async function listen({ server, idle }: RegistryServer, port: number, host: string): Promise<() => Promise<void>> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const found = (error as Error).message;
    throw new InvalidOptionError(
      `port ${port} of ${host}: expected to listen there, found ${found}; choose another port, or 0 for any free one`,
      { expected: 'a free port', found },
    );
  }
  return async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
    await inTime(idle());
  };
}

/** A source of content that hangs must not keep the registry from closing. */
async function inTime(work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, patience);
  });
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}

/** A host as it stands in a URL; one that means every address of this machine is reached by the nearest. */
function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1';
  return host.includes(':') ? `[${host}]` : host;
}

function logRequest({ method, path, query, status, bytesIn, bytesOut }: RegistryRequest): void {
  const outcome = `${status ?? 'no answer'}, ${bytesIn} bytes in, ${bytesOut} bytes out`;
  process.stderr.write(`nx-oci:registry ${method} ${JSON.stringify(path + query)}: ${outcome}\n`);
}
