import { describe, expect, test } from '@jest/globals';
import {
  annotate,
  appendLayer,
  artifactTypeOf,
  type Blobs,
  bytesBlob,
  type Descriptor,
  digestOf,
  draftFrom,
  emptyDescriptor,
  emptyImage,
  emptyManifest,
  encodeJson,
  type Image,
  type ImageDraft,
  type Layer,
  layerEncoder,
  mediaTypes,
  newRef,
  noBlobs,
  parsePlatform,
  readConfig,
  sealImage,
  tarOf,
  UnexpectedMediaTypeError,
  withCreated,
  withExecution,
  writeLayer,
} from '../src';
import { collect, countingBlobs, failureOf, memorySink, sampleImage } from './fixtures';

const { dockerManifest, dockerConfig, dockerLayerGzip } = mediaTypes;

const amd64 = parsePlatform('linux/amd64');

async function layerOf(name: string, manifestType?: string): Promise<Layer> {
  const directory = { name, type: 'directory' as const, mode: 0o755, uid: 0, gid: 0 };
  const encoder = layerEncoder('gzip', manifestType === undefined ? {} : { manifestType });
  return writeLayer(tarOf([directory]), memorySink, encoder);
}

const textOf = async (image: Image, descriptor: Descriptor) =>
  Buffer.from(await image.readBlobVerified(descriptor)).toString();

/** An image as others write them: its own key order, white space, escapes and fields. */
function foreignImage(config: string, manifest: string, mediaType: string): Image {
  const configBytes = Buffer.from(config);
  const layer = Buffer.from('a layer');
  const text = manifest
    .replace('CONFIG', `"digest":"${digestOf(configBytes)}","size":${configBytes.length}`)
    .replace('LAYER', `"size":${layer.length},"digest":"${digestOf(layer)}"`);
  return newRef(Buffer.from(text), mediaType, undefined, countingBlobs(configBytes, layer)) as Image;
}

const diffId = digestOf(Buffer.from('unpacked'));

describe('an empty image', () => {
  test('says its platform, and nothing of this machine or this day', async () => {
    const image = sealImage(
      emptyImage({
        os: 'windows',
        architecture: 'arm',
        variant: 'v7',
        'os.version': '10.0.1',
        'os.features': ['win32k'],
      }),
    );
    expect(await textOf(image, image.manifest.config)).toBe(
      '{"created":"1970-01-01T00:00:00Z","architecture":"arm","os":"windows","os.version":"10.0.1","os.features":["win32k"],' +
        '"variant":"v7","config":{},"rootfs":{"type":"layers","diff_ids":[]},"history":[]}',
    );
    expect(Buffer.from(image.rawManifest).toString()).toBe(
      `{"schemaVersion":2,"mediaType":"${mediaTypes.imageManifest}","config":{"mediaType":"${mediaTypes.imageConfig}",` +
        `"digest":"${image.manifest.config.digest}","size":${image.manifest.config.size}},"layers":[]}`,
    );
  });

  test('has the same digest everywhere', () => {
    expect(sealImage(emptyImage(amd64)).digest).toBe(
      'sha256:584a3e8bfbef76e0cd02576a494bcf71d3810fc9c43f8853b9379c2946d4bb3b',
    );
  });

  test('is made when its maker says', async () => {
    const created = '2024-02-29T12:00:00Z';
    expect(await readConfig(sealImage(emptyImage(amd64, created)))).toMatchObject({ created });
    expect(await readConfig(sealImage(withCreated(emptyImage(amd64), created)))).toMatchObject({ created });
  });
});

describe('O5: a layer on top', () => {
  test('is in the manifest, the config and the history, in this order', async () => {
    const [lower, upper] = [await layerOf('lower'), await layerOf('upper')];
    let draft = appendLayer(emptyImage(amd64), lower, { created_by: 'one' });
    draft = appendLayer(draft, upper, { created_by: 'two', comment: 'on top' });
    const image = sealImage(annotate(draft, { a: 'b' }));
    expect(image.manifest.layers).toEqual([lower.descriptor, upper.descriptor]);
    expect(image.manifest.annotations).toEqual({ a: 'b' });
    expect(await readConfig(image)).toMatchObject({
      rootfs: { diff_ids: [lower.diffId, upper.diffId] },
      history: [{ created_by: 'one' }, { created_by: 'two', comment: 'on top' }],
    });
    for (const { descriptor, blob } of [lower, upper]) {
      expect((await collect(blob.open())).equals(await image.readBlobVerified(descriptor))).toBe(true);
    }
  });

  test('may be the same as the one below', async () => {
    const layer = await layerOf('same');
    const draft = appendLayer(appendLayer(emptyImage(amd64), layer, {}), layer, {});
    expect(sealImage(draft).manifest.layers).toEqual([layer.descriptor, layer.descriptor]);
  });

  test('is put on a base, whose layers stay below and come from where they are', async () => {
    const base = await sampleImage(['base']);
    const layer = await layerOf('top');
    const image = sealImage(appendLayer(await draftFrom(base), layer, { created_by: 'top' }));
    expect(image.manifest.layers).toEqual([...base.manifest.layers, layer.descriptor]);
    expect((await readConfig(image)).history).toEqual([{ created_by: 'test' }, { created_by: 'top' }]);
    for (const descriptor of image.descriptors()) {
      expect(await image.readBlobVerified(descriptor)).toHaveLength(descriptor.size);
    }
    expect(image.digest).not.toBe(base.digest);
  });
});

test.each<[string, (draft: ImageDraft) => ImageDraft]>([
  ['annotate', (draft) => annotate(draft, { new: 'value' })],
  ['withCreated', (draft) => withCreated(draft, '2024-01-01T00:00:00Z')],
  ['withExecution', (draft) => withExecution(draft, (execution) => ({ ...execution, Cmd: ['new'] }))],
  [
    'appendLayer',
    (draft) =>
      appendLayer(
        draft,
        { descriptor: emptyDescriptor, diffId: emptyDescriptor.digest, blob: bytesBlob(Buffer.from('{}')) },
        {},
      ),
  ],
])('%s leaves the draft that it changes as it was', async (_, change) => {
  const draft = annotate(await draftFrom(await sampleImage()), { old: 'value' });
  const before = sealImage(draft).digest;
  expect(sealImage(change(draft)).digest).not.toBe(before);
  expect(sealImage(draft).digest).toBe(before);
});

test('annotations are added, replaced, and left in their order', () => {
  const once = annotate(emptyImage(amd64), { b: '1', a: '2' });
  const twice = annotate(once, { b: '3', c: '4' });
  expect(Object.entries(sealImage(twice).manifest.annotations ?? {})).toEqual([
    ['b', '3'],
    ['a', '2'],
    ['c', '4'],
  ]);
  expect(sealImage(annotate(emptyImage(amd64), {})).manifest).not.toHaveProperty('annotations');
});

test('ACCEPTANCE 11: an annotation named __proto__ is written like another', () => {
  const annotations = JSON.parse('{"__proto__":"x"}') as Record<string, string>;
  const image = sealImage(annotate(annotate(emptyImage(amd64), annotations), { a: 'b' }));
  expect(Buffer.from(image.rawManifest).toString()).toContain('"annotations":{"__proto__":"x","a":"b"}');
  expect(Object.keys(Object.prototype)).toEqual([]);
});

describe('a base of others', () => {
  const labels = '{"z":"1","__proto__":"p","constructor":"c","a":"2"}';
  const config =
    '{"os":"linux","x.vendor":{"__proto__":[1,{"deep":null}]},"architecture":"amd64","config":' +
    `{"OnBuild":["RUN x"],"Labels":${labels},"Cmd":["sh"],"Healthcheck":{"Test":["NONE"]}},"rootfs":{"diff_ids":["${diffId}"],` +
    '"type":"layers","y":1},"history":[{"created_by":"<é>","z":true}],"container":"abc"}';
  const manifest =
    '{"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip",LAYER,"urls":["https://x.test/"],"new":1}],' +
    `"vendor":[{}],"config":{"mediaType":"${mediaTypes.imageConfig}",CONFIG,"note":"old"},"schemaVersion":2,"annotations":{"__proto__":"q"}}`;
  const base = foreignImage(config, manifest, mediaTypes.imageManifest);

  test('ACCEPTANCE 16: keeps every field and its place in the config', async () => {
    const same = sealImage(await draftFrom(base));
    expect(await textOf(same, same.manifest.config)).toBe(config);
    const changed = sealImage(withExecution(await draftFrom(base), (old) => ({ ...old, Cmd: ['run'] })));
    expect(await textOf(changed, changed.manifest.config)).toBe(config.replace('["sh"]', '["run"]'));
  });

  test('ACCEPTANCE 11: keeps a label named __proto__ byte for byte below a new layer', async () => {
    const image = sealImage(appendLayer(await draftFrom(base), await layerOf('top'), {}));
    expect(await textOf(image, image.manifest.config)).toContain(`"Labels":${labels}`);
    expect(await textOf(image, image.manifest.config)).toContain('"x.vendor":{"__proto__":[1,{"deep":null}]}');
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  test('ACCEPTANCE 16: keeps the fields of its manifest', async () => {
    const image = sealImage(await draftFrom(base));
    const text = Buffer.from(image.rawManifest).toString();
    for (const kept of ['"urls":["https://x.test/"],"new":1', '"vendor":[{}]', '"annotations":{"__proto__":"q"}']) {
      expect(text).toContain(kept);
    }
    expect(image.manifest.layers).toEqual(base.manifest.layers);
    expect(image.manifest.mediaType).toBe(mediaTypes.imageManifest);
  });

  test('without config and history gets them', async () => {
    const bare = `{"architecture":"arm64","os":"linux","config":null,"rootfs":{"type":"layers","diff_ids":["${diffId}"]},"history":null}`;
    let draft = await draftFrom(foreignImage(bare, manifest, mediaTypes.imageManifest));
    draft = withExecution(draft, (execution) => ({ ...execution, User: 'me' }));
    draft = appendLayer(draft, await layerOf('top'), { created_by: 'top' });
    expect(await readConfig(sealImage(draft))).toMatchObject({
      config: { User: 'me' },
      history: [{ created_by: 'top' }],
    });
  });

  test('that is an artifact is none', async () => {
    await failureOf(UnexpectedMediaTypeError, () => draftFrom(emptyManifest('application/x')));
  });
});

test('an image on a Docker base speaks Docker in all its media types', async () => {
  const config = `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["${diffId}"]}}`;
  const manifest = `{"schemaVersion":2,"mediaType":"${dockerManifest}","config":{"mediaType":"${dockerConfig}",CONFIG},"layers":[{"mediaType":"${dockerLayerGzip}",LAYER}]}`;
  const draft = await draftFrom(foreignImage(config, manifest, dockerManifest));
  const image = sealImage(appendLayer(draft, await layerOf('top', dockerManifest), {}));
  expect(image.mediaType).toBe(dockerManifest);
  expect(image.manifest.mediaType).toBe(dockerManifest);
  expect(image.descriptors().map(({ mediaType }) => mediaType)).toEqual([
    dockerConfig,
    dockerLayerGzip,
    dockerLayerGzip,
  ]);
  expect(await readConfig(image)).toMatchObject({ architecture: 'amd64' });
});

describe('O6: nothing', () => {
  test('the empty descriptor is the one of the specification', () => {
    expect(emptyDescriptor).toEqual({
      mediaType: 'application/vnd.oci.empty.v1+json',
      digest: 'sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
      size: 2,
      data: 'e30=',
    });
  });

  test('an empty manifest is an artifact of a type', async () => {
    const artifact = emptyManifest('application/vnd.example');
    expect(artifactTypeOf(artifact)).toBe('application/vnd.example');
    expect(artifact.descriptors()).toEqual([emptyDescriptor, emptyDescriptor]);
    expect(await textOf(artifact, emptyDescriptor)).toBe('{}');
    expect(Buffer.from(artifact.rawManifest).toString()).toMatch(
      /^\{"schemaVersion":2,"mediaType":"[^"]+","artifactType":/,
    );
  });

  test('a manifest that carries no data for it finds it all the same', async () => {
    const { data: _, ...bare } = emptyDescriptor;
    const artifact = emptyManifest('application/vnd.example');
    expect(Buffer.from(await artifact.readBlobVerified(bare)).toString()).toBe('{}');
  });
});

test('O7: a config or any other JSON is written as a blob in the one encoding', async () => {
  const value = { b: [1], a: 'é' };
  const written = await memorySink.write(bytesBlob(encodeJson(value)).open());
  expect(written).toMatchObject({ digest: digestOf(Buffer.from('{"b":[1],"a":"é"}')), size: 18 });
  const config = sealImage(emptyImage(amd64)).manifest.config;
  expect(config.digest).toBe(digestOf(encodeJson(emptyImage(amd64).config)));
});

test('an image in memory that lacks a layer says which', async () => {
  const blobs: Blobs = noBlobs;
  const draft = { ...appendLayer(emptyImage(amd64), await layerOf('gone'), {}), own: new Map(), below: blobs };
  const image = sealImage(draft);
  expect(() => image.blob(image.manifest.layers[0] as Descriptor)).toThrow(image.manifest.layers[0]?.digest);
});
