import { asDigest, type Digest } from '../../digest';
import { OciError } from '../../errors';
import { isRepository, isTag } from '../reference';
import { Refusal } from './errors';

/**
 * What a path means.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints
 */
export type Route =
  | { readonly endpoint: 'base' }
  | { readonly endpoint: 'catalog' }
  | { readonly endpoint: 'token' }
  /** `name` is a digest or, without a colon, what should be a tag. */
  | { readonly endpoint: 'manifest'; readonly repository: string; readonly name: string }
  | { readonly endpoint: 'blob'; readonly repository: string; readonly digest: Digest }
  | { readonly endpoint: 'uploads'; readonly repository: string }
  | { readonly endpoint: 'upload'; readonly repository: string; readonly session: string }
  | { readonly endpoint: 'tags'; readonly repository: string }
  | { readonly endpoint: 'referrers'; readonly repository: string; readonly digest: Digest };

/** Where tokens are had; not the specification's, but one of the registry's own. */
export const tokenPath = '/token';

const pathPattern =
  /^\/v2\/(?<name>.+)\/(?:manifests\/(?<manifest>[^/]+)|blobs\/uploads\/?(?<session>[^/]*)|blobs\/(?<blob>[^/]+)|referrers\/(?<subject>[^/]+)|tags\/list)$/;

/**
 * Reads a path as it is on the wire. Nothing is decoded: what repositories, tags and digests are made of needs no
 * escaping, so that an escaped character is either pointless or meant to get past a check.
 *
 * @throws {Refusal}
 */
export function routeOf(path: string): Route {
  if (path === '/v2/' || path === '/v2') return { endpoint: 'base' };
  if (path === '/v2/_catalog') return { endpoint: 'catalog' };
  if (path === tokenPath) return { endpoint: 'token' };
  const parts = pathPattern.exec(path)?.groups;
  if (!parts) throw new Refusal(404, 'UNSUPPORTED', `${quote(path)}: expected an endpoint of /v2/, found none`);
  const { name = '', manifest, session, blob, subject } = parts;
  const repository = checkRepository(name);
  if (manifest !== undefined) return { endpoint: 'manifest', repository, name: checkName(manifest) };
  if (blob !== undefined) return { endpoint: 'blob', repository, digest: checkDigest(blob) };
  if (subject !== undefined) return { endpoint: 'referrers', repository, digest: checkDigest(subject) };
  if (session === '') return { endpoint: 'uploads', repository };
  return session === undefined ? { endpoint: 'tags', repository } : { endpoint: 'upload', repository, session };
}

/** @throws {Refusal} */
export function checkRepository(name: string): string {
  if (isRepository(name)) return name;
  throw new Refusal(
    400,
    'NAME_INVALID',
    `repository ${quote(name)}: expected up to 255 lower-case letters, digits, ".", "_" and "-" with single slashes between, not escaped`,
  );
}

/** @throws {Refusal} */
export function checkDigest(text: string): Digest {
  try {
    return asDigest(text);
  } catch (error) {
    throw error instanceof OciError ? new Refusal(400, 'DIGEST_INVALID', error.message) : error;
  }
}

/** @throws {Refusal} */
export function checkTag(text: string): string {
  if (isTag(text)) return text;
  throw new Refusal(
    400,
    'MANIFEST_INVALID',
    `tag ${quote(text)}: expected up to 128 letters, digits, ".", "_" and "-", the first no "." or "-"`,
  );
}

/** No tag has a colon. One that no tag can be like is simply not found; who puts something under it is told. */
function checkName(text: string): string {
  return text.includes(':') ? checkDigest(text) : text;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 300 ? `${text.slice(0, 300)}…` : text);
}
