import { connect } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { ConnectionError } from '../../src';
import { exchange, findOrigin, isLoopback } from '../../src/registry/exchange';
import type { HttpRequest, Transport } from '../../src/registry/transport/transport';
import { failureOf } from '../fixtures';
import { clientOf } from './clients';
import { authority, http, serve, serveProxy, serveSockets, unusedPort } from './transport/servers';

const answering = (status: number) => serve((_received, response) => response.writeHead(status).end('anything'));

describe('whether a registry is of this machine', () => {
  test.each([
    ['localhost', true],
    ['LOCALHOST:5000', true],
    ['registry.localhost:5000', true],
    ['127.0.0.1:5000', true],
    ['127.1.2.3', true],
    ['[::1]:5000', true],
    ['[::2]', false],
    ['notlocalhost', false],
    ['localhost.example', false],
    ['127.0.0.1.example', false],
    ['10.0.0.1:5000', false],
  ])('%s', (registry, expected) => expect(isLoopback(registry)).toBe(expected));
});

describe('where a registry is reached', () => {
  test.each([
    ['docker.io', 'https://registry-1.docker.io'],
    ['registry.example:5000', 'https://registry.example:5000'],
    ['10.0.0.1:5000', 'https://10.0.0.1:5000'],
  ])('%s, without asking', async (registry, origin) => {
    const nobody: Transport = async ({ url }) => Promise.reject(new Error(`asked ${url}`));
    expect((await findOrigin(registry, false, nobody)).origin).toBe(origin);
  });

  test.each([200, 401, 404, 503])('one of this machine that answers %d without TLS', async (status) => {
    const { origin, port, received } = await answering(status);
    expect((await findOrigin(`127.0.0.1:${port}`, false, http())).origin).toBe(origin);
    const [{ method, path, headers }, ...more] = received as [(typeof received)[0]];
    expect([method, path, headers.authorization, more]).toEqual(['GET', '/v2/', undefined, []]);
  });

  test.each([200, 400])('one of this machine that answers %d with TLS', async (status) => {
    const { origin, port } = await serve((_received, response) => response.writeHead(status).end(), { tls: true });
    expect((await findOrigin(`127.0.0.1:${port}`, false, http({ ca: [authority] }))).origin).toBe(origin);
  });

  test('one of this machine that answers plain HTTP with a 400, as Go does where TLS is spoken', async () => {
    const secure = await serve((_received, response) => response.end(), { tls: true });
    const tlsHandshake = 22;
    const { port } = await serveSockets((socket) =>
      socket.once('data', (first) => {
        if (first[0] !== tlsHandshake) return socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
        const tunnel = connect(secure.port, '127.0.0.1');
        tunnel.write(first);
        tunnel.on('error', () => socket.destroy());
        socket.pipe(tunnel).pipe(socket);
      }),
    );
    const { origin } = await findOrigin(`127.0.0.1:${port}`, false, http({ ca: [authority] }));
    expect(origin).toBe(`https://127.0.0.1:${port}`);
  });

  test('an insecure one with TLS is not asked without', async () => {
    const secure = await serve((_received, response) => response.end(), { tls: true });
    const proxy = await serveProxy({ 'registry.test:443': secure });
    const transport = http({ ca: [authority], environment: { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url } });
    expect((await findOrigin('registry.test', true, transport)).origin).toBe('https://registry.test');
    expect(proxy.asked).toEqual(['CONNECT registry.test:443']);
  });

  test('an insecure one without TLS is asked by https first', async () => {
    const plain = await answering(200);
    const proxy = await serveProxy({ 'registry.test': plain });
    const transport = http({ environment: { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url } });
    expect((await findOrigin('registry.test', true, transport)).origin).toBe('http://registry.test');
    expect(proxy.asked).toEqual(['CONNECT registry.test:443', 'GET http://registry.test/v2/']);
  });

  test('one that is down', async () => {
    const port = await unusedPort();
    const { message, code } = await failureOf(ConnectionError, () => findOrigin(`127.0.0.1:${port}`, false, http()));
    expect(code).toBe('ECONNREFUSED');
    expect(message).toContain('found nobody listening there');
  });

  test('a certificate that nobody vouches for is what the message says, and not that plain HTTP broke off', async () => {
    const { port } = await serve((_received, response) => response.end(), { tls: true });
    const { message } = await failureOf(ConnectionError, () => findOrigin(`127.0.0.1:${port}`, false, http()));
    expect(message).toContain(
      `GET https://127.0.0.1:${port}/v2/: expected a response, found a certificate that is not`,
    );
  });

  test('a broken connection without TLS is what the message says, and not that there is no TLS', async () => {
    const { port } = await serve((_received, response) => response.destroy());
    const { message } = await failureOf(ConnectionError, () => findOrigin(`127.0.0.1:${port}`, false, http()));
    expect(message).toContain(`GET http://127.0.0.1:${port}/v2/: expected a response, found a broken connection`);
  });

  test('a registry that answers 400 to everything', async () => {
    const { port } = await answering(400);
    const { message } = await failureOf(ConnectionError, () => findOrigin(`127.0.0.1:${port}`, false, http()));
    expect(message).toContain('found no TLS');
  });

  test('who has enough ends it', async () => {
    const { port } = await serve(() => abort.abort(new Error('enough')));
    const abort = new AbortController();
    await expect(findOrigin(`127.0.0.1:${port}`, false, http(), abort.signal)).rejects.toThrow('enough');
  });
});

describe('a client looks for a registry', () => {
  test('M10: again, when it is about to start', async () => {
    const port = await unusedPort();
    const started: Promise<unknown>[] = [];
    const start = () => started.push(serve((_received, response) => response.end('{"tags":["v1"]}'), { port }));
    const client = clientOf({
      policy: { attempts: 100, deadline: 10_000, firstDelay: 2, longestDelay: 5 },
      onRetry: ({ attempt }) => attempt === 2 && start(),
    });
    const repository = client.repository({ registry: `127.0.0.1:${port}`, repository: 'os' });
    expect(await repository.tags()).toEqual(['v1']);
    expect(started).toHaveLength(1);
  });

  test('M10: as often as the policy says, and once for all that ask at the same time', async () => {
    const port = await unusedPort();
    const retries: string[] = [];
    const client = clientOf({ onRetry: ({ url }) => retries.push(url) });
    const { tags } = client.repository({ registry: `127.0.0.1:${port}`, repository: 'os' });
    await Promise.all([failureOf(ConnectionError, tags), failureOf(ConnectionError, tags)]);
    expect(retries).toEqual(Array(2).fill(`https://127.0.0.1:${port}/v2/`));
  });

  test('once for all its repositories', async () => {
    const { port, received } = await serve((_received, response) => response.end('{"tags":[]}'));
    const client = clientOf();
    for (const repository of ['a', 'b']) await client.repository({ registry: `127.0.0.1:${port}`, repository }).tags();
    expect(received.map(({ path }) => path)).toEqual(['/v2/', '/v2/a/tags/list', '/v2/b/tags/list']);
  });
});

describe('what a request is sent with', () => {
  const asked: HttpRequest[] = [];
  const transport: Transport = async (request) => {
    asked.push(request);
    return { status: 200, headers: {}, url: request.url, body: (async function* () {})(), discard: async () => {} };
  };
  const name = { registry: 'registry.example', repository: 'os' };
  const { ask, url } = exchange(name, async () => new URL('https://registry.example'), transport);
  const question = { what: 'it', method: 'GET', actions: 'pull', expected: [200] } as const;

  test('the scopes of its repository, and of another one to read from', async () => {
    await ask({ ...question, url: await url('tags/list', { n: '5' }) });
    await ask({ ...question, url: new URL('https://registry.example:443/elsewhere'), from: 'base' });
    expect(asked.splice(0)).toEqual([
      { method: 'GET', url: new URL('https://registry.example/v2/os/tags/list?n=5'), scopes: ['repository:os:pull'] },
      expect.objectContaining({ scopes: ['repository:os:pull', 'repository:base:pull'] }),
    ]);
  });

  test.each([
    'https://cdn.example/blob',
    'http://registry.example/blob',
    'https://registry.example:5000/blob',
    'https://evilregistry.example/blob',
  ])('no scopes at %s, and no way into this machine', async (elsewhere) => {
    await ask({ ...question, url: new URL(elsewhere) });
    expect(asked.splice(0)).toEqual([{ method: 'GET', url: new URL(elsewhere), publicOnly: true }]);
  });

  test('a registry of this machine may send to this machine', async () => {
    const own = exchange(name, async () => new URL('http://localhost:5000'), transport);
    await own.ask({ ...question, url: new URL('http://localhost:5001/blob') });
    expect(asked.splice(0)).toEqual([expect.objectContaining({ publicOnly: false })]);
  });
});
