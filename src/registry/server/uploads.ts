import type { OutgoingHttpHeaders } from 'node:http';
import type { Bytes } from '../../compression';
import { type Digest, digestAlgorithms } from '../../digest';
import { DigestMismatchError } from '../../errors';
import { Refusal } from './errors';
import { answer, bodyOf, type Exchange } from './exchange';
import type { Handler } from './handler';
import { headerNames, paths } from './protocol';
import { chunkOf } from './ranges';
import { checkDigest, checkRepository } from './routes';
import type { Session } from './sessions';
import type { BlobUpload } from './storage';

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs */
export const startUpload: Handler<'uploads'> = async (exchange, { repository }, { storage, sessions }) => {
  const { query, misbehaviour } = exchange;
  const [mount, from, digest] = [query.get('mount'), query.get('from'), query.get('digest')];
  checkAlgorithm(query.get('digest-algorithm'));
  if (mount !== null) {
    const mounted = checkDigest(mount);
    const source = from === null ? undefined : checkRepository(from);
    const isDone = !misbehaviour.refuseMount && (await storage.mount(repository, mounted, source));
    if (isDone) return answerCreated(exchange, repository, mounted);
  } else if (digest !== null) {
    const expected = checkDigest(digest);
    const upload = await storage.startUpload(repository);
    await receive(exchange, upload).catch(async (error) => {
      await upload.cancel();
      throw error;
    });
    await complete(upload, expected);
    return answerCreated(exchange, repository, expected);
  }
  return answer(exchange, 202, statusOf(await sessions.open(repository)));
};

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-a-blob-in-chunks */
export const getUpload: Handler<'upload'> = (exchange, { repository, session }, { sessions }) =>
  answer(exchange, 204, statusOf(sessions.find(repository, session)));

/** A chunk or, without Content-Range, whatever comes. */
export const patchUpload: Handler<'upload'> = async (exchange, { repository, session: id }, { sessions }) => {
  const status = await sessions.change(repository, id, exchange.request, async (session) => {
    await receiveChunk(exchange, session);
    return statusOf(session);
  });
  return answer(exchange, 202, status);
};

export const putUpload: Handler<'upload'> = async (exchange, { repository, session: id }, { sessions }) => {
  const digest = checkDigest(exchange.query.get('digest') ?? '');
  await sessions.change(repository, id, exchange.request, async (session) => {
    await receiveChunk(exchange, session);
    sessions.forget(session);
    await complete(session.upload, digest);
  });
  return answerCreated(exchange, repository, digest);
};

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#cancel-a-blob-upload */
export const cancelUpload: Handler<'upload'> = async (exchange, { repository, session: id }, { sessions }) => {
  await sessions.change(repository, id, exchange.request, async (session) => {
    sessions.forget(session);
    await session.upload.cancel();
  });
  return answer(exchange, 204);
};

function answerCreated(exchange: Exchange, repository: string, digest: Digest): Promise<void> | undefined {
  return answer(exchange, 201, { location: paths.blob(repository, digest), [headerNames.contentDigest]: digest });
}

/** Where to go on, and what is there. An upload without a byte can't be told from one of a single byte. */
function statusOf({ id, repository, upload }: Session): OutgoingHttpHeaders {
  return { location: `${paths.uploads(repository)}${id}`, range: `0-${Math.max(0, upload.size - 1)}` };
}

function checkAlgorithm(name: string | null): void {
  if (name === null || digestAlgorithms.some((algorithm) => algorithm === name)) return;
  const algorithms = digestAlgorithms.join(', ');
  throw new Refusal(
    400,
    'DIGEST_INVALID',
    `digest-algorithm: expected one of ${algorithms}, found ${JSON.stringify(name)}`,
  );
}

async function complete(upload: BlobUpload, digest: Digest): Promise<void> {
  try {
    await upload.complete(digest);
  } catch (error) {
    if (error instanceof DigestMismatchError) throw new Refusal(400, 'DIGEST_INVALID', error.message);
    await upload.cancel();
    throw error;
  }
}

/** The body as the next bytes of the upload, which must be those that Content-Range announces. */
async function receiveChunk(exchange: Exchange, session: Session): Promise<void> {
  const { upload } = session;
  const header = exchange.request.headers['content-range'];
  if (header === undefined) return receive(exchange, upload);
  const chunk = chunkOf(header);
  if (!chunk) {
    const found = JSON.stringify(header);
    throw new Refusal(400, 'BLOB_UPLOAD_INVALID', `Content-Range: expected <first>-<last>, found ${found}`);
  }
  if (chunk.start !== upload.size) {
    throw new Refusal(
      416,
      'BLOB_UPLOAD_INVALID',
      `Content-Range: expected a chunk that begins at byte ${upload.size}, found ${header}`,
      statusOf(session),
    );
  }
  const size = chunk.end - chunk.start;
  const length = exchange.request.headers['content-length'];
  if (length !== undefined && Number(length) !== size) throw wrongSize(header, length);
  await upload.append(exactly(bodyOf(exchange), size, header));
}

async function receive(exchange: Exchange, upload: BlobUpload): Promise<void> {
  // Most closing requests have no body, and need no stream.
  if (exchange.request.headers['content-length'] !== '0') await upload.append(bodyOf(exchange));
}

async function* exactly(body: Bytes, size: number, header: string): AsyncGenerator<Uint8Array> {
  let received = 0;
  for await (const chunk of body) {
    received += chunk.length;
    if (received > size) throw wrongSize(header, 'more');
    yield chunk;
  }
  if (received < size) throw wrongSize(header, String(received));
}

function wrongSize(range: string, found: string): Refusal {
  return new Refusal(
    400,
    'SIZE_INVALID',
    `body: expected as many bytes as Content-Range ${range} names, found ${found}`,
  );
}
