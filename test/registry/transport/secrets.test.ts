import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import type { Credential } from '../../../src/credentials/credential';
import { responseError } from '../../../src/registry/transport/response-error';
import type { Retry } from '../../../src/registry/transport/retries';
import { type Answer, authority, byPath, get, read, rings, serve, serveProxy, serveSockets } from './servers';

const password = 'pa"ss\\word-secret';
const token = 'token-secret.eyJhbGciOiJub25lIn0';
const signature = 'signed-secret/+=';
const signed = `X-Amz-Signature=${encodeURIComponent(signature)}&X-Amz-Credential=signed-secret-2`;
const joe: Credential = { username: 'joe', password };
const scopes = ['repository:os:pull'];

/** Every form in which one of them could be met. */
const forms = [password, token, signature, Buffer.from(`joe:${password}`).toString('base64')].flatMap((secret) => [
  secret,
  encodeURIComponent(secret),
  JSON.stringify(secret).slice(1, -1),
  inspect(secret).slice(1, -1),
]);

/** Says all that it was told in its error. */
const gossip =
  (status: number, headers: Readonly<Record<string, string>> = {}): Answer =>
  ({ path, headers: received, body }, response) => {
    const query = [...new URL(path, 'http://x').searchParams.values(), ...new URLSearchParams(body).values()];
    const basic = Buffer.from(received.authorization?.replace('Basic ', '') ?? '', 'base64').toString();
    const message = [path, received.authorization, basic.slice(4), ...query, body].join(' ');
    response.writeHead(status, headers).end(JSON.stringify({ errors: [{ code: 'GOSSIP', message }] }));
  };

/** All that is seen of a request that fails: its error with every cause, or that of its response, and the retries. */
async function seenOf(url: string, credential: Credential = joe, environment: NodeJS.ProcessEnv = {}): Promise<string> {
  const retries: Retry[] = [];
  const onRetry = (retry: Retry) => retries.push(retry);
  const transport = rings({ credentials: async () => credential, onRetry, ca: [authority], environment });
  const failure = await transport(get(url, url, { scopes }))
    .then(async (response) =>
      response.status === 200 ? read(response) : responseError(response, 'os', { expected: '200' }),
    )
    .catch((error) => error);
  expect(failure).toBeInstanceOf(Error);
  return `${inspect(failure, { depth: Number.POSITIVE_INFINITY, showHidden: true })}\n${JSON.stringify(retries)}`;
}

const bearer = (realm: string) => ({ 'www-authenticate': `Bearer realm="${realm}",service="signed-secret/+="` });
const issuing: Answer = (_received, response) => response.end(JSON.stringify({ token }));

/** A registry that asks for a password or a token first, and then fails in its own way. */
const guarded =
  (challenge: Readonly<Record<string, string>>, after: Answer): Answer =>
  (received, response, request) =>
    received.headers.authorization ? after(received, response, request) : response.writeHead(401, challenge).end();

const cut: Answer = (_received, response) => response.destroy();

describe('ACCEPTANCE 35: no password, token or signed query in errors, causes and notifications', () => {
  const statuses = [400, 401, 403, 404, 429, 500, 503];

  test.each(statuses)('a registry that repeats a password, with %d', async (status) => {
    const { origin } = await serve(guarded({ 'www-authenticate': 'Basic' }, gossip(status)));
    expectNoSecret(await seenOf(`${origin}/v2/?${signed}`), `${status} (GOSSIP: /v2/?`);
  });

  test.each(statuses)('a registry that repeats a token, with %d', async (status) => {
    const endpoint = await serve(issuing);
    const { origin } = await serve(guarded(bearer(endpoint.origin), gossip(status)));
    expectNoSecret(await seenOf(`${origin}/v2/?${signed}`), `${status} (GOSSIP: /v2/?`);
  });

  test.each(statuses)('a registry that repeats its own token, with %d', async (status) => {
    const { origin } = await serve(guarded(bearer('http://127.0.0.1:1/'), gossip(status)));
    expectNoSecret(await seenOf(`${origin}/v2/`, { registryToken: token }), `${status} (GOSSIP: /v2/`);
  });

  test.each<[string, Credential]>([
    ['a password', joe],
    ['an identity token', { identityToken: token }],
  ])('a token endpoint that repeats %s', async (_title, credential) => {
    for (const status of statuses) {
      const endpoint = await serve(gossip(status));
      const { origin } = await serve(guarded(bearer(`${endpoint.origin}/token?${signed}`), cut));
      expectNoSecret(await seenOf(`${origin}/v2/`, credential), `${status} (GOSSIP`);
    }
  });

  test.each<[string, string]>([
    ['as plain text', token],
    ['in another document', JSON.stringify({ jwt: token, token: { value: token } })],
    ['in half a document', `{"token":"${token}`],
    ['with more behind it', `{"token":"${token}"} x`],
    ['with a line break', JSON.stringify({ token: `${token}\n` })],
  ])('a token endpoint that gives a token %s', async (_title, body) => {
    const endpoint = await serve((_received, response) => response.end(body));
    const { origin } = await serve(guarded(bearer(endpoint.origin), cut));
    expectNoSecret(await seenOf(`${origin}/v2/`), 'expected JSON with "token"');
  });

  test('a token endpoint that speaks no HTTP', async () => {
    const { port } = await serveSockets((socket) => socket.end(`${token}\r\n`));
    const { origin } = await serve(guarded(bearer(`http://127.0.0.1:${port}/?${signed}`), cut));
    expectNoSecret(await seenOf(`${origin}/v2/`), 'HPE_INVALID_CONSTANT');
  });

  test.each<[string, Answer, string]>([
    ['refuses', gossip(403), '403 (GOSSIP'],
    ['is in trouble', gossip(503), '503 (GOSSIP'],
    ['breaks off', cut, 'broken connection'],
    [
      'redirects to plain http',
      (_received, response) => {
        response.writeHead(307, { location: `http://user:${token}@127.0.0.1/?${signed}` }).end();
      },
      'found http://127.0.0.1/?X-Amz-Signature=…',
    ],
    ['redirects to itself', ({ path }, response) => response.writeHead(307, { location: path }).end(), 'a loop'],
    [
      'redirects to nowhere',
      (_received, response) => {
        response.writeHead(307, { location: `http://[${token}` }).end();
      },
      'other text',
    ],
  ])('a signed place that %s', async (_title, answer, sign) => {
    const storage = await serve(answer, { tls: true });
    const location = `${storage.origin.replace('//', `//user:${token}@`)}/blob?${signed}`;
    const redirect: Answer = (_received, response) => response.writeHead(307, { location }).end();
    const { origin } = await serve(byPath({ '/blob': redirect }, cut));
    expectNoSecret(await seenOf(`${origin}/blob`), sign);
  });

  test('a realm with a password in it', async () => {
    const { origin } = await serve(guarded(bearer(`http://joe:${token}@127.0.0.1:1/?${signed}`), cut));
    expectNoSecret(await seenOf(origin), 'ECONNREFUSED');
  });

  test('a realm that is no URL', async () => {
    const { origin } = await serve(guarded(bearer(`?${signed}`), cut));
    expectNoSecret(await seenOf(origin), 'expected a URL');
  });

  test('a proxy with a password', async () => {
    const proxy = await serveProxy({});
    const user = proxy.url.replace('//', `//joe:${encodeURIComponent(password)}@`);
    expectNoSecret(await seenOf('https://registry.test/', joe, { HTTPS_PROXY: user }), 'a proxy that refuses');
  });
});

function expectNoSecret(seen: string, sign: string): void {
  expect(seen).toContain(sign);
  for (const form of forms) expect(seen).not.toContain(form);
}
