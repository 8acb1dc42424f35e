import type { OutgoingHttpHeaders } from 'node:http';
import { LimitError, OciError } from '../../errors';
import { encodeJson } from '../../spec/json';
import type { ErrorCode } from './protocol';

/** A request that is refused, and what its answer says. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: ErrorCode | 'UNKNOWN',
    message: string,
    readonly headers: OutgoingHttpHeaders = {},
  ) {
    super(message);
  }
}

/** The refusal that a failure ends with: a server's own failure, if nothing else is known of it. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof LimitError) return new Refusal(413, 'SIZE_INVALID', error.message);
  // A code for this case is not among the specification's, which leaves answers of 500 and above to the registry.
  return new Refusal(500, 'UNKNOWN', error instanceof OciError ? error.message : 'the registry failed');
}

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes */
export function refusalBody({ code, message }: Refusal): Uint8Array {
  return encodeJson({ errors: [{ code, message }] });
}

/** What a status means where nothing more is known. */
export function codeOf(status: number): ErrorCode | 'UNKNOWN' {
  if (status === 401) return 'UNAUTHORIZED';
  if (status === 403) return 'DENIED';
  if (status === 429) return 'TOOMANYREQUESTS';
  return status < 500 ? 'UNSUPPORTED' : 'UNKNOWN';
}
