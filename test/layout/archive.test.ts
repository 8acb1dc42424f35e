import { appendFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { pack } from 'tar-stream';
import {
  type Descriptor,
  DigestMismatchError,
  digestOf,
  encodeJson,
  FileSystemError,
  type Image,
  type Index,
  InvalidDocumentError,
  InvalidLayoutError,
  LimitError,
  MissingBlobError,
  maxDocumentSize,
  mediaTypes,
  newIndex,
  readConfig,
  tagOf,
  verified,
  verifyLayout,
  walkRefs,
} from '../../src';
import { readArchive } from '../../src/layout/archive';
import { ensureLayout } from '../../src/layout/directory';
import { blobPath } from '../../src/layout/paths';
import { asImage } from '../../src/ref';
import { archiveOf, collect, failureOf, sampleImage, taggedLayout, temporaryDirectory } from '../fixtures';

/** A file of an archive, or a link to another one. */
type Entry = string | Uint8Array | { readonly type: 'symlink' | 'link'; readonly to: string };

/** An archive with these entries, in their order. */
async function archive(entries: Readonly<Record<string, Entry>>, name = 'archive.tar'): Promise<string> {
  const tar = pack();
  for (const [path, entry] of Object.entries(entries)) {
    if (typeof entry === 'string' || entry instanceof Uint8Array) tar.entry({ name: path }, Buffer.from(entry));
    else tar.entry({ name: path, type: entry.type, linkname: entry.to });
  }
  tar.finalize();
  const path = join(temporaryDirectory(), name);
  writeFileSync(path, await collect(tar as unknown as AsyncIterable<Uint8Array>));
  return path;
}

/** Reads everything, verified, and gives the digests of the layers that were met. */
async function readAll(index: Index): Promise<string[]> {
  const layers: string[] = [];
  await walkRefs(index, async (ref) => {
    for (const descriptor of ref.descriptors()) await collect(verified(ref.blob(descriptor).open(), descriptor));
    if (ref.kind === 'image') layers.push(...ref.manifest.layers.map(({ digest }) => digest));
  });
  return layers;
}

const firstImage = async (index: Index) => asImage(await index.ref(index.children()[0] as Descriptor));
const json = (value: unknown) => Buffer.from(encodeJson(value));

describe('L6: an OCI layout in an archive', () => {
  let image: Image;
  let path: string;
  let entries: Record<string, Buffer>;
  beforeAll(async () => {
    image = await sampleImage(['one', 'two']);
    const index = newIndex([{ ref: image, annotations: { 'org.opencontainers.image.ref.name': 'v1' } }]);
    entries = {
      'oci-layout': json({ imageLayoutVersion: '1.0.0' }),
      'index.json': Buffer.from(index.rawManifest),
      [blobPath(image.digest)]: Buffer.from(image.rawManifest),
    };
    for (const descriptor of image.descriptors()) {
      entries[blobPath(descriptor.digest)] = Buffer.from(await image.readBlobVerified(descriptor));
    }
    path = await archive(entries);
  });

  test('has what the layout has, to the byte', async () => {
    const index = await readArchive(path);
    expect(Buffer.from(index.rawManifest)).toEqual(entries['index.json']);
    expect(await readAll(index)).toEqual(image.manifest.layers.map(({ digest }) => digest));
    expect((await firstImage(index)).digest).toBe(image.digest);
  });

  test('as GNU tar makes it, nested indexes included', async () => {
    const layout = await taggedLayout({ v1: image, list: newIndex([{ ref: await sampleImage(['inner']) }]) });
    expect(await readAll(await readArchive(await archiveOf(layout)))).toHaveLength(3);
  });

  test.each<[string, (name: string) => string]>([
    ['with ./ before each name', (name) => `./${name}`],
    ['in another order', (name) => name],
  ])('%s', async (_, rename) => {
    const renamed = Object.entries(entries).map(([name, content]) => [rename(name), content]);
    expect(await readAll(await readArchive(await archive(Object.fromEntries(renamed.reverse()))))).toHaveLength(2);
  });

  test('reads parts of a blob', async () => {
    const descriptor = image.manifest.layers[1] as Descriptor;
    const whole = entries[blobPath(descriptor.digest)] as Buffer;
    const blob = (await firstImage(await readArchive(path))).blob(descriptor);
    for (const [start, end] of [
      [0, 5],
      [3, 9],
      [whole.length - 2, whole.length],
      [4, 4],
      [4, whole.length + 100],
    ]) {
      expect(await collect(blob.open({ start, end }))).toEqual(whole.subarray(start, end));
    }
    expect(await collect(blob.open({ start: 7 }))).toEqual(whole.subarray(7));
  });

  test('is inserted into a layout', async () => {
    const layout = await ensureLayout(join(temporaryDirectory(), 'layout'));
    await layout.insert(await firstImage(await readArchive(path)), { tag: 'v1' });
    expect(await verifyLayout(layout.path)).toMatchObject({ problems: [], manifests: 1, blobs: 3 });
  });

  test('ACCEPTANCE 17: version 2.0.0', async () => {
    const other = await archive({ ...entries, 'oci-layout': json({ imageLayoutVersion: '2.0.0' }) });
    const { message } = await failureOf(InvalidLayoutError, () => readArchive(other));
    expect(message).toContain(`${other}: oci-layout`);
    expect(message).toContain('2.0.0');
  });

  test('ACCEPTANCE 19: a missing blob', async () => {
    const { digest } = image.manifest.config;
    const { [blobPath(digest)]: _, ...others } = entries;
    const other = await archive(others);
    const { message } = await failureOf(MissingBlobError, async () => readAll(await readArchive(other)));
    expect(message).toContain(digest);
    expect(message).toContain(other);
  });

  test('ACCEPTANCE 20: a bit flipped in each manifest, config and layer', async () => {
    for (const { digest } of [image, ...image.descriptors()]) {
      const bytes = Buffer.from(entries[blobPath(digest)] as Buffer);
      bytes.writeUInt8(bytes.readUInt8(20) ^ 1, 20);
      const other = await archive({ ...entries, [blobPath(digest)]: bytes });
      const { message } = await failureOf(DigestMismatchError, async () => readAll(await readArchive(other)));
      expect(message).toContain(digest);
    }
  });
});

describe('L6, L13: an archive of docker save', () => {
  const layers = ['the lower layer', 'the upper layer'].map((text) => Buffer.from(text.repeat(100)));
  const diffIds = layers.map((layer) => digestOf(layer));
  const config = json({ architecture: 'arm64', os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } });
  const configDigest = digestOf(config);
  const [lower, upper] = layers as [Buffer, Buffer];

  /** As up to Docker 24: a directory for each layer. */
  const old = {
    'aaa/VERSION': '1.0',
    'aaa/layer.tar': lower,
    'bbb/layer.tar': upper,
    'config.json': config,
    'manifest.json': json([
      { Config: 'config.json', RepoTags: ['localhost:5000/app:v1'], Layers: ['aaa/layer.tar', 'bbb/layer.tar'] },
    ]),
    repositories: '{}',
  };
  const blobs = {
    [blobPath(configDigest)]: config,
    [blobPath(digestOf(lower))]: lower,
    [blobPath(digestOf(upper))]: upper,
    'manifest.json': json([
      {
        Config: blobPath(configDigest),
        RepoTags: ['app:v1'],
        Layers: layers.map((layer) => blobPath(digestOf(layer))),
      },
    ]),
  };

  test.each<[string, Record<string, Entry>]>([
    ['with a directory for each layer', old],
    ['with blobs by digest', blobs],
    [
      'with a layer that is a symbolic link to another one',
      { ...old, 'bbb/layer.tar': { type: 'symlink', to: '../ccc/layer.tar' }, 'ccc/layer.tar': upper },
    ],
    [
      'with a layer that is a hard link to another one',
      { 'ccc/layer.tar': upper, ...old, 'bbb/layer.tar': { type: 'link', to: 'ccc/layer.tar' } },
    ],
    [
      'with names as ./x and x/../y',
      {
        ...old,
        'manifest.json': json([
          { Config: './config.json', RepoTags: ['app:v1'], Layers: ['aaa/layer.tar', 'aaa/../bbb/layer.tar'] },
        ]),
      },
    ],
  ])('%s: one image with its layers, digests, platform and tag', async (_, entries) => {
    const index = await readArchive(await archive(entries));
    const [descriptor, ...more] = index.manifest.manifests as [Descriptor];
    expect(more).toEqual([]);
    expect(descriptor).toMatchObject({
      mediaType: mediaTypes.dockerManifest,
      platform: { architecture: 'arm64', os: 'linux' },
    });
    expect(tagOf(descriptor)).toBe('v1');
    const image = await firstImage(index);
    expect(image.manifest.config).toEqual({
      mediaType: mediaTypes.dockerConfig,
      digest: configDigest,
      size: config.length,
    });
    expect(image.manifest.layers).toEqual(
      layers.map((layer) => ({ mediaType: mediaTypes.dockerLayer, digest: digestOf(layer), size: layer.length })),
    );
    expect(await readAll(index)).toEqual(diffIds);
    expect((await readConfig(image)).rootfs.diff_ids).toEqual(diffIds);
  });

  test('compressed layers are named as such', async () => {
    const image = await firstImage(await readArchive(await archive({ ...old, 'bbb/layer.tar': gzipSync(upper) })));
    expect(image.manifest.layers.map(({ mediaType }) => mediaType)).toEqual([
      mediaTypes.dockerLayer,
      mediaTypes.dockerLayerGzip,
    ]);
    expect(image.manifest.layers[1]?.digest).toBe(digestOf(gzipSync(upper)));
  });

  test('several images, and several tags of one', async () => {
    const Layers = ['aaa/layer.tar', 'bbb/layer.tar'];
    const manifest = json([
      { Config: 'config.json', RepoTags: ['app:v1', 'app:latest'], Layers },
      { Config: 'other.json', RepoTags: null, Layers: ['aaa/layer.tar'] },
    ]);
    const other = json({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [diffIds[0]] } });
    const index = await readArchive(await archive({ ...old, 'other.json': other, 'manifest.json': manifest }));
    expect(index.manifest.manifests.map(tagOf)).toEqual(['v1', 'latest', undefined]);
    expect(index.manifest.manifests.map(({ platform }) => platform?.architecture)).toEqual(['arm64', 'arm64', 'amd64']);
    expect(await readAll(index)).toEqual([...diffIds, diffIds[0]]);
  });

  test('an image without layers', async () => {
    const empty = json({ architecture: 'arm64', os: 'linux', rootfs: { type: 'layers', diff_ids: null } });
    const manifest = json([{ Config: 'config.json', RepoTags: [], Layers: null }]);
    const index = await readArchive(await archive({ 'config.json': empty, 'manifest.json': manifest }));
    expect((await firstImage(index)).manifest.layers).toEqual([]);
  });

  test('one that is a layout too is read as the layout, whose digests stay', async () => {
    const image = await sampleImage();
    const index = newIndex([{ ref: image }]);
    const layout = { 'oci-layout': json({ imageLayoutVersion: '1.0.0' }), 'index.json': index.rawManifest };
    expect((await readArchive(await archive({ ...old, ...layout }))).digest).toBe(index.digest);
  });

  const manifestOf = (image: unknown) => ({ ...old, 'manifest.json': json([image]) });
  test.each<[string, Record<string, Entry>, new (...facts: never[]) => InvalidLayoutError, string]>([
    [
      'a layer that is not there',
      manifestOf({ Config: 'config.json', Layers: ['ddd/layer.tar'] }),
      InvalidLayoutError,
      'manifest.json: expected the file "ddd/layer.tar"',
    ],
    [
      'a layer outside',
      manifestOf({ Config: 'config.json', Layers: ['../x'] }),
      InvalidLayoutError,
      'manifest.json: expected the file "../x"',
    ],
    [
      'a config outside',
      manifestOf({ Config: '/etc/passwd', Layers: [] }),
      InvalidLayoutError,
      'manifest.json: expected the file "/etc/passwd"',
    ],
    [
      'a layer that is a link to nothing',
      { ...old, 'bbb/layer.tar': { type: 'symlink', to: '/etc/passwd' } },
      InvalidLayoutError,
      'manifest.json: expected the file "bbb/layer.tar"',
    ],
    ['no Config', manifestOf({ Layers: [] }), InvalidDocumentError, 'manifest.json: $[0].Config'],
    ['no Layers', manifestOf({ Config: 'config.json' }), InvalidDocumentError, 'manifest.json: $[0].Layers'],
    [
      'a layer that is no text',
      manifestOf({ Config: 'config.json', Layers: [1] }),
      InvalidDocumentError,
      'manifest.json: $[0].Layers[0]',
    ],
    ['no image', { ...old, 'manifest.json': '[]' }, InvalidDocumentError, 'manifest.json'],
    ['no JSON', { ...old, 'manifest.json': '[{' }, InvalidDocumentError, 'manifest.json'],
    [
      'ACCEPTANCE 9: a key twice',
      { ...old, 'manifest.json': '[{"Config":"a","Config":"b","Layers":[]}]' },
      InvalidDocumentError,
      '"Config"',
    ],
    ['a config that is no config', { ...old, 'config.json': '{}' }, InvalidDocumentError, digestOf(Buffer.from('{}'))],
    [
      'ACCEPTANCE 15: more diff_ids than layers',
      manifestOf({ Config: 'config.json', Layers: ['aaa/layer.tar'] }),
      InvalidDocumentError,
      '(1), found 2',
    ],
  ])('%s', async (_, entries, type, named) => {
    const path = await archive(entries);
    const { message } = await failureOf(type, () => readArchive(path));
    expect(message).toContain(named);
  });

  test('ACCEPTANCE 12: a manifest.json over the limit', async () => {
    const path = await archive({ ...old, 'manifest.json': Buffer.alloc(maxDocumentSize + 1, ' ') });
    const { message } = await failureOf(LimitError, () => readArchive(path));
    expect(message).toContain(`${path}: manifest.json`);
    expect(message).toContain(String(maxDocumentSize));
  });
});

describe('ACCEPTANCE 10: what is no archive of images', () => {
  const files = { 'oci-layout': '{"imageLayoutVersion":"1.0.0"}', 'index.json': 'x'.repeat(3000) };

  test.each<[string, (path: string) => void, string]>([
    ['compressed', (path) => writeFileSync(path, gzipSync(readFileSync(path))), 'uncompressed'],
    ['cut in a file', (path) => truncateSync(path, 2000), 'Unexpected end'],
    ['cut in a header', (path) => truncateSync(path, 700), 'Unexpected end'],
    ['cut behind a header', (path) => truncateSync(path, 1536), 'Unexpected end'],
    ['with a damaged header', (path) => writeFileSync(path, readFileSync(path).fill('z', 1024, 1030)), 'header'],
    ['with junk behind it', (path) => appendFileSync(path, 'junk'), 'Unexpected end'],
    ['without either kind of list', (path) => truncateSync(path, 1024), 'manifest.json of docker save'],
    ['empty', (path) => truncateSync(path, 0), 'manifest.json of docker save'],
  ])('%s: the archive and what was expected are named', async (_, damage, named) => {
    const path = await archive(files);
    damage(path);
    const { message } = await failureOf(InvalidLayoutError, () => readArchive(path));
    expect(message).toContain(path);
    expect(message).toContain(named);
  });

  test('missing, or a directory', async () => {
    const path = temporaryDirectory();
    for (const [wrong, code] of [
      [join(path, 'missing'), 'ENOENT'],
      [path, 'EISDIR'],
    ] as const) {
      const error = await failureOf(FileSystemError, () => readArchive(wrong));
      expect(error.code).toBe(code);
      expect(error.message).toContain(wrong);
    }
  });
});
