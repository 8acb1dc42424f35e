import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { type Blob, bytesBlob, isFileBlob } from '../../blob';
import type { Bytes } from '../../compression';
import { encodeJson } from '../../spec/json';
import type { Misbehaviour } from './faults';
import { fileContent } from './file-content';
import type { Range } from './ranges';
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

/** How much of a request's body that nobody wants is read, so that its client comes to read the answer: 64 MiB. */
const maxUnwanted = 64 * 1024 * 1024;

/** Answers with what is in memory. Nothing is waited for, but for the rest of a request that is refused half-way. */
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
  const content = request.method === 'HEAD' ? nothing : body;
  record.bytesOut = content.length;
  if (!request.complete && hasBody(request)) return answerEarly(exchange, content);
  response.end(content);
}

export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
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
  { start, end }: Range = { start: 0, end: content.size },
): Promise<void> {
  const { request, response, record, misbehaviour } = exchange;
  if (!begin(exchange, status, { ...headers, 'content-length': end - start })) return;
  if (request.method === 'HEAD' || end === start) return void response.end();
  const { cutAfter = Number.POSITIVE_INFINITY } = misbehaviour;
  const range = { start, end: Math.min(end, start + cutAfter) };
  let position = start;
  try {
    for await (const chunk of isFileBlob(content) ? fileContent(content.path, range) : content.open(range)) {
      const part = turnedOver(chunk.subarray(0, range.end - position), misbehaviour.flipByte, position);
      await sent(response, part);
      if (response.destroyed) return;
      position += part.length;
      record.bytesOut += part.length;
    }
  } catch (error) {
    response.destroy();
    throw error;
  }
  if (position === end) response.end();
  else {
    await sent(response, nothing);
    response.destroy();
  }
}

/** Most clients send all before they read an answer. Who does not stop to send is cut off. */
async function answerEarly({ request, response }: Exchange, content: Uint8Array): Promise<void> {
  if (request.destroyed) return void response.destroy();
  if (content.length > 0) response.write(content);
  else response.flushHeaders();
  let unwanted = 0;
  request.on('data', (chunk: Buffer) => {
    unwanted += chunk.length;
    if (unwanted > maxUnwanted) request.destroy();
  });
  await new Promise<void>((resolve) => {
    request.once('end', resolve).once('close', resolve).resume();
  });
  response.end();
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

/** Writes bytes until they have left this process, or there is nobody to take them. */
function sent(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed) return resolve();
    const done = () => {
      response.off('close', done);
      resolve();
    };
    response.once('close', done).write(bytes, done);
  });
}
