import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { hashSync } from 'bcryptjs';
import { FileSystemError, InvalidOptionError } from '../../../src';
import type { Authentication } from '../../../src/registry/server/authentication';
import { type Registry, type RegistryOptions, startRegistry } from '../../../src/registry/server/start-registry';
import { failureOf, temporaryDirectory, writeFiles } from '../../fixtures';
import { type Answer, blobOf, manifestOf, send } from './send';

let registry: Registry;
afterEach(() => registry?.close());

const users = { username: 'me', password: 'pass:wörd' };
const basic = (username: string, password: string) =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
const known = basic(users.username, users.password);
const image = manifestOf('layer');

const start = async (auth: Authentication, more: RegistryOptions = {}) => {
  registry = await startRegistry({ auth, ...more });
};
const ask = (method: string, path: string, authorization?: string, sent = {}) =>
  send(registry.url, method, path, { headers: authorization === undefined ? {} : { authorization }, ...sent });

describe('M12: basic authentication', () => {
  test.each([
    ['nothing', undefined],
    ['another password', basic('me', 'other')],
    ['another user', basic('you', users.password)],
    ['a token', 'Bearer abc'],
    ['no base64', 'Basic ???'],
    ['no colon', `Basic ${Buffer.from('me').toString('base64')}`],
  ])('%s: 401 and a challenge, whatever is asked for', async (_, authorization) => {
    await start({ scheme: 'basic', users });
    for (const path of ['/v2/', '/v2/app/manifests/v1', '/v2/_catalog']) {
      expect(await ask('GET', path, authorization)).toMatchObject({
        status: 401,
        headers: { 'www-authenticate': 'Basic realm="registry"' },
        errors: [{ code: 'UNAUTHORIZED' }],
      });
    }
  });

  test('the right password: everything', async () => {
    await start({ scheme: 'basic', users });
    expect((await ask('GET', '/v2/', known)).status).toBe(200);
    expect((await ask('POST', '/v2/app/blobs/uploads/', known)).status).toBe(202);
    expect((await ask('GET', '/v2/app/manifests/v1', known)).status).toBe(404);
  });

  test('pulling may be left to everybody, unless who asks says something wrong', async () => {
    await start({ scheme: 'basic', users, publicPull: true });
    for (const path of ['/v2/app/manifests/v1', '/v2/app/tags/list', `/v2/app/blobs/${image.digest}`]) {
      expect((await ask('GET', path)).status).toBe(404);
      expect((await ask('GET', path, basic('me', 'other'))).status).toBe(401);
    }
    expect((await ask('GET', '/v2/')).status).toBe(401);
    expect((await ask('POST', '/v2/app/blobs/uploads/')).status).toBe(401);
    expect((await ask('PUT', '/v2/app/manifests/v1')).status).toBe(401);
    expect((await ask('DELETE', '/v2/app/manifests/v1')).status).toBe(401);
  });

  test('the users of an htpasswd file', async () => {
    const htpasswd = join(
      writeFiles(temporaryDirectory(), {
        htpasswd: `# people\n\nme:${hashSync('one', 4)}\nyou:${hashSync('two', 4).replace('$2b$', '$2y$')}\r\n`,
      }),
      'htpasswd',
    );
    await start({ scheme: 'basic', users: { htpasswd } });
    for (let time = 0; time < 2; time++) {
      expect((await ask('GET', '/v2/', basic('me', 'one'))).status).toBe(200);
      expect((await ask('GET', '/v2/', basic('you', 'two'))).status).toBe(200);
      expect((await ask('GET', '/v2/', basic('me', 'two'))).status).toBe(401);
      expect((await ask('GET', '/v2/', basic('nobody', 'one'))).status).toBe(401);
    }
  });

  test.each(['me:secret', 'me:{SHA}0DPiKuNIrrVmD8IUCuw1hQxNqZc=', 'somebody', '$apr1$x$y'])(
    'a file with the line %j is refused, without telling it',
    async (line) => {
      const htpasswd = join(writeFiles(temporaryDirectory(), { htpasswd: `# one\n${line}\n` }), 'htpasswd');
      const { message } = await failureOf(InvalidOptionError, () => start({ scheme: 'basic', users: { htpasswd } }));
      expect(message).toContain(`${htpasswd}: line 2: expected a user with a bcrypt hash`);
      expect(message).not.toContain(line);
    },
  );

  test('a file that is not there is refused', async () => {
    const htpasswd = join(temporaryDirectory(), 'none');
    const { message } = await failureOf(FileSystemError, () => start({ scheme: 'basic', users: { htpasswd } }));
    expect(message).toContain(htpasswd);
  });
});

describe('M12: tokens', () => {
  const tokenFor = async (scope: string, authorization: string | null = known) => {
    const answer = await ask('GET', `/token?service=registry&scope=${scope}`, authorization ?? undefined);
    return `Bearer ${JSON.parse(answer.body.toString()).token}`;
  };
  const challengeOf = ({ headers }: Answer) => String(headers['www-authenticate']);

  test.each([
    ['GET', '/v2/', ''],
    ['GET', '/v2/a/b/manifests/v1', ',scope="repository:a/b:pull"'],
    ['HEAD', `/v2/app/blobs/${image.digest}`, ',scope="repository:app:pull"'],
    ['GET', '/v2/app/tags/list', ',scope="repository:app:pull"'],
    ['GET', `/v2/app/referrers/${image.digest}`, ',scope="repository:app:pull"'],
    ['PUT', '/v2/app/manifests/v1', ',scope="repository:app:pull,push"'],
    ['POST', '/v2/app/blobs/uploads/', ',scope="repository:app:pull,push"'],
    ['PATCH', '/v2/app/blobs/uploads/x', ',scope="repository:app:pull,push"'],
    ['DELETE', '/v2/app/blobs/uploads/x', ',scope="repository:app:pull,push"'],
    ['DELETE', '/v2/app/manifests/v1', ',scope="repository:app:delete"'],
    ['GET', '/v2/_catalog', ',scope="registry:catalog:*"'],
    [
      'POST',
      `/v2/app/blobs/uploads/?mount=${image.digest}&from=base`,
      ',scope="repository:app:pull,push repository:base:pull"',
    ],
  ])('%s %s says where to get a token, and for what', async (method, path, scope) => {
    await start({ scheme: 'bearer', users });
    const answer = await ask(method, path);
    expect(answer.status).toBe(401);
    expect(challengeOf(answer)).toBe(`Bearer realm="${registry.url}/token",service="${registry.host}"${scope}`);
  });

  test('a token is good for what it was asked for, and for no more', async () => {
    await start({ scheme: 'bearer', users });
    const token = await tokenFor('repository:app:pull');
    expect((await ask('GET', '/v2/app/manifests/v1', token)).status).toBe(404);
    expect((await ask('GET', '/v2/', token)).status).toBe(200);
    for (const [method, path] of [
      ['GET', '/v2/other/manifests/v1'],
      ['PUT', '/v2/app/manifests/v1'],
      ['DELETE', '/v2/app/manifests/v1'],
      ['GET', '/v2/_catalog'],
    ] as const) {
      const answer = await ask(method, path, token);
      expect(answer.status).toBe(401);
      expect(challengeOf(answer)).toContain('error="insufficient_scope"');
    }
  });

  test('one token for several repositories, one or several to a parameter', async () => {
    await start({ scheme: 'bearer', users });
    const two = 'repository:app:pull,push%20repository:base:pull';
    for (const scope of [two, 'repository:app:pull,push&scope=repository:base:pull']) {
      const token = await tokenFor(scope);
      const mount = await ask('POST', `/v2/app/blobs/uploads/?mount=${image.digest}&from=base`, token);
      expect(mount.status).toBe(202);
      expect((await ask('POST', '/v2/base/blobs/uploads/', token)).status).toBe(401);
    }
  });

  test('a token for every action', async () => {
    await start({ scheme: 'bearer', users });
    const token = await tokenFor('repository:app:*');
    expect((await ask('DELETE', '/v2/app/manifests/v1', token)).status).toBe(404);
  });

  test('the answer of the token endpoint', async () => {
    await start({ scheme: 'bearer', users, lifetime: 60 });
    const { status, body } = await ask('GET', '/token?scope=repository:app:pull,push', known);
    const answer = JSON.parse(body.toString());
    expect(status).toBe(200);
    expect(answer).toEqual({
      token: expect.stringMatching(/^[\w-]{43}$/),
      access_token: answer.token,
      expires_in: 60,
      issued_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      scope: 'repository:app:pull,push',
    });
  });

  test('a token that is over or unknown: 401', async () => {
    await start({ scheme: 'bearer', users, lifetime: 0 });
    for (const token of [await tokenFor('repository:app:pull'), 'Bearer unknown']) {
      const answer = await ask('GET', '/v2/app/manifests/v1', token);
      expect(answer.status).toBe(401);
      expect(challengeOf(answer)).toContain('error="invalid_token"');
    }
  });

  test.each([
    ['nobody', undefined],
    ['somebody else', basic('me', 'other')],
  ])('%s gets no token', async (_, authorization) => {
    await start({ scheme: 'bearer', users });
    expect((await ask('GET', '/token?scope=repository:app:pull', authorization)).status).toBe(401);
  });

  test('everybody gets tokens where there are no users', async () => {
    await start({ scheme: 'bearer' });
    const token = await tokenFor('repository:app:pull,push', null);
    expect((await ask('POST', '/v2/app/blobs/uploads/', token)).status).toBe(202);
    expect((await ask('POST', '/v2/app/blobs/uploads/')).status).toBe(401);
  });

  test('everybody gets tokens to pull with, if it is to be', async () => {
    await start({ scheme: 'bearer', users, publicPull: true });
    const token = await tokenFor('repository:app:pull,push', null);
    expect((await ask('GET', '/v2/app/manifests/v1', token)).status).toBe(404);
    expect((await ask('POST', '/v2/app/blobs/uploads/', token)).status).toBe(401);
    expect((await ask('GET', '/token?scope=repository:app:pull', basic('me', 'other'))).status).toBe(401);
    expect((await ask('POST', '/v2/app/blobs/uploads/', await tokenFor('repository:app:pull,push'))).status).toBe(202);
  });

  describe('by a form (OAuth 2)', () => {
    const post = (form: Readonly<Record<string, string>>) =>
      send(registry.url, 'POST', '/token', {
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: new URLSearchParams({ service: 'registry', scope: 'repository:app:pull', ...form }).toString(),
      });
    const byPassword = { grant_type: 'password', ...users };

    test('a password gives a token', async () => {
      await start({ scheme: 'bearer', users });
      const { status, body } = await post(byPassword);
      expect(status).toBe(200);
      const token = `Bearer ${JSON.parse(body.toString()).access_token}`;
      expect((await ask('GET', '/v2/app/manifests/v1', token)).status).toBe(404);
    });

    test.each([
      ['a form', () => post({ ...byPassword, access_type: 'offline' })],
      ['a header', () => ask('GET', '/token?offline_token=true', known)],
    ])('an identity token, had by %s, gives others', async (_, had) => {
      await start({ scheme: 'bearer', users });
      const refresh_token = JSON.parse((await had()).body.toString()).refresh_token;
      const { status, body } = await post({ grant_type: 'refresh_token', refresh_token });
      expect(status).toBe(200);
      const token = `Bearer ${JSON.parse(body.toString()).access_token}`;
      expect((await ask('GET', '/v2/app/manifests/v1', token)).status).toBe(404);
    });

    test.each<Readonly<Record<string, string>>>([
      { grant_type: 'password', username: 'me', password: 'other' },
      { grant_type: 'refresh_token', refresh_token: 'unknown' },
      { grant_type: 'password' },
    ])('%j: 401', async (form) => {
      await start({ scheme: 'bearer', users });
      expect((await post(form)).status).toBe(401);
    });

    test('a form without an end: 413', async () => {
      await start({ scheme: 'bearer', users });
      expect((await post({ password: 'x'.repeat(100_000) })).status).toBe(413);
    });
  });
});

describe('ACCEPTANCE 35: secrets', () => {
  test('are in no request that the registry remembers, nor in its log', async () => {
    const seen: unknown[] = [];
    await start({ scheme: 'bearer', users }, { onRequest: (request) => seen.push(request) });
    const token = JSON.parse((await ask('GET', '/token?scope=repository:app:pull', known)).body.toString()).token;
    await ask('GET', '/v2/app/manifests/v1', `Bearer ${token}`);
    await send(registry.url, 'GET', '/v2/', { headers: { cookie: 'session=abc' } });
    await registry.close();
    for (const told of [JSON.stringify(registry.requests), JSON.stringify(seen)]) {
      expect(told).toContain('/v2/app/manifests/v1');
      for (const secret of [token, known.slice(6), 'session=abc']) expect(told).not.toContain(secret);
    }
    expect(registry.requests.map(({ headers }) => headers.authorization)).toEqual(['Basic …', 'Bearer …', undefined]);
  });

  test('are in no answer', async () => {
    await start({ scheme: 'basic', users });
    const { body, headers } = await ask(
      'PUT',
      `/v2/app/blobs/uploads/x?digest=${blobOf('').digest}`,
      basic('me', 'hunter2'),
    );
    expect(body.toString() + JSON.stringify(headers)).not.toContain('hunter2');
  });
});
