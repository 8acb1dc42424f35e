import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { findCredentials } from '../../src/credentials/find-credentials';
import { CredentialsError } from '../../src/errors';
import { failureOf, temporaryDirectory, writeFiles } from '../fixtures';

const file = (registry: string, username: string) =>
  JSON.stringify({ auths: { [registry]: { auth: Buffer.from(`${username}:secret`).toString('base64') } } });

/** A home with these files, and an environment that leads nowhere else; `~` in a variable is the home. */
function setUp(files: Readonly<Record<string, string>>, variables: Readonly<Record<string, string>> = {}) {
  const home = writeFiles(temporaryDirectory(), files);
  const inHome = Object.entries(variables).map(([name, value]) => [name, value.replaceAll('~', home)]);
  const environment: NodeJS.ProcessEnv = { XDG_RUNTIME_DIR: join(home, 'run'), ...Object.fromEntries(inHome) };
  return { home, credentials: findCredentials(environment, home) };
}

const runtime = 'run/containers/auth.json';
const config = '.config/containers/auth.json';
const docker = '.docker/config.json';
const registryVariables = { NX_OCI_REGISTRY: 'ghcr.io', NX_OCI_USERNAME: 'variables', NX_OCI_PASSWORD: 'secret' };
const files = {
  [runtime]: file('ghcr.io', 'runtime'),
  [config]: file('ghcr.io', 'config'),
  [docker]: file('ghcr.io', 'docker'),
  'xdg/containers/auth.json': file('ghcr.io', 'xdg'),
  'elsewhere/config.json': file('ghcr.io', 'elsewhere'),
  'named.json': file('ghcr.io', 'named'),
};
const without = (...names: readonly string[]) =>
  Object.fromEntries(Object.entries(files).filter(([name]) => !names.includes(name)));

describe('credentials', () => {
  test.each<[string, Record<string, string>, Record<string, string>, string | undefined]>([
    ['nowhere', {}, {}, undefined],
    [
      'in the variables first',
      files,
      { ...registryVariables, DOCKER_AUTH_CONFIG: file('ghcr.io', 'json') },
      'variables',
    ],
    ['in DOCKER_AUTH_CONFIG then', files, { DOCKER_AUTH_CONFIG: file('ghcr.io', 'json') }, 'json'],
    [
      'behind variables for another registry',
      files,
      { ...registryVariables, NX_OCI_REGISTRY: 'ghcr.io:443' },
      'runtime',
    ],
    [
      'behind a DOCKER_AUTH_CONFIG for another registry',
      files,
      { DOCKER_AUTH_CONFIG: file('gcr.io', 'json') },
      'runtime',
    ],
    ['in REGISTRY_AUTH_FILE', files, { REGISTRY_AUTH_FILE: '~/named.json', DOCKER_CONFIG: '~/elsewhere' }, 'named'],
    ['in REGISTRY_AUTH_FILE alone', files, { REGISTRY_AUTH_FILE: '~/missing.json' }, undefined],
    ['in a file for the time of the session', files, { XDG_CONFIG_HOME: '~/xdg' }, 'runtime'],
    ['in .config', without(runtime), {}, 'config'],
    ['in XDG_CONFIG_HOME', without(runtime), { XDG_CONFIG_HOME: '~/xdg' }, 'xdg'],
    ['in XDG_CONFIG_HOME alone', without(runtime, docker), { XDG_CONFIG_HOME: '~/nothing' }, undefined],
    ['in .docker', without(runtime, config), {}, 'docker'],
    ['in DOCKER_CONFIG', without(runtime, config), { DOCKER_CONFIG: '~/elsewhere' }, 'elsewhere'],
    ['in DOCKER_CONFIG alone', without(runtime, config), { DOCKER_CONFIG: '~/nothing' }, undefined],
    ['behind DOCKER_CONFIG', files, { DOCKER_CONFIG: '~/elsewhere' }, 'runtime'],
    ['with empty variables', without(runtime, config), { REGISTRY_AUTH_FILE: '', DOCKER_CONFIG: '' }, 'docker'],
    ['behind empty entries', { ...files, [runtime]: '{"auths":{"ghcr.io":{}}}' }, {}, 'config'],
    ['behind an empty file', { ...files, [runtime]: '' }, {}, 'config'],
  ])('are found %s', async (_, present, variables, username) => {
    const { credentials } = setUp(present, variables);
    const expected = username === undefined ? undefined : { username, password: 'secret' };
    expect(await credentials('ghcr.io', 'a/b')).toEqual(expected);
  });

  test('may be for a part of a registry in variables too', async () => {
    const { credentials } = setUp({}, { ...registryVariables, NX_OCI_REGISTRY: 'https://ghcr.io' });
    expect(await credentials('ghcr.io', 'a/b')).toMatchObject({ username: 'variables' });
    const part = setUp({}, { ...registryVariables, NX_OCI_REGISTRY: 'ghcr.io/team' }).credentials;
    expect(await part('ghcr.io', 'team/b')).toMatchObject({ username: 'variables' });
    expect(await part('ghcr.io', 'other/b')).toBeUndefined();
  });

  const everywhere = {
    NX_OCI_REGISTRY: { ...registryVariables, NX_OCI_REGISTRY: 'docker.io' },
    DOCKER_AUTH_CONFIG: { DOCKER_AUTH_CONFIG: file('https://index.docker.io/v1/', 'hub') },
    REGISTRY_AUTH_FILE: { REGISTRY_AUTH_FILE: '~/hub.json' },
  };
  test.each(Object.keys(everywhere) as (keyof typeof everywhere)[])(
    'ACCEPTANCE 39: those of docker.io in %s go to Docker Hub alone',
    async (source) => {
      const { credentials } = setUp({ 'hub.json': file('docker.io', 'hub') }, everywhere[source]);
      for (const registry of [
        'evildocker.io',
        'docker.io.evil',
        'docker.io:5000',
        'index.docker.io:443',
        'evil.example',
      ]) {
        expect({ registry, found: await credentials(registry, 'docker.io/library') }).toEqual({ registry });
      }
      for (const registry of ['docker.io', 'index.docker.io', 'registry-1.docker.io']) {
        expect(await credentials(registry, 'library/alpine')).toMatchObject({ password: 'secret' });
      }
    },
  );

  test('are read when they are needed, and once', async () => {
    const { home, credentials } = setUp({ [runtime]: file('ghcr.io', 'early'), [docker]: 'broken' });
    writeFileSync(join(home, runtime), file('ghcr.io', 'late'));
    expect(await credentials('ghcr.io', 'a')).toMatchObject({ username: 'late' });
    writeFileSync(join(home, runtime), 'broken');
    expect(await credentials('ghcr.io', 'b')).toMatchObject({ username: 'late' });
  });

  test('ACCEPTANCE 35: a broken file is an error where it is needed', async () => {
    const { home, credentials } = setUp({
      [runtime]: file('ghcr.io', 'runtime'),
      [docker]: '{"auths":{"x":"hunter2"}}',
    });
    expect(await credentials('ghcr.io', 'a')).toMatchObject({ username: 'runtime' });
    const error = await failureOf(CredentialsError, () => credentials('quay.io', 'a'));
    expect(error.message).toContain(`${join(home, docker)}: $.auths.x: expected object, found string`);
    expect(inspect(error, { depth: Infinity, showHidden: true })).not.toContain('hunter2');
  });

  test('a file that can not be read is an error where it is needed', async () => {
    const { home, credentials } = setUp({ [runtime]: file('ghcr.io', 'runtime') });
    mkdirSync(join(home, docker), { recursive: true });
    expect(await credentials('ghcr.io', 'a')).toMatchObject({ username: 'runtime' });
    const error = await failureOf(CredentialsError, () => credentials('quay.io', 'a'));
    expect(error.message).toContain(`${join(home, docker)}: expected a file of credentials that can be read`);
  });

  // The superuser may read everything.
  (process.getuid?.() === 0 ? test.skip : test)('a file of another user is an error where it is needed', async () => {
    const { home, credentials } = setUp({ [runtime]: file('ghcr.io', 'runtime'), [docker]: file('quay.io', 'docker') });
    chmodSync(join(home, docker), 0);
    expect(await credentials('ghcr.io', 'a')).toMatchObject({ username: 'runtime' });
    const error = await failureOf(CredentialsError, () => credentials('quay.io', 'a'));
    expect(error.message).toContain(
      `${join(home, docker)}: expected a file of credentials that can be read, found EACCES`,
    );
  });
});

describe('helpers', () => {
  /** A helper that counts its questions, and knows every registry but `unknown.example`. */
  const script = `#!/bin/sh
read -r server
echo "$1 $server" >> "$QUESTIONS"
if [ "$server" = unknown.example ]; then echo "credentials not found in native keychain"; exit 1; fi
if [ "$server" = failing.example ]; then echo "locked" >&2; exit 1; fi
echo "{\\"Username\\":\\"helper\\",\\"Secret\\":\\"$server\\"}"
`;
  const setUpHelper = (present: Readonly<Record<string, string>>) => {
    const bin = writeFiles(temporaryDirectory(), { 'docker-credential-counting': script });
    chmodSync(join(bin, 'docker-credential-counting'), 0o755);
    const questions = join(bin, 'questions');
    const { credentials } = setUp(present, { PATH: `${bin}:${process.env.PATH}`, QUESTIONS: questions });
    const asked = () => (existsSync(questions) ? readFileSync(questions, 'utf8').split('\n').slice(0, -1) : []);
    return { credentials, asked };
  };
  const answer = (registry: string) => ({ username: 'helper', password: registry });

  test('are asked once for a registry, even by many at once', async () => {
    const { credentials, asked } = setUpHelper({ [docker]: '{"credsStore":"counting"}' });
    const repositories = ['a', 'b', 'c', 'd'];
    const found = await Promise.all(repositories.map((repository) => credentials('ghcr.io', repository)));
    expect(found).toEqual(repositories.map(() => answer('ghcr.io')));
    expect(await credentials('quay.io', 'a')).toEqual(answer('quay.io'));
    expect(asked()).toEqual(['get ghcr.io', 'get quay.io']);
  });

  test('that know nothing make way for the next file', async () => {
    const { credentials, asked } = setUpHelper({
      [config]: '{"credHelpers":{"unknown.example":"counting"}}',
      [docker]: file('unknown.example', 'docker'),
    });
    expect(await credentials('unknown.example', 'a')).toEqual({ username: 'docker', password: 'secret' });
    expect(asked()).toEqual(['get unknown.example']);
  });

  test('are not asked for what an earlier file knows', async () => {
    const { credentials, asked } = setUpHelper({
      [config]: file('ghcr.io', 'config'),
      [docker]: '{"credsStore":"counting"}',
    });
    expect(await credentials('ghcr.io', 'a')).toMatchObject({ username: 'config' });
    expect(asked()).toEqual([]);
  });

  test('that fail are not asked again', async () => {
    const { credentials, asked } = setUpHelper({ [docker]: '{"credHelpers":{"failing.example":"counting"}}' });
    for (const repository of ['a', 'b']) {
      const error = await failureOf(CredentialsError, () => credentials('failing.example', repository));
      expect(error.message).toContain('docker-credential-counting for failing.example');
    }
    expect(asked()).toEqual(['get failing.example']);
    expect(await credentials('ghcr.io', 'a')).toBeUndefined();
  });
});
