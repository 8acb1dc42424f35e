import type { OutgoingHttpHeaders } from 'node:http';
import { type Blob, bytesBlob } from '../../blob';
import type { Digest } from '../../digest';
import { Refusal } from './errors';
import { answer, answerWith, type Exchange } from './exchange';
import type { Handler } from './handler';
import type { ErrorCode } from './protocol';
import { headerNames } from './protocol';
import { rangeOf } from './ranges';
import type { RegistryStorage } from './storage';

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests */
export const getManifest: Handler<'manifest'> = async (exchange, { repository, name }, { storage }) => {
  const manifest = await storage.manifest(repository, name);
  if (!manifest) throw await notFound(storage, repository, 'MANIFEST_UNKNOWN', `manifest ${name}`);
  const { digest, mediaType, bytes } = manifest;
  const headers = contentHeaders(digest, mediaType);
  if (isPlain(exchange)) return answer(exchange, 200, headers, bytes);
  return answerAsAsked(exchange, digest, headers, bytesBlob(bytes));
};

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-blobs */
export const getBlob: Handler<'blob'> = async (exchange, { repository, digest }, { storage }) => {
  const blob = await storage.blob(repository, digest);
  if (!blob) throw await notFound(storage, repository, 'BLOB_UNKNOWN', `blob ${digest}`);
  return answerAsAsked(exchange, digest, contentHeaders(digest, 'application/octet-stream'), blob);
};

/** What is missing: the content, or all of its repository. */
export async function notFound(
  storage: RegistryStorage,
  repository: string,
  code: ErrorCode,
  thing: string,
): Promise<Refusal> {
  if ((await storage.tags(repository)) === undefined) return unknownRepository(repository);
  return new Refusal(404, code, `${thing}: expected it in repository ${repository}, found none; push it first`);
}

export function unknownRepository(repository: string): Refusal {
  return new Refusal(404, 'NAME_UNKNOWN', `repository ${repository}: found none of this name; push to it first`);
}

function contentHeaders(digest: Digest, mediaType: string): OutgoingHttpHeaders {
  return {
    'content-type': mediaType,
    [headerNames.contentDigest]: digest,
    etag: `"${digest}"`,
    'accept-ranges': 'bytes',
  };
}

/** Whether the request wants all of the content, whatever it is. */
function isPlain({ request }: Exchange): boolean {
  return request.headers.range === undefined && request.headers['if-none-match'] === undefined;
}

/** All of the content, a part of it, or none if the client has it. */
function answerAsAsked(
  exchange: Exchange,
  digest: Digest,
  headers: OutgoingHttpHeaders,
  content: Blob,
): Promise<void> | undefined {
  const { request, misbehaviour } = exchange;
  if (isKnown(request.headers['if-none-match'], digest)) return answer(exchange, 304, headers);
  const { range, 'if-range': condition = `"${digest}"` } = request.headers;
  const isHeeded = request.method === 'GET' && condition === `"${digest}"` && !misbehaviour.ignoreRange;
  const part = range !== undefined && isHeeded ? rangeOf(range, content.size) : undefined;
  if (part === undefined) return answerWith(exchange, 200, headers, content);
  if (part === 'unsatisfiable') {
    throw new Refusal(416, 'SIZE_INVALID', `range ${range}: expected a part of ${content.size} bytes`, {
      'content-range': `bytes */${content.size}`,
    });
  }
  const contentRange = `bytes ${part.start}-${part.end - 1}/${content.size}`;
  return answerWith(exchange, 206, { ...headers, 'content-range': contentRange }, content, part);
}

/** @see https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2 */
function isKnown(condition: string | undefined, digest: Digest): boolean {
  const tags = condition?.split(',').map((tag) => tag.trim().replace(/^W\//, ''));
  return tags?.some((tag) => tag === '*' || tag === `"${digest}"`) ?? false;
}
