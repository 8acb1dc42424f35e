import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { type Blob, bytesBlob } from '../../blob';
import type { Bytes } from '../../compression';
import { encodeJson } from '../../spec/json';
import type { Misbehaviour } from './faults';
import type { OpenRequest } from './requests';

/** A request and its answer to be. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly misbehaviour: Misbehaviour;
  readonly record: OpenRequest;
}

const nothing = new Uint8Array();

/** Answers with what is in memory. */
export function answer(
  exchange: Exchange,
  status: number,
  headers: OutgoingHttpHeaders = {},
  body: Uint8Array = nothing,
): Promise<void> | undefined {
  const { request, response, record, misbehaviour } = exchange;
  const { cutAfter, flipByte } = misbehaviour;
  if ((cutAfter !== undefined || flipByte !== undefined) && body.length > 0) {
    return answerWith(exchange, status, headers, bytesBlob(body));
  }
  headers['content-length'] = body.length;
  if (!begin(exchange, status, headers)) return;
  if (request.method === 'HEAD' || body.length === 0) response.end();
  else {
    record.bytesOut = body.length;
    response.end(body);
  }
}

export function answerJson(
  exchange: Exchange,
  value: unknown,
  headers: OutgoingHttpHeaders = {},
): Promise<void> | undefined {
  return answer(exchange, 200, { 'content-type': 'application/json', ...headers }, encodeJson(value));
}

/**
 * Answers with content that streams, as fast as the client takes it. Content that turns out shorter or longer than it
 * should be, or can't be read, ends the connection, so that no client takes it for whole.
 */
export async function answerWith(
  exchange: Exchange,
  status: number,
  headers: OutgoingHttpHeaders,
  content: Blob,
  { start, end }: { readonly start: number; readonly end: number } = { start: 0, end: content.size },
): Promise<void> {
  const { request, response, record, misbehaviour } = exchange;
  if (!begin(exchange, status, { ...headers, 'content-length': end - start })) return;
  if (request.method === 'HEAD' || end === start) return void response.end();
  const { cutAfter = Number.POSITIVE_INFINITY } = misbehaviour;
  const stop = Math.min(end, start + cutAfter);
  let position = start;
  try {
    for await (const chunk of content.open({ start, end: stop })) {
      if (response.destroyed) return;
      const part = turnedOver(chunk.subarray(0, stop - position), misbehaviour.flipByte, position);
      position += part.length;
      record.bytesOut += part.length;
      if (!response.write(part)) await drained(response);
    }
  } catch (error) {
    response.destroy();
    throw error;
  }
  if (position === end) response.end();
  else {
    await flushed(response);
    response.destroy();
  }
}

/** The body of the request, which may be left alone half-way without the connection's end. */
export async function* bodyOf({ request, record, misbehaviour }: Exchange): Bytes & AsyncGenerator<Uint8Array> {
  const { cutUploadAfter = Number.POSITIVE_INFINITY } = misbehaviour;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    const part = chunk.subarray(0, cutUploadAfter - record.bytesIn);
    record.bytesIn += part.length;
    yield part;
    if (record.bytesIn >= cutUploadAfter) {
      request.destroy();
      throw new Error('the connection was cut on purpose');
    }
  }
}

/** Gets status and headers ready to be sent, unless there is nobody to send them to. */
function begin({ response, record, misbehaviour }: Exchange, status: number, headers: OutgoingHttpHeaders): boolean {
  if (response.destroyed) return false;
  if (misbehaviour.hangUp === 'after') {
    response.destroy();
    return false;
  }
  record.status = status;
  // A status without a body has no length either (RFC 9110, section 8.6).
  if (status === 204 || status === 304) delete headers['content-length'];
  if (misbehaviour.headers) {
    for (const [name, value] of Object.entries(misbehaviour.headers)) {
      if (value === null) delete headers[name];
      else headers[name] = value;
    }
  }
  response.writeHead(status, headers);
  return true;
}

function turnedOver(chunk: Uint8Array, flipByte: number | undefined, position: number): Uint8Array {
  const at = (flipByte ?? -1) - position;
  if (at < 0 || at >= chunk.length) return chunk;
  const changed = Uint8Array.from(chunk);
  changed[at] = ~(chunk[at] as number);
  return changed;
}

/** Until the client took enough to be sent more, or is gone. */
function drained(response: ServerResponse): Promise<void> | undefined {
  if (response.destroyed || !response.writableNeedDrain) return;
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
  });
}

/** Until everything that was written left this process, or the client is gone. */
function flushed(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    response.once('close', resolve).write('', () => resolve());
  });
}
