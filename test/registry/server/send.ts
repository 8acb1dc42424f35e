import { once } from 'node:events';
import { type IncomingHttpHeaders, type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { digestOf, mediaTypes } from '../../../src';
import { collect } from '../../fixtures';

/** An answer as it came over the wire. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** The codes and messages of a refusal. */
  readonly errors: readonly { code: string; message: string }[];
}

export interface Sent {
  readonly headers?: OutgoingHttpHeaders;
  /** Streams (without a length) if it is no buffer. */
  readonly body?: Uint8Array | string | AsyncIterable<Uint8Array>;
}

/** Sends a request exactly as it is given: unlike `fetch`, which would make `/a/../b` into `/b`. Connections are not shared. */
export async function send(origin: string, method: string, path: string, sent: Sent = {}): Promise<Answer> {
  const response = await open(origin, method, path, sent);
  const body = await collect(response);
  const isRefusal = (response.statusCode ?? 0) >= 400 && body.length > 0;
  const errors = isRefusal ? JSON.parse(body.toString()).errors : [];
  return { status: response.statusCode ?? 0, headers: response.headers, body, errors };
}

/** As {@link send}, but leaves the answer's body to be read. */
export async function open(
  origin: string,
  method: string,
  path: string,
  { headers = {}, body = '' }: Sent = {},
): Promise<IncomingMessage> {
  const isWhole = typeof body === 'string' || body instanceof Uint8Array;
  const length = isWhole ? { 'content-length': Buffer.byteLength(body) } : {};
  const { hostname, port } = new URL(origin);
  const outgoing = request({ hostname, port, path, method, agent: false, headers: { ...length, ...headers } });
  const answered = once(outgoing, 'response');
  if (isWhole) outgoing.end(body);
  else {
    // A server that answers early may not take all.
    pipeline(body, outgoing).catch(() => undefined);
  }
  const [response] = (await answered) as [IncomingMessage];
  // From here on the response says what goes wrong.
  outgoing.on('error', () => undefined);
  return response;
}

/** A blob with its digest. */
export function blobOf(text: string | Uint8Array) {
  const bytes = Buffer.from(text);
  return { bytes, digest: digestOf(bytes) };
}

/** An image manifest of one layer with the bytes that it stands for; what is given is added to it. */
export function manifestOf(layer: string, more: object = {}) {
  const [config, content] = [blobOf('{}'), blobOf(layer)];
  const body = {
    schemaVersion: 2,
    mediaType: mediaTypes.imageManifest,
    config: { mediaType: mediaTypes.imageConfig, digest: config.digest, size: config.bytes.length },
    layers: [{ mediaType: mediaTypes.layer, digest: content.digest, size: content.bytes.length }],
    ...more,
  };
  return { ...blobOf(JSON.stringify(body)), mediaType: mediaTypes.imageManifest as string, config, content };
}

/** An image index of manifests. */
export function indexOf(
  manifests: readonly { digest: string; bytes: Uint8Array; mediaType: string }[],
  more: object = {},
) {
  const listed = manifests.map(({ digest, bytes, mediaType }) => ({ mediaType, digest, size: bytes.length }));
  const body = { schemaVersion: 2, mediaType: mediaTypes.imageIndex, manifests: listed, ...more };
  return { ...blobOf(JSON.stringify(body)), mediaType: mediaTypes.imageIndex as string };
}

/** Pushes a blob in two requests. */
export async function pushBlob(origin: string, repository: string, content: string | Uint8Array): Promise<string> {
  const { bytes, digest } = blobOf(content);
  const location = await startUpload(origin, repository);
  await send(origin, 'PUT', `${location}?digest=${digest}`, { body: bytes });
  return digest;
}

/** Where the bytes of a new upload go. */
export async function startUpload(origin: string, repository: string): Promise<string> {
  const { headers } = await send(origin, 'POST', `/v2/${repository}/blobs/uploads/`);
  return headers.location ?? '';
}

export function putManifest(
  origin: string,
  repository: string,
  name: string,
  { bytes, mediaType }: { readonly bytes: Uint8Array; readonly mediaType: string },
): Promise<Answer> {
  return send(origin, 'PUT', `/v2/${repository}/manifests/${name}`, {
    headers: { 'content-type': mediaType },
    body: bytes,
  });
}
