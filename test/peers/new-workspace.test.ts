import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { createLayout, newIndex, parsePlatform, writeTree } from '../../src';
import { codeBlocks, repository, sampleImage, snapshot, temporaryDirectory, writeFiles } from '../fixtures';
import { succeed, verify } from './programs';

const nxJson = { analytics: false, neverConnectToCloud: true, cacheDirectory: '.nx/cache' };

const projectJson = {
  name: 'app',
  targets: {
    image: {
      executor: 'nx-oci:image',
      cache: true,
      inputs: ['{projectRoot}/**/*'],
      outputs: ['{options.outputPath}'],
      options: { outputPath: 'dist/app/image', layers: [{ from: 'app/files', to: '/srv' }], cmd: ['/srv/run'] },
    },
  },
};

/** What Nx writes behind the name of a task that it did not run. */
const cacheHit = /existing outputs match the cache|local cache/;

let tarball: string;
let contents: string[];

beforeAll(async () => {
  const directory = temporaryDirectory();
  // Without its scripts: other tests run the command that they would compile anew.
  const pack = ['pack', '--json', '--ignore-scripts', '--pack-destination', directory];
  const [{ filename, files }] = JSON.parse(await succeed('npm', pack, { cwd: repository }));
  tarball = join(directory, filename);
  contents = files.map(({ path }: { path: string }) => path);
});

describe('the package', () => {
  test.each([
    'LICENSE',
    'package.json',
    'executors.json',
    'generators.json',
    'executors/image/schema.json',
    'lib/executors/image/executor.js',
    'lib/src/cli.js',
    'lib/src/index.js',
    'lib/src/index.d.ts',
  ])('has %s', (path) => {
    expect(contents).toContain(path);
  });

  test('has nothing that only its development needs', () => {
    const allowed = /^(LICENSE|README\.md|CHANGELOG\.md|[a-z]+\.json|docs\/.+\.md|executors\/[a-z-]+\/schema\.json)$/;
    const compiled = /^lib\/(src|executors|generators)\/.+\.(js|d\.ts)$/;
    expect(contents.filter((path) => !allowed.test(path) && !compiled.test(path))).toEqual([]);
  });
});

describe.each([
  { nx: '24.0.6', devkit: '24.0.0' },
  { nx: '23.2.1', devkit: '23.2.1' },
])('in a new workspace with Nx $nx', ({ nx, devkit }) => {
  let workspace: string;
  // A cache of its own, so that no other workspace's builds count as hits.
  const env = { NX_DAEMON: 'false', NX_CACHE_DIRECTORY: undefined };
  const runImage = () => succeed('npx', ['nx', 'run', 'app:image'], { cwd: workspace, env });
  const node = (file: string) => succeed(process.execPath, [file], { cwd: workspace });

  beforeAll(async () => {
    workspace = writeFiles(temporaryDirectory(), {
      'package.json': JSON.stringify({ name: 'workspace', version: '1.0.0', private: true }),
      'nx.json': JSON.stringify(nxJson),
      'app/project.json': JSON.stringify(projectJson),
      'app/files/run': '#!/bin/sh\n',
      'types.ts':
        "import { type Digest, digestOf } from 'nx-oci';\nexport const digest: Digest = digestOf(new Uint8Array());\n",
      'module.mjs':
        "import { createLayout, digestOf } from 'nx-oci';\nconsole.log(typeof createLayout, digestOf(Buffer.of()));\n",
      'common.cjs':
        "const { createLayout, digestOf } = require('nx-oci');\nconsole.log(typeof createLayout, digestOf(Buffer.of()));\n",
    });
    const packages = [`nx@${nx}`, `@nx/devkit@${devkit}`, tarball];
    await succeed('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', ...packages], { cwd: workspace });
  });

  test('the executor builds a layout that verifies, and the cache restores it byte for byte', async () => {
    const layout = join(workspace, 'dist/app/image');
    const first = await runImage();
    expect(first).toContain(readFileSync(join(layout, 'digest'), 'utf8'));
    expect(first).not.toMatch(cacheHit);
    await verify(layout);
    const built = snapshot(layout);

    expect(await runImage()).toMatch(cacheHit);

    rmSync(join(workspace, 'dist'), { recursive: true });
    expect(await runImage()).toMatch(cacheHit);
    expect(snapshot(layout)).toEqual(built);
  });

  test('the command runs', async () => {
    const command = join(workspace, 'node_modules/.bin/nx-oci');
    const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
    expect(await succeed(command, ['--version'])).toBe(`${version}\n`);
  });

  test.each(['module.mjs', 'common.cjs'])('%s uses the library', async (file) => {
    const digest = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
    expect(await node(file)).toBe(`function ${digest}\n`);
  });

  test.each([
    ['node20', 'node16'],
    ['esnext', 'bundler'],
  ])('TypeScript finds its types with module %s', async (module, moduleResolution) => {
    const compiler = join(repository, 'node_modules/typescript/bin/tsc');
    const types = ['--typeRoots', join(repository, 'node_modules/@types'), '--types', 'node'];
    const options = [
      '--noEmit',
      '--strict',
      '--target',
      'es2022',
      '--module',
      module,
      '--moduleResolution',
      moduleResolution,
    ];
    await succeed(process.execPath, [compiler, ...options, ...types, 'types.ts'], { cwd: workspace });
  });

  test('the package brings no Nx of its own', () => {
    expect(existsSync(join(workspace, 'node_modules/nx-oci/node_modules/nx'))).toBe(false);
    expect(existsSync(join(workspace, 'node_modules/nx-oci/node_modules/@nx'))).toBe(false);
  });
});

test('B5: the example of docs/testing.md passes in Vitest, in several files at once', async () => {
  const firstLine = codeBlocks('docs/testing.md', 'js').find((code) => code.includes("from 'vitest'")) as string;
  const [forJest] = codeBlocks('docs/testing.md', 'ts').filter((code) => code.includes("from '@jest/globals'"));
  const example = (forJest as string).replace(/^import .*'@jest\/globals';\n/, firstLine);
  expect(example).toContain("from 'vitest'");
  const project = writeFiles(temporaryDirectory(), {
    'package.json': JSON.stringify({ name: 'project', version: '1.0.0', private: true }),
    'one.test.ts': example,
    'two.test.ts': example,
  });
  const images = ['linux/amd64', 'linux/arm64'].map(async (platform) => ({
    ref: await sampleImage([platform], platform),
    platform: parsePlatform(platform),
  }));
  const index = newIndex(await Promise.all(images));
  await writeTree(await createLayout(index, { tag: 'latest' }), join(project, 'dist/examples/os/index'));
  const packages = ['vitest@4', tarball];
  await succeed('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', ...packages], { cwd: project });
  const output = await succeed('npx', ['vitest', 'run', '--reporter=json'], { cwd: project });
  expect(JSON.parse(output)).toMatchObject({ numPassedTests: 6, numFailedTests: 0, success: true });
});
