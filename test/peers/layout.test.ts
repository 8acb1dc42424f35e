import { chmodSync, cpSync, linkSync, mkdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { hello } from '../../examples/os/hello';
import { architectures } from '../../examples/os/processors';
import { digestOf, mediaTypes } from '../../src';
import { repository, temporaryDirectory, writeFiles } from '../fixtures';
import { fileTree } from './file-tree';
import { buildImage, runContainer, skopeo, succeed, tar, umoci, unpack, verify } from './programs';

const greeting = 'Hello from linux/amd64\n';

/** The sources of a layer with a program that runs in an image without anything else. */
function programFiles(): string {
  const directory = writeFiles(temporaryDirectory(), { hello: hello('amd64') });
  for (const path of [directory, join(directory, 'hello')]) chmodSync(path, 0o755);
  return directory;
}

describe('the image of examples/os', () => {
  const directory = join(temporaryDirectory(), 'os');
  const layout = join(directory, 'image');
  const image = (architecture: string) => `${layout}:latest-linux-${architecture}`;

  beforeAll(async () => {
    await succeed('npx', ['nx', 'run', 'os:image'], { cwd: repository, env: { NX_DAEMON: 'false' } });
    cpSync(join(repository, 'dist/examples/os'), directory, { recursive: true, verbatimSymlinks: true });
  });

  test.each(architectures)('skopeo finds the digest and the platform that index.json lists for %s', async (arch) => {
    const { Digest, Architecture, Os } = JSON.parse(await skopeo('inspect', `oci:${image(arch)}`));
    const { manifests } = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
    const listed = { digest: Digest, platform: { architecture: Architecture, os: Os } };
    expect(manifests).toContainEqual(expect.objectContaining(listed));
    expect(Architecture).toBe(arch);
  });

  describe.each(architectures)('%s', (arch) => {
    test.each([
      ['oci', 'oci:copy:it', []],
      ['dir', 'dir:copy', []],
      ['dir, in the format of Docker', 'dir:copy', ['--format', 'v2s2']],
      ['docker-archive', 'docker-archive:copy.tar:it:latest', []],
    ])('what skopeo copies by way of %s verifies and has the same diffIDs', async (_, way, options) => {
      const cwd = temporaryDirectory();
      const copy = (...args: string[]) => succeed('skopeo', ['--insecure-policy', 'copy', ...args], { cwd });
      await copy(...options, `oci:${image(arch)}`, way);
      await copy('--format', 'oci', '--override-arch', arch, way, 'oci:back:latest');
      const back = join(cwd, 'back');
      await verify(back);
      const diffIds = async (from: string) => JSON.parse(await skopeo('inspect', '--config', `oci:${from}`)).rootfs;
      expect(await diffIds(`${back}:latest`)).toEqual(await diffIds(image(arch)));
    });

    test('a copy by skopeo is the same image', async () => {
      const copy = join(temporaryDirectory(), 'copy');
      await skopeo('copy', '--preserve-digests', `oci:${image(arch)}`, `oci:${copy}:latest`);
      const digest = async (from: string) => JSON.parse(await skopeo('inspect', `oci:${from}`)).Digest;
      expect(await digest(`${copy}:latest`)).toBe(await digest(image(arch)));
    });

    test('umoci unpacks exactly the files that were built', async () => {
      const { rootfs } = await unpack(image(arch));
      const built = join(directory, 'rootfs', `linux-${arch}`);
      const parent = 'directory 0:0 755';
      expect(fileTree(rootfs)).toEqual({
        ...below('etc', fileTree(join(built, 'etc'))),
        ...below('usr/bin', fileTree(join(built, 'bin'))),
        ...below('usr/share/os', fileTree(join(built, 'share'))),
        ...Object.fromEntries(['etc', 'usr', 'usr/bin', 'usr/share', 'usr/share/os'].map((path) => [path, parent])),
      });
    });
  });

  test('runc runs it for amd64, with what the options say', async () => {
    const bundle = await unpack(image('amd64'));
    expect(bundle.config.process).toMatchObject({
      user: { uid: 65532, gid: 65532 },
      args: ['/usr/bin/hello'],
      env: expect.arrayContaining(['PATH=/usr/bin', 'LANG=C.UTF-8']),
      cwd: '/usr/share/os',
    });
    expect(await runContainer(bundle)).toBe(greeting);
  });

  test('qemu runs the program for arm64', async () => {
    const { rootfs } = await unpack(image('arm64'));
    const printed = await succeed('qemu-aarch64-static', [join(rootfs, 'usr/bin/hello')]);
    expect(printed).toBe('Hello from linux/arm64\n');
  });
});

describe('a base', () => {
  const programs = programFiles();

  test.each([
    ['umoci', umociBase, (layout: string) => `oci:${layout}:latest`],
    ['skopeo', skopeoBase, (layout: string) => `oci:${layout}:latest`],
    ["skopeo in Docker's format", dockerBase, dockerDirectory],
  ])('that %s wrote is verified, built upon, and what is built runs', async (_, writeBase, transport) => {
    const base = await writeBase(programs);
    await verify(base);

    const { path, images } = await buildImage(
      { base: `${base}:base`, layers: [{ from: 'files', to: '/srv' }], env: { ADDED: 'to $GIVEN' }, user: '7:8' },
      { 'files/added': 'added\n' },
    );
    await verify(path);
    expect(images).toMatchObject([{ platform: 'linux/amd64', tag: 'latest' }]);
    const image = await transport(path);
    const { config } = JSON.parse(await skopeo('inspect', '--config', image));
    expect(config).toEqual({ User: '7:8', Env: ['GIVEN=base', 'ADDED=to base'], Entrypoint: ['/usr/bin/hello'] });

    const copy = join(temporaryDirectory(), 'copy');
    await skopeo('copy', '--format', 'oci', image, `oci:${copy}:latest`);
    const bundle = await unpack(`${copy}:latest`);
    expect(fileTree(bundle.rootfs)).toEqual({
      usr: 'directory 0:0 755',
      ...below('usr/bin', fileTree(programs)),
      'usr/bin': 'directory 0:0 755',
      srv: 'directory 0:0 755',
      'srv/added': expect.stringMatching(/^file 0:0 644 /),
    });
    expect(await runContainer(bundle)).toBe(greeting);
  });

  test('umoci goes on with a layout of ours', async () => {
    const { path } = await buildImage({ layers: [{ from: programs, to: '/usr/bin' }], entrypoint: ['/usr/bin/hello'] });
    const file = join(writeFiles(temporaryDirectory(), { more: 'more\n' }), 'more');
    await umoci('insert', '--image', `${path}:latest`, file, '/more');
    await verify(path);
    const bundle = await unpack(`${path}:latest`);
    expect(Object.keys(fileTree(bundle.rootfs))).toEqual(['more', 'usr', 'usr/bin', 'usr/bin/hello']);
    expect(await runContainer(bundle)).toBe(greeting);
  });
});

describe('layers', () => {
  const files = { 'files/a.txt': 'a\n', 'files/deeper/b.txt': 'b\n' };

  test.each([
    ['gzip', mediaTypes.layerGzip],
    ['none', mediaTypes.layer],
  ] as const)('compression %s', async (compression, mediaType) => {
    const { path } = await buildImage({ layers: [{ from: 'files' }], compression }, files);
    await expectLayers(path, [mediaType]);
    const { rootfs } = await unpack(`${path}:latest`);
    expect(Object.keys(fileTree(rootfs))).toEqual(['a.txt', 'deeper', 'deeper/b.txt']);
    expect(readFileSync(join(rootfs, 'deeper/b.txt'), 'utf8')).toBe('b\n');
  });

  test.each([
    ['plain', [], mediaTypes.layerGzip],
    ['gzip', ['--gzip'], mediaTypes.layerGzip],
    ['plain, in the format of GNU tar', ['--format=gnu'], mediaTypes.layerGzip],
    ['gzip, in the format of pax', ['--gzip', '--format=pax'], mediaTypes.layerGzip],
  ])('a tar file written by GNU tar: %s', async (_, options, mediaType) => {
    const sources = writeFiles(temporaryDirectory(), { [`${'long/'.repeat(60)}name`]: 'deep\n', 'top.txt': 'top\n' });
    const file = join(temporaryDirectory(), 'layer.tar');
    await tar(
      '--create',
      '--file',
      file,
      '--owner=5',
      '--group=6',
      ...options,
      '--directory',
      sources,
      'top.txt',
      'long',
    );
    const { path } = await buildImage({ layers: [{ tar: file }] });
    await verify(path);
    await expectLayers(path, [mediaType]);
    const { rootfs } = await unpack(`${path}:latest`);
    const unpacked = join(temporaryDirectory(), 'unpacked');
    mkdirSync(unpacked);
    await tar('--extract', '--file', file, '--directory', unpacked, '--same-owner', '--same-permissions');
    expect(fileTree(rootfs)).toEqual(fileTree(unpacked));
    expect(statSync(join(rootfs, 'top.txt'))).toMatchObject({ uid: 5, gid: 6 });
  });

  test('a compressed tar file keeps its bytes', async () => {
    const sources = writeFiles(temporaryDirectory(), { 'top.txt': 'top\n' });
    const file = join(temporaryDirectory(), 'layer.tar.gz');
    await tar('--create', '--gzip', '--file', file, '--directory', sources, 'top.txt');
    const { path } = await buildImage({ layers: [{ tar: file }] });
    const { Layers } = JSON.parse(await skopeo('inspect', `oci:${path}:latest`));
    expect(Layers).toEqual([digestOf(readFileSync(file))]);
  });

  test('mode preserve keeps hard links and special permissions', async () => {
    const sources = writeFiles(temporaryDirectory(), { 'a/first': 'same\n', special: '' });
    mkdirSync(join(sources, 'b'));
    linkSync(join(sources, 'a/first'), join(sources, 'b/second'));
    linkSync(join(sources, 'a/first'), join(sources, 'third'));
    chmodSync(join(sources, 'a/first'), 0o640);
    chmodSync(join(sources, 'b'), 0o1777);
    chmodSync(join(sources, 'special'), 0o4711);
    const { path } = await buildImage({ layers: [{ from: sources, mode: 'preserve' }] });
    const { rootfs } = await unpack(`${path}:latest`);
    const inodes = ['a/first', 'b/second', 'third'].map((name) => statSync(join(rootfs, name)).ino);
    expect(new Set(inodes).size).toBe(1);
    expect(fileTree(rootfs)).toEqual(fileTree(sources));
  });

  test('mode and owner apply to every file', async () => {
    const { path } = await buildImage(
      { layers: [{ from: 'files', to: '/data', mode: '0640', owner: '12:34' }] },
      files,
    );
    const { rootfs } = await unpack(`${path}:latest`);
    expect(fileTree(rootfs)).toEqual({
      data: 'directory 12:34 750',
      'data/a.txt': expect.stringMatching(/^file 12:34 640 /),
      'data/deeper': 'directory 12:34 750',
      'data/deeper/b.txt': expect.stringMatching(/^file 12:34 640 /),
    });
  });
});

describe('options', () => {
  const options = {
    entrypoint: ['/usr/bin/hello'],
    cmd: ['one', 'two words'],
    env: { HOME: '/home/user', PLACE: '$HOME/place', PRICE: '\\$5' },
    user: '1000:2000',
    workingDir: '/work',
    exposedPorts: [8080, '53/udp'],
    volumes: ['/data', '/var/cache'],
    labels: { maintainer: 'somebody', 'example.quotes': '"\'\n' },
    annotations: { 'example.annotation': 'of the manifest' },
    stopSignal: 'SIGQUIT',
    created: '2026-01-31T12:00:00+01:00',
  };
  let layout: string;

  beforeAll(async () => {
    layout = (await buildImage({ ...options, layers: [{ from: programFiles(), to: '/usr/bin' }] })).path;
  });

  test('skopeo reads each of them', async () => {
    expect(JSON.parse(await skopeo('inspect', '--config', `oci:${layout}:latest`))).toMatchObject({
      created: '2026-01-31T11:00:00Z',
      architecture: 'amd64',
      os: 'linux',
      config: {
        Entrypoint: ['/usr/bin/hello'],
        Cmd: ['one', 'two words'],
        Env: ['HOME=/home/user', 'PLACE=/home/user/place', 'PRICE=$5'],
        User: '1000:2000',
        WorkingDir: '/work',
        ExposedPorts: { '8080/tcp': {}, '53/udp': {} },
        Volumes: { '/data': {}, '/var/cache': {} },
        Labels: options.labels,
        StopSignal: 'SIGQUIT',
      },
    });
    const manifest = JSON.parse(await skopeo('inspect', '--raw', `oci:${layout}:latest`));
    expect(manifest.annotations).toEqual(options.annotations);
  });

  test('umoci hands each of them to the runtime', async () => {
    const { config } = await unpack(`${layout}:latest`);
    expect(config.process).toMatchObject({
      args: ['/usr/bin/hello', 'one', 'two words'],
      env: expect.arrayContaining(['HOME=/home/user', 'PLACE=/home/user/place', 'PRICE=$5']),
      user: { uid: 1000, gid: 2000 },
      cwd: '/work',
    });
    expect(config.mounts.map(({ destination }) => destination)).toEqual(
      expect.arrayContaining(['/data', '/var/cache']),
    );
    expect(config.annotations).toMatchObject({
      ...options.labels,
      'org.opencontainers.image.exposedPorts': expect.stringMatching(/^(53\/udp,8080\/tcp|8080\/tcp,53\/udp)$/),
      'org.opencontainers.image.stopSignal': 'SIGQUIT',
      'org.opencontainers.image.created': '2026-01-31T11:00:00Z',
    });
  });

  test('the tag of one platform alone is the plain one', async () => {
    const tags = await umoci('list', '--layout', layout);
    expect(tags).toBe('latest\n');
  });
});

function below(directory: string, entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).map(([path, entry]) => [`${directory}/${path}`, entry]));
}

async function expectLayers(layout: string, types: readonly string[]): Promise<void> {
  const { layers } = JSON.parse(await skopeo('inspect', '--raw', `oci:${layout}:latest`));
  expect(layers.map(({ mediaType }: { mediaType: string }) => mediaType)).toEqual(types);
}

/** An image with the programs in /usr/bin, a variable and an entrypoint, tagged `base`. */
async function umociBase(programs: string): Promise<string> {
  const layout = join(temporaryDirectory(), 'base');
  const image = ['--image', `${layout}:base`];
  await umoci('init', '--layout', layout);
  await umoci('new', ...image);
  await umoci('insert', ...image, programs, '/usr/bin');
  const config = ['--config.entrypoint', '/usr/bin/hello', '--config.env', 'GIVEN=base'];
  await umoci('config', ...image, ...config, '--architecture', 'amd64', '--os', 'linux');
  return layout;
}

async function skopeoBase(programs: string): Promise<string> {
  const layout = join(temporaryDirectory(), 'base');
  await skopeo('copy', `oci:${await umociBase(programs)}:base`, `oci:${layout}:base`);
  return layout;
}

/** skopeo writes and reads Docker's media types in a plain directory only: the layout around them is made here. */
async function dockerBase(programs: string): Promise<string> {
  const directory = join(temporaryDirectory(), 'docker');
  await skopeo('copy', '--format', 'v2s2', `oci:${await umociBase(programs)}:base`, `dir:${directory}`);
  const manifest = readFileSync(join(directory, 'manifest.json'));
  const digest = digestOf(manifest);
  const annotations = { 'org.opencontainers.image.ref.name': 'base' };
  const descriptor = { mediaType: mediaTypes.dockerManifest, digest, size: manifest.length, annotations };
  const layout = writeFiles(temporaryDirectory(), {
    'oci-layout': JSON.stringify({ imageLayoutVersion: '1.0.0' }),
    'index.json': JSON.stringify({ schemaVersion: 2, manifests: [descriptor] }),
  });
  const blobs = join(layout, 'blobs/sha256');
  cpSync(directory, blobs, { recursive: true });
  renameSync(join(blobs, 'manifest.json'), join(layout, `blobs/${digest.replace(':', '/')}`));
  return layout;
}

function dockerDirectory(layout: string): string {
  const { manifests } = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
  expect(manifests).toMatchObject([{ mediaType: mediaTypes.dockerManifest }]);
  const directory = writeFiles(temporaryDirectory(), { version: 'Directory Transport Version: 1.1\n' });
  cpSync(join(layout, 'blobs/sha256'), directory, { recursive: true });
  renameSync(join(directory, manifests[0].digest.replace('sha256:', '')), join(directory, 'manifest.json'));
  return `dir:${directory}`;
}
