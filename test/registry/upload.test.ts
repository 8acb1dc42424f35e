import { request } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import {
  type Blob,
  DigestMismatchError,
  OciError,
  RegistryError,
  SizeMismatchError,
  UntrustedResponseError,
} from '../../src';
import type { Registry, RegistryOptions } from '../../src/registry/server/start-registry';
import type { UploadOptions } from '../../src/registry/upload';
import { failureOf } from '../fixtures';
import { askedOf, content, hostileRegistry, openRegistry, repositoryAt, someBytes } from './clients';
import { authority, impatient, serve } from './transport/servers';

const sample = content(someBytes(300_000));
const { descriptor, blob } = sample;
const path = `blobs/${descriptor.digest}`;

const put = (registry: { readonly host: string }, options?: UploadOptions) =>
  repositoryAt(registry).putBlob(descriptor, blob, options);

/** Whether the registry has all the bytes: it verified them itself. */
const has = async (registry: Registry, { digest } = descriptor) =>
  (await registry.storage.blob('os', digest))?.size !== undefined;

/** What was sent of the blob, such as `PATCH 0-99 (100)`. */
const sent = ({ requests }: Registry) =>
  requests
    .filter(({ method }) => method === 'PATCH' || method === 'PUT')
    .map(({ method, headers, bytesIn }) => `${method} ${headers['content-range'] ?? 'all'} (${bytesIn})`);

describe('a blob is sent', () => {
  test('in one piece', async () => {
    const registry = await openRegistry();
    const progress: number[] = [];
    expect(await put(registry, { onProgress: (now) => progress.push(now) })).toBe('uploaded');
    expect(askedOf(registry)).toEqual([`HEAD 404 ${path}`, 'POST 202 blobs/uploads/', 'PUT 201 blobs/uploads/…']);
    expect(await has(registry)).toBe(true);
    expect([progress[0], progress.at(-1)]).toEqual([0, 300_000]);
  });

  test('not where it is: one HEAD', async () => {
    const registry = await openRegistry();
    await put(registry);
    const before = registry.requests.length;
    expect(await put(registry)).toBe('present');
    expect(registry.requests.slice(before).map(({ method, path }) => `${method} ${path}`)).toEqual([
      'GET /v2/',
      `HEAD /v2/os/${path}`,
    ]);
  });

  test.each([
    ['with a sha512', content(someBytes(1000), { algorithm: 'sha512' }), '?digest-algorithm=sha512'],
    ['with a blake3', content(someBytes(1000), { algorithm: 'blake3' }), '?digest-algorithm=blake3'],
    ['without a byte', content(Buffer.alloc(0)), ''],
    ['of one byte', content(Buffer.alloc(1)), ''],
  ])('%s', async (_what, { descriptor, blob }, query) => {
    const registry = await openRegistry();
    expect(await repositoryAt(registry).putBlob(descriptor, blob)).toBe('uploaded');
    expect(registry.requests.find(({ method }) => method === 'POST')?.query).toBe(query);
    expect(await has(registry, descriptor)).toBe(true);
  });

  test.each([{}, { chunkSize: 200_000 }])('not if it is shorter than it should be: %j', async (options) => {
    const registry = await openRegistry();
    const shorter: Blob = {
      size: blob.size,
      open: ({ start = 0, end = blob.size } = {}) => blob.open({ start, end: Math.min(end, 250_000) }),
    };
    const send = () => repositoryAt(registry).putBlob(descriptor, shorter, options);
    const { message } = await failureOf(SizeMismatchError, send);
    expect(message).toContain(`blob ${descriptor.digest}: expected 300000 bytes, found `);
    expect(await has(registry)).toBe(false);
  });

  test('in pieces of a size', async () => {
    const registry = await openRegistry();
    await put(registry, { chunkSize: 125_000 });
    expect(sent(registry)).toEqual([
      'PATCH 0-124999 (125000)',
      'PATCH 125000-249999 (125000)',
      'PUT 250000-299999 (50000)',
    ]);
    expect(await has(registry)).toBe(true);
  });

  test.each([
    ['200000', ['PATCH 0-199999 (200000)', 'PUT 200000-299999 (100000)']],
    ['150000', ['PATCH 0-149999 (150000)', 'PUT 150000-299999 (150000)']],
    ['300001', ['PUT all (300000)']],
    ['Infinity', ['PUT all (300000)']],
    ['-5', ['PATCH 0-149999 (150000)', 'PUT 150000-299999 (150000)']],
    ['many', ['PATCH 0-149999 (150000)', 'PUT 150000-299999 (150000)']],
  ])('in pieces no smaller than the registry wants: OCI-Chunk-Min-Length %s', async (smallest, expected) => {
    const registry = await openRegistry({
      faults: [{ method: 'POST', headers: { 'oci-chunk-min-length': smallest } }],
    });
    await put(registry, { chunkSize: 150_000 });
    expect(sent(registry)).toEqual(expected);
    expect(await has(registry)).toBe(true);
  });

  test('and not taken if it is another one, which the registry finds and we name', async () => {
    const registry = await openRegistry();
    const other = content(someBytes(300_000, 2));
    const error = await failureOf(DigestMismatchError, () => repositoryAt(registry).putBlob(descriptor, other.blob));
    expect(error).toMatchObject({ expected: descriptor.digest, found: other.descriptor.digest });
    expect(askedOf(registry).filter((asked) => asked.startsWith('PUT'))).toHaveLength(1);
    expect(await has(registry)).toBe(false);
  });

  test("and not taken by a registry that finds another digest: that is the registry's word alone", async () => {
    const registry = await hostileRegistry(({ method }, response) => {
      if (method !== 'PUT') {
        const location = '/v2/os/blobs/uploads/1';
        return response.writeHead(method === 'HEAD' ? 404 : 202, { location }).end();
      }
      return response.writeHead(400).end(JSON.stringify({ errors: [{ code: 'DIGEST_INVALID' }] }));
    });
    const { codes } = await failureOf(RegistryError, () => put(registry));
    expect(codes).toEqual(['DIGEST_INVALID']);
  });

  test('and what is wrong with its source ends it, and the upload', async () => {
    const registry = await openRegistry();
    const broken: Blob = {
      size: blob.size,
      async *open() {
        yield sample.bytes.subarray(0, 1000);
        throw new OciError('the disk is gone');
      },
    };
    await expect(repositoryAt(registry).putBlob(descriptor, broken)).rejects.toThrow('the disk is gone');
    expect(askedOf(registry).at(-1)).toMatch(/^DELETE \d+ blobs\/uploads\/…$/);
  });
});

/** Before a registry, what takes no body above a limit. */
async function limitedTo(limit: number, registry: Registry, reads: boolean) {
  const { port } = new URL(registry.url);
  return serve(
    (received, response, incoming) => {
      if (Number(incoming.headers['content-length'] ?? 0) > limit) {
        const refuse = () => response.writeHead(413, { connection: 'close' }).end();
        return reads ? incoming.resume().on('end', refuse) : refuse();
      }
      const { method, path, headers } = received;
      incoming.pipe(
        request({ port, method, path, headers }, (answer) =>
          answer.pipe(response.writeHead(answer.statusCode ?? 500, answer.headers)),
        ),
      );
    },
    { unread: true },
  );
}

describe('a registry that refuses a large piece gets smaller ones', () => {
  const large = content(someBytes(21 * 1024 * 1024));
  const mebibyte = 1024 * 1024;

  test.each([true, false])('and takes them; it reads what it refuses: %s', async (reads) => {
    const registry = await openRegistry();
    const proxy = await limitedTo(10 * mebibyte, registry, reads);
    const repository = repositoryAt({ host: `127.0.0.1:${proxy.port}` });
    expect(await repository.putBlob(large.descriptor, large.blob)).toBe('uploaded');
    expect(sent(registry).map((piece) => piece.replace(/.*\((.*)\)/, '$1'))).toEqual(
      [10, 10, 1].map((size) => String(size * mebibyte)),
    );
    expect(await has(registry, large.descriptor)).toBe(true);
  });

  test('and may refuse them, too', async () => {
    const registry = await openRegistry();
    const proxy = await limitedTo(mebibyte, registry, true);
    const repository = repositoryAt({ host: `127.0.0.1:${proxy.port}` });
    const { status } = await failureOf(RegistryError, () => repository.putBlob(large.descriptor, large.blob));
    expect(status).toBe(413);
    expect(sent(registry)).toEqual([]);
  });

  test('but not smaller ones than those that were asked for', async () => {
    const registry = await openRegistry({ faults: [{ method: 'PATCH', status: 413 }] });
    const { status, message } = await failureOf(RegistryError, () => put(registry, { chunkSize: 100_000 }));
    expect(status).toBe(413);
    expect(message).toContain(`upload of blob ${descriptor.digest}: expected 202, found 413`);
    expect(askedOf(registry).filter((asked) => asked.startsWith('PATCH'))).toHaveLength(1);
  });
});

describe('M10: an upload that breaks off goes on where the registry says', () => {
  test('a piece of it', async () => {
    const registry = await openRegistry();
    registry.misbehave({ method: 'PATCH', cutUploadAfter: 40_000, times: 1 });
    await put(registry, { chunkSize: 100_000 });
    expect(sent(registry)).toEqual([
      expect.stringMatching(/^PATCH 0-99999 /),
      'PATCH 40000-139999 (100000)',
      'PATCH 140000-239999 (100000)',
      'PUT 240000-299999 (60000)',
    ]);
    expect(await has(registry)).toBe(true);
  });

  test('all of it, as often as it gets on', async () => {
    const registry = await openRegistry();
    registry.misbehave({ method: 'PUT', cutUploadAfter: 50_000, times: 5 });
    const progress: number[] = [];
    await put(registry, { onProgress: (now) => progress.push(now) });
    expect(sent(registry).map((piece) => piece.replace(/ \(.*/, ''))).toEqual([
      'PUT all',
      ...[50_000, 100_000, 150_000, 200_000, 250_000].map((at) => `PUT ${at}-299999`),
    ]);
    expect(await has(registry)).toBe(true);
    expect(progress.at(-1)).toBe(300_000);
  });

  test('when the answer to its last byte is all that is missing', async () => {
    const registry = await openRegistry({ faults: [{ method: 'PUT', cutUploadAfter: 300_000, times: 1 }] });
    await put(registry);
    expect(sent(registry)).toEqual(['PUT all (300000)', 'PUT all (0)']);
    expect(await has(registry)).toBe(true);
  });

  test.each([416, 500, 502, 503])('after status %d for a piece', async (status) => {
    const registry = await openRegistry();
    registry.misbehave({ method: 'PATCH', status, times: 2 });
    expect(await put(registry, { chunkSize: 100_000 })).toBe('uploaded');
    expect(await has(registry)).toBe(true);
  });

  test('after 429, for which the same piece is sent again', async () => {
    const registry = await openRegistry();
    registry.misbehave({ method: 'PATCH', status: 429, retryAfter: 0, times: 2 });
    await put(registry, { chunkSize: 150_000 });
    const asked = askedOf(registry).map((line) => line.split(' ', 2).join(' '));
    expect(asked).toEqual(['HEAD 404', 'POST 202', 'PATCH 429', 'PATCH 429', 'PATCH 202', 'PUT 201']);
  });

  test('where the registry has no byte it begins anew, and the old one is cancelled', async () => {
    const registry = await openRegistry({ faults: [{ method: 'PUT', hangUp: 'before', times: 1 }] });
    await put(registry);
    expect(askedOf(registry)).toEqual([
      `HEAD 404 ${path}`,
      'POST 202 blobs/uploads/',
      'PUT undefined blobs/uploads/…',
      'GET 204 blobs/uploads/…',
      'DELETE 204 blobs/uploads/…',
      `HEAD 404 ${path}`,
      'POST 202 blobs/uploads/',
      'PUT 201 blobs/uploads/…',
    ]);
  });

  test('where the registry lost it, it begins anew', async () => {
    const registry = await openRegistry();
    registry.misbehave({ method: 'PATCH', cutUploadAfter: 40_000, times: 1 });
    registry.misbehave({ method: 'GET', path: /uploads/, status: 404 });
    await put(registry, { chunkSize: 200_000 });
    expect(sent(registry).slice(1)).toEqual(['PATCH 0-199999 (200000)', 'PUT 200000-299999 (100000)']);
    expect(await has(registry)).toBe(true);
  });

  test('where the answer alone was lost, nothing is sent again', async () => {
    const registry = await openRegistry({ faults: [{ method: 'PUT', hangUp: 'after', times: 1 }] });
    expect(await put(registry)).toBe('uploaded');
    expect(askedOf(registry).slice(2)).toEqual([
      'PUT undefined blobs/uploads/…',
      'GET 404 blobs/uploads/…',
      `HEAD 200 ${path}`,
    ]);
  });

  test.each(['0-300000', '0-99999999999', '0-1e5', 'bytes=5-10', ''])('what it says must be so: %j', async (range) => {
    const registry = await openRegistry();
    registry.misbehave({ method: 'PUT', cutUploadAfter: 40_000, times: 1 });
    registry.misbehave({ method: 'GET', path: /uploads/, headers: { range } });
    expect(await put(registry)).toBe('uploaded');
    expect(askedOf(registry).at(-2)).toBe('POST 202 blobs/uploads/');
    expect(await has(registry)).toBe(true);
  });

  test('as often as the policy says, and then it is cancelled', async () => {
    const registry = await openRegistry({ faults: [{ method: 'PUT', status: 503 }] });
    const { status } = await failureOf(RegistryError, () => put(registry));
    expect(status).toBe(503);
    const asked = askedOf(registry).map((line) => line.split(' ', 1)[0]);
    const again = ['GET', 'DELETE', 'HEAD', 'POST', 'PUT'];
    expect(asked).toEqual(['HEAD', 'POST', 'PUT', ...again, ...again, 'DELETE']);
    expect(impatient.attempts).toBe(3);
  });

  test('as often as the policy says, if it can not even begin', async () => {
    const registry = await openRegistry({ faults: [{ method: 'POST', status: 503 }] });
    await failureOf(RegistryError, () => put(registry));
    expect(askedOf(registry).filter((asked) => asked.startsWith('POST'))).toHaveLength(impatient.attempts);
  });

  test('as often as the policy says, if the registry takes a piece and forgets it again and again', async () => {
    const registry = await hostileRegistry(({ method, headers }, response) => {
      response.setHeader('location', '/v2/os/blobs/uploads/1');
      if (method === 'HEAD') return response.writeHead(404).end();
      if (method === 'GET') return response.writeHead(204, { range: '0-9' }).end();
      return response
        .writeHead(method === 'POST' || /^(?:0|10)-/.test(headers['content-range'] ?? '') ? 202 : 416)
        .end();
    });
    const { status } = await failureOf(RegistryError, () => put(registry, { chunkSize: 100_000 }));
    expect(status).toBe(416);
    expect(registry.asked().length).toBeLessThan(30);
  });
});

describe('a blob of another repository is mounted', () => {
  async function registryWithBase(options: RegistryOptions = {}) {
    const registry = await openRegistry(options);
    const upload = await registry.storage.startUpload('base');
    await upload.append(blob.open());
    await upload.complete(descriptor.digest);
    return registry;
  }

  test('and not sent', async () => {
    const registry = await registryWithBase();
    expect(await put(registry, { mountFrom: 'base' })).toBe('mounted');
    expect(askedOf(registry)).toEqual([`HEAD 404 ${path}`, 'POST 201 blobs/uploads/']);
    expect(registry.requests.at(-1)?.query).toBe(`?mount=${encodeURIComponent(descriptor.digest)}&from=base`);
    expect(await has(registry)).toBe(true);
  });

  test('or sent, where the registry does not mount it', async () => {
    const registry = await registryWithBase({ faults: [{ refuseMount: true }] });
    expect(await put(registry, { mountFrom: 'base' })).toBe('uploaded');
    expect(askedOf(registry).slice(1)).toEqual(['POST 202 blobs/uploads/', 'PUT 201 blobs/uploads/…']);
  });

  test('or sent, where it is in none', async () => {
    const registry = await openRegistry();
    expect(await put(registry, { mountFrom: 'base' })).toBe('uploaded');
    expect(await has(registry)).toBe(true);
  });

  test.each([403, 404])('or sent, where the registry answers %d, because one may not read there', async (status) => {
    const registry = await openRegistry({ faults: [{ method: 'POST', status, times: 1 }] });
    expect(await put(registry, { mountFrom: 'base' })).toBe('uploaded');
    expect(askedOf(registry).slice(1)).toEqual([
      `POST ${status} blobs/uploads/`,
      'POST 202 blobs/uploads/',
      'PUT 201 blobs/uploads/…',
    ]);
  });

  test('but one who may not write here is told so', async () => {
    const registry = await openRegistry({ faults: [{ method: 'POST', status: 403 }] });
    const { status } = await failureOf(RegistryError, () => put(registry, { mountFrom: 'base' }));
    expect(status).toBe(403);
  });
});

describe('where an upload goes on', () => {
  /** A registry that sends uploads to a place. */
  const sendingTo = (location: string | undefined, options: { readonly tls?: boolean } = {}) =>
    hostileRegistry(({ method, path }, response) => {
      if (method === 'HEAD') return response.writeHead(404).end();
      const status = method === 'POST' ? 202 : path.includes('digest=') ? 201 : 202;
      return response.writeHead(status, location === undefined ? {} : { location }).end();
    }, options);

  test('ACCEPTANCE 32: on another host without credentials, also where they are asked for', async () => {
    const credentials = async () => ({ username: 'me', password: 'a secret' });
    const storage = await serve(({ path }, response) => {
      const isDemanding = path.startsWith('/demanding');
      response.writeHead(isDemanding ? 401 : 201, isDemanding ? { 'www-authenticate': 'Basic realm="x"' } : {}).end();
    });
    for (const place of ['ready', 'demanding']) {
      const registry = await hostileRegistry(({ method, headers }, response) => {
        if (headers.authorization === undefined) {
          return response.writeHead(401, { 'www-authenticate': 'Basic realm="registry"' }).end();
        }
        const location = `${storage.origin}/${place}?signature=secret`;
        return response.writeHead(method === 'HEAD' ? 404 : 202, { location }).end();
      });
      const { putBlob } = repositoryAt(registry, { credentials });
      if (place === 'ready') expect(await putBlob(descriptor, blob)).toBe('uploaded');
      else {
        const { message } = await failureOf(RegistryError, () => putBlob(descriptor, blob));
        expect(message).not.toContain('secret');
      }
      expect(registry.received().at(-1)?.headers.authorization).toMatch(/^Basic /);
    }
    expect(storage.received.length).toBeGreaterThan(1);
    expect(storage.received.map(({ headers }) => headers.authorization)).toEqual(storage.received.map(() => undefined));
    const [{ method, path }] = storage.received as [(typeof storage.received)[0]];
    expect([method, path]).toEqual(['PUT', `/ready?signature=secret&digest=${encodeURIComponent(descriptor.digest)}`]);
  });

  test.each<[string, string | undefined, string]>([
    ['none', undefined, 'expected a Location header, found none'],
    ['nothing', '', 'expected a Location header, found none'],
    ['nonsense', 'http://[', 'expected a URL in the Location header, found other text'],
    [
      'another scheme',
      'ftp://example.com/up?key=secret',
      'expected a Location by http, found ftp://example.com/up?key=…',
    ],
    ['a script', 'javascript:alert(1)', 'expected a Location by http, found javascript:'],
  ])('ACCEPTANCE 32: %s', async (_what, location, words) => {
    const registry = await sendingTo(location);
    const { message } = await failureOf(UntrustedResponseError, () => put(registry));
    expect(message).toContain(`${registry.host}/os: upload of blob ${descriptor.digest}: ${words}`);
    expect(registry.asked()).toEqual([`HEAD /v2/os/${path}`, 'POST /v2/os/blobs/uploads/']);
  });

  test.each(['the first', 'a later'])('ACCEPTANCE 32: not by http from https: %s', async (which) => {
    const elsewhere = await serve((_received, response) => response.end());
    const registry = await hostileRegistry(
      ({ method }, response) => {
        const isLed = which === 'the first' || method !== 'POST';
        const location = isLed ? `${elsewhere.origin}/up?key=secret` : '/v2/os/blobs/uploads/1';
        response.writeHead(method === 'HEAD' ? 404 : 202, { location }).end();
      },
      { tls: true },
    );
    const repository = repositoryAt(registry, { ca: [authority] });
    const { message } = await failureOf(UntrustedResponseError, () =>
      repository.putBlob(descriptor, blob, { chunkSize: 100_000 }),
    );
    expect(message).toContain(`expected a Location by https, found ${elsewhere.origin}/up?key=…;`);
    expect(elsewhere.received).toEqual([]);
  });

  test.each([
    ['/v2/os/blobs/uploads/1?state=a%2Fb%3D%3D&_=%20x', '/v2/os/blobs/uploads/1?state=a%2Fb%3D%3D&_=%20x&digest='],
    ['?state=x', '/v2/os/blobs/uploads/?state=x&digest='],
    ['1', '/v2/os/blobs/uploads/1?digest='],
    ['/v2/os/blobs/uploads/1?', '/v2/os/blobs/uploads/1?digest='],
  ])('with all that the registry wrote into %s', async (location, expected) => {
    const registry = await sendingTo(location);
    expect(await put(registry)).toBe('uploaded');
    expect(registry.asked().at(-1)).toBe(`PUT ${expected}${encodeURIComponent(descriptor.digest)}`);
  });
});
