import { describe, expect, test } from '@jest/globals';
import {
  annotate,
  DepthError,
  type Descriptor,
  descriptorOf,
  digestOf,
  emptyImage,
  emptyManifest,
  encodeJson,
  formatPlatform,
  type Image,
  type Index,
  maxDepth,
  mediaTypes,
  newIndex,
  newRef,
  noBlobs,
  parsePlatform,
  type Ref,
  sealImage,
  UnexpectedMediaTypeError,
  walkRefs,
} from '../src';
import { newArtifact } from '../src/artifact';
import { convertRef, type ManifestFormat } from '../src/convert';
import { indexOver } from '../src/image-index';
import { collect, countingBlobs, failureOf, sampleImage } from './fixtures';

const oci = { index: mediaTypes.imageIndex, manifest: mediaTypes.imageManifest, config: mediaTypes.imageConfig };
const docker = {
  index: mediaTypes.dockerManifestList,
  manifest: mediaTypes.dockerManifest,
  config: mediaTypes.dockerConfig,
};

const convertImage = async (image: Image, format: ManifestFormat) => (await convertRef(image, format)) as Image;
const convertIndex = async (index: Index, format: ManifestFormat) => (await convertRef(index, format)) as Index;

/** An image whose layers have these media types; its blobs are nowhere. */
function imageOf(manifestType: string, configType: string, layerTypes: readonly string[], more: object = {}): Image {
  const digest = digestOf(Buffer.from('x'));
  const layers = layerTypes.map((mediaType) => ({ mediaType, digest, size: 1 }));
  const config = { mediaType: configType, digest, size: 1 };
  const document = { schemaVersion: 2, mediaType: manifestType, config, layers, ...more };
  return newRef(encodeJson(document), manifestType, undefined, noBlobs) as Image;
}

describe('L13: an image', () => {
  test('goes to Docker and back: the same config, layers and digest', async () => {
    const image = await sampleImage(['a', 'b']);
    const converted = await convertImage(image, 'docker');
    expect(converted.manifest).toEqual({
      schemaVersion: 2,
      mediaType: docker.manifest,
      config: { ...image.manifest.config, mediaType: docker.config },
      layers: image.manifest.layers.map((layer) => ({ ...layer, mediaType: mediaTypes.dockerLayerGzip })),
    });
    for (const [position, descriptor] of converted.descriptors().entries()) {
      const original = image.blob(image.descriptors()[position] as Descriptor);
      expect(await collect(converted.blob(descriptor).open())).toEqual(await collect(original.open()));
    }
    expect(Buffer.from((await convertRef(converted, 'oci')).rawManifest)).toEqual(Buffer.from(image.rawManifest));
  });

  test.each<ManifestFormat>(['oci', 'docker'])('in %s already is the same', async (format) => {
    const image = await convertRef(await sampleImage(), format);
    expect(await convertRef(image, format)).toBe(image);
  });

  test('loses on the way what Docker has no words for', async () => {
    const image = sealImage(annotate(emptyImage(parsePlatform('linux/amd64')), { note: 'n' }));
    expect((await convertRef(image, 'docker')).manifest).not.toHaveProperty('annotations');
    const more = { annotations: { note: 'n' }, subject: descriptorOf(image) };
    const back = await convertRef(imageOf(docker.manifest, docker.config, [], more), 'oci');
    expect(back.manifest).toMatchObject(more);
  });

  const ociLayer = (end: string) => `application/vnd.oci.image.layer.${end}`;
  const dockerLayer = (end: string) => `application/vnd.docker.image.rootfs.${end}`;

  test.each([
    [ociLayer('v1.tar'), dockerLayer('diff.tar')],
    [ociLayer('v1.tar+gzip'), dockerLayer('diff.tar.gzip')],
    [ociLayer('nondistributable.v1.tar'), dockerLayer('foreign.diff.tar')],
    [ociLayer('nondistributable.v1.tar+gzip'), dockerLayer('foreign.diff.tar.gzip')],
    ['application/x.unknown', 'application/x.unknown'],
  ])('a layer of %s is %s of Docker, both ways', async (ociType, dockerType) => {
    const there = await convertImage(imageOf(oci.manifest, oci.config, [ociType]), 'docker');
    expect(there.manifest.layers[0]?.mediaType).toBe(dockerType);
    const back = await convertImage(imageOf(docker.manifest, docker.config, [dockerType]), 'oci');
    expect(back.manifest.layers[0]?.mediaType).toBe(ociType);
  });

  test('a foreign layer keeps its URLs', async () => {
    const image = imageOf(docker.manifest, docker.config, [mediaTypes.dockerLayerForeign]);
    const layers = image.manifest.layers.map((layer) => ({ ...layer, urls: ['https://example.com/layer'] }));
    const foreign = newRef(encodeJson({ ...image.manifest, layers }), docker.manifest, undefined, noBlobs) as Image;
    expect((await convertImage(foreign, 'oci')).manifest.layers[0]?.urls).toEqual(['https://example.com/layer']);
  });

  test.each<[string, Image, string]>([
    ['a zstd layer', imageOf(oci.manifest, oci.config, [mediaTypes.layerZstd]), mediaTypes.layerZstd],
    ['an artifact', newArtifact([], { artifactType: 'application/x' }), 'application/x'],
    ['an artifact by its config', emptyManifest('application/y'), 'application/y'],
    ['an image with an artifact type', imageOf(oci.manifest, oci.config, [], { artifactType: 'a/b' }), 'a/b'],
  ])('Docker does not know %s', async (_, image, found) => {
    const error = await failureOf(UnexpectedMediaTypeError, () => convertRef(image, 'docker'));
    expect(error).toMatchObject({ found });
    expect(error.message).toContain(found);
  });
});

describe('L13: an index', () => {
  const platforms = ['linux/amd64', 'linux/arm/v6'];
  const images = () => Promise.all(platforms.map((platform) => sampleImage([platform], platform)));
  const entries = (refs: readonly Ref[]) =>
    refs.map((ref, position) => ({ ref, platform: parsePlatform(platforms[position] ?? '') }));

  test('goes to Docker and back, with its platforms', async () => {
    const index = newIndex(entries(await images()));
    const list = await convertIndex(index, 'docker');
    expect(list.mediaType).toBe(docker.index);
    expect(list.children().map(({ mediaType, platform }) => [mediaType, platform && formatPlatform(platform)])).toEqual(
      platforms.map((platform) => [docker.manifest, platform]),
    );
    const types: string[] = [];
    await walkRefs(list, (ref) => void types.push(ref.mediaType));
    expect(types).toEqual([docker.manifest, docker.manifest, docker.index]);
    expect((await convertRef(list, 'oci')).digest).toBe(index.digest);
  });

  test('of the OCI over images of Docker converts them', async () => {
    const originals = await images();
    const refs = await Promise.all(originals.map((image) => convertRef(image, 'docker')));
    const converted = await convertIndex(newIndex(entries(refs)), 'oci');
    expect(converted.digest).toBe(newIndex(entries(originals)).digest);
  });

  test.each<ManifestFormat>(['oci', 'docker'])('in %s already, with all below it, is the same', async (format) => {
    const index = await convertRef(newIndex(entries(await images())), format);
    expect(await convertRef(index, format)).toBe(index);
  });

  test('keeps annotations and subject for the OCI, and content of unknown types', async () => {
    const [image] = await images();
    const unknown = { mediaType: 'application/x', digest: digestOf(Buffer.from('x')), size: 1 };
    const dockerImage = await convertRef(image as Image, 'docker');
    const about = { annotations: { a: 'b' }, subject: descriptorOf(dockerImage) };
    const document = {
      schemaVersion: 2,
      mediaType: oci.index,
      manifests: [descriptorOf(dockerImage), unknown],
      ...about,
    };
    const blobs = countingBlobs(Buffer.from('x'));
    const index = indexOver(encodeJson(document), oci.index, [dockerImage], blobs);
    const converted = await convertIndex(index, 'oci');
    expect(converted.manifest).toEqual({
      ...document,
      manifests: [expect.objectContaining({ mediaType: oci.manifest, digest: image?.digest }), unknown],
    });
    expect(String(await converted.readBlobVerified(unknown))).toBe('x');
    expect((await failureOf(UnexpectedMediaTypeError, () => convertRef(index, 'docker'))).message).toContain(
      unknown.digest,
    );
  });

  test.each<[string, () => Promise<Index>, string]>([
    ['an artifact in it', async () => newIndex([{ ref: emptyManifest('application/y') }]), 'application/y'],
    ['an artifact type', async () => newIndex(entries(await images()), { artifactType: 'a/b' }), 'a/b'],
  ])('with %s is refused for Docker', async (_, make, found) => {
    const index = await make();
    expect(await failureOf(UnexpectedMediaTypeError, () => convertRef(index, 'docker'))).toMatchObject({ found });
  });

  test('ACCEPTANCE 13: a diamond of 30 levels reads each manifest once, a chain too deep is refused', async () => {
    const image = await convertRef(await sampleImage(), 'docker');
    const describeBytes = (bytes: Uint8Array) => ({
      mediaType: oci.index,
      digest: digestOf(bytes),
      size: bytes.length,
    });
    const indexBytes = (manifests: readonly Descriptor[], name = '') =>
      encodeJson({ schemaVersion: 2, mediaType: oci.index, manifests, annotations: { name } });
    const manifests: Uint8Array[] = [image.rawManifest];
    let below: Descriptor[] = [descriptorOf(image)];
    for (let level = 0; level < 30; level++) {
      const pair = ['left', 'right'].map((side) => indexBytes(below, side));
      manifests.push(...pair);
      below = pair.map(describeBytes);
    }
    const blobs = countingBlobs(...manifests);
    const converted = await convertRef(newRef(indexBytes(below), oci.index, undefined, blobs), 'oci');
    expect([...blobs.read].sort()).toEqual(manifests.map((raw) => digestOf(raw)).sort());
    const types = new Set<string>();
    await walkRefs(converted, (ref) => void types.add(ref.mediaType));
    expect([...types].sort()).toEqual([oci.index, oci.manifest].sort());

    const chain = [indexBytes([])];
    for (let level = 0; level <= maxDepth; level++) chain.push(indexBytes([describeBytes(chain.at(-1) as Uint8Array)]));
    const root = newRef(chain.pop() as Uint8Array, oci.index, undefined, countingBlobs(...chain));
    expect((await failureOf(DepthError, () => convertRef(root, 'docker'))).message).toContain(root.digest);
  });
});
