import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { configFromVariable, registryVariables } from '../../src/credentials/environment';
import { CredentialsError } from '../../src/errors';
import { failureOf } from '../fixtures';

const set = (registry?: string, username?: string, password?: string) => ({
  NX_OCI_REGISTRY: registry,
  NX_OCI_USERNAME: username,
  NX_OCI_PASSWORD: password,
});

describe('NX_OCI_REGISTRY, NX_OCI_USERNAME and NX_OCI_PASSWORD', () => {
  test('are one credential', () => {
    expect(registryVariables(set('ghcr.io', 'user', 'hunter2'))?.auths).toEqual(
      new Map([['ghcr.io', { username: 'user', password: 'hunter2' }]]),
    );
  });

  test.each([[set()], [set('', '', '')], [set('ghcr.io')], [set('ghcr.io', '', '')]])('are none: %j', (environment) => {
    expect(registryVariables(environment)).toBeUndefined();
  });

  test.each([
    ['NX_OCI_REGISTRY', set(undefined, 'user', 'hunter2')],
    ['NX_OCI_REGISTRY', set('', 'user', 'hunter2')],
    ['NX_OCI_REGISTRY', set(undefined, undefined, 'hunter2')],
    ['NX_OCI_USERNAME', set('ghcr.io', '', 'hunter2')],
    ['NX_OCI_PASSWORD', set('ghcr.io', 'user', '')],
  ])('ACCEPTANCE 35: go together: without %s in %j', async (missing, environment) => {
    const error = await failureOf(CredentialsError, () => registryVariables(environment));
    expect(error.message).toMatch(new RegExp(`^${missing}: expected .* found no ${missing}; set it to`));
    expect(inspect(error, { depth: Infinity })).not.toContain('hunter2');
  });
});

describe('DOCKER_AUTH_CONFIG', () => {
  test('is the content of a config.json', () => {
    const content = '{"auths":{"ghcr.io":{"auth":"eDp5"}},"credHelpers":{"gcr.io":"gcloud"},"credsStore":"pass"}';
    expect(configFromVariable({ DOCKER_AUTH_CONFIG: content })).toEqual({
      name: 'DOCKER_AUTH_CONFIG',
      auths: new Map([['ghcr.io', { auth: 'eDp5' }]]),
      credHelpers: new Map([['gcr.io', 'gcloud']]),
      credsStore: 'pass',
    });
  });

  test.each([{}, { DOCKER_AUTH_CONFIG: '' }])('is nothing: %j', (environment) => {
    expect(configFromVariable(environment)).toBeUndefined();
  });

  test.each([
    ['/builds/hunter2.tmp', 'DOCKER_AUTH_CONFIG: expected JSON'],
    ['{"auths":{"ghcr.io":"hunter2"}}', 'DOCKER_AUTH_CONFIG: $.auths["ghcr.io"]: expected object'],
  ])('ACCEPTANCE 35: %s is refused, and not quoted', async (content, message) => {
    const error = await failureOf(CredentialsError, () => configFromVariable({ DOCKER_AUTH_CONFIG: content }));
    expect(error.message).toContain(message);
    expect(inspect(error, { depth: Infinity })).not.toContain('hunter2');
  });
});
