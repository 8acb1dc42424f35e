import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { FileSystemError, type Image, InvalidOptionError, newIndex, type OciError } from '../../src';
import { type RegistryServerOptions, registryOptionsSchema } from '../../src/actions/registry-options';
import { servedReferences, serveImages } from '../../src/actions/serve-images';
import { startRegistry } from '../../src/registry/server/start-registry';
import {
  failureOf,
  repository,
  sampleImage,
  snapshot,
  taggedLayout,
  temporaryDirectory,
  writeFiles,
} from '../fixtures';

const certificates = join(repository, 'test/registry/certificates');

/** A directory with a layout of two tags, and an image without one. */
async function layout(): Promise<{ path: string; images: readonly Image[] }> {
  const images = [await sampleImage(['one']), await sampleImage(['two'])];
  const [one, two] = images as [Image, Image];
  return { path: await taggedLayout({ one, two, all: newIndex([{ ref: one }]) }), images };
}

test('M18: serves layouts, named as they are listed', async () => {
  const { path, images } = await layout();
  const served = [
    { path, repository: 'team/os' },
    { path: `${path}:two`, repository: 'tools', tag: 'v1' },
    { path: `${path}@${images[0]?.digest}`, repository: 'untagged', tag: 'v1' },
  ];
  await using registry = await serveImages(served, {}, temporaryDirectory());
  const names = ['team/os:all', 'team/os:one', 'team/os:two', 'tools:v1', 'untagged:v1'];
  expect(await servedReferences(registry)).toEqual(names.map((name) => `${registry.host}/${name}`));
  const manifest = await fetch(`${registry.url}/v2/tools/manifests/v1`);
  expect(Buffer.from(await manifest.arrayBuffer())).toEqual(Buffer.from(images[1]?.rawManifest ?? []));
});

test('a repository without tags is named alone, and an empty registry lists nothing', async () => {
  await using registry = await startRegistry();
  expect(await servedReferences(registry)).toEqual([]);
  await registry.addRef('os', undefined, await sampleImage());
  expect(await servedReferences(registry)).toEqual([`${registry.host}/os`]);
});

test('paths of options are relative to the root; what is stored stays', async () => {
  const root = writeFiles(temporaryDirectory(), { htpasswd: '' });
  {
    await using registry = await serveImages([], { storage: 'storage', auth: 'htpasswd' }, root);
    await registry.addRef('os', 'v1', await sampleImage());
    expect((await fetch(`${registry.url}/v2/`)).status).toBe(401);
  }
  expect(Object.keys(snapshot(join(root, 'storage')))).toContain('os/index.json');
  await using again = await serveImages([], { storage: join(root, 'storage') }, root);
  expect(await servedReferences(again)).toEqual([`${again.host}/os:v1`]);
});

describe('what can not be served is refused', () => {
  const tlsKey = join(certificates, 'server-key.pem');
  test.each<[string, RegistryServerOptions, new (...facts: never[]) => OciError, string]>([
    ['a key alone', { tlsKey }, InvalidOptionError, 'option "tlsCert": expected a certificate and its key'],
    ['a certificate alone', { tlsCert: tlsKey }, InvalidOptionError, 'option "tlsKey": expected a certificate'],
    [
      'the key of another',
      { tlsKey, tlsCert: join(certificates, 'ca.pem') },
      InvalidOptionError,
      "ca.pem, KEY: expected a certificate and its key in PEM, found some that can't be used (key values mismatch)",
    ],
    ['no such file', { tlsKey, tlsCert: 'gone.pem' }, FileSystemError, 'gone.pem: could not read (ENOENT'],
    ['no such passwords', { auth: 'gone' }, FileSystemError, 'gone: could not read (ENOENT'],
    [
      'a host of others',
      { host: '203.0.113.1' },
      InvalidOptionError,
      'port 0 of 203.0.113.1: expected to listen there',
    ],
  ])('%s', async (_, options, type, message) => {
    const root = temporaryDirectory();
    const failure = await failureOf(type, () => serveImages([], options, root));
    expect(failure.message).toContain(message.replace('KEY', tlsKey));
    expect(snapshot(root)).toEqual({});
  });
});

test.each([{ port: -1 }, { port: 65_536 }, { port: '5000' }, { ports: 1 }])('the options %j', (options) => {
  expect(registryOptionsSchema.safeParse(options).success).toBe(false);
});
