import { afterAll } from '@jest/globals';
import { type Blob, bytesBlob, digestOf, type Image } from '../../src';
import type { DigestAlgorithm } from '../../src/digest';
import { type ClientOptions, type RegistryClient, registryClient } from '../../src/registry/client';
import type { Repository } from '../../src/registry/repository';
import type { RegistryRequest } from '../../src/registry/server/requests';
import { type Registry, type RegistryOptions, startRegistry } from '../../src/registry/server/start-registry';
import type { Descriptor } from '../../src/spec/documents';
import { type Answer, impatient, type Received, serve } from './transport/servers';

const closing: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A client without patience that is closed with the test file, and does not look at this machine's own proxies. */
export function clientOf(options: ClientOptions = {}): RegistryClient {
  const client = registryClient({ environment: {}, policy: impatient, ...options });
  closing.push(client.close);
  return client;
}

/** The repository `os` of a registry. */
export function repositoryAt({ host }: { readonly host: string }, options: ClientOptions = {}): Repository {
  return clientOf(options).repository({ registry: host, repository: 'os' });
}

/** A registry that is closed with the test file. */
export async function openRegistry(options: RegistryOptions = {}): Promise<Registry> {
  const registry = await startRegistry(options);
  closing.push(registry.close);
  return registry;
}

export interface HostileRegistry {
  readonly host: string;
  readonly origin: string;
  /** The requests but for those that look for the registry, such as `GET /v2/os/tags/list`. */
  asked(): string[];
  /** The same with all that came. */
  received(): Received[];
}

/** A registry that answers in a way of its own, but for the request that looks for it. */
export async function hostileRegistry(
  answer: Answer,
  options: { readonly tls?: boolean; readonly unread?: boolean } = {},
): Promise<HostileRegistry> {
  const server = await serve((received, response, request) => {
    // A connection kept from here would be replaced once without a word, and count as one more request.
    if (received.path === '/v2/') response.setHeader('connection', 'close').end();
    else return answer(received, response, request);
  }, options);
  const received = () => server.received.filter(({ path }) => path !== '/v2/');
  return {
    host: new URL(server.origin).host,
    origin: server.origin,
    asked: () => received().map(({ method, path }) => `${method} ${path}`),
    received,
  };
}

/** What was asked of a registry, such as `HEAD 404 blobs/sha256:…`: for the repository `os`, without the query. */
export function askedOf({ requests }: Registry): string[] {
  return requests.filter(({ path }) => path !== '/v2/').map(outlineOf);
}

const outlineOf = ({ method, status, path }: RegistryRequest) =>
  `${method} ${status} ${path.replace('/v2/os/', '').replace(/uploads\/.+/, 'uploads/…')}`;

/** Bytes with their descriptor. */
export function content(
  bytes: Uint8Array,
  { algorithm = 'sha256' as DigestAlgorithm, mediaType = 'application/octet-stream' } = {},
): { readonly bytes: Uint8Array; readonly descriptor: Descriptor; readonly blob: Blob } {
  const descriptor = { mediaType, digest: digestOf(bytes, algorithm), size: bytes.length };
  return { bytes, descriptor, blob: bytesBlob(bytes) };
}

/** So many bytes, all the same for the same seed. */
export function someBytes(size: number, seed = 1): Buffer {
  return Buffer.from(
    Uint32Array.from({ length: Math.ceil(size / 4) }, (_, at) => (at + seed) * 2654435761).buffer,
    0,
    size,
  );
}

/** The digests of the config and the layers. */
export const blobDigests = ({ manifest }: Image) => [manifest.config, ...manifest.layers].map(({ digest }) => digest);
