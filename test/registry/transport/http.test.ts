import { createHash } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { hostname } from 'node:os';
import { rootCertificates } from 'node:tls';
import { describe, expect, test } from '@jest/globals';
import {
  type Bytes,
  bytesBlob,
  ConnectionError,
  InvalidOptionError,
  LayerSourceError,
  UntrustedResponseError,
} from '../../../src';
import { isLocalHost } from '../../../src/registry/transport/addresses';
import { isTemporary } from '../../../src/registry/transport/retries';
import { collect, failureOf } from '../../fixtures';
import { authority, certificateFile, get, http, read, serve, serveProxy, serveSockets, unusedPort } from './servers';

describe('an exchange', () => {
  test('sends method, path, query, headers and body, and reads status, headers and body', async () => {
    const server = await serve((_received, response) => {
      response.writeHead(201, { 'X-One': 'a', Link: ['</x>', '</y>'] }).end('done');
    });
    const url = new URL('/v2/a?b=c%20d&e', server.origin);
    const body = bytesBlob(Buffer.from('content'));
    const response = await http()({ method: 'PUT', url, headers: { 'x-two': 'b' }, body });
    expect(response).toMatchObject({ url, headers: { 'x-one': 'a', link: '</x>, </y>' } });
    expect(await read(response)).toEqual({ status: 201, text: 'done' });
    expect(server.received).toMatchObject([
      {
        method: 'PUT',
        path: '/v2/a?b=c%20d&e',
        headers: { 'x-two': 'b', 'content-length': '7', 'user-agent': 'nx-oci' },
        body: 'content',
      },
    ]);
  });

  test.each(['POST', 'PUT', 'PATCH'] as const)('%s without a body says that it has none', async (method) => {
    const server = await serve((_received, response) => response.end());
    const transport = http();
    const url = new URL(server.origin);
    await read(await transport({ method, url }));
    await read(await transport({ method, url, headers: { 'content-length': '0' } }));
    await read(await transport({ method, url, body: bytesBlob(Buffer.alloc(0)) }));
    expect(server.received.map(({ headers }) => headers['content-length'])).toEqual(['0', '0', '0']);
  });

  test('HEAD has headers and no body', async () => {
    const server = await serve((_received, response) => response.writeHead(200, { 'content-length': '99' }).end());
    const response = await http()({ method: 'HEAD', url: new URL(server.origin) });
    expect(response.headers['content-length']).toBe('99');
    expect(await read(response)).toEqual({ status: 200, text: '' });
  });

  test('bodies stream both ways at the same time', async () => {
    const echo = await serve((_received, response, request) => request.pipe(response), { unread: true });
    const size = 16 * 1024 * 1024;
    const hashes = { sent: createHash('sha256'), received: createHash('sha256') };
    async function* open(): Bytes {
      for (let sent = 0; sent < size; sent += 256 * 1024) {
        const chunk = Buffer.alloc(256 * 1024, sent / 1024);
        hashes.sent.update(chunk);
        yield chunk;
      }
    }
    const response = await http()({ method: 'PUT', url: new URL(echo.origin), body: { size, open } });
    for await (const chunk of response.body) hashes.received.update(chunk);
    expect(hashes.received.digest('hex')).toBe(hashes.sent.digest('hex'));
  });

  test('a failure of the body that is sent is its own, and the server gets no whole body', async () => {
    const cut = new EventEmitter();
    const arrived = once(cut, 'arrived');
    const server = await serve(
      (_received, _response, request) => {
        cut.emit('arrived');
        request.on('error', () => cut.emit('cut', request.complete)).resume();
      },
      { unread: true },
    );
    async function* open(): Bytes {
      yield Buffer.from('half');
      await arrived;
      throw new LayerSourceError('file: expected the same size, found a change');
    }
    const seen = once(cut, 'cut');
    const upload = () => http()({ method: 'PUT', url: new URL(server.origin), body: { size: 8, open } });
    expect((await failureOf(LayerSourceError, upload)).message).toContain('found a change');
    expect(await seen).toEqual([false]);
  });
});

describe('connections', () => {
  test('one is kept for the next request, and several serve requests at the same time', async () => {
    const waiting: ServerResponse[] = [];
    const server = await serve(({ path }, response) => {
      if (path === '/first') return response.end();
      waiting.push(response);
      if (waiting.length === 3) for (const each of waiting) each.end();
    });
    const transport = http();
    await read(await transport(get(server.origin, '/first')));
    await read(await transport(get(server.origin, '/first')));
    expect(server.connections()).toBe(1);
    await Promise.all(['/a', '/b', '/c'].map(async (path) => read(await transport(get(server.origin, path)))));
    expect(server.connections()).toBe(3);
  });

  test.each<[string, boolean, (response: ServerResponse) => unknown]>([
    ['a short body keeps it', true, (response) => response.end('x'.repeat(1000))],
    ['a long body ends it', false, (response) => response.writeHead(200, { 'content-length': 1e9 }).write('x')],
    ['an endless body ends it', false, (response) => response.write('x'.repeat(1e6))],
    ['a body that stops ends it', false, (response) => response.write('x')],
  ])('discarding: %s', async (_title, isKept, answer) => {
    const server = await serve(({ path }, response) => (path === '/body' ? answer(response) : response.end()));
    const transport = http();
    const { discard } = await transport(get(server.origin, '/body'));
    await discard();
    await discard();
    await read(await transport(get(server.origin)));
    expect(server.connections() === 1).toBe(isKept);
  });

  test.each([
    ['GET', undefined, true],
    ['POST', true, true],
    ['POST', undefined, false],
  ] as const)(
    'one that ends as %s (idempotent: %j) goes over it: sent again: %j',
    async (method, idempotent, isAgain) => {
      const server = await serve((_received, response, request) => {
        // The first request of each connection is answered; a later one finds it ended.
        if (served.has(request.socket)) return request.socket.destroy();
        served.add(request.socket);
        response.end();
      });
      const served = new WeakSet<object>();
      const transport = http();
      await read(await transport(get(server.origin)));
      const request = { method, url: new URL(server.origin), ...(idempotent !== undefined && { idempotent }) };
      if (isAgain) expect((await read(await transport(request))).status).toBe(200);
      else expect((await failureOf(ConnectionError, () => transport(request))).code).toBe('ECONNRESET');
      expect(server.connections()).toBe(isAgain ? 2 : 1);
    },
  );

  test('a response that is over before its request ends that, and lets go of its body', async () => {
    const server = await serveSockets((socket) =>
      socket.once('data', () => socket.pause().write('HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n')),
    );
    const closed = new EventEmitter();
    const isClosed = once(closed, 'closed');
    const chunk = Buffer.alloc(1024 * 1024);
    async function* open(): Bytes {
      try {
        for (let sent = 0; sent < 256; sent++) yield chunk;
      } finally {
        closed.emit('closed');
      }
    }
    const url = new URL(`http://127.0.0.1:${server.port}`);
    expect(await read(await http()({ method: 'PUT', url, body: { size: 256 * chunk.length, open } }))).toMatchObject({
      status: 413,
    });
    await isClosed;
  });

  test('discarding ends a body that is being read', async () => {
    const server = await serve((_received, response) => response.write('start'));
    const { body, discard } = await http()(get(server.origin));
    const reading = body[Symbol.asyncIterator]();
    expect(String((await reading.next()).value)).toBe('start');
    const rest = failureOf(ConnectionError, () => reading.next());
    await discard();
    await rest;
  });

  test('closing ends those in use', async () => {
    const server = await serve((_received, response) => response.write('start'));
    const transport = http();
    const { body } = await transport(get(server.origin));
    await transport.close();
    await failureOf(ConnectionError, () => collect(body));
    await failureOf(ConnectionError, () => transport(get(server.origin)));
  });
});

describe('a failure below HTTP names the request, the code and what to do', () => {
  const quick = { connect: 100, response: 100, idle: 100 };
  const cut = (socket: Socket) => socket.on('data', () => socket.destroy());
  const cutBody = (socket: Socket) =>
    socket.on('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'));

  test.each<[string, () => Promise<string>, RegExp, string]>([
    ['nobody listens', async () => `http://127.0.0.1:${await unusedPort()}`, /ECONNREFUSED/, 'start the registry'],
    ['no such name', async () => 'http://registry.invalid', /ENOTFOUND|EAI_AGAIN/, 'HTTPS_PROXY'],
    ['TLS never begins', () => sockets('https', () => undefined), /CONNECT_TIMEOUT/, 'check the network'],
    ['no response comes', () => sockets('http', () => undefined), /RESPONSE_TIMEOUT/, 'try again later'],
    ['the body stops', () => sockets('http', stalled), /IDLE_TIMEOUT/, 'try again later'],
    ['the connection breaks', () => sockets('http', cut), /ECONNRESET/, 'try again'],
    ['the body breaks off', () => sockets('http', cutBody), /ECONNRESET/, 'try again'],
    [
      'no HTTP',
      () => sockets('http', (socket) => socket.end('220 mail\r\n')),
      /HTTPParserError|HPE_/,
      'correct the name and port',
    ],
    ['plain HTTP under https', () => plainUnderTls(), /EPROTO|ERR_SSL/, '--insecure'],
    ['an unknown authority', () => tlsOrigin('127.0.0.1'), /UNABLE_TO_VERIFY/, 'NODE_EXTRA_CA_CERTS'],
  ])('%s', async (_title, origin, code, advice) => {
    const transport = http({ timeouts: quick });
    const url = new URL('/v2/?digest=secret', await origin());
    const error = await failureOf(ConnectionError, async () => collect((await transport({ method: 'GET', url })).body));
    expect(error.code).toMatch(code);
    expect(error.message).toMatch(`GET ${url.origin}/v2/?digest=…: expected a response, found `);
    expect(error.message).toContain(`(${error.code})`);
    expect(error.message).toContain(advice);
    // Nothing else: a parser's error holds what was received.
    expect({ ...(error.cause as Error) }).toEqual({ code: error.code });
  });

  test('a certificate for another name', async () => {
    const server = await serve((_received, response) => response.end(), { tls: true });
    const proxy = await serveProxy({ 'other.test:443': server });
    const transport = http({ ca: [authority], environment: { HTTPS_PROXY: proxy.url } });
    const error = await failureOf(ConnectionError, () => transport(get('https://other.test')));
    expect(error.message).toContain('a certificate that is not trusted (ERR_TLS_CERT_ALTNAME_INVALID)');
  });

  const sockets = async (scheme: string, onSocket: (socket: Socket) => unknown) =>
    `${scheme}://127.0.0.1:${(await serveSockets(onSocket)).port}`;
  const stalled = (socket: Socket) =>
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf'));
  const plainUnderTls = async () => (await serve(() => undefined)).origin.replace('http:', 'https:');
  const tlsOrigin = async (host: string) => `https://${host}:${(await serve(() => undefined, { tls: true })).port}`;
});

describe('an abort ends at once', () => {
  const reason = new Error('enough');

  test('before the request', async () => {
    const server = await serve((_received, response) => response.end());
    await expect(http()(get(server.origin, '/', { signal: AbortSignal.abort(reason) }))).rejects.toBe(reason);
    expect(server.received).toEqual([]);
  });

  test('while the connection is made', async () => {
    const abort = new AbortController();
    const { port } = await serveSockets(() => abort.abort(reason));
    await expect(http()(get(`https://127.0.0.1:${port}`, '/', { signal: abort.signal }))).rejects.toBe(reason);
  });

  test('while the response is awaited', async () => {
    const abort = new AbortController();
    const server = await serve(() => abort.abort(reason));
    await expect(http()(get(server.origin, '/', { signal: abort.signal }))).rejects.toBe(reason);
  });

  test('while its body is read, and the server sees that', async () => {
    const abort = new AbortController();
    const seen = new EventEmitter();
    const server = await serve((_received, response) => {
      response.on('close', () => seen.emit('gone')).write('start');
    });
    const response = await http()(get(server.origin, '/', { signal: abort.signal }));
    const gone = once(seen, 'gone');
    const reading = expect(collect(response.body)).rejects.toBe(reason);
    abort.abort(reason);
    await reading;
    await gone;
  });

  test('while a body is sent, which is closed', async () => {
    const abort = new AbortController();
    const server = await serve(() => undefined, { unread: true });
    const seen = new EventEmitter();
    const closed = once(seen, 'closed');
    async function* open(): Bytes {
      try {
        for (;;) {
          yield Buffer.alloc(1024 * 1024);
          // By now the first bytes are on their way.
          setImmediate(() => abort.abort(reason));
        }
      } finally {
        seen.emit('closed');
      }
    }
    const request = {
      method: 'PUT',
      url: new URL(server.origin),
      body: { size: 1e9, open },
      signal: abort.signal,
    } as const;
    await expect(http()(request)).rejects.toBe(reason);
    await closed;
  });
});

describe('certificates', () => {
  /** An authority that signed none of the certificates here. */
  const stranger = rootCertificates[0] as string;
  const greet = async () => serve((_received, response) => response.end('hello'), { tls: true });

  test('an authority is trusted that is named, or that NODE_EXTRA_CA_CERTS names beside another', async () => {
    const { origin } = await greet();
    expect(await read(await http({ ca: [authority] })(get(origin)))).toEqual({ status: 200, text: 'hello' });
    const environment = { NODE_EXTRA_CA_CERTS: certificateFile('ca.pem') };
    const other = await http({ ca: [stranger], environment })(get(origin));
    expect(await read(other)).toEqual({ status: 200, text: 'hello' });
    await failureOf(ConnectionError, () => http({ ca: [stranger] })(get(origin)));
  });

  test('a host can be believed unseen, and only that one', async () => {
    const [one, other] = [await greet(), await greet()];
    const transport = http({ insecureTls: (host) => host === `127.0.0.1:${one.port}` });
    expect(await read(await transport(get(one.origin)))).toEqual({ status: 200, text: 'hello' });
    await failureOf(ConnectionError, () => transport(get(other.origin)));
  });

  test.each(['', 'certificate', authority.replace('MII', 'MIX')])('ca %j is none', async (pem) => {
    const error = await failureOf(InvalidOptionError, () => http({ ca: [authority, pem] }));
    expect(error.message).toContain('ca[1]: expected a certificate in PEM');
  });
});

describe('proxies', () => {
  const hosts = async () => {
    const plain = await serve(({ path }, response) => response.end(`plain ${path}`));
    const secure = await serve(({ path }, response) => response.end(`secure ${path}`), { tls: true });
    const proxy = await serveProxy({
      'registry.test': plain,
      'registry.test:443': secure,
      'registry.test:8443': secure,
    });
    return { plain, secure, proxy };
  };

  test.each([
    ['HTTP_PROXY', 'HTTPS_PROXY'],
    ['http_proxy', 'https_proxy'],
  ])('%s and %s are used, with or without http://', async (plainName, secureName) => {
    const { proxy } = await hosts();
    const environment = { [plainName]: proxy.address, [secureName]: proxy.url };
    const transport = http({ environment, ca: [authority] });
    expect(await read(await transport(get('http://registry.test', '/a?b')))).toMatchObject({ text: 'plain /a?b' });
    expect(await read(await transport(get('https://registry.test', '/c')))).toMatchObject({ text: 'secure /c' });
    expect(proxy.asked).toEqual(['GET http://registry.test/a?b', 'CONNECT registry.test:443']);
  });

  test('connections are kept behind a proxy, those of the first requests too', async () => {
    const { proxy } = await hosts();
    const transport = http({ environment: { HTTPS_PROXY: proxy.url }, ca: [authority] });
    const sixAtOnce = () =>
      Promise.all(Array.from({ length: 6 }, async () => read(await transport(get('https://registry.test')))));
    await sixAtOnce();
    await sixAtOnce();
    expect(proxy.asked).toEqual(Array(6).fill('CONNECT registry.test:443'));
  });

  test('a host that is believed unseen is so behind a proxy too', async () => {
    const { proxy } = await hosts();
    const insecureTls = (host: string) => host === 'registry.test:8443';
    const transport = http({ environment: { HTTPS_PROXY: proxy.url }, insecureTls });
    expect(await read(await transport(get('https://registry.test:8443')))).toMatchObject({ text: 'secure /' });
    await failureOf(ConnectionError, () => transport(get('https://registry.test')));
  });

  test.each(['*', 'registry.test', 'other.test,.test', 'registry.test:443'])('NO_PROXY=%s', async (noProxy) => {
    const { proxy } = await hosts();
    const environment = { HTTPS_PROXY: proxy.url, NO_PROXY: noProxy };
    await failureOf(ConnectionError, () => http({ environment })(get('https://registry.test')));
    expect(proxy.asked).toEqual([]);
  });

  test('what runs on this machine is reached directly', async () => {
    const { plain, secure, proxy } = await hosts();
    const environment = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url, NO_PROXY: 'other.test' };
    const transport = http({ environment, ca: [authority] });
    await read(await transport(get('http://registry.test')));
    await read(await transport(get('https://registry.test')));
    const { asked } = proxy;
    const elsewhere = [...asked];
    expect(elsewhere).toHaveLength(2);
    expect(await read(await transport(get(plain.origin)))).toMatchObject({ text: 'plain /' });
    expect(await read(await transport(get(`https://localhost:${secure.port}`)))).toMatchObject({ text: 'secure /' });
    expect(asked).toEqual(elsewhere);
  });

  test.each(['http', 'https'])('one that is not there is not taken for the registry (%s)', async (scheme) => {
    const url = `http://user:hunter2@127.0.0.1:${await unusedPort()}`;
    const transport = http({ environment: { HTTP_PROXY: url, HTTPS_PROXY: url } });
    const error = await failureOf(ConnectionError, () => transport(get(`${scheme}://registry.test`)));
    expect(error.message).toContain('found no way to the proxy (PROXY_UNREACHED); check HTTPS_PROXY');
    expect(JSON.stringify([error.message, String(error.cause)])).not.toContain('hunter2');
    expect(isTemporary(error)).toBe(true);
  });

  test('its password goes to it, and into no message', async () => {
    const { proxy } = await hosts();
    const environment = { HTTPS_PROXY: proxy.url.replace('//', '//user:hunter2@') };
    const transport = http({ environment, ca: [authority] });
    await read(await transport(get('https://registry.test')));
    const error = await failureOf(ConnectionError, () => transport(get('https://unknown.test')));
    expect(error.message).toContain('found a proxy that refuses (PROXY_REFUSED); check HTTPS_PROXY');
    expect(JSON.stringify([error.message, String(error.cause)])).not.toContain('hunter2');
    const basic = `Basic ${Buffer.from('user:hunter2').toString('base64')}`;
    expect(proxy.authorizations).toEqual([basic, basic]);
  });

  test.each(['ftp://user:hunter2@proxy', 'http://user:hunter2@', 'http://user:hunter2@[::'])(
    '%s is none',
    async (proxy) => {
      const error = await failureOf(InvalidOptionError, () => http({ environment: { https_proxy: proxy } }));
      expect(error.message).toContain('HTTPS_PROXY: expected a URL such as');
      expect(error.message).not.toContain('hunter2');
    },
  );
});

describe('where only public addresses are allowed', () => {
  test.each(['127.0.0.1', 'localhost', '[::1]', '[::ffff:127.0.0.1]'])('%s gets no connection', async (host) => {
    const server = await serve((_received, response) => response.end());
    const request = get(`http://${host}:${server.port}`, '/', { publicOnly: true });
    const error = await failureOf(UntrustedResponseError, () => http()(request));
    expect(error.message).toContain('expected a public address');
    expect(server.connections()).toBe(0);
  });

  test('nor does a name that leads there', async () => {
    // Not every machine has a name for itself beside localhost.
    const names = ['ip6-localhost', 'ip6-loopback', 'localhost.localdomain', 'localhost4', 'localhost6', hostname()];
    const addresses = await Promise.all(names.map((name) => lookup(name).catch(() => ({ address: '' }))));
    const name = names.find((_name, position) => isLocalHost(addresses[position]?.address ?? ''));
    if (name === undefined) return;
    const server = await serve((_received, response) => response.end());
    const transport = http();
    const origin = `http://${name}:${server.port}`;
    // A connection that is kept for others does not serve it either.
    const isReached = await transport(get(origin)).then(read, () => undefined);
    const error = await failureOf(UntrustedResponseError, () => transport(get(origin, '/', { publicOnly: true })));
    expect(error.message).toContain(`host ${name}: expected a public address`);
    expect(server.connections()).toBe(isReached ? 1 : 0);
  });
});
