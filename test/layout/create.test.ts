import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  type Blobs,
  bytesBlob,
  createLayout,
  type Descriptor,
  type Digest,
  DigestMismatchError,
  digestOf,
  emptyManifest,
  encodeJson,
  type Image,
  MissingBlobError,
  mediaTypes,
  newIndex,
  newRef,
  noBlobs,
  type Ref,
  readLayoutIndex,
  SizeMismatchError,
  type Tree,
  verifyLayout,
  writeTree,
} from '../../src';
import { layoutTree } from '../../src/layout/create';
import { blobFile, blobPath } from '../../src/layout/paths';
import {
  canReflink,
  collect,
  directoryOnOtherDevice,
  failureOf,
  sampleImage,
  snapshot,
  temporaryDirectory,
  writeFiles,
  writtenLayout,
} from '../fixtures';

/** Content by digest that counts what it is asked for. */
function countedBlobs(contents: readonly Uint8Array[]) {
  const byDigest = new Map<Digest, Uint8Array>(contents.map((bytes) => [digestOf(bytes), bytes]));
  const calls = { blob: 0, manifest: 0, opened: 0 };
  const bytesOf = ({ digest }: Descriptor) => byDigest.get(digest) ?? new Uint8Array();
  const blobs: Blobs = {
    blob: (descriptor) => {
      calls.blob++;
      const { size, open } = bytesBlob(bytesOf(descriptor));
      return {
        size,
        open: (range) => {
          calls.opened++;
          return open(range);
        },
      };
    },
    manifest: async (descriptor) => {
      calls.manifest++;
      return bytesOf(descriptor);
    },
    blobs: () => blobs,
  };
  return { blobs, calls };
}

function described(mediaType: string, bytes: Uint8Array): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

/** Descriptors of layers whose bytes nobody has. */
function layersNamed(...names: readonly string[]): Descriptor[] {
  return names.map((name) => ({ mediaType: mediaTypes.layer, digest: digestOf(Buffer.from(name)), size: name.length }));
}

/** The bytes of an image over layers that are not there, because nothing may ask for them. */
function imageBytes(layers: readonly Descriptor[], architecture = 'arm64') {
  const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
  const config = encodeJson({ architecture, os: 'linux', rootfs });
  const manifest = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.imageManifest,
    config: described(mediaTypes.imageConfig, config),
    layers,
  });
  return { config, manifest };
}

function artifact(config: Descriptor, artifactType?: string): Ref {
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.imageManifest, artifactType, config, layers: [] };
  const { blobs } = countedBlobs([]);
  return newRef(encodeJson(manifest), mediaTypes.imageManifest, undefined, blobs);
}

async function listed(tree: Tree): Promise<Descriptor[]> {
  return JSON.parse((await contentAt(tree, 'index.json')).toString()).manifests;
}

async function contentAt(tree: Tree, path: string): Promise<Buffer> {
  return collect(tree.get(path)?.open() ?? bytesBlob(Buffer.from(`no ${path}`)).open());
}

const names = Array.from({ length: 1000 }, (_, position) => `layer ${position}`);
const blobName = (digest: string) => `blobs/${digest.replace(':', '/')}`;

describe('M8: what createLayout lists', () => {
  const config = Buffer.from('{"any":"thing"}');
  const anyConfig = described('application/vnd.example.config+json', config);
  const dockerList = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.dockerManifestList, manifests: [] });

  test.each<[string, () => Ref | Promise<Ref>, Partial<Descriptor>]>([
    [
      'an image: its platform, and no artifact type',
      () => sampleImage(['a'], 'linux/arm/v6'),
      { mediaType: mediaTypes.imageManifest, platform: { architecture: 'arm', os: 'linux', variant: 'v6' } },
    ],
    [
      'an index: its own media type, and no platform',
      async () => newIndex([{ ref: await sampleImage() }]),
      { mediaType: mediaTypes.imageIndex },
    ],
    [
      "Docker's manifest list: its own media type",
      () => newRef(dockerList, mediaTypes.dockerManifestList, undefined, noBlobs),
      { mediaType: mediaTypes.dockerManifestList },
    ],
    [
      'an artifact: the artifact type of its manifest',
      () => artifact(anyConfig, 'application/vnd.example.thing'),
      { mediaType: mediaTypes.imageManifest, artifactType: 'application/vnd.example.thing' },
    ],
    [
      'an artifact without a type: the media type of its config',
      () => artifact(anyConfig),
      { mediaType: mediaTypes.imageManifest, artifactType: anyConfig.mediaType },
    ],
    [
      'an empty artifact',
      () => emptyManifest('application/vnd.example.empty'),
      { mediaType: mediaTypes.imageManifest, artifactType: 'application/vnd.example.empty' },
    ],
  ])('%s', async (_, make, expected) => {
    const ref = await make();
    const tree = await createLayout(ref);
    expect(await listed(tree)).toEqual([{ digest: ref.digest, size: ref.rawManifest.length, ...expected }]);
    expect(await contentAt(tree, blobName(ref.digest))).toEqual(Buffer.from(ref.rawManifest));
  });

  test('a tag', async () => {
    const [descriptor] = await listed(await createLayout(await sampleImage(), { tag: 'v1' }));
    expect(descriptor?.annotations).toEqual({ 'org.opencontainers.image.ref.name': 'v1' });
  });

  test('several refs in their order, each with what is said of it', async () => {
    const [one, other] = [await sampleImage(['one']), await sampleImage(['other'])];
    const annotations = { key: 'value' };
    const tree = await createLayout([{ ref: other, annotations }, { ref: one }]);
    expect(await listed(tree)).toEqual([
      expect.objectContaining({ digest: other.digest, annotations }),
      expect.not.objectContaining({ annotations: expect.anything() }),
    ]);
  });
});

describe('M8: what createLayout holds', () => {
  test('the marker, index.json, and each blob once', async () => {
    const { config, manifest } = imageBytes(layersNamed('a', 'b', 'a'));
    const { blobs, calls } = countedBlobs([config]);
    const tree = await createLayout(newRef(manifest, mediaTypes.imageManifest, undefined, blobs));
    const digests = [...layersNamed('a', 'b').map(({ digest }) => digest), digestOf(config), digestOf(manifest)];
    expect([...tree.keys()].sort()).toEqual(['index.json', 'oci-layout', ...digests.map(blobName)].sort());
    expect((await contentAt(tree, 'oci-layout')).toString()).toBe('{"imageLayoutVersion":"1.0.0"}');
    expect(calls.blob).toBe(4);
  });

  test('what lies in indexes within indexes, and shared content once', async () => {
    const [amd64, arm64] = [await sampleImage(['same']), await sampleImage(['same'], 'linux/arm64')];
    const inner = newIndex([{ ref: amd64 }, { ref: arm64 }]);
    const outer = newIndex([{ ref: inner }, { ref: amd64 }]);
    const tree = await createLayout(outer);
    const refs = [outer, inner, amd64, arm64].map(({ digest }) => digest);
    const content = [amd64, arm64].flatMap((image) => image.descriptors().map(({ digest }) => digest));
    expect(amd64.manifest.layers).toEqual(arm64.manifest.layers);
    expect([...tree.keys()].filter((path) => path.startsWith('blobs/')).sort()).toEqual(
      [...new Set([...refs, ...content])].map(blobName).sort(),
    );
  });

  test('ACCEPTANCE 14: one digest with two sizes is refused by its name', async () => {
    const [layer] = layersNamed('a') as [Descriptor];
    const { config, manifest } = imageBytes([layer, { ...layer, size: layer.size + 1 }]);
    const ref = newRef(manifest, mediaTypes.imageManifest, undefined, countedBlobs([config]).blobs);
    const creating = createLayout(ref);
    await expect(creating).rejects.toThrow(SizeMismatchError);
    await expect(creating).rejects.toThrow(layer.digest);
  });
});

describe('M8: what createLayout costs', () => {
  test.each([100, 1000])(
    'an image of %i layers: each blob is looked up once, and only the config read',
    async (count) => {
      const { config, manifest } = imageBytes(layersNamed(...names.slice(0, count)));
      const { blobs, calls } = countedBlobs([config]);
      const tree = await createLayout(newRef(manifest, mediaTypes.imageManifest, undefined, blobs));
      expect(tree.size).toBe(count + 4);
      // One more than there are blobs: the config tells the platform.
      expect(calls).toEqual({ blob: count + 2, manifest: 0, opened: 1 });
    },
  );

  test.each([100, 1000])('an index of %i images: each manifest is read once, and no blob opened', async (count) => {
    const images = names.slice(0, count).map((name) => imageBytes(layersNamed(name)));
    const { blobs, calls } = countedBlobs(images.flatMap(({ config, manifest }) => [config, manifest]));
    const manifests = images.map(({ manifest }) => described(mediaTypes.imageManifest, manifest));
    const index = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.imageIndex, manifests });
    const tree = await createLayout(newRef(index, mediaTypes.imageIndex, undefined, blobs));
    // index.json, the marker and the index, then manifest, config and layer of each image.
    expect(tree.size).toBe(3 + 3 * count);
    expect(calls).toEqual({ blob: 2 * count, manifest: count, opened: 0 });
  });

  test('the same tree for the same ref', async () => {
    const image = await sampleImage(['a', 'b']);
    const [one, other] = [await createLayout(image), await createLayout(image)];
    const contents = async (tree: Tree) =>
      Promise.all([...tree.keys()].map(async (path) => [path, (await contentAt(tree, path)).toString('base64')]));
    expect(await contents(other)).toEqual(await contents(one));
  });
});

describe('O17: layoutTree clones a layout', () => {
  let image: Image;
  let source: string;
  beforeAll(async () => {
    image = await sampleImage(['a', 'b']);
    source = await writtenLayout([{ ref: newIndex([{ ref: image }]) }, { ref: image }]);
    // As another program writes it: white space, fields that nobody here knows, a blob that nothing names.
    const document = JSON.parse(readFileSync(join(source, 'index.json'), 'utf8'));
    writeFileSync(join(source, 'index.json'), JSON.stringify({ 'x-unknown': { kept: true }, ...document }, null, 2));
    writeFiles(source, { [blobPath(digestOf(Buffer.from('unnamed')))]: 'unnamed' });
  });

  const clone = async (to: string) => writeTree(await layoutTree(await readLayoutIndex(source)), to);
  const target = () => join(temporaryDirectory(), 'deep/clone');
  const blobs = (path: string) => readdirSync(join(path, 'blobs/sha256'));

  /** What is seen of a file without reading it, but for the number of its names and when that changed. */
  const look = () =>
    readdirSync(source, { recursive: true, encoding: 'utf8' })
      .sort()
      .map((name) => {
        const { ino, mode, uid, gid, size, mtimeMs } = statSync(join(source, name));
        return { name, ino, mode, uid, gid, size, mtimeMs };
      });

  test('to the byte, without what nothing names, and leaves the source as it is', async () => {
    const before = [look(), snapshot(source)];
    const to = target();
    await clone(to);
    expect(readFileSync(join(to, 'index.json'))).toEqual(readFileSync(join(source, 'index.json')));
    expect(blobs(to)).toHaveLength(blobs(source).length - 1);
    expect(snapshot(source)).toMatchObject(snapshot(to));
    expect((await verifyLayout(to)).problems).toEqual([]);
    expect([look(), snapshot(source)]).toEqual(before);
  });

  test('without copying a byte, where the file system can', async () => {
    const to = target();
    await clone(to);
    const inode = (path: string, name: string) => statSync(join(path, 'blobs/sha256', name)).ino;
    const read = [image, newIndex([{ ref: image }])].map(({ digest }) => digest.slice('sha256:'.length));
    // Manifests are in memory by then.
    const layers = blobs(to).filter((name) => !read.includes(name));
    expect(layers).toHaveLength(3);
    if (!canReflink()) expect(layers.map((name) => inode(to, name))).toEqual(layers.map((name) => inode(source, name)));
    expect(layers.map((name) => statSync(join(to, 'blobs/sha256', name)).mode & 0o222)).toEqual([0, 0, 0]);
  });

  test('ACCEPTANCE 20: a bit flipped in each manifest, config and layer stops it, and nothing is left', async () => {
    for (const { digest } of [image, newIndex([{ ref: image }]), ...image.descriptors()]) {
      const file = blobFile(source, digest);
      const bytes = readFileSync(file);
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8(damaged.readUInt8(10) ^ 1, 10);
      rmSync(file);
      writeFileSync(file, damaged);
      const parent = temporaryDirectory();
      const { message } = await failureOf(DigestMismatchError, () => clone(join(parent, 'deep/clone')));
      rmSync(file);
      writeFileSync(file, bytes, { mode: 0o444 });
      expect(message).toContain(digest);
      expect(readdirSync(parent)).toEqual([]);
    }
  });

  test('ACCEPTANCE 19: a missing layer and who refers to it stop it, and nothing is left', async () => {
    const { digest } = image.manifest.layers[1] as Descriptor;
    const bytes = readFileSync(blobFile(source, digest));
    rmSync(blobFile(source, digest));
    const parent = temporaryDirectory();
    const { message } = await failureOf(MissingBlobError, () => clone(join(parent, 'deep/clone')));
    writeFileSync(blobFile(source, digest), bytes, { mode: 0o444 });
    expect(message).toContain(digest);
    expect(message).toContain(image.digest);
    expect(readdirSync(parent)).toEqual([]);
  });

  const elsewhere = directoryOnOtherDevice();
  (elsewhere === undefined ? test.skip : test)('to another device, by copying', async () => {
    const to = join(elsewhere as string, 'clone');
    await clone(to);
    expect(snapshot(source)).toMatchObject(snapshot(to));
    expect((await verifyLayout(to)).problems).toEqual([]);
  });
});
