import { PassThrough } from 'node:stream';
import { expect, test } from '@jest/globals';
import { progressOn } from '../../src/terminal/progress';

const large = 100_000_000;

/** What appears on a stream while a layer of this size is built. */
function shown(stream: { isTTY: boolean }, environment: NodeJS.ProcessEnv, total: number): string {
  const output = Object.assign(
    new PassThrough(),
    { columns: 120, cursorTo: () => true, clearLine: () => true },
    stream,
  );
  const progress = progressOn(output as unknown as NodeJS.WriteStream, environment);
  progress.layer({ platform: 'linux/arm64', layer: 'app', done: 0, total });
  progress.layer({ platform: 'linux/arm64', layer: 'app', done: total / 2, total });
  progress.stop();
  progress.stop();
  return String(output.read() ?? '');
}

test('a bar on a terminal', () => {
  expect(shown({ isTTY: true }, {}, large)).toMatch(/linux\/arm64 app .*0% of 100 MB/);
  expect(shown({ isTTY: true }, { CI: 'false' }, large)).toContain('linux/arm64 app');
  expect(shown({ isTTY: true }, { CI: '' }, large)).toContain('linux/arm64 app');
});

test.each<[string, boolean, NodeJS.ProcessEnv, number]>([
  ['in a pipe or a file', false, {}, large],
  ['in CI', true, { CI: 'true' }, large],
  ['for a layer that is soon done', true, {}, 1_000_000],
])('nothing %s', (_, isTTY, environment, total) => {
  expect(shown({ isTTY }, environment, total)).toBe('');
});

/** What appears of transfers of this size to these places, one after the other. */
function transferred(isTTY: boolean, environment: NodeJS.ProcessEnv, total: number, ...names: string[]): string {
  const output = Object.assign(new PassThrough(), { columns: 120, cursorTo: () => true, clearLine: () => true, isTTY });
  const progress = progressOn(output as unknown as NodeJS.WriteStream, environment);
  for (const name of names) {
    for (const done of [0, total, total / 2]) progress.transfer(name, { done, total });
  }
  progress.stop();
  return String(output.read() ?? '');
}

test('a bar for each place that something is sent to', () => {
  const text = transferred(true, {}, large, 'registry.example/os:v1', 'registry.example/os:v2');
  expect(text).toMatch(/registry\.example\/os:v1 .*0% of 100 MB/);
  expect(text).toContain('registry.example/os:v2');
});

test.each<[string, boolean, NodeJS.ProcessEnv, number]>([
  ['in a pipe or a file', false, {}, large],
  ['in CI', true, { CI: 'true' }, large],
  ['of what is soon sent', true, {}, 1_000_000],
])('no bar %s', (_, isTTY, environment, total) => {
  expect(transferred(isTTY, environment, total, 'registry.example/os:v1')).toBe('');
});
