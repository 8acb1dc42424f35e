import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { asImage, readLayout, readLayoutIndex, tagOf, verifyLayout } from '../../src';
import { type Finished, repository, run, snapshot, temporaryDirectory, writeFiles } from '../fixtures';

const secret = 'a-secret-of-the-environment';

/** A project with an `image` target. */
function projectJson(name: string, options: object, more: object = {}): Record<string, string> {
  const target = {
    executor: 'nx-oci:image',
    cache: true,
    inputs: ['{projectRoot}/files/**/*', { dependentTasksOutputFiles: '**/index.json' }],
    outputs: ['{options.outputPath}'],
    options: { outputPath: `dist/${name}`, layers: [{ from: `${name}/files` }], ...options },
    ...more,
  };
  return { [`${name}/project.json`]: JSON.stringify({ name, targets: { image: target } }) };
}

const workspace = writeFiles(temporaryDirectory(), {
  'package.json': JSON.stringify({ name: 'workspace', private: true }),
  'nx.json': JSON.stringify({ analytics: false, neverConnectToCloud: true, cacheDirectory: '.nx/cache' }),
  ...projectJson('os-base', { platforms: ['linux/amd64', 'linux/arm64'] }),
  'os-base/files/etc/os-release': 'NAME=os',
  ...projectJson('app', { base: 'os-base:image', tag: 'v1' }, { dependsOn: ['os-base:image'] }),
  'app/files/app/main': 'main',
  ...projectJson('incomplete', { layers: [{ from: 'incomplete/files' }, { from: 'incomplete/made-later' }] }),
  'incomplete/files/file': 'file',
  ...projectJson('outside', { outputPath: '../outside' }),
  ...projectJson('itself', { outputPath: 'itself' }),
  ...projectJson('misspelt', { layer: [] }),
  ...projectJson('lonely', { base: 'never:image' }),
  ...projectJson('never', {}),
});
symlinkSync(join(repository, 'node_modules'), join(workspace, 'node_modules'));

function nx(...args: string[]): Promise<Finished> {
  const env = { NX_DAEMON: 'false', NX_NO_CLOUD: 'true', NO_COLOR: '1', FORCE_COLOR: '0', API_TOKEN: secret };
  const command = join(repository, 'node_modules/nx/dist/bin/nx.js');
  return run(process.execPath, [command, ...args, '--output-style=static'], { cwd: workspace, env });
}

const runMany = (projects: string) => nx('run-many', '--target=image', `--projects=${projects}`);

/** What was printed of one target: behind its name the cache it came from, if so, then its output. */
function printedOf({ stdout, stderr }: Finished, project: string): string {
  expect(stdout + stderr).not.toContain(secret);
  const blocks = stdout.split(/^> nx run /m);
  return blocks.find((block) => block.startsWith(`${project}:image`)) ?? '';
}

const fromCache = /^\S+ {2}\[(local cache|existing outputs match the cache[^\]]*)\]/;
const dist = (project: string) => join(workspace, 'dist', project);

async function imagesOf(project: string) {
  const index = await readLayoutIndex(dist(project));
  return Promise.all(
    index.children().map(async (child) => ({ tag: tagOf(child), image: asImage(await index.ref(child)) })),
  );
}

// One story: what a run leaves is what the next one finds.
describe('the image executor in a workspace', () => {
  let first: Finished;
  beforeAll(async () => {
    first = await runMany('app,incomplete,outside,itself,misspelt,lonely');
  }, 60_000);

  test('builds an image for each platform on the base that another target built', async () => {
    const bases = await imagesOf('os-base');
    const images = await imagesOf('app');
    expect(images.map(({ tag }) => tag)).toEqual(['v1-linux-amd64', 'v1-linux-arm64']);
    for (const [position, { image }] of images.entries()) {
      const [base, own, ...more] = image.manifest.layers;
      expect([base]).toEqual(bases[position]?.image.manifest.layers);
      expect([own, ...more]).toEqual([expect.objectContaining({ size: expect.any(Number) })]);
    }
    expect(await verifyLayout(dist('app'))).toMatchObject({ problems: [], manifests: 2 });
  });

  test('prints what it built', async () => {
    const printed = printedOf(first, 'app');
    expect(printed).not.toMatch(fromCache);
    expect(printed).toContain('dist/app\n');
    expect(printed).toContain(readFileSync(join(dist('app'), 'digest'), 'utf8'));
    for (const { image } of await imagesOf('app')) expect(printed).toContain(image.digest);
  });

  test.each([
    ['ACCEPTANCE 49', 'incomplete', `${join(workspace, 'incomplete/made-later')}: expected a file or directory`],
    ['ACCEPTANCE 48', 'outside', 'option "outputPath": expected a directory of its own inside the workspace'],
    ['ACCEPTANCE 48', 'itself', 'found "itself", which is or contains the project itself'],
    ['an unknown option', 'misspelt', "'layer' is not found in schema"],
    ['a base whose target did not run', 'lonely', 'run "nx run never:image", or add it to this target\'s dependsOn'],
  ])('%s: %s fails, and says why in words', (_, project, message) => {
    expect(first.code).not.toBe(0);
    const printed = printedOf(first, project);
    expect(printed).toContain(message);
    expect(printed).not.toMatch(/^ {4}at /m);
    expect(existsSync(dist(project))).toBe(false);
  });

  test('B4: what later builds can use again is kept in the workspace, and never in git', () => {
    expect(readdirSync(join(workspace, '.nx/oci/layers')).length).toBeGreaterThan(1);
    expect(readFileSync(join(workspace, '.nx/oci/.gitignore'), 'utf8')).toBe('*\n');
  });

  test('a failure writes nothing', () => {
    expect(existsSync(join(workspace, '../outside'))).toBe(false);
    expect(Object.keys(snapshot(join(workspace, 'itself')))).toEqual(['project.json']);
  });

  describe('run again', () => {
    let second: Finished;
    let before: Record<string, string>;
    beforeAll(async () => {
      before = snapshot(dist('app'));
      rmSync(dist('app'), { recursive: true });
      // Not one of the target's inputs: only a failure that was not cached is run again.
      writeFiles(workspace, { 'incomplete/made-later/file': 'file' });
      second = await runMany('app,incomplete');
    }, 60_000);

    test('takes what it built from the cache, byte for byte', () => {
      expect(second.code).toBe(0);
      for (const project of ['app', 'os-base']) expect(printedOf(second, project)).toMatch(fromCache);
      expect(snapshot(dist('app'))).toEqual(before);
    });

    test('ACCEPTANCE 49: builds what failed before, because a failure is not cached', async () => {
      expect(printedOf(second, 'incomplete')).toMatch(/^incomplete:image\n/);
      expect(asImage(await readLayout(dist('incomplete'))).manifest.layers).toHaveLength(2);
    });
  });

  test('builds again what a changed source goes into, and only that', async () => {
    const before = await imagesOf('app');
    writeFiles(workspace, { 'os-base/files/etc/os-release': 'NAME=os 2' });
    const third = await runMany('app,incomplete');
    expect(third.code).toBe(0);
    expect(printedOf(third, 'os-base')).not.toMatch(fromCache);
    expect(printedOf(third, 'app')).not.toMatch(fromCache);
    expect(printedOf(third, 'incomplete')).toMatch(fromCache);
    const after = await imagesOf('app');
    expect(after[0]?.image.manifest.layers[1]).toEqual(before[0]?.image.manifest.layers[1]);
    expect(after[0]?.image.manifest.layers[0]).not.toEqual(before[0]?.image.manifest.layers[0]);
    expect(await verifyLayout(dist('app'))).toMatchObject({ problems: [] });
  }, 60_000);

  test('takes platforms from the command line', async () => {
    const finished = await nx('run', 'incomplete:image', '--platforms=linux/riscv64,linux/arm/v6');
    expect({ code: finished.code, stderr: finished.stderr }).toEqual({ code: 0, stderr: '' });
    const tags = (await imagesOf('incomplete')).map(({ tag }) => tag);
    expect(tags).toEqual(['latest-linux-riscv64', 'latest-linux-arm-v6']);
  }, 60_000);
});
