import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { ConnectionError, InvalidOptionError } from '../../src';
import { openRegistries } from '../../src/actions/open-registries';
import type { RegistryClient } from '../../src/registry/client';
import { failureOf, sampleImage, temporaryDirectory, writeFiles } from '../fixtures';
import { hostileRegistry, openRegistry } from '../registry/clients';
import { certificateFile, serve, serveProxy } from '../registry/transport/servers';

/** What a client does that is opened for one use. */
async function using<T>(
  environment: NodeJS.ProcessEnv,
  use: (client: RegistryClient) => Promise<T>,
  choice: Parameters<typeof openRegistries>[1] = {},
): Promise<T> {
  await using client = openRegistries({ HOME: temporaryDirectory(), ...environment }, choice);
  return await use(client);
}

const tagsOf = (registry: string) => (client: RegistryClient) =>
  client.repository({ registry, repository: 'os' }).tags();

describe('registries as the environment describes them', () => {
  test('NX_OCI_CA', async () => {
    const { host } = await hostileRegistry((_received, response) => response.end('{"tags":["v1"]}'), { tls: true });
    await failureOf(ConnectionError, () => using({}, tagsOf(host)));
    expect(await using({ NX_OCI_CA: certificateFile('ca.pem') }, tagsOf(host))).toEqual(['v1']);
  });

  test('NX_OCI_INSECURE, beside those that an option names', async () => {
    const { host } = await hostileRegistry((_received, response) => response.end('{"tags":["v1"]}'), { tls: true });
    expect(await using({ NX_OCI_INSECURE: ` registry.example, ${host},` }, tagsOf(host))).toEqual(['v1']);
    expect(await using({ NX_OCI_INSECURE: 'registry.example' }, tagsOf(host), { insecure: [host] })).toEqual(['v1']);
  });

  test('NX_OCI_MIRRORS, in their order', async () => {
    const [first, second] = [await openRegistry(), await openRegistry()];
    const image = await sampleImage();
    await second.addRef('hub/library/alpine', 'v1', image);
    const mirrors = `docker.io=${first.host}, docker.io=${second.host}/hub, other.example=${first.host}`;
    const read = (client: RegistryClient) =>
      client.repository({ registry: 'docker.io', repository: 'library/alpine' }).read({ tag: 'v1' });
    expect((await using({ NX_OCI_MIRRORS: mirrors }, read)).digest).toBe(image.digest);
    expect(first.requests.at(-1)?.path).toBe('/v2/library/alpine/manifests/v1');
  });

  test('HTTP_PROXY', async () => {
    const registry = await serve((_received, response) => response.end('{"tags":["v1"]}'));
    const proxy = await serveProxy({ 'registry.test': registry });
    const environment = { HTTP_PROXY: proxy.url, HTTPS_PROXY: proxy.url, NX_OCI_INSECURE: 'registry.test' };
    expect(await using(environment, tagsOf('registry.test'))).toEqual(['v1']);
    expect(proxy.asked.at(-1)).toBe('GET http://registry.test/v2/os/tags/list');
  });

  test('credentials, where people have them', async () => {
    const auth = { scheme: 'basic', users: { username: 'me', password: 'secret' } } as const;
    const registry = await openRegistry({ auth });
    await registry.addRef('os', 'v1', await sampleImage());
    const encoded = Buffer.from('me:secret').toString('base64');
    const config = writeFiles(temporaryDirectory(), {
      'config.json': JSON.stringify({ auths: { [registry.host]: { auth: encoded } } }),
    });
    expect(await using({ DOCKER_CONFIG: config }, tagsOf(registry.host))).toEqual(['v1']);
  });

  test('onRetry and a signal come from the command', async () => {
    const registry = await openRegistry({ faults: [{ status: 503, path: /tags/ }] });
    const abort = new AbortController();
    const choice = { signal: abort.signal, onRetry: () => abort.abort(new Error('enough')) };
    await expect(using({}, tagsOf(registry.host), choice)).rejects.toThrow('enough');
  });
});

describe('what the environment must not say', () => {
  const password = 'pass-word';

  test.each<[string, NodeJS.ProcessEnv, string[]]>([
    ['a URL', { NX_OCI_INSECURE: 'http://localhost:5000' }, ['NX_OCI_INSECURE', '"http://localhost:5000"']],
    ['a path', { NX_OCI_INSECURE: 'localhost:5000/os' }, ['NX_OCI_INSECURE', '"localhost:5000/os"']],
    ['a mirror of nothing', { NX_OCI_MIRRORS: 'mirror.example' }, ['NX_OCI_MIRRORS', '"mirror.example"']],
    ['a registry without a mirror', { NX_OCI_MIRRORS: 'docker.io=' }, ['NX_OCI_MIRRORS', '"docker.io="']],
    ['two at once', { NX_OCI_MIRRORS: 'a.example=b.example=c.example' }, ['NX_OCI_MIRRORS', '"a.example=b.example=']],
    ['a mirror by URL', { NX_OCI_MIRRORS: 'docker.io=https://mirror.example' }, ['NX_OCI_MIRRORS', 'https:']],
    ['a mirror with a bad name', { NX_OCI_MIRRORS: 'docker.io=mirror.example/../x' }, ['NX_OCI_MIRRORS', '/../x']],
    ['a password', { NX_OCI_MIRRORS: `docker.io=https://me:${password}@mirror.example` }, ['a user before "@"']],
    ['a password', { NX_OCI_INSECURE: `me:${password}@localhost:5000` }, ['NX_OCI_INSECURE', 'a user before "@"']],
    [
      'a file that is not there',
      { NX_OCI_CA: '/nowhere/ca.pem' },
      ['NX_OCI_CA', 'found none that can be read at /nowhere/ca.pem'],
    ],
    ['a proxy that is none', { HTTPS_PROXY: `me:${password}@[` }, ['HTTPS_PROXY']],
  ])('%s: %j', async (_what, environment, words) => {
    const { message } = await failureOf(InvalidOptionError, () => openRegistries(environment));
    for (const word of words) expect(message).toContain(word);
    expect(message).not.toContain(password);
  });

  test('a file without certificates', async () => {
    const file = join(writeFiles(temporaryDirectory(), { 'ca.pem': 'none' }), 'ca.pem');
    const { message } = await failureOf(InvalidOptionError, () => openRegistries({ NX_OCI_CA: file }));
    expect(message).toContain(
      `NX_OCI_CA: expected a file of certificates in PEM, found none that can be read at ${file}`,
    );
  });

  test('nor an option', async () => {
    const open = () => openRegistries({}, { insecure: ['https://localhost:5000'] });
    const { message } = await failureOf(InvalidOptionError, open);
    expect(message).toContain('--insecure: expected host or host:port of a registry');
  });
});
