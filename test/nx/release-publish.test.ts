import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ExecutorContext } from '@nx/devkit';
import { asImage, OciError, readLayout } from '../../src';
import { runReleasePublish } from '../../src/nx/release-publish';
import { type Registry, startRegistry } from '../../src/registry/server/start-registry';
import { expectSuccess, type Finished, failureOf, run, sampleImage, taggedLayout } from '../fixtures';
import { nxWorkspace, projectFile, runNx } from './workspace';

/** What `@nx/js` brings for projects with a package.json, as short as Nx lets it be. */
const versionActions = `
const { VersionActions } = require('nx/release');
const { join } = require('node:path');
module.exports = class extends VersionActions {
  validManifestFilenames = ['package.json'];
  path = () => join(this.projectGraphNode.data.root, 'package.json');
  read = (tree) => JSON.parse(tree.read(this.path(), 'utf8'));
  async readCurrentVersionFromSourceManifest(tree) {
    return { currentVersion: this.read(tree).version, manifestPath: this.path() };
  }
  async readCurrentVersionFromRegistry() { return null; }
  async readCurrentVersionOfDependency() { return { currentVersion: null, dependencyCollection: null }; }
  async updateProjectVersion(tree, version) {
    tree.write(this.path(), JSON.stringify({ ...this.read(tree), version }));
    return [];
  }
  async updateProjectDependencies() { return []; }
};`;

let registry: Registry;
let other: Registry;
let workspace: string;
beforeAll(async () => {
  registry = await startRegistry();
  other = await startRegistry();
  const image = (name: string) => ({
    executor: 'nx-oci:image',
    cache: true,
    inputs: ['{projectRoot}/files/**/*'],
    outputs: ['{options.outputPath}'],
    options: { outputPath: `dist/${name}`, layers: [{ from: `${name}/files` }] },
  });
  const publish = (name: string) => ({
    executor: 'nx-oci:release-publish',
    dependsOn: ['image'],
    options: { image: `${name}:image`, references: [`${registry.host}/${name}:{version}`] },
  });
  const project = (name: string) => ({
    ...projectFile(name, { image: image(name), 'nx-release-publish': publish(name) }),
    [`${name}/package.json`]: JSON.stringify({ name, version: '1.0.0', private: true }),
    [`${name}/files/file`]: name,
  });
  const commands = { command: 'echo released the package', forwardAllArgs: false };
  workspace = nxWorkspace(
    {
      ...project('api'),
      ...project('worker'),
      ...projectFile('lib', { 'nx-release-publish': { executor: 'nx:run-commands', options: commands } }),
      'lib/package.json': JSON.stringify({ name: 'lib', version: '1.0.0' }),
      'version-actions.cjs': versionActions,
    },
    {
      release: {
        groups: { images: { projects: ['api', 'worker'] }, packages: { projects: ['lib'] } },
        version: { versionActions: './version-actions.cjs', currentVersionResolver: 'disk' },
        changelog: { workspaceChangelog: false, projectChangelogs: false },
      },
    },
  );
  for (const args of [
    ['init', '-q'],
    ['add', '.'],
    ['commit', '-qm', 'all'],
  ])
    expectSuccess(await git(...args));
});
afterAll(async () => {
  await registry.close();
  await other.close();
});

const author = { GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b' };
const git = (...args: string[]) => run('git', args, { cwd: workspace, env: author });

const nx = (...args: string[]) => runNx(workspace, args, author);

/** What was printed of the publishing of a project. */
function printedOf({ stdout }: Finished, project: string): string {
  const block = stdout.split(/^> nx run /m).find((text) => text.startsWith(`${project}:nx-release-publish`));
  expect({ project, block }).toEqual({ project, block: expect.any(String) });
  return block ?? '';
}

const digestOf = async (project: string) => asImage(await readLayout(join(workspace, 'dist', project))).digest;

// One story, because each run of Nx takes seconds: what one leaves is what the next one finds.
describe('nx release', () => {
  test('--dry-run builds the images, and says what would be pushed as which version', async () => {
    const finished = await nx('release', '2.0.0', '--yes', '--first-release', '--dry-run');
    expect({ code: finished.code, stdout: finished.stdout }).toMatchObject({ code: 0 });
    for (const project of ['api', 'worker']) {
      const printed = printedOf(finished, project);
      expect(printed).toContain(`${registry.host}/${project}:2.0.0@${await digestOf(project)}`);
      expect(printed).toContain('at most would be sent');
    }
    expect(printedOf(finished, 'lib')).toContain('released the package');
    expect(registry.requests).toEqual([]);
  }, 90_000);

  test('pushes the images under the version that it gives, beside a package of npm', async () => {
    const finished = await nx('release', '2.0.0', '--yes', '--first-release');
    expect({ code: finished.code, stdout: finished.stdout }).toMatchObject({ code: 0 });
    expect(printedOf(finished, 'lib')).toContain('released the package');
    for (const project of ['api', 'worker']) {
      expect(printedOf(finished, project)).toContain('2 blobs sent');
      expect(await registry.storage.tags(project)).toEqual(['2.0.0']);
      expect((await registry.storage.manifest(project, '2.0.0'))?.digest).toBe(await digestOf(project));
    }
  }, 90_000);

  test('publish: --registry and --tag lead elsewhere, flags for npm are taken, and dependencies that did not run are named', async () => {
    rmSync(join(workspace, 'dist/worker'), { recursive: true });
    const args = ['--projects=api,worker', `--registry=${other.host}`, '--tag=next', '--otp=123', '--access=public'];
    const finished = await nx('release', 'publish', ...args);
    expect(finished.code).not.toBe(0);
    expect(await other.storage.tags('api')).toEqual(['2.0.0', 'next']);
    expect(printedOf(finished, 'api')).toContain(`${other.host}/api:next@${await digestOf('api')}`);
    expect(printedOf(finished, 'worker')).toContain('run "nx run worker:image", or add it to this target\'s dependsOn');
    expect(await other.storage.repositories()).toEqual(['api']);
  }, 90_000);
});

describe('the options of a release', () => {
  const npm = 'http://user:hunter2@localhost:4873/';
  const context = (root: string): ExecutorContext =>
    ({
      root,
      cwd: root,
      isVerbose: false,
      projectName: 'api',
      targetName: 'nx-release-publish',
      projectGraph: { nodes: { api: { data: { root: 'api' } } }, dependencies: {} },
      projectsConfigurations: { version: 2, projects: { api: { root: 'api' } } },
      nxJsonConfiguration: {},
    }) as unknown as ExecutorContext;
  const options = { image: 'layout', references: ['registry.example/api:{version}'], dryRun: true };
  const released = (newVersion: string | null) => ({ nxReleaseVersionData: { api: { newVersion } } });
  let root: string;
  beforeAll(async () => {
    root = join(await taggedLayout({ v1: await sampleImage() }), '..');
  });

  test('a project without a new version is not pushed', async () => {
    expect(await runReleasePublish({ ...options, ...released(null) }, context(root))).toBe(
      'api: not pushed, because it has no new version',
    );
  });

  test('NX_DRY_RUN counts, whatever the options say: Nx sets it for all that a release runs', async () => {
    process.env.NX_DRY_RUN = 'true';
    try {
      const report = await runReleasePublish({ ...options, ...released('1.2.3'), dryRun: false }, context(root));
      expect(report).toContain('at most would be sent');
    } finally {
      delete process.env.NX_DRY_RUN;
    }
  });

  test.each<[string, object, readonly string[]]>([
    ['the version', {}, ['registry.example/api:1.2.3']],
    ['another registry', { registry: 'localhost:5000' }, ['localhost:5000/api:1.2.3']],
    ['one more tag', { tag: 'next' }, ['registry.example/api:1.2.3', 'registry.example/api:next']],
    ['the same tag', { tag: '1.2.3' }, ['registry.example/api:1.2.3']],
  ])('%s', async (_, more, references) => {
    const report = await runReleasePublish({ ...options, ...released('1.2.3'), ...more }, context(root));
    expect(report.match(/^\S+(?=@)/gm)).toEqual(references);
  });

  test.each<[string, object, string]>([
    ['ACCEPTANCE 49: the registry of npm', { registry: npm }, 'option "registry": expected a registry of images'],
    ['a registry with a path', { registry: 'registry.example/team' }, 'expected a registry of images, as host'],
    ['ACCEPTANCE 50: a newline in a tag', { tag: 'a\nb' }, 'as tag, found "a\\nb"'],
  ])('%s is refused', async (_, more, message) => {
    const failure = await failureOf(OciError, () =>
      runReleasePublish({ ...options, ...released('1.2.3'), ...more }, context(root)),
    );
    expect(failure.message).toContain(message);
    expect(failure.message).not.toContain('hunter2');
  });
});
