import { describe, expect, test } from '@jest/globals';
import {
  annotate,
  appendLayer,
  type Blob,
  digestOf,
  draftFrom,
  emptyImage,
  type Image,
  newIndex,
  newRef,
  type Ref,
  SizeMismatchError,
  sealImage,
} from '../../src';
import { type PushProgress, planPush, pushRef } from '../../src/registry/push';
import type { Registry } from '../../src/registry/server/start-registry';
import { baseNameAnnotation, type Descriptor } from '../../src/spec/documents';
import { encodeJson } from '../../src/spec/json';
import { mediaTypes } from '../../src/spec/media-types';
import { countingBlobs, failureOf, sampleImage } from '../fixtures';
import { askedOf, blobDigests, clientOf, content, openRegistry, repositoryAt, someBytes } from './clients';

const platforms = ['linux/amd64', 'linux/arm64', 'linux/riscv64'];

/** Images for three platforms that share a layer, and an index of them. */
async function sampleIndex() {
  const images = await Promise.all(platforms.map((platform) => sampleImage(['shared', platform], platform)));
  return { images, index: newIndex(images.map((ref) => ({ ref }))) };
}

/** What was put and posted, in its order. */
const put = (registry: Registry) =>
  askedOf(registry)
    .filter((asked) => asked.startsWith('PUT'))
    .map((asked) => asked.replace('PUT 201 ', ''));

describe('a push', () => {
  test('sends each blob once, then the images, then their index', async () => {
    const { images, index } = await sampleIndex();
    const registry = await openRegistry({ sparse: false });
    const pushed = await pushRef(index, repositoryAt(registry), { tags: ['v1', 'latest'] });

    const blobs = new Set(images.flatMap(blobDigests));
    expect(blobs.size).toBe(7);
    expect(pushed).toEqual({
      digest: index.digest,
      manifests: 4,
      blobs: { present: 0, mounted: 0, uploaded: 7 },
      bytes: expect.any(Number),
    });
    const asked = put(registry);
    expect(asked.slice(0, 7)).toEqual(Array(7).fill('blobs/uploads/…'));
    expect(asked.slice(7, 10).sort()).toEqual(images.map(({ digest }) => `manifests/${digest}`).sort());
    expect(asked.slice(10)).toEqual(['manifests/v1', 'manifests/latest']);
    for (const tag of ['v1', 'latest']) expect((await repositoryAt(registry).read({ tag })).digest).toBe(index.digest);
  });

  test('without a tag is there by its digest', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    await pushRef(image, repositoryAt(registry));
    expect(put(registry).at(-1)).toBe(`manifests/${image.digest}`);
    expect(await repositoryAt(registry).tags()).toEqual([]);
  });

  test('again asks by HEAD alone, and sends the manifests', async () => {
    const { images, index } = await sampleIndex();
    const registry = await openRegistry();
    await pushRef(index, repositoryAt(registry), { tags: ['v1'] });
    const before = registry.requests.length;
    const { blobs, bytes } = await pushRef(index, repositoryAt(registry), { tags: ['v1'] });
    expect([blobs, bytes]).toEqual([{ present: 7, mounted: 0, uploaded: 0 }, 0]);
    const asked = registry.requests.slice(before).map(({ method }) => method);
    expect(asked).toEqual(['GET', ...Array(7).fill('HEAD'), ...Array(images.length + 1).fill('PUT')]);
  });

  test('of nested indexes goes from the innermost outwards', async () => {
    const image = await sampleImage();
    const inner = newIndex([{ ref: image }], { annotations: { level: 'inner' } });
    const middle = newIndex([{ ref: inner }], { annotations: { level: 'middle' } });
    const outer = newIndex([{ ref: middle }, { ref: image }], { annotations: { level: 'outer' } });
    const registry = await openRegistry({ sparse: false });
    expect((await pushRef(outer, repositoryAt(registry), { tags: ['v1'] })).manifests).toBe(4);
    expect(put(registry).slice(2)).toEqual([
      `manifests/${image.digest}`,
      `manifests/${inner.digest}`,
      `manifests/${middle.digest}`,
      'manifests/v1',
    ]);
  });

  test('sends the bytes of manifests as they are', async () => {
    const config = content(Buffer.from('{}'), { mediaType: 'application/vnd.example.config+json' });
    const raw = Buffer.from(
      `{\n "layers": [], "unknown": 1, "config": ${JSON.stringify(config.descriptor)},  "schemaVersion": 2 }\n`,
    );
    const image = newRef(raw, mediaTypes.imageManifest, undefined, countingBlobs(config.bytes));
    const registry = await openRegistry();
    await pushRef(image, repositoryAt(registry), { tags: ['v1'] });
    expect((await repositoryAt(registry).read({ tag: 'v1' })).rawManifest).toEqual(raw);
  });

  test('of content with sha512 keeps it', async () => {
    const config = content(Buffer.from('{}'), { algorithm: 'sha512', mediaType: 'application/vnd.example+json' });
    const raw = encodeJson({ schemaVersion: 2, config: config.descriptor, layers: [] });
    const blobs = { ...countingBlobs(), blob: () => config.blob };
    const image = newRef(raw, mediaTypes.imageManifest, digestOf(raw, 'sha512'), blobs);
    const registry = await openRegistry({ sparse: false });
    expect((await pushRef(image, repositoryAt(registry))).digest).toMatch(/^sha512:/);
    const read = await repositoryAt(registry).read({ digest: image.digest });
    expect(await read.readBlobVerified(config.descriptor)).toEqual(config.bytes);
  });

  test('tells how far it has come, in bytes of all blobs', async () => {
    const { index } = await sampleIndex();
    const progress: PushProgress[] = [];
    const repository = repositoryAt(await openRegistry());
    const { bytes } = await pushRef(index, repository, { onProgress: (now) => progress.push(now) });
    expect(progress.at(-1)).toEqual({ done: bytes, total: bytes });
    expect(progress.every(({ done, total }) => done >= 0 && done <= total)).toBe(true);
    progress.length = 0;
    await pushRef(index, repository, { onProgress: (now) => progress.push(now) });
    expect(progress.at(-1)).toEqual({ done: bytes, total: bytes });
  });

  test('that is only planned says the same, and asks nobody', async () => {
    const { index } = await sampleIndex();
    expect(await planPush(index)).toEqual(await pushRef(index, repositoryAt(await openRegistry())));
  });

  test('goes from one registry to another, without a file between', async () => {
    const { index } = await sampleIndex();
    const [from, to] = [await openRegistry(), await openRegistry()];
    await from.addRef('os', 'v1', index);
    const client = clientOf();
    const source = await client.repository({ registry: from.host, repository: 'os' }).read({ tag: 'v1' });
    await pushRef(source, client.repository({ registry: to.host, repository: 'os' }), { tags: ['v1'] });
    expect((await repositoryAt(to).read({ tag: 'v1' })).rawManifest).toEqual(index.rawManifest);
  });
});

describe('blobs of the base', () => {
  /** An image with a layer of its base's, which is in the same registry. */
  async function imageOn(name: string, registry: Registry): Promise<Image> {
    await registry.addRef('base/image', 'v1', await sampleImage(['base']));
    const draft = await draftFrom(await sampleImage(['base', 'own']));
    return sealImage(annotate(draft, { [baseNameAnnotation]: name }));
  }

  const mounts = ({ requests }: Registry) =>
    requests.flatMap(({ query }) => new URLSearchParams(query).get('from') ?? []);

  test('are mounted from its repository', async () => {
    const registry = await openRegistry();
    const image = await imageOn(`${registry.host}/base/image:v1`, registry);
    const { blobs } = await pushRef(image, repositoryAt(registry), { tags: ['v1'] });
    expect(blobs).toEqual({ present: 0, mounted: 1, uploaded: 2 });
    expect(mounts(registry)).toEqual(Array(3).fill('base/image'));
  });

  test('are mounted from the repository that was named, which has the others as well', async () => {
    const registry = await openRegistry();
    const image = await imageOn(`${registry.host}/base/image:v1`, registry);
    await registry.addRef('app', 'v1', image);
    const { blobs } = await pushRef(image, repositoryAt(registry), { mountFrom: 'app' });
    expect(blobs).toEqual({ present: 0, mounted: 3, uploaded: 0 });
  });

  test.each<[string, (registry: Registry) => string]>([
    ['in another registry', () => 'registry.example/other/image:v1'],
    ['in the same repository', ({ host }) => `${host}/os:base`],
    ['nonsense', () => '../../\n'],
  ])('are mounted from the repository that was named, where the base is %s', async (_where, name) => {
    const registry = await openRegistry();
    const image = await imageOn(name(registry), registry);
    await pushRef(image, repositoryAt(registry), { mountFrom: 'base/image' });
    expect(mounts(registry)).toEqual(Array(3).fill('base/image'));
  });

  test('are sent, where no repository is named', async () => {
    const registry = await openRegistry();
    const image = await imageOn('nonsense?', registry);
    expect((await pushRef(image, repositoryAt(registry))).blobs).toEqual({ present: 0, mounted: 0, uploaded: 3 });
    expect(mounts(registry)).toEqual([]);
  });
});

describe('layers that lie elsewhere', () => {
  const layer = content(someBytes(100));
  const imageWith = (mediaType: string, urls: string[] | undefined): Ref => {
    const config = content(Buffer.from('{}'), { mediaType: 'application/vnd.example+json' });
    const descriptor = { ...layer.descriptor, mediaType, ...(urls && { urls }) };
    const raw = encodeJson({ schemaVersion: 2, config: config.descriptor, layers: [descriptor] });
    return newRef(raw, mediaTypes.imageManifest, undefined, countingBlobs(config.bytes, layer.bytes));
  };

  test.each<[string, string[] | undefined, number]>([
    [mediaTypes.dockerLayerForeign, ['https://example.com/layer'], 1],
    ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', ['https://example.com/layer'], 1],
    [mediaTypes.dockerLayerForeign, undefined, 2],
    [mediaTypes.dockerLayerForeign, [], 2],
    [mediaTypes.layer, ['https://example.com/layer'], 2],
  ])('%s at %j', async (mediaType, urls, uploaded) => {
    const registry = await openRegistry({ sparse: false });
    const { blobs } = await pushRef(imageWith(mediaType, urls), repositoryAt(registry), { tags: ['v1'] });
    expect(blobs.uploaded).toBe(uploaded);
    expect(await repositoryAt(registry).hasBlob(layer.descriptor)).toBe(uploaded === 2);
  });
});

test('ACCEPTANCE 14: one digest with two sizes ends a push before it begins', async () => {
  const [config, layer] = [content(Buffer.from('{}')), content(someBytes(100))];
  const layers = [layer.descriptor, { ...layer.descriptor, size: 99 }];
  const raw = encodeJson({ schemaVersion: 2, config: config.descriptor, layers });
  const image = newRef(raw, mediaTypes.imageManifest, undefined, countingBlobs(config.bytes, layer.bytes));
  const registry = await openRegistry();
  const push = () => pushRef(image, repositoryAt(registry), { tags: ['v1'] });
  const { message } = await failureOf(SizeMismatchError, push);
  expect(message).toContain(layer.descriptor.digest);
  expect(registry.requests).toEqual([]);
});

describe('ACCEPTANCE 54: a push that ends early', () => {
  /** Content that takes for ever behind its middle. */
  const hanging = (bytes: Uint8Array, reached: () => void): Blob => ({
    size: bytes.length,
    async *open({ start = 0, end = bytes.length } = {}) {
      const middle = bytes.length / 2;
      yield bytes.subarray(start, Math.min(end, middle));
      if (end <= middle) return;
      reached();
      await new Promise(() => undefined);
    },
  });

  /** An image with a small layer and a large one, whose content is given. */
  const imageOf = (large: ReturnType<typeof content>, blob: Blob): Image => {
    const layer = (descriptor: Descriptor, blob: Blob) => ({
      descriptor: { ...descriptor, mediaType: mediaTypes.layer },
      diffId: descriptor.digest,
      blob,
    });
    const small = content(Buffer.from('small'));
    const draft = appendLayer(
      emptyImage({ os: 'linux', architecture: 'amd64' }),
      layer(small.descriptor, small.blob),
      {},
    );
    return sealImage(appendLayer(draft, layer(large.descriptor, blob), {}));
  };

  test.each([
    ['an image', (image: Image): Ref => image, undefined],
    ['an index', (image: Image): Ref => newIndex([{ ref: image }]), undefined],
    ['an image in pieces', (image: Image): Ref => image, 50_000],
  ])('of %s leaves the tag where it was, and no open upload', async (_what, refOf, chunkSize) => {
    const registry = await openRegistry();
    const before = await sampleImage();
    await registry.addRef('os', 'v1', before);
    const abort = new AbortController();
    const large = content(someBytes(200_000));
    const image = imageOf(
      large,
      hanging(large.bytes, () => abort.abort(new Error('enough'))),
    );
    const repository = repositoryAt(registry, { signal: abort.signal });
    const push = pushRef(refOf(image), repository, { tags: ['v1'], ...(chunkSize && { chunkSize }) });
    await expect(push).rejects.toThrow('enough');

    expect((await repositoryAt(registry).read({ tag: 'v1' })).digest).toBe(before.digest);
    expect(put(registry).filter((asked) => asked.startsWith('manifests'))).toEqual([]);
    expect(openUploads(registry)).toEqual([]);
  });

  test.each([
    ['a blob', /blobs\/uploads/],
    ['the image of an index', /manifests\/sha256/],
  ])('because %s is refused leaves the tag where it was', async (_what, path) => {
    const registry = await openRegistry();
    const before = await sampleImage();
    await registry.addRef('os', 'v1', before);
    registry.misbehave({ method: 'PUT', path, status: 403 });
    const index = newIndex([{ ref: await sampleImage(['new']) }]);
    await expect(pushRef(index, repositoryAt(registry), { tags: ['v1'] })).rejects.toThrow('found 403');
    expect((await repositoryAt(registry).read({ tag: 'v1' })).digest).toBe(before.digest);
    expect(openUploads(registry)).toEqual([]);
  });
});

/** The uploads that were begun and are neither complete nor cancelled. */
function openUploads({ requests }: Registry): string[] {
  const isOver = (upload: string) =>
    requests.some(
      ({ path, method, status }) =>
        path === upload && ((method === 'PUT' && status === 201) || (method === 'DELETE' && status === 204)),
    );
  const uploads = requests.filter(({ path, method }) => method !== 'POST' && /\/blobs\/uploads\//.test(path));
  return uploads.map(({ path }) => path).filter((path) => !isOver(path));
}
