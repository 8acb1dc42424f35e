import { cpSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { type Finished, repository, temporaryDirectory } from '../fixtures';
import { runNx } from '../nx/workspace';

/** The workspace as a clone has it, but for what the examples do not need. */
const workspace = temporaryDirectory();
const files = ['nx.json', 'package.json', 'package-lock.json', 'tsconfig.json', 'jest.config.js', 'examples'];
for (const file of files) cpSync(join(repository, file), join(workspace, file), { recursive: true });
for (const made of ['node_modules', 'lib']) symlinkSync(join(repository, made), join(workspace, made));

const e2e = (environment: NodeJS.ProcessEnv = {}) =>
  runNx(workspace, ['run', 'os-e2e:e2e', '--output-style=static'], {
    NX_CACHE_DIRECTORY: join(workspace, '.nx/cache'),
    ...environment,
  });

const tasksOf = ({ stdout }: Finished) => [...stdout.matchAll(/^> nx run (\S+)(?: {2}\[(.+)\])?$/gm)];
const fromCache = (finished: Finished) => tasksOf(finished).flatMap(([, task, cache]) => (cache ? [task] : []));

// One story: what a run leaves is what the next one finds.
describe('nx run os-e2e:e2e', () => {
  let first: Finished;
  beforeAll(async () => {
    first = await e2e();
  }, 120_000);

  test('builds the index, serves it, and passes the tests against it', () => {
    expect({ code: first.code, tests: /^Tests: .*$/m.exec(stripVTControlCharacters(first.stdout))?.[0] }).toEqual({
      code: 0,
      // The container is skipped where it can't run.
      tests: expect.stringMatching(/^Tests: +(?:1 skipped, 9 passed|10 passed), 10 total$/),
    });
    const tasks = tasksOf(first).map(([, task]) => task);
    expect(tasks.sort()).toEqual(['os-e2e:e2e', 'os-e2e:registry', 'os:build', 'os:image', 'os:index']);
    expect(first.stdout).toMatch(/^registry http:\/\/127\.0\.0\.1:\d+\n {2}127\.0\.0\.1:\d+\/os:v1$/m);
  });

  test('leaves no registry behind', async () => {
    const url = /^registry (\S+)$/m.exec(first.stdout)?.[1] as string;
    await expect(fetch(`${url}/v2/`)).rejects.toThrow('fetch failed');
  });

  test('again is a cache hit', async () => {
    const again = await e2e();
    expect(again).toMatchObject({ code: 0 });
    expect(fromCache(again)).toEqual(['os:build', 'os:image', 'os:index', 'os-e2e:e2e']);
  }, 60_000);

  test('of another index is none', async () => {
    const other = await e2e({ SOURCE_DATE_EPOCH: '1' });
    expect(other).toMatchObject({ code: 0 });
    expect(fromCache(other)).toEqual(['os:build']);
  }, 120_000);
});
