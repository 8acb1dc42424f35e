import { existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { formatPlatform, type Index, readLayout, readLayoutIndex, tagOf, verifyLayout } from '../../src';
import { type Finished, repository, run, snapshot, temporaryDirectory, writeFiles } from '../fixtures';

const image = (outputPath: string, platforms: readonly string[]) => ({
  executor: 'nx-oci:image',
  cache: true,
  inputs: ['{projectRoot}/files/**/*'],
  outputs: ['{options.outputPath}'],
  options: { outputPath, platforms, layers: [{ from: 'os/files' }] },
});

const index = (outputPath: string, images: readonly string[], more: object = {}) => ({
  executor: 'nx-oci:index',
  dependsOn: [{ target: 'image', params: 'forward' }],
  cache: true,
  inputs: [{ dependentTasksOutputFiles: '**/index.json' }],
  outputs: ['{options.outputPath}'],
  options: { outputPath, images, ...more },
});

/** One image target for two platforms, and an image target for each of two others. */
const os = {
  name: 'os',
  targets: {
    image: image('dist/os/image', ['linux/amd64', 'linux/arm64']),
    index: index('dist/os/index', ['os:image'], { tag: 'v1', annotations: { a: 'b' } }),
    'image-riscv64': image('dist/os/image-riscv64', ['linux/riscv64']),
    'image-s390x': image('dist/os/image-s390x', ['linux/s390x']),
    'index-of-targets': {
      ...index('dist/os/index-of-targets', ['os:image-s390x', 'os:image-riscv64']),
      dependsOn: ['image-*'],
    },
  },
};

/** What fails, each in its own words. */
const wrong = (more: object, images = ['os:image']) => index('dist/wrong', images, more);
const targets = {
  index: { ...wrong({ platforms: ['linux/s390x'] }), dependsOn: ['os:image'] },
  outside: { ...wrong({ outputPath: '../outside' }), dependsOn: ['os:image'] },
  misspelt: { ...wrong({ image: [] }), dependsOn: [] },
  lonely: { ...wrong({}, ['os:never']), dependsOn: [] },
};

const workspace = writeFiles(temporaryDirectory(), {
  'package.json': JSON.stringify({ name: 'workspace', private: true }),
  'nx.json': JSON.stringify({ analytics: false, neverConnectToCloud: true, cacheDirectory: '.nx/cache' }),
  'os/project.json': JSON.stringify({
    ...os,
    targets: { ...os.targets, never: image('dist/os/never', ['linux/amd64']) },
  }),
  'os/files/etc/os-release': 'NAME=os',
  'wrong/project.json': JSON.stringify({ name: 'wrong', targets }),
});
symlinkSync(join(repository, 'node_modules'), join(workspace, 'node_modules'));

function nx(...args: string[]): Promise<Finished> {
  const env = { NX_DAEMON: 'false', NX_NO_CLOUD: 'true', NO_COLOR: '1', FORCE_COLOR: '0' };
  const command = join(repository, 'node_modules/nx/dist/bin/nx.js');
  return run(process.execPath, [command, ...args, '--output-style=static'], { cwd: workspace, env });
}

const dist = (target: string) => join(workspace, 'dist/os', target);
const readIndex = async (target: string) => (await readLayout(dist(target))) as Index;
const platformsIn = (root: Index) => root.children().map(({ platform }) => platform && formatPlatform(platform));

/** What was printed of one target: behind its name the cache it came from, if so, then its output. */
const printedOf = ({ stdout }: Finished, task: string) =>
  stdout.split(/^> nx run /m).find((block) => block.startsWith(`${task} `) || block.startsWith(`${task}\n`)) ?? '';
const fromCache = /^\S+ {2}\[(local cache|existing outputs match the cache[^\]]*)\]/;

// One story: what a run leaves is what the next one finds.
describe('the index executor in a workspace', () => {
  let first: Finished;
  beforeAll(async () => {
    first = await nx('run-many', '--targets=index,index-of-targets,outside,misspelt,lonely', '--projects=os,wrong');
  }, 120_000);

  test('writes one root over the images of a target, with platforms, tag and digest', async () => {
    const root = await readIndex('index');
    expect(platformsIn(root)).toEqual(['linux/amd64', 'linux/arm64']);
    expect(root.manifest.annotations).toEqual({ a: 'b' });
    const images = (await readLayoutIndex(dist('image'))).children();
    expect(root.children().map(({ digest }) => digest)).toEqual(images.map(({ digest }) => digest));
    expect((await readLayoutIndex(dist('index'))).children().map(tagOf)).toEqual(['v1']);
    expect(readFileSync(join(dist('index'), 'digest'), 'utf8')).toBe(root.digest);
    expect(await verifyLayout(dist('index'))).toMatchObject({ problems: [], manifests: 3 });
  });

  test('or over a target per platform, in the order of the option', async () => {
    expect(platformsIn(await readIndex('index-of-targets'))).toEqual(['linux/s390x', 'linux/riscv64']);
  });

  test('prints what it built', async () => {
    const printed = printedOf(first, 'os:index');
    const { digest } = await readIndex('index');
    expect(printed).not.toMatch(fromCache);
    for (const words of ['dist/os/index\n', `digest ${digest}`, 'tag    v1', 'linux/amd64', 'linux/arm64']) {
      expect(printed).toContain(words);
    }
  });

  test.each([
    ['O14: a platform that is not there', 'index', 'expected an image for linux/s390x, found linux/amd64, linux/arm64'],
    ['ACCEPTANCE 48: an output outside', 'outside', 'option "outputPath": expected a directory of its own inside'],
    ['an unknown option', 'misspelt', "'image' is not found in schema"],
    [
      'a target that did not run',
      'lonely',
      'option "images": expected the target os:never to have an OCI image layout',
    ],
  ])('%s: fails, and says why in words', (_, target, message) => {
    expect(first.code).not.toBe(0);
    const printed = printedOf(first, `wrong:${target}`);
    expect(printed).toContain(message);
    expect(printed).not.toMatch(/^ {4}at /m);
    for (const path of ['dist/wrong', '../outside']) expect(existsSync(join(workspace, path))).toBe(false);
  });

  describe('run again', () => {
    test('takes what it built from the cache, byte for byte', async () => {
      const before = snapshot(dist('index'));
      rmSync(dist('index'), { recursive: true });
      const second = await nx('run', 'os:index');
      expect(second.code).toBe(0);
      for (const task of ['os:image', 'os:index']) expect(printedOf(second, task)).toMatch(fromCache);
      expect(snapshot(dist('index'))).toEqual(before);
    }, 60_000);

    test('hands --platforms on to the image, and takes only those', async () => {
      const finished = await nx('run', 'os:index', '--platforms=linux/riscv64,linux/arm/v6');
      expect({ code: finished.code, stderr: finished.stderr }).toEqual({ code: 0, stderr: '' });
      expect(platformsIn(await readIndex('index'))).toEqual(['linux/riscv64', 'linux/arm/v6']);
      expect((await readLayoutIndex(dist('image'))).children()).toHaveLength(2);
      expect(await verifyLayout(dist('index'))).toMatchObject({ problems: [], manifests: 3 });
    }, 60_000);
  });
});
