import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Image, NotInRegistryError, RegistryError } from '../../src';
import { type RegistryClient, registryClient } from '../../src/registry/client';
import { pushRef } from '../../src/registry/push';
import type { Repository } from '../../src/registry/repository';
import { failureOf } from '../fixtures';
import { startCuttingProxy } from './cutting-proxy';
import { newPath } from './makers';
import { hasCrane, hasOras, ours, runContainer, unpack } from './programs';
import { type DockerRegistry, reach, startDockerRegistry } from './registries';
import { type Content, type Contents, largeContent, makeContents, rootOf, sbomOf, sbomType } from './registry-content';
import {
  crane,
  dockerName,
  managers,
  named,
  oras,
  plainHttp,
  type Reached,
  runCrane,
  runOras,
  runSkopeo,
  skopeo,
  tlsVerify,
} from './registry-programs';

/** Our client with docker-registry, beyond an index to and fro (registry.test.ts). */
const testWithCrane = hasCrane ? test : test.skip;
const testWithOras = hasOras ? test : test.skip;

let contents: Contents;
let registry: DockerRegistry;
let reached: Reached;
let client: RegistryClient;
const repositoryOf = (repository: string): Repository => client.repository({ registry: registry.host, repository });

beforeAll(async () => {
  contents = await makeContents();
  registry = await startDockerRegistry();
  reached = reach(registry);
  client = registryClient();
});
afterAll(() => client.close());

describe('nx-oci → docker-registry: a push', () => {
  test.each(['image', 'index', 'artifact'] as const)(
    'of an %s, which comes back by tag and by digest',
    async (kind) => {
      const { layout, root } = contents[kind];
      const name = `push/${kind}`;
      // oras wants the subject to be there.
      if (kind === 'artifact') await pushRef(contents.image.root, repositoryOf(name));
      await ours('push', layout, named(reached, `${name}:v1`));
      for (const reference of [`${name}:v1`, `${name}@${root.digest}`, `${name}:v1@${root.digest}`]) {
        const pulled = newPath();
        await ours('pull', named(reached, reference), `${pulled}:latest`);
        expect(await rootOf(pulled)).toBe(root.digest);
      }
      for (const program of managers) {
        if (program.isHere) expect(await rootOf(await program.pull(reached, `${name}:v1`, kind))).toBe(root.digest);
      }
    },
  );

  testWithCrane('L11, L13: that crane validates: an image, an index, and both in the format of Docker', async () => {
    for (const kind of ['image', 'index'] as const) {
      for (const format of ['oci', 'docker']) {
        const name = named(reached, `validate/${kind}:${format}`);
        await ours('push', '--format', format, contents[kind].layout, name);
        expect(await runCrane(reached, 'validate', '--remote', name)).toContain('PASS');
      }
    }
  });

  test.each([
    ['in one piece', 2 ** 30, []],
    ['in pieces of 1 MiB', 2 ** 20, ['--chunk-size', String(2 ** 20)]],
  ] as const)('of a large blob, %s', async (_, chunkSize, flags) => {
    const large = await largeContent(2 ** 23);
    const layer = (large.root as Image).manifest.layers[0]?.size as number;
    const own = await startDockerRegistry();
    const place = reach(own);
    await ours('push', ...flags, large.layout, named(place, 'large:v1'));
    expect(await rootOf(await skopeo.pull(place, 'large:v1', 'image'))).toBe(large.root.digest);
    const requests = await own.requests();
    // The last piece comes with the request that ends the upload.
    const pieces = Math.ceil(layer / chunkSize) - 1;
    expect(requests.filter((request) => /^PATCH .* 202$/.test(request))).toHaveLength(pieces);
    expect(requests.filter((request) => /^PUT \/v2\/large\/blobs\/.* 201$/.test(request))).toHaveLength(2);
  });

  test('that mounts blobs from another repository, and sends those that are not there', async () => {
    const { root } = contents.image;
    await pushRef(root, repositoryOf('mount/from'), { tags: ['v1'] });
    const into = repositoryOf('mount/to');
    expect((await pushRef(root, into, { tags: ['v1'], mountFrom: 'mount/from' })).blobs).toEqual(
      outcome({ mounted: 3 }),
    );
    expect((await pushRef(root, into, { tags: ['v2'], mountFrom: 'mount/from' })).blobs).toEqual(
      outcome({ present: 3 }),
    );
    const lacking = await pushRef(root, repositoryOf('mount/other'), { tags: ['v1'], mountFrom: 'mount/none' });
    expect(lacking.blobs).toEqual(outcome({ uploaded: 3 }));
    expect(await rootOf(await skopeo.pull(reached, 'mount/to:v1', 'image'))).toBe(root.digest);
  });
});

describe('nx-oci ⇄ docker-registry: connections that break', () => {
  let large: Content;
  beforeAll(async () => {
    large = await largeContent(2 ** 23);
  });

  test('M11: a download goes on where it broke off', async () => {
    const own = await startDockerRegistry();
    const proxy = await startCuttingProxy(own.host, { direction: 'from', after: 2 ** 21, times: 3 });
    await ours('push', large.layout, named(reach(own), 'large:v1'));
    const pulled = newPath();
    await ours('pull', `${proxy.host}/large:v1`, `${pulled}:latest`);
    expect(await rootOf(pulled)).toBe(large.root.digest);
    expect(proxy.cuts()).toBe(3);
    const ranges = (await own.requests()).filter((request) => /^GET \/v2\/large\/blobs\/.* 206$/.test(request));
    expect(ranges).toHaveLength(3);
  });

  test.each([
    ['in one piece', []],
    ['in pieces', ['--chunk-size', String(3 * 2 ** 20)]],
  ] as const)('an upload %s arrives whole in the end', async (_, flags) => {
    const own = await startDockerRegistry();
    const proxy = await startCuttingProxy(own.host, { direction: 'to', after: 2 ** 21, times: 2 });
    await ours('push', ...flags, large.layout, `${proxy.host}/large:v1`);
    expect(proxy.cuts()).toBe(2);
    expect(await rootOf(await skopeo.pull(reach(own), 'large:v1', 'image'))).toBe(large.root.digest);
  });
});

describe('nx-oci ⇄ docker-registry: lists and deletions', () => {
  test('tags, as skopeo, crane and oras list them', async () => {
    const tags = ['a', 'b', 'c', 'd', 'e'];
    await pushRef(contents.image.root, repositoryOf('tags'), { tags });
    // docker-registry lists them in no order.
    expect((await repositoryOf('tags').tags()).sort()).toEqual(tags);
    for (const program of managers) {
      if (program.isHere) expect((await program.tags(reached, 'tags')).sort()).toEqual(tags);
    }
  });

  test('a manifest is deleted with its tags, and a blob; what is not there is said to be missing', async () => {
    const repository = repositoryOf('delete');
    const { root } = contents.image;
    await pushRef(root, repository, { tags: ['v1', 'v2'] });
    await repository.deleteManifest(root.digest);
    expect(await repository.resolve({ digest: root.digest })).toBeUndefined();
    expect(await repository.resolve({ tag: 'v1' })).toBeUndefined();
    await expect(skopeo.pull(reached, 'delete:v1', 'image')).rejects.toThrow(/manifest unknown/);
    const { config } = (root as Image).manifest;
    await repository.deleteBlob(config.digest);
    expect(await repository.hasBlob(config)).toBe(false);
    const missing = await failureOf(NotInRegistryError, () => repository.deleteManifest(root.digest));
    expect(missing.message).toContain(root.digest);
  });

  test('a tag alone can not be deleted there, which the error says', async () => {
    const repository = repositoryOf('untag');
    await pushRef(contents.image.root, repository, { tags: ['v1'] });
    const refused = await failureOf(RegistryError, () => repository.deleteTag('v1'));
    expect(refused.message).toMatch(/tag v1.*(unsupported|400|405)/is);
    expect(await repository.tags()).toEqual(['v1']);
  });

  test('what skopeo deleted is gone for nx-oci, too', async () => {
    const repository = repositoryOf('deleted');
    await pushRef(contents.image.root, repository, { tags: ['v1'] });
    await skopeo.remove(reached, 'deleted:v1');
    expect(await repository.resolve({ tag: 'v1' })).toBeUndefined();
  });
});

describe('nx-oci ⇄ docker-registry: referrers, by the tag that stands in for the list', () => {
  const tagOf = (content: Content) => content.root.digest.replace(':', '-');

  test('what nx-oci pushed is found by nx-oci and, by the tag, by skopeo', async () => {
    const { image, artifact } = contents;
    await ours('push', image.layout, named(reached, 'referrers/ours:v1'));
    await ours('push', artifact.layout, named(reached, 'referrers/ours:sbom'));
    const repository = repositoryOf('referrers/ours');
    const [listed, ...more] = await repository.referrers(image.root.digest);
    expect(more).toEqual([]);
    expect(listed).toMatchObject({ digest: artifact.root.digest, artifactType: sbomType });
    const index = dockerName(reached, `referrers/ours:${tagOf(image)}`);
    const { manifests } = JSON.parse(await runSkopeo(reached, 'inspect', '--raw', tlsVerify(reached), index));
    expect(manifests).toEqual([listed]);
  });

  testWithOras('oras discovers what nx-oci pushed, and no more what nx-oci deleted', async () => {
    const repository = repositoryOf('referrers/oras');
    const [first, second] = [sbomOf(contents.image.root), sbomOf(contents.image.root, 'another')];
    await pushRef(contents.image.root, repository, { tags: ['v1'] });
    for (const sbom of [first, second]) await pushRef(sbom, repository);
    const listed = [first, second].map(({ digest }) => ({ digest, artifactType: sbomType }));
    expect(await discovered('referrers/oras:v1')).toMatchObject(listed);
    await repository.deleteManifest(first.digest);
    expect(await discovered('referrers/oras:v1')).toMatchObject([{ digest: second.digest }]);
  });

  for (const program of [crane, oras]) {
    const testHere = program.isHere ? test : test.skip;
    testHere(`nx-oci finds what ${program.name} pushed, and adds to it`, async () => {
      const name = `referrers/with-${program.name}`;
      await program.push(reached, contents.image, `${name}:v1`);
      await program.push(reached, contents.artifact, `${name}:sbom`);
      const repository = repositoryOf(name);
      const { digest } = contents.image.root;
      expect(await repository.referrers(digest)).toMatchObject([{ digest: contents.artifact.root.digest }]);
      const another = sbomOf(contents.image.root, 'another');
      await pushRef(another, repository);
      const listed = [contents.artifact.root, another].map(({ digest }) => ({ digest, artifactType: sbomType }));
      expect(await repository.referrers(digest)).toMatchObject(listed);
      if (hasOras) expect(await discovered(`${name}:v1`)).toMatchObject(listed);
    });
  }

  async function discovered(name: string): Promise<unknown[]> {
    const args = ['discover', '--format', 'json', ...plainHttp(reached), named(reached, name)];
    return JSON.parse(await runOras(reached, ...args)).referrers;
  }
});

test('umoci and runc ← nx-oci ← docker-registry ← skopeo: the image runs', async () => {
  await skopeo.push(reached, contents.index, 'running:v1');
  const layout = newPath();
  await ours('pull', named(reached, 'running:v1'), `${layout}:v1`, '--platform', 'linux/amd64');
  expect(await runContainer(await unpack(`${layout}:v1`))).toBe('Hello from linux/amd64\n');
});

function outcome(blobs: Partial<Record<'present' | 'mounted' | 'uploaded', number>>) {
  return { present: 0, mounted: 0, uploaded: 0, ...blobs };
}
