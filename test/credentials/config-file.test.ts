import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { type AskHelper, credentialIn, parseAuthConfig, readAuthConfig } from '../../src/credentials/config-file';
import type { Credential } from '../../src/credentials/credential';
import { CredentialsError } from '../../src/errors';
import { failureOf, temporaryDirectory, writeFiles } from '../fixtures';

const base64 = (text: string) => Buffer.from(text).toString('base64');
const basic = (username: string, password: string): Credential => ({ username, password });

/** A helper that knows these keys, and says what it was asked. */
function helpers(answers: Readonly<Record<string, Credential>>): AskHelper & { readonly asked: readonly string[] } {
  const asked: string[] = [];
  const ask: AskHelper = async (helper, key) => {
    asked.push(`${helper} ${key}`);
    return answers[`${helper} ${key}`];
  };
  return Object.assign(ask, { asked });
}

const find = (config: unknown, registry: string, repository: string, ask: AskHelper = helpers({})) =>
  credentialIn(parseAuthConfig(Buffer.from(JSON.stringify(config)), 'config.json'), registry, repository, ask);

describe('an entry', () => {
  test.each<[string, unknown, Credential | undefined]>([
    ['auth', { auth: base64('user:secret') }, basic('user', 'secret')],
    ['auth with a colon in the password', { auth: base64('user:a:b:') }, basic('user', 'a:b:')],
    ['auth with an empty password', { auth: base64('user:') }, basic('user', '')],
    ['auth that is not ASCII', { auth: base64('jürgen:pässword') }, basic('jürgen', 'pässword')],
    ['auth without padding', { auth: base64('user:pass').replaceAll('=', '') }, basic('user', 'pass')],
    ['auth in lines', { auth: `${base64('user:secret').replace(/(.{4})/g, '$1\n')}` }, basic('user', 'secret')],
    ['auth filled up with NULs', { auth: base64('user:secret\0\0') }, basic('user', 'secret')],
    ['username and password', { username: 'user', password: 'secret' }, basic('user', 'secret')],
    ['auth before username and password', { auth: base64('a:b'), username: 'c', password: 'd' }, basic('a', 'b')],
    ['an identity token', { auth: base64('<token>:'), identitytoken: 'idt' }, { identityToken: 'idt' }],
    ['a registry token', { identitytoken: 'idt', registrytoken: 'rgt' }, { registryToken: 'rgt' }],
    ['what nobody knows', { auth: base64('user:secret'), email: 'a@b', more: [1] }, basic('user', 'secret')],
    ['an empty one', {}, undefined],
    ['one of empty texts', { auth: '', username: '', password: '', identitytoken: '' }, undefined],
    ['one of nulls', { auth: null, username: null, password: null, identitytoken: null }, undefined],
    ['null', null, undefined],
  ])('%s', async (_, entry, expected) => {
    expect(await find({ auths: { 'ghcr.io': entry } }, 'ghcr.io', 'a/b')).toEqual(expected);
  });

  test('one that is empty makes way for the next', async () => {
    const auths = { 'docker.io': {}, 'https://index.docker.io/v1/': { auth: base64('user:secret') } };
    expect(await find({ auths }, 'docker.io', 'library/alpine')).toEqual(basic('user', 'secret'));
  });

  test.each(['hunter2!', `${base64('user:hunter2')}!`, base64('hunter2'), 'hunter2', '====', ':hunter2'])(
    '%j is no auth',
    async (auth) => {
      const config = { auths: { 'ghcr.io': { auth }, 'quay.io': { auth: base64('user:secret') } } };
      const error = await failureOf(CredentialsError, () => find(config, 'ghcr.io', 'a/b'));
      expect(error.message).toContain('config.json: $.auths["ghcr.io"].auth: expected base64 of username:password');
      expect(inspect(error, { depth: Infinity })).not.toContain(auth);
      expect(await find(config, 'quay.io', 'a/b')).toEqual(basic('user', 'secret'));
    },
  );
});

describe('a file', () => {
  const plain = {
    auths: {
      'https://index.docker.io/v1/': { auth: base64('hub:1') },
      'ghcr.io': { auth: base64('github:2') },
      'localhost:5000': { auth: base64('local:3') },
      'quay.io': { auth: base64('quay:4') },
      'quay.io/team': { auth: base64('team:5') },
      'quay.io/team/app': { auth: base64('app:6') },
      'https://registry.example/v2/': { auth: base64('url:7') },
      'only.example/team': { auth: base64('only:8') },
    },
  };
  test.each<[string, string, Credential | undefined]>([
    ['docker.io', 'library/alpine', basic('hub', '1')],
    ['index.docker.io', 'library/alpine', basic('hub', '1')],
    ['registry-1.docker.io', 'library/alpine', basic('hub', '1')],
    ['ghcr.io', 'a/b', basic('github', '2')],
    ['ghcr.io:443', 'a/b', undefined],
    ['localhost:5000', 'a', basic('local', '3')],
    ['localhost', 'a', undefined],
    ['localhost:5001', 'a', undefined],
    ['quay.io', 'other/app', basic('quay', '4')],
    ['quay.io', 'team/other', basic('team', '5')],
    ['quay.io', 'teams/other', basic('quay', '4')],
    ['quay.io', 'team/app', basic('app', '6')],
    ['quay.io', 'team/app/sub', basic('app', '6')],
    ['registry.example', 'a', basic('url', '7')],
    ['only.example', 'team', basic('only', '8')],
    ['only.example', 'other', undefined],
    ['evildocker.io', 'a', undefined],
    ['docker.io.evil', 'a', undefined],
    ['docker.io:5000', 'a', undefined],
    ['evil.example', 'docker.io/a', undefined],
    ['__proto__', 'a', undefined],
    ['constructor', 'a', undefined],
  ])('for %s/%s', async (registry, repository, expected) => {
    expect(await find(plain, registry, repository)).toEqual(expected);
  });

  const helped = {
    auths: {
      'stored.example': {},
      'both.example': { auth: base64('plain:9') },
      'both.example/team': { auth: base64('team:9') },
      'helped.example': { auth: base64('plain:9') },
      'helped.example/team': { auth: base64('team:9') },
    },
    credHelpers: { 'helped.example': 'one', 'silent.example': '', 'https://index.docker.io/v1/': 'hub' },
    credsStore: 'store',
  };
  test.each<[string, string, Record<string, Credential>, Credential | undefined, readonly string[]]>([
    ['stored.example', 'a', { 'store stored.example': basic('s', '1') }, basic('s', '1'), ['store stored.example']],
    ['other.example', 'a', {}, undefined, ['store other.example']],
    ['both.example', 'a', { 'store both.example': basic('s', '1') }, basic('s', '1'), ['store both.example']],
    ['both.example', 'a', {}, basic('plain', '9'), ['store both.example']],
    ['both.example', 'team/a', { 'store both.example': basic('s', '1') }, basic('team', '9'), []],
    [
      'helped.example',
      'a',
      { 'one helped.example': { identityToken: 't' } },
      { identityToken: 't' },
      ['one helped.example'],
    ],
    ['helped.example', 'team/a', {}, undefined, ['one helped.example']],
    ['helped.example:5000', 'a', {}, undefined, ['store helped.example:5000']],
    ['silent.example', 'a', {}, undefined, ['store silent.example']],
    ['docker.io', 'library/a', {}, undefined, ['hub https://index.docker.io/v1/']],
  ])('with helpers, for %s/%s', async (registry, repository, answers, expected, asked) => {
    const ask = helpers(answers);
    expect(await find(helped, registry, repository, ask)).toEqual(expected);
    expect(ask.asked).toEqual(asked);
  });

  test('asks the store for Docker Hub by the URL that docker login files it under', async () => {
    const ask = helpers({});
    await find({ credsStore: 'store' }, 'docker.io', 'library/alpine', ask);
    expect(ask.asked).toEqual(['store https://index.docker.io/v1/']);
  });

  test.each(['', ' \n', '{}', '{"auths":null,"credHelpers":null,"credsStore":null}', '{"psFormat":"table"}'])(
    'without credentials: %j',
    async (content) => {
      const config = parseAuthConfig(Buffer.from(content), 'config.json');
      expect(await credentialIn(config, 'ghcr.io', 'a', helpers({}))).toBeUndefined();
    },
  );

  test.each<[string, string | Uint8Array, string]>([
    ['half a file', '{"auths":{"ghcr.io":{"auth":"hunter2', 'expected JSON in UTF-8'],
    ['no JSON', 'hunter2', 'expected JSON in UTF-8'],
    ['no UTF-8', Buffer.from('{"auths":{"ghcr.io":{"auth":"hunter2\xff"}}}', 'latin1'), 'expected JSON in UTF-8'],
    ['a key twice', '{"auths":{"hunter2":{},"hunter2":{}}}', 'expected JSON in UTF-8, with each key once'],
    ['an array', '["hunter2"]', '$: expected object, found array'],
    ['a text', '"hunter2"', '$: expected object, found string'],
    ['auths that are a text', '{"auths":"hunter2"}', '$.auths: expected record, found string'],
    ['an entry that is a text', '{"auths":{"ghcr.io":"hunter2"}}', '$.auths["ghcr.io"]: expected object, found string'],
    [
      'a password in an array',
      '{"auths":{"ghcr.io":{"password":["hunter2"]}}}',
      '$.auths["ghcr.io"].password: expected string, found array',
    ],
    [
      'a key with a password',
      '{"auths":{"https://user:hunter2@ghcr.io":{"auth":7}}}',
      '$.auths["ghcr.io"].auth: expected string, found number',
    ],
    [
      'a helper in an array',
      '{"credHelpers":{"ghcr.io":["hunter2"]}}',
      '$.credHelpers["ghcr.io"]: expected string, found array',
    ],
    ['a store that is an object', '{"credsStore":{"hunter2":1}}', '$.credsStore: expected string, found object'],
    ['brackets', '['.repeat(100_000), 'expected JSON in UTF-8'],
  ])('ACCEPTANCE 35: %s is refused, and not quoted', async (_, content, message) => {
    const path = join(writeFiles(temporaryDirectory(), { 'config.json': content }), 'config.json');
    const error = await failureOf(CredentialsError, () => readAuthConfig(path));
    expect(error.message).toContain(`${path}: ${message}`);
    expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain('hunter2');
  });

  test('a key named __proto__ changes nothing', async () => {
    const config = parseAuthConfig(Buffer.from('{"auths":{"__proto__":{"auth":"eDp5"}}}'), 'config.json');
    expect(await credentialIn(config, 'ghcr.io', 'a', helpers({}))).toBeUndefined();
    expect(await credentialIn(config, '__proto__', 'a', helpers({}))).toEqual(basic('x', 'y'));
  });

  test('is read up to a limit', async () => {
    const entry = (size: number) => `{"auths":{"ghcr.io":{"auth":"eDp5","more":"${'x'.repeat(size)}"}}}`;
    const limit = 1024 * 1024;
    const most = entry(limit - entry(0).length);
    const directory = writeFiles(temporaryDirectory(), { most, more: `${most} ` });
    const config = await readAuthConfig(join(directory, 'most'));
    expect(config && (await credentialIn(config, 'ghcr.io', 'a', helpers({})))).toEqual(basic('x', 'y'));
    for (const read of [
      () => readAuthConfig(join(directory, 'more')),
      async () => parseAuthConfig(Buffer.from(`${most} `), join(directory, 'more')),
    ]) {
      const error = await failureOf(CredentialsError, read);
      expect(error.message).toContain(`${join(directory, 'more')}: expected at most ${limit} bytes`);
    }
  });

  test('is none where there is none', async () => {
    const directory = writeFiles(temporaryDirectory(), { file: '' });
    expect(await readAuthConfig(join(directory, 'missing'))).toBeUndefined();
    expect(await readAuthConfig(join(directory, 'file/config.json'))).toBeUndefined();
  });

  test('may be a symbolic link', async () => {
    const directory = writeFiles(temporaryDirectory(), { real: JSON.stringify(plain) });
    symlinkSync('real', join(directory, 'config.json'));
    const config = await readAuthConfig(join(directory, 'config.json'));
    expect(config && (await credentialIn(config, 'ghcr.io', 'a', helpers({})))).toEqual(basic('github', '2'));
  });

  test('is no directory', async () => {
    const path = join(temporaryDirectory(), 'config.json');
    mkdirSync(path);
    const error = await failureOf(CredentialsError, () => readAuthConfig(path));
    expect(error.message).toContain(`${path}: expected a file of credentials that can be read, found EISDIR`);
  });
});
