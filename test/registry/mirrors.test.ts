import { describe, expect, test } from '@jest/globals';
import { DigestMismatchError, type Image, NotInRegistryError } from '../../src';
import { verified } from '../../src/blob';
import type { RegistryRequest } from '../../src/registry/server/requests';
import type { Registry } from '../../src/registry/server/start-registry';
import { collect, failureOf, sampleImage } from '../fixtures';
import { askedOf, clientOf, hostileRegistry, openRegistry } from './clients';
import { unusedPort } from './transport/servers';

/** Reads an image with all its blobs, verified. */
async function pulled(host: string, mirrors: readonly string[], tag = 'v1'): Promise<string> {
  const repository = clientOf({ mirrors: { [host]: mirrors } }).repository({ registry: host, repository: 'os' });
  const ref = (await repository.read({ tag })) as Image;
  for (const descriptor of ref.descriptors()) await collect(verified(ref.blob(descriptor).open(), descriptor));
  return ref.digest;
}

/** A registry and a mirror of it, as many as are wanted. */
async function registries(image: Image, number = 2): Promise<Registry[]> {
  const all = await Promise.all(Array.from({ length: number }, () => openRegistry()));
  for (const registry of all) await registry.addRef('os', 'v1', image);
  return all;
}

const isBlob = ({ path }: RegistryRequest) => /\/blobs\//.test(path);

describe('a mirror', () => {
  test('is read from, and the registry itself is not asked', async () => {
    const image = await sampleImage();
    const [origin, mirror] = (await registries(image)) as [Registry, Registry];
    expect(await pulled(origin.host, [mirror.host])).toBe(image.digest);
    expect(askedOf(mirror)).toHaveLength(3);
    expect(origin.requests).toEqual([]);
  });

  test('may have everything below a name of its own', async () => {
    const image = await sampleImage();
    const [origin, mirror] = [await openRegistry(), await openRegistry()];
    await mirror.addRef('proxy/hub/os', 'v1', image);
    expect(await pulled(origin.host, [`${mirror.host}/proxy/hub`])).toBe(image.digest);
    expect(origin.requests).toEqual([]);
  });

  test('comes in the order in which it is named', async () => {
    const image = await sampleImage();
    const [origin, first, second] = (await registries(image, 3)) as [Registry, Registry, Registry];
    expect(await pulled(origin.host, [first.host, second.host])).toBe(image.digest);
    expect([origin.requests.length, second.requests.length]).toEqual([0, 0]);
    first.misbehave({ path: /manifests/, status: 500 });
    expect(await pulled(origin.host, [first.host, second.host])).toBe(image.digest);
    expect(askedOf(second)).toEqual(['GET 200 manifests/v1']);
  });

  test('that is down is tried twice, and the registry itself is asked', async () => {
    const image = await sampleImage();
    const [origin] = (await registries(image, 1)) as [Registry];
    expect(await pulled(origin.host, [`127.0.0.1:${await unusedPort()}`])).toBe(image.digest);
    const mirror = await hostileRegistry((_received, response) => response.destroy());
    expect(await pulled(origin.host, [mirror.host])).toBe(image.digest);
    expect(mirror.asked().filter((asked) => asked.includes('/manifests/'))).toHaveLength(2);
  });

  test.each([404, 401, 403, 429, 500])('that answers %d does not end anything', async (status) => {
    const image = await sampleImage();
    const [origin, mirror] = (await registries(image)) as [Registry, Registry];
    mirror.misbehave({ status, path: /^\/v2\/os/ });
    expect(await pulled(origin.host, [mirror.host])).toBe(image.digest);
  });

  test('that lacks a blob does not have to have it', async () => {
    const image = await sampleImage();
    const [origin, mirror] = (await registries(image)) as [Registry, Registry];
    mirror.misbehave({ digest: image.manifest.config.digest, status: 404 });
    expect(await pulled(origin.host, [mirror.host])).toBe(image.digest);
    expect(askedOf(origin)).toEqual([`GET 200 blobs/${image.manifest.config.digest}`]);
  });

  test('that is cut in the middle of a blob is gone on for', async () => {
    const image = await sampleImage();
    const [origin, mirror] = (await registries(image)) as [Registry, Registry];
    const { digest, size } = image.manifest.config;
    mirror.misbehave({ digest, cutAfter: 100, times: 1 });
    // What it is asked again is too much for it.
    mirror.misbehave({ digest, headers: { 'content-range': 'bytes 1-2/3' } });
    expect(await pulled(origin.host, [mirror.host])).toBe(image.digest);
    const resumed = origin.requests.find(isBlob);
    expect(resumed?.headers.range).toBe('bytes=100-');
    expect(resumed?.bytesOut).toBe(size - 100);
  });

  test.each([
    ['a page to log in', '<html>'],
    ['another image', '{"schemaVersion":2,"manifests":[]}'],
  ])('that sends %s is not believed', async (_what, body) => {
    const image = await sampleImage();
    const [origin] = (await registries(image, 1)) as [Registry];
    const mirror = await hostileRegistry(({ path }, response) => {
      response.writeHead(path.includes('/blobs/') ? 404 : 200, { 'docker-content-digest': image.digest }).end(body);
    });
    expect(await pulled(origin.host, [mirror.host])).toBe(image.digest);
    expect(mirror.asked()[0]).toBe('GET /v2/os/manifests/v1');
  });

  test('that changes a blob is found out by its reader', async () => {
    const image = await sampleImage();
    const [origin, mirror] = (await registries(image)) as [Registry, Registry];
    mirror.misbehave({ digest: image.manifest.config.digest, flipByte: 5 });
    await failureOf(DigestMismatchError, () => pulled(origin.host, [mirror.host]));
  });

  test('says nothing of what is nowhere: the registry itself does', async () => {
    const [origin, mirror] = (await registries(await sampleImage())) as [Registry, Registry];
    const { message } = await failureOf(NotInRegistryError, () => pulled(origin.host, [mirror.host], 'v2'));
    expect(message).toContain(`${origin.host}/os: manifest v2: expected 200, found 404`);
  });

  test('says what a tag names, if it knows', async () => {
    const image = await sampleImage();
    const [origin, mirror] = (await registries(image)) as [Registry, Registry];
    const client = clientOf({ mirrors: { [origin.host]: [mirror.host] } });
    const { resolve } = client.repository({ registry: origin.host, repository: 'os' });
    expect((await resolve({ tag: 'v1' }))?.digest).toBe(image.digest);
    expect(origin.requests).toEqual([]);
    await origin.addRef('os', 'v2', image);
    expect((await resolve({ tag: 'v2' }))?.digest).toBe(image.digest);
    mirror.misbehave({ status: 500 });
    expect((await resolve({ tag: 'v1' }))?.digest).toBe(image.digest);
    expect(await resolve({ tag: 'v3' })).toBeUndefined();
  });

  test('gets nothing of what is written', async () => {
    const image = await sampleImage();
    const [origin, mirror] = (await registries(image)) as [Registry, Registry];
    const client = clientOf({ mirrors: { [origin.host]: [mirror.host] } });
    const repository = client.repository({ registry: origin.host, repository: 'os' });
    await repository.putManifest(image, 'v2');
    await repository.putBlob(image.manifest.config, image.blob(image.manifest.config));
    await repository.deleteTag('v1');
    expect(await repository.tags()).toEqual(['v2']);
    expect(mirror.requests).toEqual([]);
  });

  test('is none of another registry', async () => {
    const [other, mirror] = (await registries(await sampleImage())) as [Registry, Registry];
    const client = clientOf({ mirrors: { 'docker.io': [mirror.host] } });
    await client.repository({ registry: other.host, repository: 'os' }).read({ tag: 'v1' });
    expect(mirror.requests).toEqual([]);
  });
});

test('who has enough of a mirror has enough of all', async () => {
  const [origin] = (await registries(await sampleImage(), 1)) as [Registry];
  const abort = new AbortController();
  const mirror = await hostileRegistry(() => abort.abort(new Error('enough')));
  const client = clientOf({ mirrors: { [origin.host]: [mirror.host] }, signal: abort.signal });
  const { read } = client.repository({ registry: origin.host, repository: 'os' });
  await expect(read({ tag: 'v1' })).rejects.toThrow('enough');
  expect(origin.requests).toEqual([]);
});
