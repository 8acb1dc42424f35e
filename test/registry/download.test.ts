import { describe, expect, test } from '@jest/globals';
import {
  ConnectionError,
  DigestMismatchError,
  digestOf,
  NotInRegistryError,
  RegistryError,
  SizeMismatchError,
  UntrustedResponseError,
} from '../../src';
import { type Blob, type ByteRange, verified } from '../../src/blob';
import type { Credentials } from '../../src/credentials/credential';
import type { FaultHandle } from '../../src/registry/server/faults';
import type { Retry } from '../../src/registry/transport/retries';
import type { Descriptor } from '../../src/spec/documents';
import { mediaTypes } from '../../src/spec/media-types';
import { collect, failureOf } from '../fixtures';
import { clientOf, content, hostileRegistry, openRegistry, repositoryAt, someBytes } from './clients';
import { type Answer, authority, impatient, serve, serveProxy } from './transport/servers';

const { bytes, descriptor } = content(someBytes(300_000));
const half = 150_000;

/** A registry that has the bytes. */
async function registryWith(stored = content(bytes)) {
  const registry = await openRegistry();
  const upload = await registry.storage.startUpload('os');
  await upload.append(stored.blob.open());
  await upload.complete(stored.descriptor.digest);
  return registry;
}

/** Reads as those do who verify, and gives the digest of what they got. */
const whole = async (blob: Blob, expected: Descriptor = descriptor) =>
  digestOf(await collect(verified(blob.open(), expected)));

const rangesOf = (requests: readonly { readonly method: string; readonly headers: { range?: string | undefined } }[]) =>
  requests.filter(({ method }) => method === 'GET').map(({ headers }) => headers.range);

describe('a blob is read', () => {
  test('as a whole, and asked for no range', async () => {
    const registry = await registryWith();
    expect(await whole(repositoryAt(registry).blobs.blob(descriptor))).toBe(descriptor.digest);
    expect(registry.requests.at(-1)).toMatchObject({ method: 'GET', status: 200, bytesOut: bytes.length });
  });

  test.each<[ByteRange, string]>([
    [{ start: 100_000 }, 'bytes=100000-'],
    [{ start: 100_000, end: 100_001 }, 'bytes=100000-100000'],
    [{ end: 10 }, 'bytes=0-9'],
    [{ start: 299_999, end: 300_000 }, 'bytes=299999-299999'],
  ])('from and up to %j', async (range, header) => {
    const registry = await registryWith();
    const { start = 0, end = bytes.length } = range;
    const read = async () => digestOf(await collect(repositoryAt(registry).blobs.blob(descriptor).open(range)));
    const expected = digestOf(bytes.subarray(start, end));
    expect(await read()).toBe(expected);
    expect(rangesOf(registry.requests).at(-1)).toBe(header);
    registry.misbehave({ ignoreRange: true });
    expect(await read()).toBe(expected);
  });

  test('up to where it begins: nothing, and nothing is asked', async () => {
    const registry = await registryWith();
    expect(await collect(repositoryAt(registry).blobs.blob(descriptor).open({ start: 5, end: 5 }))).toHaveLength(0);
    expect(rangesOf(registry.requests.filter(({ path }) => path !== '/v2/'))).toEqual([]);
  });

  test('without a byte', async () => {
    const empty = content(Buffer.alloc(0));
    const registry = await registryWith(empty);
    expect(await whole(repositoryAt(registry).blobs.blob(empty.descriptor), empty.descriptor)).toBe(
      empty.descriptor.digest,
    );
  });

  test('and is not there', async () => {
    const registry = await openRegistry();
    const read = () => whole(repositoryAt(registry).blobs.blob(descriptor));
    const { message } = await failureOf(NotInRegistryError, read);
    expect(message).toContain(`${registry.host}/os: blob ${descriptor.digest}: expected 200, found 404 (`);
  });

  test('in part, and its connection is let go', async () => {
    const closed: Promise<unknown>[] = [];
    const registry = await hostileRegistry((_received, response) => {
      closed.push(new Promise((resolve) => response.on('close', resolve)));
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, half));
    });
    for await (const _ of repositoryAt(registry).blobs.blob(descriptor).open()) break;
    await closed[0];
    expect(closed).toHaveLength(1);
  });
});

describe('M11: a body that breaks off is taken up where it broke', () => {
  test('as often as it gets on', async () => {
    const registry = await registryWith();
    registry.misbehave({ path: /blobs/, cutAfter: 50_000, times: 5 });
    const retries: Retry[] = [];
    const { blobs } = repositoryAt(registry, { onRetry: (retry) => retries.push(retry) });
    expect(await whole(blobs.blob(descriptor))).toBe(descriptor.digest);
    const positions = [50_000, 100_000, 150_000, 200_000, 250_000];
    expect(rangesOf(registry.requests).slice(1)).toEqual([undefined, ...positions.map((at) => `bytes=${at}-`)]);
    const url = `${registry.url}/v2/os/blobs/${descriptor.digest}`;
    expect(retries.map(({ attempt, url }) => [attempt, url])).toEqual(Array(5).fill([1, url]));
  });

  test('a part of it, too', async () => {
    const registry = await registryWith();
    registry.misbehave({ path: /blobs/, cutAfter: 1000, times: 1 });
    const range = { start: 100_000, end: 102_000 };
    expect(await collect(repositoryAt(registry).blobs.blob(descriptor).open(range))).toEqual(
      bytes.subarray(100_000, 102_000),
    );
    expect(rangesOf(registry.requests).slice(1)).toEqual(['bytes=100000-101999', 'bytes=101000-101999']);
  });

  test('not for ever, where it gets on no more', async () => {
    const registry = await registryWith();
    registry.misbehave({ path: /blobs/, cutAfter: half, times: 1 });
    let hanging: FaultHandle | undefined;
    const { blobs } = repositoryAt(registry, {
      onRetry: () => {
        hanging ??= registry.misbehave({ path: /blobs/, hangUp: 'before' });
      },
    });
    const { code } = await failureOf(ConnectionError, () => whole(blobs.blob(descriptor)));
    expect(code).toBe('ECONNRESET');
    // As often as the policy says, and not as often for each ring.
    expect(hanging?.hits).toBe(impatient.attempts);
  });

  test('behind its last byte: then nothing is missing', async () => {
    const registry = await hostileRegistry((_received, response) => {
      // In chunks, without the one that says that it is the last.
      response.writeHead(200);
      response.write(bytes, () => response.destroy());
    });
    expect(await whole(repositoryAt(registry).blobs.blob(descriptor))).toBe(descriptor.digest);
    expect(registry.asked()).toHaveLength(1);
  });

  test('with If-Range, where the server names its content', async () => {
    let asked = 0;
    const registry = await hostileRegistry((_received, response) => {
      asked++;
      if (asked === 1) {
        response.writeHead(200, { etag: '"one"', 'content-length': bytes.length });
        response.write(bytes.subarray(0, half), () => response.destroy());
      } else {
        response.writeHead(206, { etag: '"one"', 'content-range': `bytes ${half}-299999/300000` });
        response.end(bytes.subarray(half));
      }
    });
    expect(await whole(repositoryAt(registry).blobs.blob(descriptor))).toBe(descriptor.digest);
    expect(registry.received().map(({ headers }) => headers['if-range'])).toEqual([undefined, '"one"']);
  });
});

/** A registry whose first body breaks off in the middle, and that then goes on in its own way. */
const breakingOff = (goOn: Answer) => {
  let asked = 0;
  return hostileRegistry((received, response, request) => {
    asked++;
    if (asked > 1) return goOn(received, response, request);
    response.writeHead(200, { 'content-length': bytes.length });
    response.write(bytes.subarray(0, half), () => response.destroy());
  });
};

const partial =
  (contentRange: string | undefined, body: Uint8Array): Answer =>
  (_received, response) =>
    response.writeHead(206, contentRange === undefined ? {} : { 'content-range': contentRange }).end(body);

const changed = Buffer.from(bytes).fill(0, half);
const other = Buffer.alloc(bytes.length, 7);

describe('ACCEPTANCE 37: what is put together is right or refused', () => {
  test.each<[string, Answer]>([
    ['the rest', partial('bytes 150000-299999/300000', bytes.subarray(half))],
    ['the rest of unknown size', partial('bytes 150000-299999/*', bytes.subarray(half))],
    ['all of it', (_received, response) => response.writeHead(200).end(bytes)],
  ])('right: %s', async (_what, goOn) => {
    const registry = await breakingOff(goOn);
    expect(await whole(repositoryAt(registry).blobs.blob(descriptor))).toBe(descriptor.digest);
    expect(rangesOf(registry.received())).toEqual([undefined, 'bytes=150000-']);
  });

  test.each<[string, string | undefined]>([
    ['an earlier range', 'bytes 0-299999/300000'],
    ['a later range', 'bytes 150001-299999/300000'],
    ['a range of another size', 'bytes 150000-299999/300001'],
    ['a range in other units', 'items 150000-299999/300000'],
    ['an unsatisfied range', 'bytes */300000'],
    ['no range', undefined],
    ['nonsense', 'x'.repeat(1000)],
  ])('refused: %s', async (_what, contentRange) => {
    const registry = await breakingOff(partial(contentRange, bytes.subarray(half)));
    const read = () => whole(repositoryAt(registry).blobs.blob(descriptor));
    const { message, status } = await failureOf(UntrustedResponseError, read);
    expect(status).toBe(206);
    expect(message).toContain(`blob ${descriptor.digest} (bytes=150000-): expected a response with Content-Range`);
    expect(message).toContain('bytes 150000-…/300000');
    expect(registry.asked()).toHaveLength(2);
  });

  test.each<[string, Answer, new (...facts: never[]) => DigestMismatchError | SizeMismatchError]>([
    ['the rest of changed content', partial('bytes 150000-299999/300000', changed.subarray(half)), DigestMismatchError],
    ['all of changed content', (_received, response) => response.end(changed), DigestMismatchError],
    ['all of other content', (_received, response) => response.end(other), DigestMismatchError],
    ['less than the rest', partial('bytes 150000-299999/300000', bytes.subarray(half, -1)), SizeMismatchError],
    ['more than the rest', partial('bytes 150000-299999/300000', bytes.subarray(half - 1)), SizeMismatchError],
    ['too little of all', (_received, response) => response.end(bytes.subarray(0, half)), SizeMismatchError],
    ['too much of all', (_received, response) => response.end(Buffer.concat([bytes, bytes])), SizeMismatchError],
  ])('refused by its reader: %s', async (_what, goOn, type) => {
    const registry = await breakingOff(goOn);
    const { message } = await failureOf(type, () => whole(repositoryAt(registry).blobs.blob(descriptor)));
    expect(message).toContain(descriptor.digest);
  });

  test('refused: no such range', async () => {
    const registry = await breakingOff((_received, response) => response.writeHead(416).end());
    const read = () => whole(repositoryAt(registry).blobs.blob(descriptor));
    expect((await failureOf(RegistryError, read)).status).toBe(416);
  });

  test('refused: a range of a blob that was asked for as a whole', async () => {
    const registry = await hostileRegistry(partial('bytes 0-299999/300000', bytes));
    const read = () => whole(repositoryAt(registry).blobs.blob(descriptor));
    expect((await failureOf(RegistryError, read)).status).toBe(206);
  });
});

describe('a blob that the registry lacks is read from the URLs of its descriptor', () => {
  const missing: Answer = (_received, response) => response.writeHead(404).end();
  const foreign = (...urls: string[]) => ({ ...descriptor, mediaType: mediaTypes.dockerLayerForeign, urls });
  const credentials: Credentials = async () => ({ username: 'me', password: 'a secret' });

  test('the first that has it', async () => {
    const [down, empty, full] = [
      await serve((_received, response) => response.destroy()),
      await serve(missing),
      await serve((_received, response) => response.end(bytes)),
    ];
    const registry = await hostileRegistry(missing);
    const urls = ['ftp://example.com/blob', 'nonsense', ...[down, empty, full].map(({ origin }) => `${origin}/blob`)];
    const read = await whole(repositoryAt(registry).blobs.blob(foreign(...urls, `${down.origin}/never`)));
    expect(read).toBe(descriptor.digest);
    expect([empty, full].map(({ received }) => received.map(({ path }) => path))).toEqual([['/blob'], ['/blob']]);
    expect(down.received.every(({ path }) => path === '/blob')).toBe(true);
  });

  test('not where the registry has it', async () => {
    const elsewhere = await serve((_received, response) => response.end(bytes));
    const { blobs } = repositoryAt(await registryWith());
    expect(await whole(blobs.blob(foreign(`${elsewhere.origin}/blob`)))).toBe(descriptor.digest);
    expect(elsewhere.received).toEqual([]);
  });

  test('ACCEPTANCE 34: without credentials, even where they are asked for', async () => {
    const registry = await hostileRegistry(({ headers }, response) => {
      const status = headers.authorization === undefined ? 401 : 404;
      response.writeHead(status, { 'www-authenticate': 'Basic realm="registry"' }).end();
    });
    const demanding = await serve((_received, response) => {
      response
        .writeHead(401, { 'www-authenticate': `Bearer realm="${demanding.origin}/token", Basic realm="x"` })
        .end();
    });
    const read = () => {
      const { blobs } = repositoryAt(registry, { credentials });
      return whole(blobs.blob(foreign(`${demanding.origin}/blob?signature=secret`)));
    };
    const { message } = await failureOf(NotInRegistryError, read);
    expect(message).toContain(`${registry.host}/os: blob ${descriptor.digest}: expected 200, found 404`);
    expect(registry.received().at(-1)?.headers.authorization).toMatch(/^Basic /);
    expect(demanding.received.map(({ path, headers }) => [path, headers.authorization])).toEqual([
      ['/blob?signature=secret', undefined],
    ]);
  });

  test('what the registry says is the error, if nobody has it', async () => {
    const elsewhere = await serve((_received, response) => response.writeHead(403).end());
    const { blobs } = repositoryAt(await openRegistry());
    const { codes } = await failureOf(NotInRegistryError, () => whole(blobs.blob(foreign(`${elsewhere.origin}/blob`))));
    expect(codes).toEqual(['NAME_UNKNOWN']);
  });

  test('and verified as any other', async () => {
    const elsewhere = await serve((_received, response) => response.end(changed));
    const { blobs } = repositoryAt(await openRegistry());
    await failureOf(DigestMismatchError, () => whole(blobs.blob(foreign(`${elsewhere.origin}/blob`))));
  });

  test('never from this machine, where the registry is a public one', async () => {
    const elsewhere = await serve((_received, response) => response.end(bytes));
    const registry = await serve(missing, { tls: true });
    const proxy = await serveProxy({ 'registry.test:443': registry });
    const client = clientOf({ ca: [authority], environment: { HTTPS_PROXY: proxy.url } });
    const { blobs } = client.repository({ registry: 'registry.test', repository: 'os' });
    await failureOf(NotInRegistryError, () => whole(blobs.blob(foreign(`${elsewhere.origin}/blob`))));
    expect(registry.received).toHaveLength(1);
    expect(elsewhere.received).toEqual([]);
  });
});

test('a redirect is followed, and taken up where it broke', async () => {
  const storage = await registryWith();
  storage.misbehave({ path: /blobs/, cutAfter: half, times: 1 });
  const registry = await openRegistry({ faults: [{ path: /blobs/, redirect: storage.url }] });
  expect(await whole(repositoryAt(registry).blobs.blob(descriptor))).toBe(descriptor.digest);
  expect(rangesOf(storage.requests)).toEqual([undefined, 'bytes=150000-']);
});
