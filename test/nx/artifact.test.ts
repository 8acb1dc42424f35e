import { existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { asImage, descriptorOf, readLayout, verifyLayout } from '../../src';
import { type Finished, repository, run, snapshot, temporaryDirectory, writeFiles } from '../fixtures';

const artifactType = 'application/spdx+json';
const cached = { cache: true, outputs: ['{options.outputPath}'] };

const artifact = (project: string, options: object, more: object = {}) => ({
  executor: 'nx-oci:artifact',
  ...cached,
  inputs: [`{workspaceRoot}/files/**/*`, { dependentTasksOutputFiles: '**/index.json' }],
  options: { outputPath: `dist/${project}/artifact`, ...options },
  ...more,
});

const workspace = writeFiles(temporaryDirectory(), {
  'package.json': JSON.stringify({ name: 'workspace', private: true }),
  'nx.json': JSON.stringify({ analytics: false, neverConnectToCloud: true, cacheDirectory: '.nx/cache' }),
  'files/sbom.json': '{}',
  'files/deep/notes.txt': 'notes',
  'app/project.json': JSON.stringify({
    name: 'app',
    targets: {
      image: {
        executor: 'nx-oci:image',
        ...cached,
        inputs: ['{workspaceRoot}/files/**/*'],
        options: { outputPath: 'dist/app/image', layers: [{ from: 'files' }] },
      },
      artifact: artifact(
        'app',
        { artifactType, files: [{ from: 'files' }], subject: 'app:image', annotations: { a: 'b' }, tag: 'v1' },
        { dependsOn: ['image'] },
      ),
    },
  }),
  'nameless/project.json': JSON.stringify({
    name: 'nameless',
    targets: { artifact: artifact('nameless', { files: [{ from: 'files' }] }) },
  }),
  'lonely/project.json': JSON.stringify({
    name: 'lonely',
    targets: {
      artifact: artifact('lonely', { artifactType, subject: 'lonely:image' }),
      image: { executor: 'nx-oci:image', ...cached, options: { outputPath: 'dist/lonely/image' } },
    },
  }),
});
symlinkSync(join(repository, 'node_modules'), join(workspace, 'node_modules'));

function nx(...args: string[]): Promise<Finished> {
  const env = { NX_DAEMON: 'false', NX_NO_CLOUD: 'true', NO_COLOR: '1', FORCE_COLOR: '0' };
  const command = join(repository, 'node_modules/nx/dist/bin/nx.js');
  return run(process.execPath, [command, ...args, '--output-style=static'], { cwd: workspace, env });
}

const dist = (path: string) => join(workspace, 'dist', path);
const printedOf = ({ stdout }: Finished, project: string) =>
  stdout.split(/^> nx run /m).find((block) => block.startsWith(`${project}:artifact`)) ?? '';

// One story: what a run leaves is what the next one finds.
describe('the artifact executor in a workspace', () => {
  let first: Finished;
  beforeAll(async () => {
    first = await nx('run-many', '--target=artifact', '--projects=app,nameless,lonely');
  }, 60_000);

  test('L7: builds an artifact of files that speaks of what another target built', async () => {
    const { manifest, digest } = asImage(await readLayout(dist('app/artifact'), { tag: 'v1' }));
    expect(manifest).toMatchObject({
      artifactType,
      layers: ['deep/notes.txt', 'sbom.json'].map((name) => ({
        mediaType: 'application/octet-stream',
        annotations: { 'org.opencontainers.image.title': name },
      })),
      subject: descriptorOf(await readLayout(dist('app/image'))),
      annotations: { a: 'b' },
    });
    expect(readFileSync(dist('app/artifact/digest'), 'utf8')).toBe(digest);
    expect(await verifyLayout(dist('app/artifact'))).toMatchObject({ problems: [], manifests: 1 });
    const printed = printedOf(first, 'app');
    for (const words of ['dist/app/artifact\n', `digest ${digest}`, `type   ${artifactType}`, 'deep/notes.txt']) {
      expect(printed).toContain(words);
    }
  });

  test.each([
    ['nameless', 'artifact: expected an artifactType, or a config whose media type says it, found neither'],
    ['lonely', 'option "subject": expected the target lonely:image to have an OCI image layout among its outputs'],
  ])('ACCEPTANCE 49: %s fails, says why in words, and writes nothing', (project, message) => {
    expect(first.code).not.toBe(0);
    const printed = printedOf(first, project);
    expect(printed).toContain(message);
    expect(printed).not.toMatch(/^ {4}at /m);
    expect(existsSync(dist(project))).toBe(false);
  });

  test('comes from the cache the next time, byte for byte', async () => {
    const before = snapshot(dist('app/artifact'));
    rmSync(dist('app/artifact'), { recursive: true });
    const second = await nx('run', 'app:artifact');
    expect(second.code).toBe(0);
    expect(printedOf(second, 'app')).toMatch(/^\S+ {2}\[(local cache|existing outputs match the cache)/);
    expect(snapshot(dist('app/artifact'))).toEqual(before);
  }, 60_000);
});
