import { describe, expect, test } from '@jest/globals';
import { bytesBlob, RegistryError, UntrustedResponseError } from '../../../src';
import { withRedirects } from '../../../src/registry/transport/redirects';
import type { HttpMethod } from '../../../src/registry/transport/transport';
import { failureOf } from '../../fixtures';
import { type Answer, authority, byPath, get, http, read, serve, serveProxy } from './servers';

const headers = {
  authorization: 'Bearer secret',
  cookie: 'secret',
  'x-custom': 'secret',
  accept: 'application/json',
  range: 'bytes=1-',
  'user-agent': 'test',
};
const impersonal = { accept: 'application/json', range: 'bytes=1-', 'user-agent': 'test' };

/** Redirects everything to a place. */
const to =
  (location: string, status = 307): Answer =>
  (_received, response) =>
    response.writeHead(status, { location }).end('elsewhere');

const done: Answer = ({ path }, response) => response.end(`done ${path}`);

describe('redirects are followed', () => {
  test.each([301, 302, 303, 307, 308])('of status %d, for GET and HEAD', async (status) => {
    const place = await serve(done);
    const server = await serve(to(`${place.origin}/there?signed=1`, status));
    const transport = withRedirects(http());
    const response = await transport(get(server.origin, '/here'));
    expect(response.url.href).toBe(`${place.origin}/there?signed=1`);
    expect(await read(response)).toEqual({ status: 200, text: 'done /there?signed=1' });
    expect(await read(await transport(get(server.origin, '/here', { method: 'HEAD' })))).toMatchObject({ status: 200 });
    expect(place.received.map(({ method }) => method)).toEqual(['GET', 'HEAD']);
  });

  test.each([
    ['/c/d', '/c/d'],
    ['d?x', '/a/d?x'],
    ['../d#part', '/d'],
  ])('to %s', async (location, path) => {
    const server = await serve(byPath({ '/a/b': to(location) }, done));
    expect(await read(await withRedirects(http())(get(server.origin, '/a/b')))).toMatchObject({ text: `done ${path}` });
  });

  test('ten times', async () => {
    const server = await serve(({ path }, response) => {
      const left = Number(path.slice(1));
      response.writeHead(left > 0 ? 302 : 200, { location: `/${left - 1}` }).end('done');
    });
    expect(await read(await withRedirects(http())(get(server.origin, '/10')))).toMatchObject({ text: 'done' });
    expect(server.connections()).toBe(1);
    const error = await failureOf(RegistryError, () => withRedirects(http())(get(server.origin, '/11')));
    expect(error.message).toContain('/11: expected at most 10 redirects');
  });
});

describe('redirects are not followed', () => {
  test.each<HttpMethod>(['POST', 'PUT', 'PATCH', 'DELETE'])('of %s', async (method) => {
    const server = await serve(to('/there'));
    const body = bytesBlob(Buffer.from('x'));
    const response = await withRedirects(http())({ method, url: new URL(server.origin), body });
    expect(response).toMatchObject({ status: 307, headers: { location: '/there' } });
    expect(await read(response)).toMatchObject({ text: 'elsewhere' });
    expect(server.received).toHaveLength(1);
  });

  test.each([
    [304, '/there'],
    [300, '/there'],
    [200, '/there'],
    [307, undefined],
  ])('of status %d with Location %s', async (status, location) => {
    const server = await serve((_received, response) => {
      response.writeHead(status, location === undefined ? {} : { location }).end();
    });
    expect((await withRedirects(http())(get(server.origin))).status).toBe(status);
    expect(server.received).toHaveLength(1);
  });

  test.each([
    ['to itself', ['/a?key=secret-value']],
    ['around', ['/b', '/c', '/a?key=secret-value']],
  ])('in a loop %s', async (_title, places) => {
    const next = Object.fromEntries(
      places.map((place, position) => [places[position - 1] ?? '/a?key=secret-value', to(place)]),
    );
    const server = await serve(byPath(next, done));
    const error = await failureOf(RegistryError, () =>
      withRedirects(http())(get(server.origin, '/a?key=secret-value')),
    );
    expect(error.message).toContain('expected at most 10 redirects');
    expect(error.message).not.toContain('secret-value');
    expect(server.received).toHaveLength(places.length);
  });

  test.each([
    ['ftp://127.0.0.1/', 'ftp:'],
    ['file:///etc/passwd', 'file:'],
    ['data:text/plain,x', 'data:'],
    ['http://[', 'other text'],
  ])('to %s', async (location, found) => {
    const server = await serve(to(location));
    const error = await failureOf(UntrustedResponseError, () => withRedirects(http())(get(server.origin)));
    expect(error.message).toContain(
      `GET ${server.origin}/: expected a redirect to an http or https URL, found ${found}`,
    );
    expect(error).toMatchObject({ status: 307, found });
  });

  test('from https to http', async () => {
    const place = await serve(done);
    const location = `${place.origin.replace('//', '//user:pass@')}/blob?X-Amz-Signature=signed-query`;
    const server = await serve(to(location), { tls: true });
    const transport = withRedirects(http({ ca: [authority] }));
    const error = await failureOf(UntrustedResponseError, () => transport(get(server.origin)));
    expect(error.message).toContain(
      `expected a redirect to an https URL, found ${place.origin}/blob?X-Amz-Signature=…`,
    );
    expect(error.message).not.toMatch(/pass|signed-query/);
    expect(place.received).toEqual([]);
  });
});

describe('ACCEPTANCE 31: what tells who asks stays at the origin', () => {
  const sent = (received: readonly { headers: object }[]) => received.map(({ headers }) => headers);

  test('a redirect on the same origin keeps all headers', async () => {
    const server = await serve(byPath({ '/': to('/there') }, done));
    await read(await withRedirects(http())(get(server.origin, '/', { headers })));
    expect(sent(server.received)).toMatchObject([headers, headers]);
  });

  test.each<[string, (port: number, tlsPort: number) => string]>([
    ['another host', (port) => `http://localhost:${port}/`],
    ['another port', (port) => `http://127.0.0.1:${port}/`],
    ['another scheme', (_port, tlsPort) => `https://127.0.0.1:${tlsPort}/`],
    ['a user of its own', (port) => `http://user:pass@127.0.0.1:${port}/`],
  ])('a redirect to %s keeps range, accept and user-agent', async (_title, location) => {
    const [plain, secure] = [await serve(done), await serve(done, { tls: true })];
    const server = await serve(to(location(plain.port, secure.port)));
    const transport = withRedirects(http({ ca: [authority] }));
    expect(await read(await transport(get(server.origin, '/', { headers })))).toMatchObject({ status: 200 });
    const [found] = sent([...plain.received, ...secure.received]);
    expect(found).toEqual({ ...impersonal, host: expect.any(String), connection: 'keep-alive' });
  });

  test('from one name to another of the same server', async () => {
    const server = await serve(byPath({ '/': to('https://cdn.registry.test/there') }, done), { tls: true });
    const proxy = await serveProxy({ 'registry.test:443': server, 'cdn.registry.test:443': server });
    const transport = withRedirects(http({ ca: [authority], environment: { HTTPS_PROXY: proxy.url } }));
    await read(await transport(get('https://registry.test', '/', { headers })));
    expect(sent(server.received)).toMatchObject([headers, impersonal]);
    expect(server.received[1]?.headers).not.toHaveProperty('authorization');
  });

  test('what was left behind does not come back on the way home', async () => {
    const server = await serve(byPath({ '/': (...exchange) => to(`${place.origin}/`)(...exchange) }, done));
    const place = await serve(to(`${server.origin}/home`));
    await read(await withRedirects(http())(get(server.origin, '/', { headers })));
    const [, home] = server.received;
    expect(home).toMatchObject({ path: '/home', headers: impersonal });
    expect(home?.headers).not.toHaveProperty('authorization');
    expect(home?.headers).not.toHaveProperty('x-custom');
  });
});
