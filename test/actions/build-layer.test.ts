import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { asImage, gunzip, type Image, InvalidOptionError, LayerSourceError, readConfig, readLayout } from '../../src';
import { type BuiltImage, buildImage } from '../../src/actions/build-image';
import type { ImageOptions } from '../../src/actions/image-options';
import { thisPlatform } from '../../src/spec/platform';
import { collect, failureOf, run, temporaryDirectory, writeFiles } from '../fixtures';
import { fileTree } from '../peers/file-tree';

const packageFile = (name: string) => JSON.stringify({ name, main: 'index.js' });

/** An application as package managers lay it out: a third-party package and one of the workspace, which needs it too. */
function application(directory = temporaryDirectory()): string {
  writeFiles(directory, {
    'app/main.js': "console.log(require('@acme/greeting')('world'), require('polite'));\n",
    'app/package.json': packageFile('app'),
    'app/node_modules/.package-lock.json': '{}',
    'app/node_modules/.pnpm/polite@1.0.0/node_modules/polite/index.js': "module.exports = 'please';\n",
    'app/node_modules/.pnpm/polite@1.0.0/node_modules/polite/package.json': packageFile('polite'),
    'app/packages/greeting/index.js': "module.exports = (name) => 'Hello ' + name + ', ' + require('polite');\n",
    'app/packages/greeting/package.json': packageFile('@acme/greeting'),
  });
  mkdirSync(join(directory, 'app/empty'));
  mkdirSync(join(directory, 'app/node_modules/@acme'));
  mkdirSync(join(directory, 'app/packages/greeting/node_modules'));
  symlinkSync('.pnpm/polite@1.0.0/node_modules/polite', join(directory, 'app/node_modules/polite'));
  symlinkSync('../../packages/greeting', join(directory, 'app/node_modules/@acme/greeting'));
  symlinkSync('../../../node_modules/polite', join(directory, 'app/packages/greeting/node_modules/polite'));
  return directory;
}

/** The same with links that name where they lead to on this machine. */
function absolutelyLinked(): string {
  const directory = application();
  for (const [link, target] of [
    ['app/node_modules/polite', 'app/node_modules/.pnpm/polite@1.0.0/node_modules/polite'],
    ['app/node_modules/@acme/greeting', 'app/packages/greeting'],
    ['app/packages/greeting/node_modules/polite', 'app/node_modules/polite'],
  ] as const) {
    rmSync(join(directory, link));
    symlinkSync(join(directory, target), join(directory, link));
  }
  return directory;
}

/** The same as npm itself installs it: the third-party package from a tarball, that of the workspace as a link. */
async function installedByNpm(): Promise<string> {
  const directory = temporaryDirectory();
  const npm = async (...args: string[]) => {
    const env = { npm_config_cache: join(directory, 'cache'), npm_config_update_notifier: 'false' };
    const finished = await run('npm', [...args, '--offline', '--silent'], { cwd: join(directory, 'app'), env });
    expect(finished).toMatchObject({ code: 0 });
  };
  writeFiles(directory, {
    'polite/index.js': "module.exports = 'please';\n",
    'polite/package.json': JSON.stringify({ name: 'polite', version: '1.0.0' }),
    'app/main.js': "console.log(require('@acme/greeting')('world'), require('polite'));\n",
    'app/package.json': JSON.stringify({
      private: true,
      workspaces: ['packages/*'],
      dependencies: { polite: 'file:polite-1.0.0.tgz', '@acme/greeting': '1.0.0' },
    }),
    'app/packages/greeting/index.js': "module.exports = (name) => 'Hello ' + name + ', ' + require('polite');\n",
    'app/packages/greeting/package.json': JSON.stringify({ name: '@acme/greeting', version: '1.0.0' }),
  });
  await npm('pack', '../polite');
  await npm('install', '--install-links=false', '--no-audit', '--no-fund');
  return directory;
}

const split: ImageOptions = { layers: [{ name: 'api', from: 'app', to: '/srv/api', split: 'node' }] };
const unsplit: ImageOptions = { layers: [{ from: 'app', to: '/srv/api' }] };

const build = (options: ImageOptions, root: string): Promise<BuiltImage> =>
  buildImage({ options, root, output: join(temporaryDirectory(), 'image') });

const readBuilt = async ({ path }: BuiltImage): Promise<Image> => asImage(await readLayout(path));

/** The root file system of an image with gzip layers. */
async function unpacked(built: BuiltImage): Promise<string> {
  const image = await readBuilt(built);
  const rootfs = temporaryDirectory();
  for (const layer of image.manifest.layers) {
    const tar = join(temporaryDirectory(), 'layer.tar');
    writeFileSync(tar, await collect(gunzip(image.blob(layer).open())));
    expect(await run('tar', ['-xpf', tar, '-C', rootfs])).toMatchObject({ code: 0, stderr: '' });
  }
  return rootfs;
}

const layersOf = ({ images }: BuiltImage) =>
  Object.fromEntries(images[0]?.layers.map(({ name, digest }) => [name, digest]) ?? []);

describe("split: 'node'", () => {
  test('makes three layers, the least changing first, each with its name and a line of history', async () => {
    const built = await build(split, application());
    const names = ['api: third-party', 'api: workspace', 'api: app'];
    expect(built.images[0]?.layers.map(({ name }) => name)).toEqual(names);
    const { history, rootfs } = await readConfig(await readBuilt(built));
    expect(history?.map(({ created_by }) => created_by)).toEqual(names.map((name) => `nx-oci image: layer ${name}`));
    expect(new Set(rootfs.diff_ids).size).toBe(3);
  });

  test('without a name they are called by their source', async () => {
    const built = await build({ layers: [{ from: 'app', split: 'node' }] }, application());
    expect(Object.keys(layersOf(built))).toEqual(['app: third-party', 'app: workspace', 'app: app']);
  });

  test('the layers together are what one layer would be', async () => {
    const root = application();
    const [one, other] = [await unpacked(await build(split, root)), await unpacked(await build(unsplit, root))];
    expect(fileTree(one)).toEqual(fileTree(other));
    expect(Object.keys(fileTree(one))).toEqual(
      expect.arrayContaining(['srv/api/empty', 'srv/api/node_modules/polite']),
    );
  });

  test.each<[what: string, make: () => string | Promise<string>]>([
    ['relative links', application],
    ['absolute links', absolutelyLinked],
    ['the links of npm', installedByNpm],
  ])('Node finds all packages in it by %s, when the source is gone', async (_, make) => {
    const root = await make();
    const built = await build(split, root);
    expect(Object.keys(layersOf(built))).toEqual(['api: third-party', 'api: workspace', 'api: app']);
    const rootfs = await unpacked(built);
    rmSync(root, { recursive: true });
    expect(await run(process.execPath, [join(rootfs, 'srv/api/main.js')])).toMatchObject({
      stdout: 'Hello world, please please\n',
      stderr: '',
    });
  });

  test("npm's own layout: a change of a package of the workspace is none of the third-party packages", async () => {
    const root = await installedByNpm();
    const before = layersOf(await build(split, root));
    writeFiles(root, { 'app/packages/greeting/index.js': '// changed\n', 'app/node_modules/.package-lock.json': '{}' });
    const after = layersOf(await build(split, root));
    const changed = Object.keys(after).filter((name) => after[name] !== before[name]);
    expect(changed).toEqual(['api: workspace', 'api: app']);
  });

  test.each([
    ['main.js', 'api: app'],
    ['packages/greeting/index.js', 'api: workspace'],
    ['node_modules/polite/index.js', 'api: third-party'],
  ])('a change of %s is one of the layer %s alone', async (file, changed) => {
    const root = application();
    const before = layersOf(await build(split, root));
    writeFiles(join(root, 'app'), { [file]: '// changed\n' });
    const after = layersOf(await build(split, root));
    expect(Object.keys(after).filter((name) => after[name] !== before[name])).toEqual([changed]);
  });

  test('platforms share the layers that do not differ', async () => {
    const root = temporaryDirectory();
    for (const arch of ['amd64', 'arm64']) {
      application(join(root, arch));
      writeFiles(root, { [`${arch}/app/main.js`]: `// for ${arch}\n` });
    }
    const { images } = await build(
      {
        platforms: ['linux/amd64', 'linux/arm64'],
        layers: [{ name: 'api', from: '{arch}/app', to: '/app', split: 'node' }],
      },
      root,
    );
    const [amd64, arm64] = images.map(({ layers }) => layers);
    expect(amd64?.slice(0, 2)).toEqual(arm64?.slice(0, 2));
    expect(amd64?.[2]).not.toEqual(arm64?.[2]);
  });

  test('a source that is itself a symbolic link: links lead on from where it really lies', async () => {
    const [root, linked] = [application(), temporaryDirectory()];
    renameSync(join(root, 'app'), join(root, 'built'));
    symlinkSync(join(root, 'built'), join(linked, 'app'));
    const modules = join(root, 'built/node_modules');
    for (const link of ['polite', '@acme/greeting']) rmSync(join(modules, link));
    symlinkSync('../../built/node_modules/.pnpm/polite@1.0.0/node_modules/polite', join(modules, 'polite'));
    symlinkSync(join(linked, 'app/packages/greeting'), join(modules, '@acme/greeting'));
    const rootfs = fileTree(await unpacked(await build(split, linked)));
    expect(rootfs['srv/api/node_modules/polite']).toMatch(/ \.pnpm\/polite@1\.0\.0\/node_modules\/polite$/);
    expect(rootfs['srv/api/node_modules/@acme/greeting']).toMatch(/ \.\.\/\.\.\/packages\/greeting$/);
  });

  test('a link that leads out of the source is an error, which a layer that is not split does not have', async () => {
    const root = application();
    symlinkSync('../../elsewhere', join(root, 'app/node_modules/elsewhere'));
    const { message } = await failureOf(LayerSourceError, () => build(split, root));
    expect(message).toContain(`srv/api/node_modules/elsewhere: expected a symbolic link that stays inside of `);
    expect(message).toContain(join(root, 'elsewhere'));
    expect((await build(unsplit, root)).images).toHaveLength(1);
  });

  test('a ready-made tar file can not be split', async () => {
    const options: ImageOptions = { layers: [{ tar: 'layer.tar', split: 'node' }] };
    const { message } = await failureOf(InvalidOptionError, () => build(options, temporaryDirectory()));
    expect(message).toBe('layer "layer.tar": expected "tar" alone, found "split" beside it');
  });

  test('a source without anything makes no layer', async () => {
    const root = temporaryDirectory();
    mkdirSync(join(root, 'app'));
    expect((await build({ layers: [{ from: 'app', split: 'node' }] }, root)).images[0]?.layers).toEqual([]);
  });
});

test('the platform "local" is that of this machine', async () => {
  const root = writeFiles(temporaryDirectory(), { 'linux-amd64/hello': 'a', 'linux-arm64/hello': 'b' });
  const { architecture } = thisPlatform();
  writeFiles(root, { [`linux-${architecture}/hello`]: 'local' });
  const built = await build({ platforms: ['local'], layers: [{ from: '{os}-{arch}' }] }, root);
  expect(built.images.map(({ platform, tag }) => [platform, tag])).toEqual([[`linux/${architecture}`, 'latest']]);
  expect(await readConfig(await readBuilt(built))).toMatchObject({ os: 'linux', architecture });
});
