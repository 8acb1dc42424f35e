import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { createLayout, newIndex, parsePlatform, writeTree } from '../../src';
import { codeBlocks, repository, run, sampleImage, temporaryDirectory, writeFiles } from '../fixtures';

/** The project of a reader who copies the examples. */
const project = temporaryDirectory();

const examples = (language: string, runner: string) =>
  codeBlocks('docs/testing.md', language).filter((code) => code.includes(`from '${runner}'`));

/** Two files of each example, so that several registries run at once. */
function filesOf(codes: readonly string[], ending: string): Record<string, string> {
  const files = codes.flatMap((code, position) => ['one', 'two'].map((name) => [`${name}-${position}${ending}`, code]));
  return Object.fromEntries(files);
}

beforeAll(async () => {
  const platforms = ['linux/amd64', 'linux/arm64'];
  const images = platforms.map(async (platform) => ({
    ref: await sampleImage(['hello'], platform),
    platform: parsePlatform(platform),
  }));
  const index = newIndex(await Promise.all(images));
  await writeTree(await createLayout(index, { tag: 'latest' }), join(project, 'dist/examples/os/index'));
  symlinkSync(join(repository, 'node_modules'), join(project, 'node_modules'));
});

describe('B5: the examples of docs/testing.md pass', () => {
  test('in Jest, which takes the package as it is, without transforming it', async () => {
    const codes = examples('ts', '@jest/globals');
    expect(codes).toHaveLength(2);
    const swc = ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }];
    writeFiles(project, {
      ...filesOf(codes, '.test.ts'),
      'jest.config.json': JSON.stringify({ transform: { '\\.ts$': swc } }),
    });
    const { code, stderr } = await run(
      process.execPath,
      [join(repository, 'node_modules/jest/bin/jest.js'), '--maxWorkers=2'],
      {
        cwd: project,
      },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringMatching(/^Tests: +8 passed, 8 total$/m) });
  });

  test('in node:test', async () => {
    const codes = examples('js', 'node:test');
    expect(codes).toHaveLength(1);
    const files = filesOf(codes, '.mjs');
    writeFiles(project, files);
    // Jest's own tests are no children of another runner.
    const env = { NODE_TEST_CONTEXT: undefined };
    const { code, stdout } = await run(process.execPath, ['--test', ...Object.keys(files)], { cwd: project, env });
    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^\S pass 2$/m) });
  });
});
