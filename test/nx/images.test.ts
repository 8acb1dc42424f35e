import { cpSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import type { ExecutorContext, ProjectGraph } from '@nx/devkit';
import { InvalidOptionError } from '../../src';
import { resolveImages } from '../../src/nx/images';
import { sampleImage, temporaryDirectory, writtenLayout } from '../fixtures';

/** A workspace whose project `os-base` builds a layout, and where the executor of `app` runs. */
async function workspace(): Promise<ExecutorContext> {
  const root = temporaryDirectory();
  cpSync(await writtenLayout(await sampleImage()), join(root, 'dist/os-base/image'), { recursive: true });
  const target = (options: object, outputs: string[]) => ({ executor: 'nx-oci:image', options, outputs });
  const targets = {
    image: target({ outputPath: 'dist/os-base/image' }, ['{options.outputPath}']),
    'not-run': target({ outputPath: 'dist/os-base/other' }, ['{options.outputPath}']),
    lint: target({}, []),
    several: target({}, ['{projectRoot}/coverage', '{workspaceRoot}/dist/os-base/image']),
  };
  const node = (name: string, data: object) => ({ name, type: 'lib', data: { root: name, ...data } });
  const projectGraph = {
    nodes: { 'os-base': node('os-base', { targets }), app: node('app', { targets: {} }) },
    dependencies: {},
  } as unknown as ProjectGraph;
  const projectsConfigurations = { version: 2, projects: { app: { root: 'app' } } };
  return {
    root,
    cwd: root,
    projectName: 'app',
    projectGraph,
    projectsConfigurations,
    nxJsonConfiguration: {},
    isVerbose: false,
  };
}

describe('resolveImages', () => {
  test.each([
    ['os-base:image', { path: 'dist/os-base/image' }],
    ['os-base:several', { path: 'dist/os-base/image' }],
    ['dist/os-base/image', { path: 'dist/os-base/image' }],
    ['dist/os-base/image:v1', { path: 'dist/os-base/image', tag: 'v1' }],
    ['./dist/os-base/image:v1', { path: 'dist/os-base/image', tag: 'v1' }],
    [resolve('/layouts/base:v1'), { path: resolve('/layouts/base'), tag: 'v1' }],
    ['os-base', { path: 'os-base' }],
    ['dist:unknown', { path: 'dist', tag: 'unknown' }],
    [':image', { path: ':image' }],
    ['dist/os-base/image:', { path: 'dist/os-base/image:' }],
  ])('%j', async (text, { path, ...selection }) => {
    const context = await workspace();
    expect(resolveImages(text, 'base', context)).toEqual({ ...selection, path: resolve(context.root, path) });
  });

  test.each(['os-bse:image', 'os-base:imagee'])('%j is neither a target nor a layout', async (text) => {
    const context = await workspace();
    expect(() => resolveImages(text, 'base', context)).toThrow(
      `option "base": expected a target, a layout or an image in a registry, found neither a target ${text} nor a directory`,
    );
  });

  test.each([
    ['os-base:not-run', 'dist/os-base/other'],
    ['os-base:lint', 'none'],
  ])('%j has no layout', async (text, outputs) => {
    const context = await workspace();
    const resolving = () => resolveImages(text, 'base', context);
    expect(resolving).toThrow(InvalidOptionError);
    expect(resolving).toThrow(
      `option "base": expected the target ${text} to have an OCI image layout among its outputs (${outputs}), found none; run "nx run ${text}", or add it to this target's dependsOn`,
    );
  });
});
