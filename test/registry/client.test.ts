import { join } from 'node:path';
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { ConnectionError, RegistryError } from '../../src';
import type { Repository } from '../../src/registry/repository';
import type { Fault } from '../../src/registry/server/faults';
import type { Retry } from '../../src/registry/transport/retries';
import { repository as checkout, collect, failureOf, run, sampleImage } from '../fixtures';
import { askedOf, clientOf, content, hostileRegistry, openRegistry, repositoryAt, someBytes } from './clients';
import { authority, impatient, serve } from './transport/servers';

describe('M10: what fails for now is asked again', () => {
  test('and whoever wants to know is told', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', image);
    registry.misbehave({ path: /manifests/, status: 503, times: 2 });
    const retries: Retry[] = [];
    const repository = repositoryAt(registry, { onRetry: (retry) => retries.push(retry) });
    expect((await repository.read({ tag: 'v1' })).digest).toBe(image.digest);
    expect(askedOf(registry)).toEqual(['GET 503 manifests/v1', 'GET 503 manifests/v1', 'GET 200 manifests/v1']);
    const url = `${registry.url}/v2/os/manifests/v1`;
    expect(retries).toEqual(
      [1, 2].map((attempt) => ({
        attempt,
        delayMs: expect.any(Number),
        reason: expect.stringContaining(`GET ${url}: expected success, found 503`),
        url,
      })),
    );
  });

  test('as often as the policy says, and no more', async () => {
    const registry = await openRegistry({ faults: [{ path: /manifests/, status: 502 }] });
    const { status } = await failureOf(RegistryError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(status).toBe(502);
    expect(askedOf(registry)).toHaveLength(impatient.attempts);
  });

  test.each<[string, string | number, number]>([
    ['in seconds', 2, 2000],
    ['as a date', new Date(Date.now() + 3_600_000).toUTCString(), 10_000],
    ['for ever', '1000000000', 10_000],
    ['no time', -5, 0],
    ['nonsense', 'soon', 0],
  ])(
    'ACCEPTANCE 36: after the time that the registry asks for: %s; and an abort ends it',
    async (_how, retryAfter, least) => {
      const registry = await openRegistry({ faults: [{ path: /tags/, status: 429, retryAfter }] });
      const abort = new AbortController();
      const delays: number[] = [];
      const repository = repositoryAt(registry, {
        policy: { attempts: 3, deadline: 60_000, firstDelay: 5, longestDelay: 10_000 },
        signal: abort.signal,
        onRetry: ({ delayMs }) => {
          delays.push(delayMs);
          abort.abort(new Error('enough'));
        },
      });
      const start = performance.now();
      await expect(repository.tags()).rejects.toThrow('enough');
      expect(performance.now() - start).toBeLessThan(1500);
      expect(delays).toEqual([expect.any(Number)]);
      expect(delays[0]).toBeGreaterThanOrEqual(least);
      expect(delays[0]).toBeLessThanOrEqual(Math.max(least, 5));
    },
  );
});

describe('ACCEPTANCE 36: an abort ends at once', () => {
  const [some, absent] = [content(someBytes(100_000)), content(someBytes(100_000, 2))];

  test.each(['GET', 'HEAD', 'PUT'])('a %s that has no answer', async (method) => {
    const image = await sampleImage();
    const abort = new AbortController();
    const registry = await openRegistry({
      faults: [{ method, path: /manifests/, delay: new Promise(() => abort.abort(new Error('enough'))) }],
    });
    const repository = repositoryAt(registry, { signal: abort.signal });
    const uses: Record<string, () => Promise<unknown>> = {
      GET: () => repository.read({ tag: 'v1' }),
      HEAD: () => repository.resolve({ tag: 'v1' }),
      PUT: () => repository.putManifest(image, 'v1'),
    };
    await expect(uses[method]?.()).rejects.toThrow('enough');
  });

  test('a body that does not end', async () => {
    const abort = new AbortController();
    const { bytes, descriptor } = content(someBytes(100_000));
    const registry = await hostileRegistry((_received, response) => {
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, 1000));
    });
    const { blobs } = repositoryAt(registry, { signal: abort.signal });
    const reading = async () => {
      for await (const _ of blobs.blob(descriptor).open()) abort.abort(new Error('enough'));
    };
    await expect(reading()).rejects.toThrow('enough');
    expect(registry.asked()).toHaveLength(1);
  });

  test.each<[string, Fault, (repository: Repository) => Promise<unknown>]>([
    ['an upload', { method: 'PUT', status: 503 }, ({ putBlob }) => putBlob(absent.descriptor, absent.blob)],
    ['a download', { path: /blobs/, cutAfter: 1000 }, ({ blobs }) => collect(blobs.blob(some.descriptor).open())],
  ])('the wait before %s goes on', async (_what, fault, use) => {
    const registry = await openRegistry({ faults: [fault] });
    await registry.storage.addBlob('os', some.descriptor.digest, some.blob);
    const abort = new AbortController();
    const repository = repositoryAt(registry, {
      policy: { attempts: 3, deadline: 1e9, firstDelay: 1e8, longestDelay: 1e8 },
      signal: abort.signal,
      onRetry: () => setImmediate(() => abort.abort(new Error('enough'))),
    });
    await expect(use(repository)).rejects.toThrow('enough');
  });

  test('what comes after it, before anything is asked', async () => {
    const registry = await openRegistry();
    const repository = repositoryAt(registry, { signal: AbortSignal.abort(new Error('enough')) });
    await expect(repository.tags()).rejects.toThrow('enough');
    expect(registry.requests).toEqual([]);
  });
});

describe('credentials', () => {
  const credentials = async () => ({ username: 'robot', password: 'pass word' });

  test.each([
    ['a password', { scheme: 'basic' as const, users: { username: 'robot', password: 'pass word' } }],
    ['a token', { scheme: 'bearer' as const, users: { username: 'robot', password: 'pass word' } }],
  ])('M12: are %s, for pulling, pushing and deleting', async (_what, auth) => {
    const image = await sampleImage();
    const registry = await openRegistry({ auth });
    const repository = repositoryAt(registry, { credentials });
    const { config } = image.manifest;
    await repository.putBlob(config, image.blob(config));
    await repository.putManifest(image, 'v1');
    expect((await repository.read({ tag: 'v1' })).digest).toBe(image.digest);
    await repository.deleteManifest(image.digest);
    const { status } = await failureOf(RegistryError, () => repositoryAt(registry).tags());
    expect(status).toBe(401);
  });

  test('ACCEPTANCE 35: and what is signed are in no error, cause or notification', async () => {
    const secrets = ['pass word', Buffer.from('robot:pass word').toString('base64'), 'signature-of-the-url'];
    const storage = await serve(({ path, headers }, response) => {
      response
        .writeHead(500)
        .end(JSON.stringify({ errors: [{ code: 'X', message: `${path} ${headers.authorization}` }] }));
    });
    const registry = await hostileRegistry(({ path, headers, method }, response) => {
      const { authorization } = headers;
      if (authorization === undefined) {
        return response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end();
      }
      const location = `${storage.origin}/blob?signature=signature-of-the-url`;
      if (method === 'POST') return response.writeHead(202, { location }).end();
      if (path.includes('/blobs/')) return response.writeHead(method === 'HEAD' ? 404 : 307, { location }).end();
      const echo = `no ${authorization} for ${Buffer.from(authorization.slice(6), 'base64')}`;
      return response.writeHead(path.includes('tags') ? 503 : 403).end(`{"errors":[{"code":"D","message":"${echo}"}]}`);
    });
    const retries: Retry[] = [];
    const repository = repositoryAt(registry, { credentials, onRetry: (retry) => retries.push(retry) });
    const { descriptor, blob } = content(someBytes(1000));
    const uses = [
      () => repository.read({ tag: 'v1' }),
      () => repository.tags(),
      () => collect(repository.blobs.blob(descriptor).open()),
      () => repository.putBlob(descriptor, blob),
    ];
    for (const use of uses) {
      const error = await failureOf(RegistryError, use);
      for (const secret of secrets) expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(secret);
    }
    expect(retries.length).toBeGreaterThan(3);
    for (const secret of secrets) expect(inspect(retries, { depth: 10 })).not.toContain(secret);
    expect(storage.received.length).toBeGreaterThan(3);
  });
});

describe('a client', () => {
  test('trusts the certificates that it is given, and others where it is told to', async () => {
    const { host } = await hostileRegistry((_received, response) => response.end('{"tags":["v1"]}'), { tls: true });
    const { message } = await failureOf(ConnectionError, () => repositoryAt({ host }).tags());
    expect(message).toContain('found a certificate that is not trusted');
    expect(await repositoryAt({ host }, { ca: [authority] }).tags()).toEqual(['v1']);
    expect(await repositoryAt({ host }, { insecure: [host] }).tags()).toEqual(['v1']);
    await failureOf(ConnectionError, () => repositoryAt({ host }, { insecure: ['127.0.0.1'] }).tags());
  });

  test('keeps its connections', async () => {
    const server = await serve((_received, response) => response.end('{"tags":["v1"]}'));
    const { tags } = repositoryAt({ host: `127.0.0.1:${server.port}` });
    for (let count = 0; count < 5; count++) await tags();
    expect([server.received.length, server.connections()]).toEqual([6, 1]);
  });

  test('ends what is under way when it is closed', async () => {
    const registry = await hostileRegistry(() => void client.close());
    const client = clientOf({ policy: { ...impatient, attempts: 1 } });
    const { tags } = client.repository({ registry: registry.host, repository: 'os' });
    await failureOf(ConnectionError, tags);
  });

  test('is closed at the end of its block', async () => {
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', await sampleImage());
    let repository: ReturnType<typeof repositoryAt>;
    {
      await using client = clientOf();
      repository = client.repository({ registry: registry.host, repository: 'os' });
      expect(await repository.tags()).toEqual(['v1']);
    }
    await failureOf(ConnectionError, () => repository.tags());
  });
});

test('a large blob goes and comes with little memory', async () => {
  const size = 256 * 1024 * 1024;
  const piece = Buffer.alloc(1024 * 1024);
  let received = 0;
  const registry = await hostileRegistry(
    ({ method }, response, request) => {
      if (method === 'HEAD') return response.writeHead(404).end();
      if (method === 'POST') return response.writeHead(202, { location: '/v2/os/blobs/uploads/1' }).end();
      if (method === 'PUT') {
        request.on('data', ({ length }: Buffer) => {
          received += length;
        });
        return request.on('end', () => response.writeHead(201).end());
      }
      return Readable.from(Array(size / piece.length).fill(piece)).pipe(response.writeHead(200));
    },
    { unread: true },
  );
  const program = join(checkout, 'test/programs/stream-blob.js');
  const { stdout, stderr, code } = await run(process.execPath, ['--expose-gc', program, registry.host, String(size)]);
  expect([code, stderr, received]).toEqual([0, '', size]);
  expect(Number(stdout)).toBeLessThan(100 * 1024 * 1024);
});
