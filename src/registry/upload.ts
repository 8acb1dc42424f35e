import type { Blob } from '../blob';
import { algorithmOf } from '../digest';
import {
  NotInRegistryError,
  RegistryError,
  SizeMismatchError,
  UnauthorizedError,
  UntrustedResponseError,
} from '../errors';
import { verifyBlob } from '../hashing';
import type { Descriptor } from '../spec/documents';
import type { Exchange, Question } from './exchange';
import { redactedUrl } from './transport/redaction';
import { isTemporary, type Retries, retrying } from './transport/retries';
import type { HttpResponse } from './transport/transport';

/** How a blob is sent. */
export interface UploadOptions {
  /** A repository of the same registry that may have the blob: then it is mounted instead of sent. */
  readonly mountFrom?: string;
  /** Sends pieces of this many bytes. By default one piece, and smaller ones only for a registry that refuses it. */
  readonly chunkSize?: number;
  /** Takes the number of bytes that are there, again and again; it falls when a piece has to be sent again. */
  readonly onProgress?: (sent: number) => void;
}

/** What became of a blob: it was there, another repository gave it, or it was sent. */
export type UploadOutcome = 'present' | 'mounted' | 'uploaded';

/** The pieces for a registry, or a proxy before it, that refuses a large one: 10 MiB, below all limits that are known. */
const acceptableChunk = 10 * 1024 * 1024;

/** How many milliseconds are spent on telling the registry of an upload that was given up. */
const cancelPatience = 5_000;

const octets = { 'content-type': 'application/octet-stream' };

/** Whether the repository has the blob. */
export async function hasBlob(exchange: Exchange, { digest }: Pick<Descriptor, 'digest'>): Promise<boolean> {
  const response = await exchange.ask({
    what: `blob ${digest}`,
    method: 'HEAD',
    url: await exchange.url(`blobs/${digest}`),
    actions: 'pull',
    expected: [200, 404],
  });
  await response.discard();
  return response.status === 200;
}

/**
 * Sends a blob. An upload that breaks off goes on where the registry says that it broke or, when the registry no longer
 * knows, begins anew. The registry verifies it.
 *
 * @throws {SizeMismatchError}, {@link DigestMismatchError} for a blob that is not what it should be, which the registry found.
 * @throws {UntrustedResponseError} if the place for the upload is none, or is reached without TLS where the registry is
 *   reached with it.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
 */
export async function uploadBlob(
  exchange: Exchange,
  descriptor: Descriptor,
  blob: Blob,
  options: UploadOptions,
  retries: Retries,
): Promise<'mounted' | 'uploaded'> {
  const upload = { exchange, descriptor, blob, onProgress: options.onProgress };
  let chunkSize = options.chunkSize ?? Math.max(blob.size, 1);
  let place: Place | undefined;
  let isFirstTry = true;
  let furthest = 0;

  const sendFrom = async (start: Place, progressed: () => void): Promise<void> => {
    let here = start;
    for (;;) {
      place = here;
      options.onProgress?.(here.offset);
      if (here.offset > furthest) progressed();
      furthest = Math.max(furthest, here.offset);
      const end = here.offset + Math.max(chunkSize, here.smallestChunk);
      if (end >= blob.size) return closeUpload(upload, here);
      here = await sendChunk(upload, here, end);
    }
  };
  const attempt = async (progressed: () => void): Promise<'mounted' | 'uploaded'> => {
    if (!isFirstTry) {
      place = place && (await uploadStatus(upload, place));
      // It may be the answer alone that was lost.
      if (place === undefined && (await hasBlob(exchange, descriptor))) return 'uploaded';
    }
    isFirstTry = false;
    const start = place ?? (await startUpload(upload, options.mountFrom));
    if (start === 'mounted') return start;
    await sendFrom(start, progressed);
    return 'uploaded';
  };
  const attemptInAcceptedSize = async (progressed: () => void): Promise<'mounted' | 'uploaded'> => {
    try {
      return await attempt(progressed);
    } catch (error) {
      if (!isTooLarge(error) || chunkSize <= acceptableChunk) throw error;
      chunkSize = acceptableChunk;
      return attempt(progressed);
    }
  };

  try {
    const temporary = (error: unknown) => isTemporary(error) || isOutOfOrder(error);
    return await retrying(attemptInAcceptedSize, {
      ...retries,
      temporary,
      url: await exchange.url('blobs/uploads/'),
      signal: exchange.signal,
    });
  } catch (error) {
    if (place) await cancelUpload(upload, place);
    // What is wrong here comes before what the registry says of it.
    if (isOfAnotherDigest(error)) await verifyBlob(blob, descriptor);
    throw error;
  }
}

const isTooLarge = (error: unknown) => error instanceof RegistryError && error.status === 413;

const isOfAnotherDigest = (error: unknown) => error instanceof RegistryError && error.codes.includes('DIGEST_INVALID');

/** The registry has other bytes than it was thought to have, and says which when it is asked. */
const isOutOfOrder = (error: unknown) => error instanceof RegistryError && error.status === 416;

interface Upload {
  readonly exchange: Exchange;
  readonly descriptor: Descriptor;
  readonly blob: Blob;
  readonly onProgress: UploadOptions['onProgress'];
}

/** How far an open upload has come, and where it goes on. */
interface Place {
  readonly location: URL;
  readonly offset: number;
  /** What the registry wants each piece but the last to have at least, in bytes. */
  readonly smallestChunk: number;
}

const whatOf = ({ descriptor }: Upload) => `upload of blob ${descriptor.digest}`;

async function startUpload(upload: Upload, mountFrom: string | undefined): Promise<'mounted' | Place> {
  const { exchange, descriptor } = upload;
  const algorithm = algorithmOf(descriptor.digest);
  const question: Question = {
    what: whatOf(upload),
    method: 'POST',
    url: await exchange.url('blobs/uploads/', {
      ...(mountFrom !== undefined && { mount: descriptor.digest, from: mountFrom }),
      ...(algorithm !== 'sha256' && { 'digest-algorithm': algorithm }),
    }),
    actions: 'pull,push',
    expected: mountFrom === undefined ? [202] : [201, 202],
    headers: { 'content-length': '0' },
    // A second upload does no harm.
    idempotent: true,
    ...(mountFrom !== undefined && { from: mountFrom }),
  };
  let response: HttpResponse;
  try {
    response = await exchange.ask(question);
  } catch (error) {
    // Who may write here may be kept from reading there.
    const isRefused = error instanceof UnauthorizedError || error instanceof NotInRegistryError;
    if (mountFrom === undefined || !isRefused) throw error;
    return startUpload(upload, undefined);
  }
  await response.discard();
  if (response.status === 201) return 'mounted';
  const smallestChunk = Number(response.headers['oci-chunk-min-length']) || 0;
  return { location: await nextLocation(upload, response), offset: 0, smallestChunk };
}

async function sendChunk(upload: Upload, place: Place, end: number): Promise<Place> {
  const { exchange } = upload;
  const response = await exchange.ask({
    what: whatOf(upload),
    method: 'PATCH',
    url: place.location,
    actions: 'pull,push',
    expected: [202],
    headers: { ...octets, 'content-range': `${place.offset}-${end - 1}` },
    body: pieceOf(upload, place.offset, end),
  });
  await response.discard();
  return { ...place, location: await nextLocation(upload, response), offset: end };
}

async function closeUpload(upload: Upload, { location, offset }: Place): Promise<void> {
  const { exchange, descriptor, blob } = upload;
  const url = new URL(location);
  // Only appended to: what a registry put into the query may be signed.
  url.search += `${url.search === '' ? '?' : '&'}digest=${encodeURIComponent(descriptor.digest)}`;
  const response = await exchange.ask({
    what: whatOf(upload),
    method: 'PUT',
    url,
    actions: 'pull,push',
    expected: [201, 204],
    headers: { ...octets, ...(offset > 0 && offset < blob.size && { 'content-range': `${offset}-${blob.size - 1}` }) },
    body: pieceOf(upload, offset, blob.size),
  });
  await response.discard();
}

/** Where an upload stands; `undefined` if the registry no longer knows, or knows of no byte. */
async function uploadStatus(upload: Upload, place: Place): Promise<Place | undefined> {
  try {
    const response = await upload.exchange.ask({
      what: whatOf(upload),
      method: 'GET',
      url: place.location,
      actions: 'pull,push',
      expected: [204],
    });
    await response.discard();
    const last = Number(/^(?:bytes=)?0-(\d+)$/.exec(response.headers.range ?? '')?.[1]);
    // Registries say `0-0` of an upload of one byte, and of one without any.
    if (!(last > 0 && last < upload.blob.size)) {
      await cancelUpload(upload, place);
      return undefined;
    }
    return { ...place, offset: last + 1, location: await nextLocation(upload, response) };
  } catch {
    return undefined;
  }
}

/** Lets the registry free what it holds; whether it does is its own business. */
async function cancelUpload(upload: Upload, { location }: Place): Promise<void> {
  await upload.exchange
    .ask({
      what: whatOf(upload),
      method: 'DELETE',
      url: location,
      actions: 'pull,push',
      expected: [202, 204],
      // What ended the upload must not end this.
      signal: AbortSignal.timeout(cancelPatience),
    })
    .then((response) => response.discard())
    .catch(() => undefined);
}

/** Where an upload goes on: on the registry's own host or, without credentials then, on another one. */
async function nextLocation(upload: Upload, response: HttpResponse): Promise<URL> {
  const { registry, repository } = upload.exchange.name;
  const refuse = (expected: string, found: string) =>
    new UntrustedResponseError(
      `${registry}/${repository}: ${whatOf(upload)}: expected ${expected}, found ${found}; the registry, or a proxy before it, is not set up as it should be`,
      { expected, found, status: response.status },
    );
  const text = response.headers.location;
  if (text === undefined || text === '') throw refuse('a Location header', 'none');
  if (!URL.canParse(text, response.url.href)) throw refuse('a URL in the Location header', 'other text');
  const url = new URL(text, response.url);
  const { protocol } = await upload.exchange.url('');
  if (url.protocol === 'https:' || (url.protocol === 'http:' && protocol === 'http:')) return url;
  throw refuse(`a Location by ${protocol.slice(0, -1)}`, redactedUrl(url));
}

/** A part of the blob, that tells how far it was read. A registry would wait for what is missing. */
function pieceOf({ descriptor, blob, onProgress }: Upload, from: number, to: number): Blob {
  return {
    size: to - from,
    open: async function* ({ start = 0, end = to - from } = {}) {
      let sent = from + start;
      for await (const chunk of blob.open({ start: sent, end: from + end })) {
        yield chunk;
        sent += chunk.length;
        onProgress?.(sent);
      }
      if (sent < from + end) throw new SizeMismatchError(`blob ${descriptor.digest}`, blob.size, sent);
    },
  };
}
