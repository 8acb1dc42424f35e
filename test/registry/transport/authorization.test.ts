import { EventEmitter, once } from 'node:events';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { bytesBlob, LimitError, RegistryError, UnauthorizedError, UntrustedResponseError } from '../../../src';
import type { Credential, Credentials } from '../../../src/credentials/credential';
import { withAuthorization } from '../../../src/registry/transport/authorization';
import { withRedirects } from '../../../src/registry/transport/redirects';
import { failureOf } from '../../fixtures';
import {
  type Answer,
  anonymous,
  authority,
  byPath,
  get,
  http,
  read,
  rings,
  serve,
  serveProxy,
  type TestServer,
} from './servers';

const joe: Credential = { username: 'joe', password: 'pass:word' };
const basicOf = (user: string, password: string) => `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
const everywhere =
  (credential: Credential): Credentials =>
  async () =>
    credential;

/** What a token endpoint says; by default the next of the tokens `token-1`, `token-2`. */
type Issue = (asked: { scopes: string[]; count: number }) => object;
const numbered: Issue = ({ count }) => ({ token: `token-${count}` });

/** A token endpoint, and a registry that takes its tokens for what they were asked for. */
async function serveTokens(issue: Issue = numbered, { only = ['GET', 'POST'], unknown = 405 } = {}) {
  const valid = new Map<string, string[]>();
  const endpoint = await serve(({ method, path, body }, response) => {
    if (!only.includes(method)) return response.writeHead(unknown).end();
    const query = method === 'POST' ? new URLSearchParams(body) : new URL(path, 'http://x').searchParams;
    const scopes = query.getAll('scope').flatMap((scope) => scope.split(' '));
    const issued = issue({ scopes, count: endpoint.received.length });
    for (const token of Object.values(issued)) valid.set(`Bearer ${token}`, scopes);
    response.end(JSON.stringify(issued));
  });
  const challenge = (scope: string) => `Bearer realm="${endpoint.origin}/token",service="here",scope="${scope}"`;
  const registry = await serve(({ path, headers }, response) => {
    const needed = path.slice(1);
    const scopes = valid.get(headers.authorization ?? '');
    if (scopes && allows(scopes, needed)) return response.end('welcome');
    response.writeHead(401, { 'www-authenticate': challenge(needed) }).end('{"errors":[{"code":"UNAUTHORIZED"}]}');
  });
  const ask = (scope: string, more: object = {}) => get(registry.origin, `/${scope}`, { scopes: [scope], ...more });
  return { endpoint, registry, valid, ask };
}

/** Whether one of the scopes has the one action that is needed. */
function allows(scopes: readonly string[], needed: string): boolean {
  const [, resource, action = ''] = /^(.*:)(\w+)$/.exec(needed) ?? [];
  return scopes.some(
    (scope) => scope.startsWith(`${resource}`) && scope.slice(resource?.length).split(',').includes(action),
  );
}

const authorized = (credentials: Credentials = anonymous) => withAuthorization(withRedirects(http()), credentials);
const welcome = { status: 200, text: 'welcome' };
const pull = 'repository:os:pull';

describe('M12: tokens', () => {
  test.each<[string, Credential | undefined, string | undefined]>([
    ['nobody in particular', undefined, undefined],
    ['a password', joe, basicOf('joe', 'pass:word')],
    ['a password beyond ASCII', { username: 'jö', password: '✓' }, basicOf('jö', '✓')],
  ])('with %s', async (_title, credential, authorization) => {
    const { endpoint, registry, ask } = await serveTokens();
    const transport = authorized(async () => credential);
    expect(await read(await transport(ask(pull)))).toEqual(welcome);
    expect(endpoint.received).toMatchObject([
      { method: 'GET', path: '/token?service=here&scope=repository%3Aos%3Apull' },
    ]);
    expect(endpoint.received[0]?.headers.authorization).toBe(authorization);
    expect(registry.received.map(({ headers }) => headers.authorization)).toEqual([undefined, 'Bearer token-1']);
    expect(registry.connections()).toBe(1);
  });

  test('with an identity token', async () => {
    const { endpoint, ask } = await serveTokens(({ count }) => ({ access_token: `token-${count}` }));
    const transport = authorized(everywhere({ identityToken: 'identity' }));
    expect(await read(await transport(ask(pull)))).toEqual(welcome);
    expect(endpoint.received).toMatchObject([{ method: 'POST', path: '/token' }]);
    expect(endpoint.received[0]?.headers).not.toHaveProperty('authorization');
    expect(Object.fromEntries(new URLSearchParams(endpoint.received[0]?.body))).toEqual({
      grant_type: 'refresh_token',
      client_id: 'nx-oci',
      refresh_token: 'identity',
      service: 'here',
      scope: pull,
    });
  });

  test.each([404, 405, 401])('with an identity token, where POST is answered %d', async (unknown) => {
    const { endpoint, ask } = await serveTokens(numbered, { only: ['GET'], unknown });
    expect(await read(await authorized(everywhere({ identityToken: 'identity' }))(ask(pull)))).toEqual(welcome);
    expect(endpoint.received.map(({ method }) => method)).toEqual(['POST', 'GET']);
    expect(endpoint.received[1]?.headers.authorization).toBe(basicOf('', 'identity'));
  });

  test('with the token of a registry itself, which asks nobody', async () => {
    const { endpoint, valid, ask } = await serveTokens();
    valid.set('Bearer mine', [pull]);
    expect(await read(await authorized(everywhere({ registryToken: 'mine' }))(ask(pull)))).toEqual(welcome);
    expect(endpoint.received).toEqual([]);
  });

  test('for the scopes of the request and of the challenge together', async () => {
    const { endpoint, ask } = await serveTokens();
    const scopes = ['repository:os:push,pull', 'repository:base:pull'];
    await authorized()(ask('repository:os:delete', { scopes }));
    const { searchParams } = new URL(endpoint.received[0]?.path ?? '', 'http://x');
    expect(searchParams.getAll('scope')).toEqual(['repository:os:delete,pull,push', 'repository:base:pull']);
  });

  test('are kept for what they allow', async () => {
    const { endpoint, registry, ask } = await serveTokens();
    const transport = authorized();
    await read(await transport(ask('repository:os:push', { scopes: ['repository:os:pull,push'] })));
    await transport(ask('repository:os:pull'));
    await transport(ask('repository:os:push'));
    expect(endpoint.received).toHaveLength(1);
    expect(registry.received.slice(1).every(({ headers }) => headers.authorization === 'Bearer token-1')).toBe(true);
  });

  test('of one repository are none of another', async () => {
    const { endpoint, ask } = await serveTokens();
    const transport = authorized();
    for (const name of ['a', 'b', 'a']) {
      expect(await read(await transport(ask(`repository:${name}:pull`)))).toEqual(welcome);
    }
    expect(endpoint.received).toHaveLength(2);
  });

  test('are fetched once for requests at the same time', async () => {
    const { endpoint, registry, ask } = await serveTokens();
    const transport = authorized();
    const answers = await Promise.all(Array.from({ length: 10 }, async () => read(await transport(ask(pull)))));
    expect(answers).toEqual(Array(10).fill(welcome));
    expect([endpoint.received.length, registry.received.length]).toEqual([1, 20]);
  });

  test('that the registry does not take any more are fetched again, once for all', async () => {
    const { endpoint, valid, ask } = await serveTokens();
    const transport = authorized();
    await read(await transport(ask(pull)));
    valid.clear();
    const answers = await Promise.all(Array.from({ length: 5 }, async () => read(await transport(ask(pull)))));
    expect(answers).toEqual(Array(5).fill(welcome));
    expect(endpoint.received).toHaveLength(2);
  });

  test.each<[string, object, number]>([
    ['no time', {}, 1],
    ['an hour', { expires_in: 3600 }, 1],
    ['forever', { expires_in: 1e300 }, 1],
    ['a time that is none', { expires_in: 'soon' }, 1],
    ['a negative time', { expires_in: -1 }, 1],
    ['nine seconds, which may be over on the way', { expires_in: 9 }, 3],
    ['no second', { expires_in: 0 }, 3],
  ])('that name %s', async (_title, facts, fetched) => {
    const { endpoint, ask } = await serveTokens(({ count }) => ({ token: `token-${count}`, ...facts }));
    const transport = authorized();
    for (let time = 0; time < 3; time++) expect(await read(await transport(ask(pull)))).toEqual(welcome);
    expect(endpoint.received).toHaveLength(fetched);
  });

  test('a body is sent again with the token', async () => {
    const { registry, ask } = await serveTokens();
    const body = bytesBlob(Buffer.from('manifest'));
    expect(await read(await authorized()({ ...ask(pull), method: 'PUT', body }))).toEqual(welcome);
    expect(registry.received.map((request) => request.body)).toEqual(['manifest', 'manifest']);
  });

  test('a fetch goes on for who still waits for it, and ends with the last one', async () => {
    const events = new EventEmitter();
    const endpoint = await serve((_received, response) => {
      response.on('close', () => events.emit('gone', response.writableFinished));
      events.once('issue', () => response.end('{"token":"good","expires_in":0}')).emit('asked');
    });
    const header = { 'www-authenticate': `Bearer realm="${endpoint.origin}/"` };
    const registry = await serve(({ headers }, response) => {
      response.writeHead(headers.authorization ? 200 : 401, header).end();
    });
    const transport = authorized();
    const reason = new Error('enough');
    const ask = ({ signal }: AbortController) => transport(get(registry.origin, '/', { scopes: [pull], signal }));
    for (const goesOn of [true, false]) {
      const [one, other] = [new AbortController(), new AbortController()];
      const [asked, gone] = [once(events, 'asked'), once(events, 'gone')];
      const first = expect(ask(one)).rejects.toBe(reason);
      const second = ask(other).then(({ status }) => status);
      await asked;
      one.abort(reason);
      await first;
      if (goesOn) events.emit('issue');
      else other.abort(reason);
      expect(await second.catch((error) => error)).toBe(goesOn ? 200 : reason);
      expect(await gone).toEqual([goesOn]);
    }
    expect(endpoint.received).toHaveLength(2);
  });

  test('a fetch that was given up is made again for the next', async () => {
    const abort = new AbortController();
    const reason = new Error('enough');
    const { endpoint, ask } = await serveTokens(({ count }) => {
      if (count === 1) abort.abort(reason);
      return { token: `token-${count}` };
    });
    const transport = authorized();
    await expect(transport(ask(pull, { signal: abort.signal }))).rejects.toBe(reason);
    expect(await read(await transport(ask(pull)))).toEqual(welcome);
    expect(endpoint.received).toHaveLength(2);
  });
});

describe('M12: passwords', () => {
  const basicRegistry = (header = 'Basic realm="registry"') =>
    serve(({ headers }, response) => {
      if (headers.authorization === basicOf('joe', 'pass:word')) return response.end('welcome');
      response.writeHead(401, { 'www-authenticate': header }).end();
    });

  test.each(['Basic realm="registry"', 'basic', 'Negotiate, BASIC realm=x'])('%s', async (header) => {
    const { origin, received } = await basicRegistry(header);
    const transport = authorized(everywhere(joe));
    for (const _time of [1, 2])
      expect(await read(await transport(get(origin, '/', { scopes: [pull] })))).toEqual(welcome);
    // The first time it is sent to who asks for it only, and from then on at once.
    expect(received).toHaveLength(3);
  });

  test('are asked for again when they are refused', async () => {
    const { origin } = await basicRegistry();
    const found: Credential[] = [{ username: 'joe', password: 'old' }, joe];
    const transport = authorized(async () => found.shift());
    await failureOf(UnauthorizedError, () => transport(get(origin, '/', { scopes: [pull] })));
    expect(await read(await transport(get(origin, '/', { scopes: [pull] })))).toEqual(welcome);
  });

  test('Bearer goes before Basic', async () => {
    const { endpoint } = await serveTokens();
    const header = `Basic realm="a", Bearer realm="${endpoint.origin}/token",service="here"`;
    const { origin, received } = await serve(({ headers }, response) => {
      response.writeHead(headers.authorization ? 200 : 401, { 'www-authenticate': header }).end();
    });
    await authorized(everywhere(joe))(get(origin, '/', { scopes: [pull] }));
    expect(received[1]?.headers.authorization).toBe('Bearer token-1');
  });
});

describe('O18: who is refused is told why, and what to do', () => {
  const refusing =
    (header: string | undefined, status = 401): Answer =>
    (_received, response) =>
      response
        .writeHead(status, header === undefined ? {} : { 'www-authenticate': header })
        .end('{"errors":[{"code":"DENIED","message":"no"}]}');

  const none = 'there are no credentials for 127.0.0.1:';
  const refused = 'the credentials for 127.0.0.1:';

  test.each<[string, string | undefined, Credential | undefined, string, number]>([
    ['a password is refused', 'Basic', joe, refused, 2],
    ['there is none', 'Basic', undefined, none, 1],
    [
      'the registry asks for something else',
      'Negotiate',
      joe,
      'its challenge (negotiate) is neither Bearer nor Basic',
      1,
    ],
    ['the registry asks for nothing', undefined, joe, 'its challenge (none) is neither Bearer nor Basic', 1],
    ['an identity token where a password is wanted', 'Basic', { identityToken: 'x' }, refused, 1],
  ])('%s', async (_title, header, credential, advice, requests) => {
    const { origin, received } = await serve(refusing(header));
    const ask = () => authorized(async () => credential)(get(origin, '/v2/', { scopes: [pull] }));
    const error = await failureOf(UnauthorizedError, ask);
    expect(error.message).toContain(`GET ${origin}/v2/: expected access, found 401 (DENIED: no); `);
    expect(error.message).toContain(advice);
    expect(error).toMatchObject({ status: 401, codes: ['DENIED'] });
    expect(received).toHaveLength(requests);
  });

  test.each([
    [undefined, none],
    [joe, refused],
  ])('a token is not enough (%j)', async (credential, advice) => {
    const { endpoint } = await serveTokens();
    const { origin, received } = await serve(refusing(`Bearer realm="${endpoint.origin}/token"`));
    const transport = authorized(async () => credential);
    const error = await failureOf(UnauthorizedError, () => transport(get(origin, '/v2/', { scopes: [pull] })));
    expect(error.message).toContain(advice);
    expect([endpoint.received.length, received.length]).toEqual([1, 2]);
  });

  test('a 403 is the business of who asked', async () => {
    const { origin, received } = await serve(refusing('Basic', 403));
    expect((await authorized(everywhere(joe))(get(origin, '/', { scopes: [pull] }))).status).toBe(403);
    expect(received).toHaveLength(1);
  });

  test.each<[number, typeof RegistryError]>([
    [400, UnauthorizedError],
    [401, UnauthorizedError],
    [403, UnauthorizedError],
    [404, RegistryError],
    [302, RegistryError],
    [503, RegistryError],
  ])('the token endpoint answers %d', async (status, type) => {
    const endpoint = await serve(refusing(undefined, status));
    const registry = await serve(refusing(`Bearer realm="${endpoint.origin}/token?a=b"`));
    const ask = () => authorized(everywhere(joe))(get(registry.origin, '/', { scopes: [pull] }));
    const error = await failureOf(type, ask);
    expect(error.constructor).toBe(type);
    const host = `127.0.0.1:${registry.port}`;
    expect(error.message).toContain(
      `token for ${host} from ${endpoint.origin}/token?a=…: expected 200, found ${status}`,
    );
    expect(error.message.includes('docker login')).toBe(type === UnauthorizedError);
  });

  test.each([
    '',
    '{}',
    '[]',
    'null',
    '{"token":5}',
    '{"token":""}',
    '{"token":"a b"}',
    '{"token":"a\r\nb: c"}',
    'eyJ.raw',
  ])('the token endpoint says %j', async (body) => {
    const endpoint = await serve((_received, response) => response.end(body));
    const registry = await serve(refusing(`Bearer realm="${endpoint.origin}/"`));
    const ask = () => authorized()(get(registry.origin, '/', { scopes: [pull] }));
    const error = await failureOf(RegistryError, ask);
    expect(error.message).toContain('expected JSON with "token" or "access_token", found none');
    expect(inspect(error, { depth: Number.POSITIVE_INFINITY })).not.toContain('eyJ');
  });

  test('a token endpoint without end', async () => {
    const endpoint = await serve((_received, response) => {
      const more = () => {
        while (response.write('x'.repeat(10_000)));
      };
      response.on('drain', more);
      more();
    });
    const registry = await serve(refusing(`Bearer realm="${endpoint.origin}/"`));
    await failureOf(LimitError, () => authorized()(get(registry.origin, '/', { scopes: [pull] })));
  });

  test('a token endpoint that fails for now is asked again', async () => {
    let asked = 0;
    const endpoint = await serve((_received, response) => {
      if (++asked < 3) response.writeHead(503).end();
      else response.end('{"token":"good"}');
    });
    const registry = await serve(({ headers }, response) => {
      const header = { 'www-authenticate': `Bearer realm="${endpoint.origin}/"` };
      response.writeHead(headers.authorization === 'Bearer good' ? 200 : 401, header).end();
    });
    expect((await rings()(get(registry.origin, '/', { scopes: [pull] }))).status).toBe(200);
    expect(asked).toBe(3);
  });
});

describe('ACCEPTANCE 33: where passwords are sent for a token is checked first', () => {
  /** A registry of this realm and other hosts, all with public names behind a proxy, and a way there. */
  async function publicRegistry(
    realm: string,
    hosts: Readonly<Record<string, TestServer>> = {},
    host = 'registry.test',
  ) {
    const challenge: Answer = ({ headers }, response) => {
      response.writeHead(headers.authorization ? 200 : 401, { 'www-authenticate': `Bearer realm="${realm}"` }).end();
    };
    const registry = await serve(challenge, { tls: true });
    const proxy = await serveProxy({ [`${host}:443`]: registry, ...hosts });
    const environment = { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url };
    const transport = rings({ environment, ca: [authority], credentials: everywhere(joe) });
    return { registry, proxy, ask: () => transport(get(`https://${host}`, '/v2/', { scopes: [pull] })) };
  }

  const issuing: Answer = (_received, response) => response.end('{"token":"good"}');

  test('another public host is believed', async () => {
    const auth = await serve(issuing, { tls: true });
    const { ask } = await publicRegistry('https://auth.registry.test/token', { 'auth.registry.test:443': auth });
    expect((await ask()).status).toBe(200);
    expect(auth.received[0]?.headers.authorization).toBe(basicOf('joe', 'pass:word'));
  });

  test.each<[string, (port: number) => string, string]>([
    [
      'http under https',
      () => 'http://auth.registry.test/token?key=secret-value',
      'http://auth.registry.test/token?key=…',
    ],
    ['a loopback address', (port) => `https://127.0.0.1:${port}/token`, 'https://127.0.0.1:'],
    ['another loopback address', (port) => `https://127.9.9.9:${port}/token`, 'https://127.9.9.9:'],
    ['a loopback address in disguise', (port) => `https://0x7f000001:${port}/token`, 'https://127.0.0.1:'],
    ['the loopback name', (port) => `https://localhost:${port}/token`, 'https://localhost:'],
    ['the loopback address of IPv6', (port) => `https://[::1]:${port}/token`, 'https://[::1]:'],
    ['a mapped loopback address', (port) => `https://[::ffff:127.0.0.1]:${port}/token`, 'https://[::ffff:7f00:1]:'],
    ['a link-local address', () => 'https://169.254.169.254/latest', 'https://169.254.169.254/latest'],
    ['a link-local address of IPv6', () => 'https://[fe80::1]/token', 'https://[fe80::1]/token'],
    ['another scheme', () => 'file:///etc/passwd', 'file:///etc/passwd'],
    ['no URL', () => 'token', '"token"'],
    ['nothing', () => '', '""'],
  ])('E(realm): %s', async (_title, realm, found) => {
    const secure = await serve(issuing, { tls: true });
    const plain = await serve(issuing);
    const { ask, proxy } = await publicRegistry(realm(secure.port), { 'auth.registry.test': plain });
    const error = await failureOf(UntrustedResponseError, ask);
    expect(error.message).toMatch(/^realm of registry\.test: expected an? /);
    expect(error.message).toContain(found);
    expect(error.message).not.toContain('secret-value');
    expect([secure.connections(), plain.connections()]).toEqual([0, 0]);
    expect(proxy.asked).toEqual(['CONNECT registry.test:443']);
  });

  test.each<[string, (port: number) => string]>([
    ['a loopback address', (port) => `https://127.0.0.1:${port}/token`],
    ['the loopback name', (port) => `https://localhost:${port}/token`],
    ['http', () => 'http://auth.registry.test/token'],
  ])('E(realm): a token endpoint that redirects to %s', async (_title, location) => {
    const [secure, plain] = [await serve(issuing, { tls: true }), await serve(issuing)];
    const redirecting = await serve(
      (_received, response) => response.writeHead(307, { location: location(secure.port) }).end(),
      { tls: true },
    );
    const hosts = { 'auth.registry.test:443': redirecting, 'auth.registry.test': plain };
    const { ask } = await publicRegistry('https://auth.registry.test/token', hosts);
    const error = await failureOf(UntrustedResponseError, ask);
    expect(error.message).toContain('realm https://auth.registry.test/token: ');
    expect([secure.connections(), plain.connections(), redirecting.received.length]).toEqual([0, 0, 1]);
  });

  test('a token endpoint that redirects to another host sends no password there', async () => {
    const other = await serve(issuing, { tls: true });
    const redirecting = await serve(
      (_received, response) => response.writeHead(307, { location: 'https://other.registry.test/token' }).end(),
      { tls: true },
    );
    const hosts = { 'auth.registry.test:443': redirecting, 'other.registry.test:443': other };
    const { ask } = await publicRegistry('https://auth.registry.test/token', hosts);
    await ask();
    expect(redirecting.received[0]?.headers.authorization).toBe(basicOf('joe', 'pass:word'));
    expect(other.received).toHaveLength(1);
    expect(other.received[0]?.headers).not.toHaveProperty('authorization');
  });

  test('an identity token does not follow a redirect', async () => {
    const other = await serve(issuing);
    const endpoint = await serve((_received, response) => {
      response.writeHead(307, { location: `${other.origin}/token` }).end();
    });
    const registry = await serve((_received, response) => {
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${endpoint.origin}/"` }).end();
    });
    const transport = rings({ credentials: everywhere({ identityToken: 'identity' }) });
    const error = await failureOf(RegistryError, () => transport(get(registry.origin, '/', { scopes: [pull] })));
    expect(error.message).toContain('expected 200, found 307');
    expect(other.connections()).toBe(0);
  });

  test('the registry of this machine may have its token endpoint there', async () => {
    const endpoint = await serve(issuing, { tls: true });
    const registry = await serve(
      ({ headers }, response) => {
        const header = { 'www-authenticate': `Bearer realm="https://localhost:${endpoint.port}/"` };
        response.writeHead(headers.authorization ? 200 : 401, header).end();
      },
      { tls: true },
    );
    const transport = rings({ ca: [authority], credentials: everywhere(joe) });
    expect((await transport(get(registry.origin, '/', { scopes: [pull] }))).status).toBe(200);
  });
});

test.each<[string, string, Credentials]>([
  ['credentials that can not be had', 'Basic realm="here"', () => Promise.reject(new Error('no helper'))],
  ['a realm that is refused', 'Bearer realm="nowhere"', anonymous],
])('%s leave no connection open, which would keep the process', async (_title, challenge, credentials) => {
  const registry = await serve((_received, response) => {
    response.writeHead(401, { 'www-authenticate': challenge }).end();
  });
  const transport = authorized(credentials);
  const ask = () => transport(get(registry.origin, '/', { scopes: [pull] }));
  await expect(ask()).rejects.toThrow(/no helper|realm of/);
  await expect(ask()).rejects.toThrow(/no helper|realm of/);
  expect(registry.connections()).toBe(1);
});

describe('ACCEPTANCE 34: who is not the registry gets no credentials', () => {
  const greedy =
    (realm: string): Answer =>
    (_received, response) =>
      response.writeHead(401, { 'www-authenticate': `Basic, Bearer realm="${realm}"` }).end('who?');

  test('a request without scopes, such as one for a foreign layer', async () => {
    const endpoint = await serve((_received, response) => response.end('{"token":"good"}'));
    const foreign = await serve(greedy(endpoint.origin));
    const asked: string[] = [];
    const transport = rings({
      credentials: async (registry) => {
        asked.push(registry);
        return joe;
      },
    });
    expect(await read(await transport(get(foreign.origin, '/layer')))).toEqual({ status: 401, text: 'who?' });
    expect(foreign.received).toHaveLength(1);
    expect(foreign.received[0]?.headers).not.toHaveProperty('authorization');
    expect([endpoint.received, asked]).toEqual([[], []]);
  });

  test('nor when the same registry got some before', async () => {
    const { registry, ask } = await serveTokens();
    const transport = rings({ credentials: everywhere(joe) });
    await read(await transport(ask(pull)));
    const { scopes: _without, ...request } = ask(pull);
    expect((await transport(request)).status).toBe(401);
    expect(registry.received.at(-1)?.headers).not.toHaveProperty('authorization');
  });

  test('a place that the registry redirects to', async () => {
    const storage = await serve(greedy('http://127.0.0.1:1/'));
    const registry = await serve(
      byPath(
        { '/blob': (_received, response) => response.writeHead(307, { location: `${storage.origin}/` }).end() },
        () => {},
      ),
    );
    const response = await rings({ credentials: everywhere(joe) })(get(registry.origin, '/blob', { scopes: [pull] }));
    expect(await read(response)).toEqual({ status: 401, text: 'who?' });
    expect([registry.received.length, storage.received.length]).toEqual([1, 1]);
  });
});

describe('ACCEPTANCE 39: credentials are those of one registry', () => {
  const basic: Answer = ({ headers }, response) =>
    response.writeHead(headers.authorization ? 200 : 401, { 'www-authenticate': 'Basic' }).end();

  test.each([
    ['https://registry-1.docker.io', 'docker.io', 200],
    ['https://evildocker.io', 'evildocker.io', 401],
    ['https://docker.io.evil.test', 'docker.io.evil.test', 401],
    ['https://registry-1.docker.io:5000', 'registry-1.docker.io:5000', 401],
    ['http://registry-1.docker.io:443', 'registry-1.docker.io:443', 401],
  ])('%s is %s', async (origin, name, status) => {
    const isSecure = origin.startsWith('https:');
    const server = await serve(basic, { tls: isSecure });
    const { host, port } = new URL(origin);
    const proxy = await serveProxy({ [isSecure && port === '' ? `${host}:443` : host]: server });
    const environment = { HTTPS_PROXY: proxy.url, HTTP_PROXY: proxy.url };
    const asked: unknown[] = [];
    const credentials: Credentials = async (registry, repository) => {
      asked.push([registry, repository]);
      return registry === 'docker.io' ? joe : undefined;
    };
    const transport = rings({ environment, insecureTls: () => true, credentials });
    const answer = transport(get(origin, '/v2/', { scopes: ['repository:library/os:pull'] }));
    const found = await answer.catch((error: UnauthorizedError) => error);
    expect(found.status).toBe(status);
    expect(asked).toEqual([[name, 'library/os']]);
    expect(server.received.some(({ headers }) => headers.authorization !== undefined)).toBe(status === 200);
  });

  test('what one port is given, another one is not', async () => {
    const [one, other] = [await serve(basic), await serve(basic)];
    const credentials: Credentials = async (registry) => (registry === `127.0.0.1:${one.port}` ? joe : undefined);
    const transport = rings({ credentials });
    await transport(get(one.origin, '/', { scopes: [pull] }));
    await failureOf(UnauthorizedError, () => transport(get(other.origin, '/', { scopes: [pull] })));
    expect(other.received.every(({ headers }) => headers.authorization === undefined)).toBe(true);
  });

  test('a token of one registry is not sent to another with the same token endpoint', async () => {
    const { endpoint, ask } = await serveTokens();
    const other = await serve((_received, response) => {
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${endpoint.origin}/token"` }).end();
    });
    const transport = rings({
      credentials: async (registry) => (registry.endsWith(`:${other.port}`) ? undefined : joe),
    });
    await read(await transport(ask(pull)));
    await failureOf(UnauthorizedError, () => transport(get(other.origin, '/', { scopes: [pull] })));
    expect(other.received.map(({ headers }) => headers.authorization)).toEqual([undefined, 'Bearer token-2']);
  });
});
