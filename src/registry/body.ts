import { bytesOf } from '../blob';
import { LimitError } from '../errors';
import type { HttpResponse } from './transport/transport';

/** The body, as long as it has at most so many bytes: known before it is read, or found out on the way. */
export async function boundedBody(response: HttpResponse, limit: number, what: string): Promise<Uint8Array> {
  const announced = Number(response.headers['content-length'] ?? 0);
  try {
    if (announced > limit) throw new LimitError(what, limit, announced);
    return await bytesOf(response.body, limit, what);
  } finally {
    await response.discard();
  }
}
