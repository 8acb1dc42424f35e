import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { askHelper } from '../../src/credentials/helper';
import { CredentialsError } from '../../src/errors';
import { failureOf, temporaryDirectory, writeFiles } from '../fixtures';

/** A directory for PATH, with a program of this shell script. */
function helperOf(script: string): string {
  const directory = writeFiles(temporaryDirectory(), { 'docker-credential-test': `#!/bin/sh\n${script}\n` });
  chmodSync(join(directory, 'docker-credential-test'), 0o755);
  return directory;
}

const ask = (directory: string, options: { helper?: string; patience?: number; variables?: NodeJS.ProcessEnv } = {}) =>
  askHelper({
    helper: options.helper ?? 'test',
    key: 'ghcr.io',
    configuredIn: '/home/me/.docker/config.json',
    environment: { PATH: `${directory}:${process.env.PATH}`, ...options.variables },
    patience: options.patience ?? 30_000,
  });

const shown = (error: unknown) => inspect(error, { depth: Infinity, showHidden: true });

describe('a credential helper', () => {
  test('is asked for the registry on standard input, with the environment', async () => {
    const directory = helperOf(`printf '{"ServerURL":"x","Username":"%s %s","Secret":"%s"}' "$*" "$VARIABLE" "$(cat)"`);
    expect(await ask(directory, { variables: { VARIABLE: 'there' } })).toEqual({
      username: 'get there',
      password: 'ghcr.io',
    });
  });

  test.each<[string, string, unknown]>([
    ['a user', `echo '{"Username":"me","Secret":"hunter2"}'`, { username: 'me', password: 'hunter2' }],
    ['an identity token', `echo '{"Username":"<token>","Secret":"hunter2"}'`, { identityToken: 'hunter2' }],
    ['no name', `echo '{"Secret":"hunter2"}'`, { username: '', password: 'hunter2' }],
    ['no secret', `echo '{"Username":"me","Secret":""}'`, undefined],
    ['nothing', `echo '{}'`, undefined],
    ['that there is none', 'echo "credentials not found in native keychain"; exit 1', undefined],
    [
      'a warning beside',
      `echo "warning: hunter2" >&2; echo '{"Username":"a","Secret":"b"}'`,
      { username: 'a', password: 'b' },
    ],
    [
      'a long warning',
      `yes warning | head -c 300000 >&2; echo '{"Username":"a","Secret":"b"}'`,
      { username: 'a', password: 'b' },
    ],
  ])('answers with %s', async (_, script, expected) => {
    expect(await ask(helperOf(script))).toEqual(expected);
  });

  test.each<[string, string, string]>([
    ['no JSON', 'echo hunter2', 'expected JSON with a Secret'],
    ['half an answer', `echo '{"Username":"me","Secret":"hunter2'`, 'expected JSON with a Secret'],
    ['another type', `echo '{"Username":"me","Secret":["hunter2"]}'`, 'expected JSON with a Secret'],
    ['an explanation', 'echo "keychain is locked"; exit 3', 'found a failure (exit code 3: keychain is locked)'],
    ['a complaint', 'echo "gpg failed" >&2; exit 1', 'found a failure (exit code 1: gpg failed)'],
    ['silence', 'exit 4', 'found a failure (exit code 4)'],
    ['a signal', 'kill -TERM $$', 'found a failure (SIGTERM)'],
    ['an answer and a failure', `echo '{"Username":"me","Secret":"hunter2"}'; exit 1`, 'found a failure (exit code 1)'],
    [
      'a complaint with the secret in it',
      `echo '{"Username":"me","Secret":"letmein"}'; echo "can't store letmein" >&2; exit 1`,
      `found a failure (exit code 1: can't store …)`,
    ],
    ['a complaint with a variable in it', 'echo "wrong: $MY_PASSWORD" >&2; exit 1', '(exit code 1: wrong: …)'],
    ['a long complaint', 'yes complaint | head -c 300000 >&2; exit 1', 'complaint complaint'],
    ['too much', 'yes hunter2', 'found more than 262144 bytes'],
  ])('ACCEPTANCE 35: fails with %s, and no secret is told', async (_, script, message) => {
    const variables = { MY_PASSWORD: 'hunter2' };
    const error = await failureOf(CredentialsError, () => ask(helperOf(script), { variables }));
    expect(error.message).toContain('docker-credential-test for ghcr.io: expected ');
    expect(error.message).toContain(message);
    expect(error.message).toContain('give ghcr.io to "docker-credential-test get"');
    expect(shown(error)).not.toMatch(/hunter2|letmein/);
    expect(error.message.length).toBeLessThan(600);
  });

  test('that is not installed is named, with who wants it', async () => {
    const variables = { PATH: temporaryDirectory() };
    const error = await failureOf(CredentialsError, () => ask('', { helper: 'nx-oci-absent', variables }));
    expect(error.message).toBe(
      'docker-credential-nx-oci-absent for ghcr.io: expected a program on PATH, because /home/me/.docker/config.json names it, ' +
        'found none that can be run (ENOENT); install docker-credential-nx-oci-absent, or take "nx-oci-absent" out of /home/me/.docker/config.json',
    );
  });

  test('that is no program is named', async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'docker-credential-test'));
    const error = await failureOf(CredentialsError, () => ask(directory));
    expect(error.message).toContain('found none that can be run (EACCES)');
  });

  test.each(['sleep 20', 'sleep 20 & wait', 'trap "" TERM; while :; do sleep 1; done'])(
    'that does not end is stopped: %s',
    async (script) => {
      const directory = helperOf(`echo $$ > "$PIDFILE"; ${script}`);
      const pidFile = join(directory, 'pid');
      const start = performance.now();
      const error = await failureOf(CredentialsError, () =>
        ask(directory, { patience: 1_000, variables: { PIDFILE: pidFile } }),
      );
      expect(error.message).toContain('docker-credential-test for ghcr.io: expected an answer, found none within 1 s');
      expect(performance.now() - start).toBeLessThan(10_000);
      const pid = Number(readFileSync(pidFile, 'utf8'));
      expect(pid).toBeGreaterThan(1);
      await ended(pid);
    },
  );

  test.each([
    '',
    '../../bin/sh',
    'a/b',
    'a\\b',
    '-x',
    '.x',
    'a b',
    'a;touch inert',
    '$(touch inert)',
    'a\nb',
    'a\0b',
    'x'.repeat(65),
  ])('has a name that is the end of a name: not %j', async (helper) => {
    const directory = helperOf('touch inert');
    const error = await failureOf(CredentialsError, () => ask(directory, { helper }));
    expect(error.message).toContain(
      '/home/me/.docker/config.json: expected the name of a credential helper for ghcr.io',
    );
    expect(existsSync('inert')).toBe(false);
  });

  test.each(['desktop.exe', 'ecr-login', 'gcloud', 'osxkeychain', 'acr_env'])('may be called %s', async (helper) => {
    const error = await failureOf(CredentialsError, () =>
      askHelper({ helper, key: 'ghcr.io', configuredIn: 'x', environment: { PATH: temporaryDirectory() } }),
    );
    expect(error.message).toContain(`install docker-credential-${helper}`);
  });
});

/** Waits until there is no such process. */
async function ended(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await new Promise(setImmediate);
  }
}
