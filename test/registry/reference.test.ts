import { describe, expect, test } from '@jest/globals';
import { InvalidDigestError, InvalidReferenceError, UnsupportedDigestAlgorithmError } from '../../src';
import {
  beginsWithRegistry,
  formatRegistryReference,
  hasRegistryScheme,
  isRegistry,
  isRepository,
  isTag,
  parseRegistryReference,
  registryServedBy,
  servingHost,
} from '../../src/registry/reference';
import { failureOf } from '../fixtures';

const digest = `sha256:${'a'.repeat(64)}`;
const sha512 = `sha512:${'b'.repeat(128)}`;

describe('what a reference names', () => {
  test.each([
    ['alpine', 'docker.io/library/alpine'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20'],
    ['me/app', 'docker.io/me/app'],
    ['docker.io/alpine', 'docker.io/library/alpine'],
    ['index.docker.io/alpine', 'docker.io/library/alpine'],
    ['index.docker.io/me/app:v1', 'docker.io/me/app:v1'],
    ['docker://alpine', 'docker.io/library/alpine'],
    ['docker://registry.example/app', 'registry.example/app'],
    // A first part without a dot, a port or the name localhost is an account at Docker.
    ['registry/app', 'docker.io/registry/app'],
    ['localhost/app', 'localhost/app'],
    ['localhost:5000/app:v1', 'localhost:5000/app:v1'],
    ['registry:5000/app', 'registry:5000/app'],
    ['alpine:5000', 'docker.io/library/alpine:5000'],
    ['127.0.0.1:5000/a/b/c', '127.0.0.1:5000/a/b/c'],
    ['[::1]:5000/app:v1', '[::1]:5000/app:v1'],
    ['[fd00::1]/app', '[fd00::1]/app'],
    ['registry.example/a--b/c__d/e.f_g', 'registry.example/a--b/c__d/e.f_g'],
    [`registry.example/app@${digest}`, `registry.example/app@${digest}`],
    [`registry.example/app:v1@${sha512}`, `registry.example/app:v1@${sha512}`],
    ['registry.example/app:_V1.-', 'registry.example/app:_V1.-'],
    ['xn--bcher-kva.example/app', 'xn--bcher-kva.example/app'],
  ])('%s', (text, plain) => {
    const reference = parseRegistryReference(text);
    expect(formatRegistryReference(reference)).toBe(plain);
    expect(parseRegistryReference(plain)).toEqual(reference);
  });

  test('its parts', () => {
    expect(parseRegistryReference(`[::1]:5000/a/b:v1@${digest}`)).toEqual({
      registry: '[::1]:5000',
      repository: 'a/b',
      tag: 'v1',
      digest,
    });
    expect(Object.keys(parseRegistryReference('alpine'))).toEqual(['registry', 'repository']);
  });
});

const name = 'a'.repeat(255 - 'registry.example/'.length);

describe('what is no reference is refused, and the message names the part', () => {
  test.each([
    ['', 'repository'],
    ['/', 'repository'],
    ['/etc/passwd', 'repository'],
    ['../app', 'repository'],
    ['./app', 'repository'],
    ['C:/app', 'repository'],
    ['C:\\app', 'repository'],
    ['https://registry.example/app', 'repository'],
    ['registry.example/', 'repository'],
    ['registry.example//app', 'repository'],
    ['registry.example/app/', 'repository'],
    ['registry.example/a//b', 'repository'],
    ['registry.example/../app', 'repository'],
    ['registry.example/%2e%2e', 'repository'],
    ['registry.example/App', 'repository'],
    ['registry.example/app?x', 'repository'],
    ['registry.example/app#x', 'repository'],
    ['registry.example/a\0', 'repository'],
    ['registry.example/a\n', 'repository'],
    ['registry.example/-a', 'repository'],
    ['registry.example/a___b', 'repository'],
    ['registry.example:/app', 'repository'],
    ['régistry.example/app', 'repository'],
    [' registry.example/app', 'repository'],
    ['registry.example:99999/app', 'registry'],
    ['1.2.3.999/app', 'registry'],
    ['registry.1/app', 'registry'],
    ['[::::]/app', 'registry'],
    ['[1.2.3.4]/app', 'registry'],
    [`registry.example/${name}a`, 'registry and repository'],
    ['registry.example/app:', 'tag'],
    ['registry.example/app:-v1', 'tag'],
    ['registry.example/app:.v1', 'tag'],
    ['registry.example/app:v 1', 'tag'],
    ['registry.example/app:v1:v2', 'tag'],
    ['registry.example/app:é', 'tag'],
    [`registry.example/app:${'a'.repeat(129)}`, 'tag'],
  ])('%j', async (text, part) => {
    const { message } = await failureOf(InvalidReferenceError, () => parseRegistryReference(text));
    expect(message).toContain(`reference ${JSON.stringify(text)}: expected `);
    expect(message).toContain(` as ${part}, found `);
  });

  test.each(['v1\n', '\nv1', 'v1\r\nHost: evil.example', 'v1\u2028'])('ACCEPTANCE 50: the tag %j', async (tag) => {
    const { message } = await failureOf(InvalidReferenceError, () =>
      parseRegistryReference(`localhost:5000/app:${tag}`),
    );
    expect(message).toContain(`as tag, found ${JSON.stringify(tag)}`);
    expect(message).not.toContain('\n');
  });

  test.each([
    '',
    'sha256:ab',
    `sha256:${'A'.repeat(64)}`,
    `${digest}\n`,
    `${digest}@${digest}`,
    'registry.example/app',
  ])('the digest %j', async (text) => {
    const { message } = await failureOf(InvalidDigestError, () => parseRegistryReference(`user@${text}`));
    expect(message).toContain('invalid digest');
  });

  test('a digest of another algorithm', async () => {
    const text = `app@md5:${'a'.repeat(32)}`;
    const { message } = await failureOf(UnsupportedDigestAlgorithmError, () => parseRegistryReference(text));
    expect(message).toContain('found "md5"');
  });

  test('the longest name is none of them', () => {
    expect(parseRegistryReference(`registry.example/${name}`).repository).toBe(name);
    expect(parseRegistryReference(`registry.example/app:${'a'.repeat(128)}`).tag).toHaveLength(128);
  });
});

describe('what could be a path', () => {
  test.each([
    ['docker://app', true, false],
    ['registry.example/app', false, true],
    ['registry:5000/app', false, true],
    ['localhost/app', false, true],
    ['[::1]/app', false, true],
    ['dist/app', false, false],
    ['./dist.v1/app', false, false],
    ['../app', false, false],
    ['.hidden/app', false, false],
    ['/registry.example/app', false, false],
    ['C:/app', false, false],
    ['app', false, false],
    ['app.tar', false, false],
    ['app:v1', false, false],
  ])('%s', (text, hasScheme, begins) => {
    expect([hasRegistryScheme(text), beginsWithRegistry(text)]).toEqual([hasScheme, begins]);
  });
});

describe('the parts alone', () => {
  test.each([
    ['registry.example', true],
    ['registry:5000', true],
    ['[::1]:5000', true],
    ['http://registry.example', false],
    ['registry.example/', false],
    ['user@registry.example', false],
    ['registry.example:65536', false],
    ['', false],
  ])('registry %j', (text, expected) => expect(isRegistry(text)).toBe(expected));

  test.each([
    ['a/b', true],
    ['a//b', false],
    ['a'.repeat(255), true],
    ['a'.repeat(256), false],
  ])('repository %j', (text, expected) => expect(isRepository(text)).toBe(expected));

  test.each([
    ['v1', true],
    ['v1\n', false],
  ])('tag %j', (text, expected) => expect(isTag(text)).toBe(expected));

  test.each([
    ['docker.io', 'registry-1.docker.io'],
    ['docker.io:5000', 'docker.io:5000'],
    ['evildocker.io', 'evildocker.io'],
    ['localhost:5000', 'localhost:5000'],
  ])('%s is served by %s', (registry, host) => {
    expect(servingHost(registry)).toBe(host);
    expect(registryServedBy(host)).toBe(registry);
  });
});
