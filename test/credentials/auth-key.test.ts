import { describe, expect, test } from '@jest/globals';
import { isPartial, keysFor } from '../../src/credentials/auth-key';

const dockerHub = ['docker.io', 'index.docker.io', 'registry-1.docker.io', 'https://index.docker.io/v1/'];

describe('the keys that speak of a repository', () => {
  test.each<[string, readonly string[], string, string, readonly string[]]>([
    ['a host', ['ghcr.io', 'quay.io'], 'ghcr.io', 'a/b', ['ghcr.io']],
    ['a host with a port', ['localhost', 'localhost:5000'], 'localhost:5000', 'a', ['localhost:5000']],
    ['a host without the port', ['localhost:5000'], 'localhost', 'a', []],
    ['an IPv6 address', ['[::1]:5000', '[::1]'], '[::1]:5000', 'a', ['[::1]:5000']],
    ['a URL', ['https://ghcr.io'], 'ghcr.io', 'a', ['https://ghcr.io']],
    ['a URL with a path', ['http://localhost:5000/v1/'], 'localhost:5000', 'a', ['http://localhost:5000/v1/']],
    ['a slash at the end', ['ghcr.io/'], 'ghcr.io', 'a', ['ghcr.io/']],
    ['the plain name before the URL', ['https://ghcr.io', 'ghcr.io'], 'ghcr.io', 'a', ['ghcr.io', 'https://ghcr.io']],
    ['a namespace', ['quay.io', 'quay.io/team'], 'quay.io', 'team/app', ['quay.io/team', 'quay.io']],
    ['a repository', ['quay.io/team', 'quay.io/team/app'], 'quay.io', 'team/app', ['quay.io/team/app', 'quay.io/team']],
    ['what begins alike', ['quay.io/tea', 'quay.io/team/app2'], 'quay.io', 'team/app', []],
    ['what lies deeper', ['quay.io/team/app/sub'], 'quay.io', 'team/app', []],
    ['Docker Hub by all its names', dockerHub, 'docker.io', 'library/alpine', dockerHub],
    ['a namespace of Docker Hub', ['docker.io/team'], 'docker.io', 'team/app', ['docker.io/team']],
    ['nothing', [], 'docker.io', 'a', []],
  ])('%s', (_, keys, registry, repository, expected) => {
    expect(keysFor(keys, registry, repository)).toEqual(expected);
  });

  test.each([
    'evildocker.io',
    'docker.io.evil',
    'docker.io.evil.example',
    'docker.io:5000',
    'docker.io:443',
    'index.docker.io:443',
    'evil.example',
    'docker.io@evil.example',
    'xindex.docker.io',
    'io',
    'docker',
    '',
  ])('ACCEPTANCE 39: those of Docker Hub are not for %j', (registry) => {
    expect(keysFor(dockerHub, registry, 'docker.io/library/alpine')).toEqual([]);
    expect(keysFor([...dockerHub, 'docker.io/library'], registry, 'library/alpine')).toEqual([]);
  });

  test.each([
    'evildocker.io',
    'docker.io.evil',
    'docker.io:5000',
    'https://docker.io:443/v1/',
    'evil.example/docker.io',
    'https://evil.example/docker.io',
    'https://evil.example/index.docker.io/v1/',
    'https://evil.example?docker.io',
    'https://docker.io@evil.example/',
    'https://user:docker.io@evil.example',
    'ftp://docker.io',
    'https:///docker.io',
    '//docker.io',
    '*.io',
    '*',
    '',
  ])('ACCEPTANCE 39: those of %j are not for Docker Hub', (key) => {
    for (const registry of ['docker.io', 'index.docker.io', 'registry-1.docker.io']) {
      expect(keysFor([key], registry, 'library/alpine')).toEqual([]);
    }
  });

  test('those of a part of a registry are not for the registry as a whole', () => {
    expect(keysFor(['quay.io/team', 'quay.io'], 'quay.io')).toEqual(['quay.io']);
    expect(['quay.io/team', 'quay.io', 'https://quay.io/team', 'quay.io/'].map(isPartial)).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });
});
