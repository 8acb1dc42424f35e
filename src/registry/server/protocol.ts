import type { Digest } from '../../digest';

/**
 * The words of the protocol, as the registry says them.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints
 */

/** Where things are, below the origin of a registry. Repositories, tags and digests need no escaping in a path. */
export const paths = {
  base: '/v2/',
  catalog: '/v2/_catalog',
  manifest: (repository: string, tagOrDigest: string) => `/v2/${repository}/manifests/${tagOrDigest}`,
  blob: (repository: string, digest: Digest) => `/v2/${repository}/blobs/${digest}`,
  uploads: (repository: string) => `/v2/${repository}/blobs/uploads/`,
  tags: (repository: string) => `/v2/${repository}/tags/list`,
  referrers: (repository: string, subject: Digest) => `/v2/${repository}/referrers/${subject}`,
} as const;

/** The headers that are the specification's own. */
export const headerNames = {
  contentDigest: 'docker-content-digest',
  subject: 'oci-subject',
  tag: 'oci-tag',
  filtersApplied: 'oci-filters-applied',
  chunkMinLength: 'oci-chunk-min-length',
} as const;

/**
 * What the bodies of refused requests say.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes
 */
export type ErrorCode =
  | 'BLOB_UNKNOWN'
  | 'BLOB_UPLOAD_INVALID'
  | 'BLOB_UPLOAD_UNKNOWN'
  | 'DIGEST_INVALID'
  | 'MANIFEST_BLOB_UNKNOWN'
  | 'MANIFEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'SIZE_INVALID'
  | 'UNAUTHORIZED'
  | 'DENIED'
  | 'UNSUPPORTED'
  | 'TOOMANYREQUESTS';
