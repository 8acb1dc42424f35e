import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { hello } from '../../examples/os/hello';
import { architectures } from '../../examples/os/processors';
import { type Digest, digestOf, type ImageIndex, type ImageManifest, mediaTypes, zstdAnnotation } from '../../src';
import { blobFile } from '../../src/layout/paths';
import { temporaryDirectory, writeFiles } from '../fixtures';
import { fileTree } from './file-tree';
import { makers } from './makers';
import { buildImage, ours, runContainer, skopeo, succeed, tar, unpack, verify } from './programs';

const greeting = 'Hello from linux/amd64\n';

/** The program, and enough text for several frames. */
const files = () => ({ 'bin/hello': hello('amd64'), 'text/words': 'word after word '.repeat(600_000) });

async function build(compression: 'zstd' | 'none'): Promise<string> {
  const { path } = await buildImage(
    {
      layers: [
        { from: 'bin', to: '/usr/bin', mode: '0755' },
        { from: 'text', to: '/text' },
      ],
      entrypoint: ['/usr/bin/hello'],
      compression,
    },
    files(),
  );
  return path;
}

const digestIn = async (image: string): Promise<Digest> => JSON.parse(await skopeo('inspect', image)).Digest;
const layersOf = async (image: string) => (JSON.parse(await skopeo('inspect', '--raw', image)) as ImageManifest).layers;
const diffIds = async (image: string) => JSON.parse(await skopeo('inspect', '--config', image)).rootfs.diff_ids;
const newLayout = () => join(temporaryDirectory(), 'layout');

describe('O3: our image with zstd layers', () => {
  test('is copied by skopeo, and the program zstd finds the tar files in it', async () => {
    const layout = await build('zstd');
    const copy = newLayout();
    await skopeo('copy', '--preserve-digests', `oci:${layout}:latest`, `oci:${copy}:latest`);
    expect(await digestIn(`oci:${copy}:latest`)).toBe(await digestIn(`oci:${layout}:latest`));
    const ids = await diffIds(`oci:${copy}:latest`);
    for (const [position, { mediaType, digest }] of (await layersOf(`oci:${copy}:latest`)).entries()) {
      expect(mediaType).toBe(mediaTypes.layerZstd);
      const unpacked = join(temporaryDirectory(), 'layer.tar');
      await succeed('zstd', ['-d', '-q', '-o', unpacked, blobFile(copy, digest)]);
      expect(digestOf(readFileSync(unpacked))).toBe(ids[position]);
    }
    await verify(copy);
  });

  test('is unpacked by skopeo, and compressed again with gzip', async () => {
    const layout = await build('zstd');
    const copy = newLayout();
    const directory = `dir:${join(temporaryDirectory(), 'dir')}`;
    await skopeo('copy', '--dest-decompress', `oci:${layout}:latest`, directory);
    await skopeo('copy', directory, `oci:${copy}:latest`);
    expect((await layersOf(`oci:${copy}:latest`)).map(({ mediaType }) => mediaType)).toEqual([
      mediaTypes.layerGzip,
      mediaTypes.layerGzip,
    ]);
    expect(await diffIds(`oci:${copy}:latest`)).toEqual(await diffIds(`oci:${layout}:latest`));
    await verify(copy);
    expect(await runContainer(await unpack(`${copy}:latest`))).toBe(greeting);
  });

  test('is unpacked by buildah, and runc runs it', async () => {
    const room = temporaryDirectory();
    const [root, runRoot] = [join(room, 'root'), join(room, 'runroot')];
    const buildah = (...args: string[]) =>
      succeed('buildah', ['--root', root, '--runroot', runRoot, '--storage-driver', 'vfs', ...args]);
    const stored = `containers-storage:[vfs@${root}+${runRoot}]localhost/image:latest`;
    await skopeo('copy', `oci:${await build('zstd')}:latest`, stored);
    const container = (await buildah('from', 'localhost/image:latest')).trim();
    const rootfs = (await buildah('mount', container)).trim();
    expect(readFileSync(join(rootfs, 'text/words'), 'utf8')).toBe(files()['text/words']);
    const path = temporaryDirectory();
    await succeed('runc', ['spec', '--bundle', path]);
    const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
    const process = { ...config.process, args: ['/usr/bin/hello'] };
    expect(await runContainer({ path, rootfs, config: { ...config, process, root: { path: rootfs } } })).toBe(greeting);
    await buildah('umount', container);
  });
});

describe('L11: an index with added instances', () => {
  async function addedTo(): Promise<{ layout: string; index: ImageIndex }> {
    const directory = writeFiles(
      temporaryDirectory(),
      Object.fromEntries(architectures.map((arch) => [`${arch}/hello`, hello(arch)])),
    );
    for (const arch of architectures) chmodSync(join(directory, arch, 'hello'), 0o755);
    const options = {
      layers: [{ from: '{arch}', to: '/usr/bin' }],
      platforms: architectures.map((arch) => `linux/${arch}`),
    };
    writeFileSync(join(directory, 'image.json'), JSON.stringify(options));
    const [images, index, layout] = ['images', 'index', 'added'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    await ours('image', '--options', join(directory, 'image.json'), '--output', images);
    await ours('index', 'create', `${index}:latest`, images, '--all');
    await ours('copy', `${index}:latest`, layout, '--add-compression', 'zstd');
    await verify(layout);
    return { layout, index: JSON.parse(await skopeo('inspect', '--raw', `oci:${layout}:latest`)) };
  }

  test.each(makers)('is read whole by $name', async ({ read }) => {
    const { layout, index } = await addedTo();
    const listed = index.manifests?.map(({ digest, platform }) => ({ digest, platform }));
    const found = await read(layout, 'latest');
    expect(found).toHaveLength(2 * architectures.length);
    expect(found).toEqual(expect.arrayContaining(listed ?? []));
  });

  test('says which instances are zstd', async () => {
    const { index } = await addedTo();
    expect(index.manifests?.map(({ annotations }) => annotations?.[zstdAnnotation])).toEqual([
      ...architectures.map(() => undefined),
      ...architectures.map(() => 'true'),
    ]);
  });

  test.each(architectures)('gives skopeo an image for %s, with either compression', async (arch) => {
    const { layout } = await addedTo();
    const copy = newLayout();
    // Which one it takes depends on whether this skopeo knows the annotation.
    await skopeo('--override-arch', arch, 'copy', `oci:${layout}:latest`, `oci:${copy}:latest`);
    const [layer] = await layersOf(`oci:${copy}:latest`);
    expect([mediaTypes.layerGzip, mediaTypes.layerZstd]).toContain(layer?.mediaType);
    await verify(copy);
  });
});

describe('O3, L11: zstd of other programs', () => {
  test('as skopeo writes it is verified, compressed anew with gzip, and runs', async () => {
    const plain = await build('none');
    const [zstd, gzip] = [newLayout(), newLayout()];
    await skopeo('copy', '--dest-compress-format', 'zstd', `oci:${plain}:latest`, `oci:${zstd}:latest`);
    expect((await layersOf(`oci:${zstd}:latest`)).map(({ mediaType }) => mediaType)).toEqual([
      mediaTypes.layerZstd,
      mediaTypes.layerZstd,
    ]);
    await verify(zstd);
    await ours('copy', `${zstd}:latest`, gzip, '--force-compression', 'gzip');
    await verify(gzip);
    expect(await diffIds(`oci:${gzip}:latest`)).toEqual(await diffIds(`oci:${plain}:latest`));
    expect(await runContainer(await unpack(`${gzip}:latest`))).toBe(greeting);
  });

  test.each([
    ['zstd, on two threads, with checksums', 'zstd', ['-T2', '-3', '--check']],
    ['zstd at level 19', 'zstd', ['-19']],
    ['zstd with many small blocks', 'zstd', ['-1', '--target-compressed-block-size=2000']],
    ['pzstd, with frames to skip', 'pzstd', ['-p', '2', '-3']],
  ])('of %s is a layer as it is', async (_, program, args) => {
    const directory = writeFiles(temporaryDirectory(), files());
    const file = join(directory, 'layer.tar');
    await tar('-cf', file, '-C', directory, 'bin', 'text');
    await succeed(program, [...args, '-q', '-o', `${file}.zst`, file]);
    const { path, images } = await buildImage({ layers: [{ tar: `${file}.zst` }] });
    expect(images[0]?.layers[0]?.digest).toBe(digestOf(readFileSync(`${file}.zst`)));
    expect(await diffIds(`oci:${path}:latest`)).toEqual([digestOf(readFileSync(file))]);
    await verify(path);
    const gzip = newLayout();
    await ours('copy', path, gzip, '--force-compression', 'gzip');
    const { rootfs } = await unpack(`${gzip}:latest`);
    expect(Object.keys(fileTree(rootfs))).toEqual(expect.arrayContaining(['bin/hello', 'text/words']));
  });
});
