import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { get as secureGet } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  EmptyIndexError,
  emptyDescriptor,
  fileBlob,
  InvalidDocumentError,
  InvalidLayoutError,
  InvalidOptionError,
  InvalidReferenceError,
  MissingBlobError,
  mediaTypes,
  newIndex,
  newRef,
  noBlobs,
  type Ref,
  SizeMismatchError,
  UnknownTagError,
} from '../../../src';
import { memoryStorage } from '../../../src/registry/server/memory-storage';
import { maxRequests, type RegistryRequest, remember } from '../../../src/registry/server/requests';
import { type Registry, startRegistry } from '../../../src/registry/server/start-registry';
import type { RegistryStorage } from '../../../src/registry/server/storage';
import {
  archiveOf,
  collect,
  failureOf,
  repository,
  run,
  sampleImage,
  taggedLayout,
  temporaryDirectory,
  writtenLayout,
} from '../../fixtures';
import { blobOf, open, pushBlob, send } from './send';

const started: Registry[] = [];
afterEach(() => Promise.all(started.splice(0).map((registry) => registry.close())));

async function start(...options: Parameters<typeof startRegistry>): Promise<Registry> {
  const registry = await startRegistry(...options);
  started.push(registry);
  return registry;
}

const tagsOf = async ({ url }: Registry, name: string) =>
  JSON.parse((await send(url, 'GET', `/v2/${name}/tags/list`)).body.toString()).tags;

/** That everything of an image or index can be pulled. */
async function expectServed({ url }: Registry, name: string, tag: string, ref: Ref): Promise<void> {
  const pulled = await send(url, 'GET', `/v2/${name}/manifests/${tag}`);
  expect({ status: pulled.status, digest: pulled.headers['docker-content-digest'] }).toEqual({
    status: 200,
    digest: ref.digest,
  });
  expect(pulled.body).toEqual(Buffer.from(ref.rawManifest));
  expect(pulled.headers['content-type']).toBe(ref.mediaType);
  if (ref.kind === 'index') {
    for (const child of ref.children())
      await expectServed({ url } as Registry, name, child.digest, await ref.ref(child));
  }
  for (const descriptor of ref.descriptors()) {
    const { status, body } = await send(url, 'GET', `/v2/${name}/blobs/${descriptor.digest}`);
    expect({ status, digest: blobOf(body).digest }).toEqual({ status: 200, digest: descriptor.digest });
  }
}

describe('M14: addRef', () => {
  test('serves an image by tag', async () => {
    const registry = await start();
    const image = await sampleImage();
    await registry.addRef('app', 'v1', image);
    await expectServed(registry, 'app', 'v1', image);
    expect(await tagsOf(registry, 'app')).toEqual(['v1']);
  });

  test('serves an index with its images, and these by digest alone', async () => {
    const registry = await start();
    const index = newIndex([{ ref: await sampleImage(['a']) }, { ref: await sampleImage(['b'], 'linux/arm64') }]);
    await registry.addRef('app', 'v1', index);
    await expectServed(registry, 'app', 'v1', index);
    expect(await tagsOf(registry, 'app')).toEqual(['v1']);
  });

  test('of an index gives the tag to the index alone, when all that it leads to is there', async () => {
    const storage = memoryStorage();
    const put: unknown[] = [];
    const putManifest: RegistryStorage['putManifest'] = (repository, manifest, tags) => {
      put.push([manifest.digest, tags]);
      return storage.putManifest(repository, manifest, tags);
    };
    const registry = await start({ storage: { ...storage, putManifest } });
    const image = await sampleImage();
    const index = newIndex([{ ref: image }]);
    await registry.addRef('app', 'v1', index);
    expect(put).toEqual([
      [image.digest, []],
      [index.digest, ['v1']],
    ]);
  });

  test('without a tag serves by digest', async () => {
    const registry = await start();
    const image = await sampleImage();
    await registry.addRef('app', undefined, image);
    await expectServed(registry, 'app', image.digest, image);
    expect(await tagsOf(registry, 'app')).toEqual([]);
  });

  test('remembers where content lies, and opens it when it is asked for', async () => {
    const registry = await start();
    const image = await sampleImage();
    const opened: string[] = [];
    const blob: Ref['blob'] = (descriptor) => ({
      size: descriptor.size,
      open: (range) => {
        opened.push(descriptor.digest);
        return image.blob(descriptor).open(range);
      },
    });
    await registry.addRef('app', 'v1', { ...image, blob });
    expect(opened).toEqual([]);
    await expectServed(registry, 'app', 'v1', image);
    expect(opened).toEqual(image.descriptors().map(({ digest }) => digest));
  });

  test.each([
    ['Upper', 'v1', 'repository "Upper"'],
    ['../x', 'v1', 'repository "../x"'],
    ['app', '.v1', 'tag ".v1"'],
    ['app', '', 'tag ""'],
  ])('%s:%s is no name', async (name, tag, message) => {
    const registry = await start();
    const failure = await failureOf(InvalidReferenceError, async () => registry.addRef(name, tag, await sampleImage()));
    expect(failure.message).toContain(message);
    expect(await registry.storage.repositories()).toEqual([]);
  });

  test('content that is not there is missed at once, but for what is to be had elsewhere', async () => {
    const registry = await start();
    const layer = { mediaType: mediaTypes.layer, digest: blobOf('absent').digest, size: 6 };
    const refOf = (layers: object[]) => {
      const body = { schemaVersion: 2, mediaType: mediaTypes.imageManifest, config: emptyDescriptor, layers };
      return newRef(Buffer.from(JSON.stringify(body)), mediaTypes.imageManifest, undefined, noBlobs);
    };
    const failure = await failureOf(MissingBlobError, () => registry.addRef('app', 'v1', refOf([layer])));
    expect(failure.message).toContain(layer.digest);
    expect((await send(registry.url, 'GET', '/v2/app/manifests/v1')).status).toBe(404);
    await registry.addRef('app', 'v1', refOf([{ ...layer, urls: ['https://example.com/layer'] }]));
    expect((await send(registry.url, 'GET', '/v2/app/manifests/v1')).status).toBe(200);
  });
});

describe('M18: layouts', () => {
  test('are served under the tags that they have', async () => {
    const [one, two] = [await sampleImage(['one']), await sampleImage(['two'])];
    const path = await taggedLayout({ v1: one, v2: two });
    const registry = await start({ layouts: [{ path, repository: 'os/base' }] });
    await expectServed(registry, 'os/base', 'v1', one);
    await expectServed(registry, 'os/base', 'v2', two);
    expect(await tagsOf(registry, 'os/base')).toEqual(['v1', 'v2']);
  });

  test('one image may get another tag, and one of several is picked by its own', async () => {
    const [one, two] = [await sampleImage(['one']), await sampleImage(['two'])];
    const single = await writtenLayout(one);
    const several = await taggedLayout({ v1: one, v2: two });
    const registry = await start({
      layouts: [
        { path: single, repository: 'app', tag: 'latest' },
        { path: single, repository: 'untagged' },
        { path: `${several}:v2`, repository: 'app', tag: 'next' },
        { path: `${several}:v2`, repository: 'own' },
        { path: `${several}@${two.digest}`, repository: 'digest', tag: 'x' },
      ],
    });
    await expectServed(registry, 'app', 'latest', one);
    await expectServed(registry, 'untagged', one.digest, one);
    await expectServed(registry, 'app', 'next', two);
    await expectServed(registry, 'own', 'v2', two);
    await expectServed(registry, 'digest', 'x', two);
    expect(await registry.storage.repositories()).toEqual(['app', 'digest', 'own', 'untagged']);
  });

  test('what two layouts both have is served once', async () => {
    const image = await sampleImage();
    const paths = [await taggedLayout({ v1: image }), await taggedLayout({ v1: image })];
    const registry = await start({ layouts: paths.map((path) => ({ path, repository: 'app' })) });
    await expectServed(registry, 'app', 'v1', image);
  });

  test('in an archive too', async () => {
    const image = await sampleImage();
    const path = await archiveOf(await taggedLayout({ v1: image }));
    const registry = await start({ layouts: [{ path, repository: 'app' }] });
    await expectServed(registry, 'app', 'v1', image);
  });

  test.each<[string, () => Promise<Parameters<typeof startRegistry>[0]>, new (...facts: never[]) => Error, string]>([
    [
      'several images as one tag',
      async () => {
        const path = await taggedLayout({ v1: await sampleImage(['one']), v2: await sampleImage(['two']) });
        return { layouts: [{ path, repository: 'app', tag: 'latest' }] };
      },
      AmbiguousManifestError,
      'expected one image or index to serve as app:latest, found 2 (v1, v2)',
    ],
    [
      'a tag that is not there',
      async () => ({ layouts: [{ path: `${await taggedLayout({ v1: await sampleImage() })}:v2`, repository: 'app' }] }),
      UnknownTagError,
      'v2',
    ],
    [
      'an empty layout',
      async () => ({ layouts: [{ path: await taggedLayout({}), repository: 'app' }] }),
      EmptyIndexError,
      'expected an image or index to serve, found none',
    ],
    [
      'no layout',
      async () => ({ layouts: [{ path: temporaryDirectory(), repository: 'app' }] }),
      InvalidLayoutError,
      'is',
    ],
    [
      'a tag that none can have',
      async () => ({ layouts: [{ path: await taggedLayout({ 'a/b': await sampleImage() }), repository: 'app' }] }),
      InvalidReferenceError,
      'tag "a/b"',
    ],
    [
      'two images of two layouts as one tag',
      async () => {
        const first = await taggedLayout({ v1: await sampleImage(['one']) });
        const second = await taggedLayout({ v1: await sampleImage(['two']) });
        return { layouts: [first, second].map((path) => ({ path, repository: 'app' })) };
      },
      AmbiguousManifestError,
      'give one of them another repository or tag',
    ],
  ])('%s: an error, and no registry', async (_, options, type, message) => {
    const failure = await failureOf(type as never, async () => start(await options()));
    expect((failure as Error).message).toContain(message);
  });

  test.each<[string, (file: string) => void, new (...facts: never[]) => Error]>([
    ['is missing', (file) => rmSync(file), MissingBlobError],
    ['is too short', (file) => truncateSync(file, 1), SizeMismatchError],
  ])('a blob that %s is an error that names it', async (_, damage, type) => {
    const image = await sampleImage();
    const path = await taggedLayout({ v1: image });
    const [, layer = ''] = image.manifest.layers[0]?.digest.split(':') ?? [];
    damage(join(path, 'blobs/sha256', layer));
    const failure = await failureOf(type as never, () => start({ layouts: [{ path, repository: 'app' }] }));
    expect((failure as Error).message).toContain(layer);
  });

  test('a file that shrinks while it is served ends the connection', async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'blob');
    const content = blobOf(Buffer.alloc(5_000_000, 1));
    writeFileSync(path, content.bytes);
    const registry = await start();
    await registry.storage.addBlob('app', content.digest, fileBlob(path, content.bytes.length));
    truncateSync(path, 3_000_000);
    const response = await open(registry.url, 'GET', `/v2/app/blobs/${content.digest}`);
    await expect(collect(response)).rejects.toThrow('aborted');
  });
});

describe('M14: files', () => {
  const content = blobOf(Buffer.from(Array.from({ length: 1_300_000 }, (_, position) => position % 251)));

  test.each([
    [undefined, 0, content.bytes.length],
    ['bytes=0-0', 0, 1],
    ['bytes=524287-1048576', 524_287, 1_048_577],
    ['bytes=1299999-', 1_299_999, 1_300_000],
  ])('range %s of a file', async (range, from, to) => {
    const path = join(temporaryDirectory(), 'blob');
    writeFileSync(path, content.bytes);
    const registry = await start();
    await registry.storage.addBlob('app', content.digest, fileBlob(path, content.bytes.length));
    const headers = range === undefined ? {} : { range };
    const { body } = await send(registry.url, 'GET', `/v2/app/blobs/${content.digest}`, { headers });
    expect(blobOf(body).digest).toBe(blobOf(content.bytes.subarray(from, to)).digest);
  });
});

describe('a registry that runs', () => {
  test('tells where it is', async () => {
    const registry = await start();
    expect(registry.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(registry.url).toBe(`http://${registry.host}`);
    expect((await fetch(`${registry.url}/v2/`)).status).toBe(200);
  });

  test('is one of several in a process, which know nothing of one another', async () => {
    const registries = await Promise.all(Array.from({ length: 5 }, () => start()));
    expect(new Set(registries.map(({ url }) => url)).size).toBe(5);
    const [first, ...others] = registries as [Registry, ...Registry[]];
    await pushBlob(first.url, 'app', 'x');
    for (const { storage, requests } of others) {
      expect(await storage.repositories()).toEqual([]);
      expect(requests).toEqual([]);
    }
    await first.close();
    for (const { url } of others) expect((await send(url, 'GET', '/v2/')).status).toBe(200);
  });

  test('ends with its scope', async () => {
    let url = '';
    {
      await using registry = await startRegistry();
      url = registry.url;
      expect((await send(url, 'GET', '/v2/')).status).toBe(200);
    }
    await expect(send(url, 'GET', '/v2/')).rejects.toThrow('ECONNREFUSED');
  });

  test('ends once, however often it is told to', async () => {
    const registry = await start();
    await Promise.all([registry.close(), registry.close()]);
    await registry.close();
    await expect(send(registry.url, 'GET', '/v2/')).rejects.toThrow('ECONNREFUSED');
  });

  test('closes the storage that it opened, and leaves the one that it was given', async () => {
    const given = memoryStorage();
    let isClosed = false;
    const storage = {
      ...given,
      close: async () => {
        isClosed = true;
      },
    };
    const registry = await start({ storage });
    await pushBlob(registry.url, 'app', 'x');
    await registry.close();
    expect(isClosed).toBe(false);
    const next = await start({ storage });
    expect((await send(next.url, 'GET', `/v2/app/blobs/${blobOf('x').digest}`)).body.toString()).toBe('x');
  });

  test('keeps its content in a directory, where the next one finds it', async () => {
    const storage = join(temporaryDirectory(), 'registry');
    const image = await sampleImage();
    const registry = await start({ storage });
    await registry.addRef('app', 'v1', image);
    await registry.close();
    await expectServed(await start({ storage }), 'app', 'v1', image);
  });

  test('cancels the uploads that are open', async () => {
    const storage = memoryStorage(100);
    const registry = await start({ storage });
    const { headers } = await send(registry.url, 'POST', '/v2/app/blobs/uploads/');
    expect((await send(registry.url, 'PATCH', headers.location ?? '', { body: 'x'.repeat(100) })).status).toBe(202);
    await registry.close();
    expect(await pushBlob((await start({ storage })).url, 'app', 'y'.repeat(100))).toBe(blobOf('y'.repeat(100)).digest);
    expect(await storage.repositories()).toEqual(['app']);
  });

  test('refuses a port that is taken, or is none', async () => {
    const { host } = await start();
    const port = Number(host.split(':')[1]);
    const failure = await failureOf(InvalidOptionError, () => start({ port }));
    expect(failure.message).toContain(`port ${port} of 127.0.0.1: expected to listen there, found`);
    expect(failure.message).toContain('EADDRINUSE');
    await failureOf(InvalidOptionError, () => start({ port: 70_000 }));
  });

  test.each<[object | null, string]>([
    [{ layout: [] }, '$: expected only options that there are, found "layout"'],
    [{ port: '5000' }, '$.port: expected number, found "5000"'],
    [{ layouts: ['out'] }, '$.layouts[0]: expected object, found "out"'],
    [{ layouts: [{ path: 'out' }] }, '$.layouts[0].repository: expected string, found nothing'],
    [{ storage: 5 }, '$.storage: expected string, found 5'],
    [{ faults: [{ stat: 503 }] }, '$.faults[0]: expected only options that there are, found "stat"'],
    [{ pageSize: 0 }, '$.pageSize: expected number to be >=1, found 0'],
    [{ onRequest: 'log' }, '$.onRequest: expected a function, found "log"'],
    [null, '$: expected object, found null'],
  ])('refuses options that there are not: %j', async (options, message) => {
    const failure = await failureOf(InvalidDocumentError, () => start(options as object));
    expect(failure.message).toContain(`options of startRegistry: ${message}`);
  });

  test.each([
    [{ scheme: 'digest', users: { username: 'ci', password: 'secret' } }, 'auth.scheme: expected "basic" or "bearer"'],
    [{ scheme: 'basic' }, 'auth.users: expected a username and a password, or an htpasswd file'],
    [{ scheme: 'basic', users: { ci: 'secret' } }, 'auth.users: expected a username and a password'],
    [{ scheme: 'bearer', users: { username: 'ci', password: ['secret'] } }, 'auth.users: expected a username'],
  ])('refuses users that there can not be, and tells no secret: %j', async (auth, message) => {
    const failure = await failureOf(InvalidOptionError, () => start({ auth: auth as never }));
    expect(failure.message).toContain(message);
    expect(failure.message).not.toContain('secret');
  });

  test('listens where it is told to', async () => {
    const registry = await start({ host: '::1' }).catch(() => undefined);
    // Not every machine has the address.
    if (registry) {
      expect(registry.host).toMatch(/^\[::1\]:\d+$/);
      expect(
        (await send(registry.url.replace('[::1]', 'localhost'), 'GET', '/v2/').catch(() => ({ status: 200 }))).status,
      ).toBe(200);
    }
    const anywhere = await start({ host: '0.0.0.0' });
    expect(anywhere.host).toMatch(/^127\.0\.0\.1:\d+$/);
    expect((await send(anywhere.url, 'GET', '/v2/')).status).toBe(200);
  });
});

describe('https', () => {
  const file = (name: string) => readFileSync(join(repository, 'test/registry/certificates', name));
  const tls = { cert: file('server.pem'), key: file('server-key.pem') };
  const secureStatus = (url: string) =>
    new Promise((resolve, reject) => {
      const request = secureGet(url, { ca: file('ca.pem'), agent: false }, (response) => {
        response.resume();
        resolve({ status: response.statusCode, challenge: response.headers['www-authenticate'] });
      });
      request.on('error', reject);
    });

  test('with a certificate', async () => {
    const registry = await start({ tls });
    expect(registry.url).toMatch(/^https:/);
    expect(await secureStatus(`${registry.url}/v2/`)).toMatchObject({ status: 200 });
  });

  test('a token is to be had by https too', async () => {
    const registry = await start({ tls, auth: { scheme: 'bearer' } });
    expect(await secureStatus(`${registry.url}/v2/`)).toMatchObject({
      status: 401,
      challenge: expect.stringContaining(`realm="${registry.url}/token"`),
    });
  });

  test('closes though a client has not said hello', async () => {
    const registry = await start({ tls });
    const socket = connect(Number(registry.host.split(':')[1]), '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.on('error', () => undefined);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await registry.close();
    await closed;
  });

  test('refuses what is no certificate, without telling it', async () => {
    const failure = await failureOf(InvalidOptionError, () => start({ tls: { cert: 'bogus', key: 'secret' } }));
    expect(failure.message).toContain("tls: expected a certificate and its key in PEM, found some that can't be used");
    expect(failure.message).not.toContain('secret');
  });

  test('refuses a certificate without its key', async () => {
    const failure = await failureOf(InvalidOptionError, () => start({ tls: { cert: tls.cert } as typeof tls }));
    expect(failure.message).toContain('tls: expected a certificate and its key in PEM, found only one of them');
  });
});

describe('the requests', () => {
  test('are remembered as they came, with what became of them', async () => {
    const registry = await start();
    const { digest } = blobOf('hello');
    const path = `/v2/app/blobs/uploads/?digest=${digest}`;
    await send(registry.url, 'POST', path, { body: 'hello', headers: { 'user-agent': 'test' } });
    await send(registry.url, 'GET', `/v2/app/blobs/${digest}`);
    await send(registry.url, 'HEAD', `/v2/app/blobs/${digest}`);
    await send(registry.url, 'GET', '/v2/');
    expect(registry.requests).toMatchObject([
      {
        method: 'POST',
        path: '/v2/app/blobs/uploads/',
        query: `?digest=${digest}`,
        repository: 'app',
        headers: { 'user-agent': 'test' },
        status: 201,
        bytesIn: 5,
        bytesOut: 0,
      },
      { method: 'GET', path: `/v2/app/blobs/${digest}`, query: '', status: 200, bytesIn: 0, bytesOut: 5 },
      { method: 'HEAD', status: 200, bytesOut: 0 },
      { method: 'GET', path: '/v2/', status: 200 },
    ]);
    expect(registry.requests[3]).not.toHaveProperty('repository');
  });

  test('are told when they are over', async () => {
    const told: RegistryRequest[] = [];
    const registry = await start({ onRequest: (request) => told.push(request) });
    registry.misbehave({ path: '/v2/x/tags/list', hangUp: 'before' });
    await send(registry.url, 'GET', '/v2/_catalog');
    await send(registry.url, 'GET', '/v2/x/tags/list').catch(() => undefined);
    await registry.close();
    expect(told.map(({ path, status }) => ({ path, status }))).toEqual([
      { path: '/v2/_catalog', status: 200 },
      { path: '/v2/x/tags/list', status: undefined },
    ]);
  });

  test('are not remembered without end', () => {
    const requests: RegistryRequest[] = [];
    const request = (position: number) => ({
      method: 'GET',
      path: `/${position}`,
      query: '',
      headers: {},
      bytesIn: 0,
      bytesOut: 0,
    });
    for (let position = 0; position < maxRequests; position++) remember(requests, request(position));
    expect(requests).toHaveLength(maxRequests);
    remember(requests, request(maxRequests));
    expect(requests).toHaveLength(maxRequests / 2 + 1);
    expect([requests[0]?.path, requests.at(-1)?.path]).toEqual([`/${maxRequests / 2}`, `/${maxRequests}`]);
  });

  test('are logged where DEBUG says so', async () => {
    const program = `
      const { startRegistry } = require('${join(repository, 'lib/src/registry/server/start-registry.js')}');
      startRegistry().then(async (registry) => {
        await (await fetch(registry.url + '/v2/_catalog?n=1', { headers: { authorization: 'Bearer hunter2' } })).text();
        await registry.close();
      });`;
    const logged = await run(process.execPath, ['-e', program], { env: { DEBUG: 'other,nx-oci:registry' } });
    expect(logged.stderr).toBe('nx-oci:registry GET "/v2/_catalog?n=1": 200, 0 bytes in, 19 bytes out\n');
    const silent = await run(process.execPath, ['-e', program], { env: { DEBUG: '' } });
    expect(silent.stderr).toBe('');
  });
});
