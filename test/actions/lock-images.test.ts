import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  type Image,
  type Index,
  InvalidDocumentError,
  InvalidOptionError,
  NotInRegistryError,
  newIndex,
} from '../../src';
import { imageMemory, lockedSource, lockImages } from '../../src/actions/lock-images';
import { lockFileName, readLockFile } from '../../src/registry/lock-file';
import { parseRegistryReference } from '../../src/registry/reference';
import type { Registry } from '../../src/registry/server/start-registry';
import { failureOf, sampleImage, temporaryDirectory } from '../fixtures';
import { askedOf, clientOf, openRegistry } from '../registry/clients';

const memory = (isFrozen = false) => {
  const root = temporaryDirectory();
  return { root, store: join(root, 'store'), isFrozen };
};
const named = (registry: Registry, rest = ':v1') => parseRegistryReference(`${registry.host}/os${rest}`);

/** Reads an image and all its blobs, as a build does that has nothing. */
async function build(registry: Registry, own: ReturnType<typeof memory>, rest?: string): Promise<string> {
  const [found] = await lockedSource(named(registry, rest), clientOf(), own).read();
  const image = found?.ref as Image;
  for (const descriptor of image.descriptors()) await image.readBlobVerified(descriptor);
  return image.digest;
}

describe('the image behind a tag', () => {
  test('is looked up once, and is the same at each build', async () => {
    const [image, moved] = [await sampleImage(), await sampleImage(['moved'])];
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', image);
    const own = memory();
    expect(await build(registry, own)).toBe(image.digest);
    expect(await readLockFile(own.root)).toEqual({ [`${registry.host}/os:v1`]: image.digest });
    const { digest } = image;
    expect(askedOf(registry).slice(0, 2)).toEqual(['HEAD 200 manifests/v1', `GET 200 manifests/${digest}`]);
    expect(askedOf(registry)).toHaveLength(4);
    await registry.addRef('os', 'v1', moved);
    expect(await build(registry, own)).toBe(image.digest);
  });

  test('is built again without a network', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', image);
    const own = memory();
    await build(registry, own);
    const before = registry.requests.length;
    await build(registry, own);
    expect(registry.requests).toHaveLength(before);
    await registry.close();
    expect(await build(registry, { ...own, isFrozen: true })).toBe(image.digest);
    expect(await build(registry, own, `@${image.digest}`)).toBe(image.digest);
  });

  test('is fetched again where the store is gone, and not looked up again', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', image);
    const own = memory();
    await build(registry, own);
    rmSync(own.store, { recursive: true });
    const before = askedOf(registry).length;
    expect(await build(registry, own)).toBe(image.digest);
    expect(askedOf(registry).slice(before)).toContain(`GET 200 manifests/${image.digest}`);
    expect(askedOf(registry).filter((asked) => asked.startsWith('HEAD'))).toHaveLength(1);
  });

  test('may be an index, of which no more is fetched than is used', async () => {
    const images = [await sampleImage(['a']), await sampleImage(['b'], 'linux/arm64')] as const;
    const index = newIndex(images.map((ref) => ({ ref })));
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', index);
    const own = memory();
    for (const isOffline of [false, true]) {
      if (isOffline) await registry.close();
      const [found] = await lockedSource(named(registry), clientOf(), own).read();
      const root = found?.ref as Index;
      const image = (await root.ref(root.children()[1] as ReturnType<Index['children']>[0])) as Image;
      expect(image.digest).toBe(images[1].digest);
      for (const descriptor of image.descriptors()) await image.readBlobVerified(descriptor);
    }
    expect(askedOf(registry).some((asked) => asked.includes(images[0].digest))).toBe(false);
  });

  test('is named by what everybody calls it', async () => {
    const registry = await openRegistry();
    const source = (rest: string) => lockedSource(named(registry, rest), clientOf(), memory());
    const digest = `sha256:${'a'.repeat(64)}`;
    expect(source('').reference).toBe(`${registry.host}/os:latest`);
    expect(source(`:v1@${digest}`).reference).toBe(`${registry.host}/os:v1`);
    expect(source(`:v1@${digest}`).name).toBe(`${registry.host}/os:v1@${digest}`);
  });

  test('with a digest needs no lock, and no tag', async () => {
    const [image, moved] = [await sampleImage(), await sampleImage(['moved'])];
    const registry = await openRegistry();
    await registry.addRef('os', undefined, image);
    await registry.addRef('os', 'v1', moved);
    const own = memory(true);
    expect(await build(registry, own, `:v1@${image.digest}`)).toBe(image.digest);
    expect(existsSync(join(own.root, lockFileName))).toBe(false);
    await failureOf(NotInRegistryError, () => build(registry, own, `@sha256:${'a'.repeat(64)}`));
  });

  test('is not locked where the lock file is frozen', async () => {
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', await sampleImage());
    const own = memory(true);
    const { message } = await failureOf(InvalidOptionError, () => build(registry, own));
    expect(message).toContain(`${registry.host}/os:v1: expected its digest in ${lockFileName}, found none`);
    expect(message).toContain(`nx-oci lock ${registry.host}/os:v1`);
    expect(registry.requests).toEqual([]);
    expect(existsSync(join(own.root, lockFileName))).toBe(false);
  });

  test('is nothing that a damaged lock file says', async () => {
    const registry = await openRegistry();
    const own = memory();
    writeFileSync(join(own.root, lockFileName), '{');
    const { message } = await failureOf(InvalidDocumentError, () => build(registry, own));
    expect(message).toContain(join(own.root, lockFileName));
    expect(registry.requests).toEqual([]);
  });

  test('that is not there leaves no lock file', async () => {
    const registry = await openRegistry();
    const own = memory();
    const { message } = await failureOf(NotInRegistryError, () => build(registry, own));
    expect(message).toContain(`${registry.host}/os:v1: expected an image in the registry, found none`);
    expect(existsSync(join(own.root, lockFileName))).toBe(false);
  });
});

describe('tags are locked', () => {
  async function registryWith(...tags: string[]) {
    const registry = await openRegistry();
    for (const tag of tags) await registry.addRef('os', tag, await sampleImage([tag]));
    return registry;
  }
  const digestOfTag = async (text: string) => (await sampleImage([text])).digest;

  test('and stay locked, unless they are to be updated', async () => {
    const registry = await registryWith('v1', 'v2');
    const { root } = memory();
    const [one, two] = [named(registry, ':v1'), named(registry, ':v2')];
    const client = clientOf();
    await lockImages([one], client, root);
    for (const tag of ['v1', 'v2']) await registry.addRef('os', tag, await sampleImage(['moved']));
    const name = (tag: string) => `${registry.host}/os:${tag}`;
    const [old, moved] = [await digestOfTag('v1'), await digestOfTag('moved')];
    expect(await lockImages([one, two], client, root)).toEqual({ [name('v1')]: old, [name('v2')]: moved });
    expect(await lockImages([one], client, root, { update: true })).toEqual({
      [name('v1')]: moved,
      [name('v2')]: moved,
    });
    expect(await readLockFile(root)).toEqual({ [name('v1')]: moved, [name('v2')]: moved });
  });

  test('and all are updated, where none is named', async () => {
    const registry = await registryWith('v1', 'v2');
    const { root } = memory();
    await lockImages([named(registry, ':v1'), named(registry, ':v2')], clientOf(), root);
    for (const tag of ['v1', 'v2']) await registry.addRef('os', tag, await sampleImage(['moved']));
    await lockImages([], clientOf(), root, { update: true });
    expect(new Set(Object.values(await readLockFile(root)))).toEqual(new Set([await digestOfTag('moved')]));
  });

  test('all or none', async () => {
    const registry = await registryWith('v1');
    const { root } = memory();
    await lockImages([named(registry, ':v1')], clientOf(), root);
    const before = readFileSync(join(root, lockFileName), 'utf8');
    await registry.addRef('os', 'v1', await sampleImage(['moved']));
    const lock = () => lockImages([named(registry, ':v1'), named(registry, ':v3')], clientOf(), root, { update: true });
    const { message } = await failureOf(NotInRegistryError, lock);
    expect(message).toContain(`${registry.host}/os:v3: expected an image in the registry, found none`);
    expect(readFileSync(join(root, lockFileName), 'utf8')).toBe(before);
  });

  test('and digests are not', async () => {
    const registry = await registryWith('v1');
    const { root } = memory();
    const reference = named(registry, `:v1@${await digestOfTag('v1')}`);
    const { message } = await failureOf(InvalidOptionError, () => lockImages([reference], clientOf(), root));
    expect(message).toContain('expected a tag to lock, found a digest');
    const none = await failureOf(InvalidOptionError, () => lockImages([], clientOf(), root));
    expect(none.message).toContain(`${join(root, lockFileName)}: expected images, found none`);
  });
});

describe('where it is remembered', () => {
  test.each<[NodeJS.ProcessEnv, string, boolean]>([
    [{}, '/w/.nx/oci', false],
    [{ NX_OCI_STORE: 'cache', CI: 'true' }, '/w/cache', true],
    [{ NX_OCI_STORE: '/var/cache', CI: '' }, '/var/cache', false],
    [{ NX_OCI_STORE: '', CI: 'false' }, '/w/.nx/oci', false],
  ])('%j', (environment, store, isFrozen) => {
    expect(imageMemory('/w', environment)).toEqual({ root: '/w', store, isFrozen });
  });
});
