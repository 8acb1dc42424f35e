import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { verifyLayout } from '../../src';
import { buildImage } from '../../src/actions/build-image';
import { nxOci, repository, run, snapshot, temporaryDirectory, writeFiles } from '../fixtures';

const workspace = temporaryDirectory();
const layouts = { old: join(workspace, 'old-layout'), new: join(workspace, 'new-layout') };
const options = { layers: [{ from: 'app' }] };

/** Builds the image that the workspace has by now. */
const build = (output: string) => buildImage({ options, root: workspace, output });

beforeAll(async () => {
  for (const age of ['old', 'new'] as const) {
    writeFiles(workspace, { 'app/file': `the ${age} file`, 'image.json': JSON.stringify(options) });
    await build(layouts[age]);
  }
});

const starts = ['nothing', 'the old layout'] as const;
type Start = (typeof starts)[number];

/** What a step of the file system comes to: see test/programs/faulty-file-system.js. */
interface Fault {
  readonly step: string;
  readonly end: string;
}

interface Outcome {
  readonly step: string;
  readonly parent: string;
  readonly output: string;
  readonly result: 'built' | 'stopped' | 'failed';
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
}

/** Builds the new image with each fault at each step in turn; gives the builds that met theirs. */
async function faultyBuilds(start: Start, faults: readonly Fault[]): Promise<Outcome[]> {
  const over = start === 'nothing' ? undefined : layouts.old;
  const request = { options, root: workspace, over, into: temporaryDirectory(), faults };
  const program = join(repository, 'test/programs/faulty-builds.js');
  // A job that was stopped leaves files open, of which Node warns.
  const args = ['--no-warnings', program, JSON.stringify(request)];
  const { stdout, stderr, signal } = await run(process.execPath, args);
  expect({ stderr, signal }).toEqual({ stderr: '', signal: 'SIGKILL' });
  const lines = stdout.trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Outcome).filter(({ result }) => result !== 'built');
}

/** Runs the command under a fault. */
async function faultyCommand(start: Start, fault: Fault & { at: number }) {
  const output = join(temporaryDirectory(), 'output');
  if (start !== 'nothing') cpSync(layouts.old, output, { recursive: true });
  const NODE_OPTIONS = `--require ${join(repository, 'test/programs/faulty-file-system.js')}`;
  const env = { NODE_OPTIONS, FAULT: JSON.stringify(fault) };
  const finished = await nxOci(['image', '--options', join(workspace, 'image.json'), '--output', output], { env });
  return { output, ...finished };
}

describe.each(starts)('ACCEPTANCE 51: killed over %s', (start) => {
  test('at any step it leaves the old or the new layout, and the next run succeeds', async () => {
    const killed = await faultyBuilds(start, [{ step: 'change', end: 'stop' }]);
    expect(killed.length).toBeGreaterThan(20);
    for (const { output, result } of killed) {
      expect(result).toBe('stopped');
      await expectOldOrNew(output, start);
      await expectNextBuild(output);
    }
  });

  test.each([6, 20, 24])('by SIGKILL at step %i', async (at) => {
    const { output, signal } = await faultyCommand(start, { step: 'change', at, end: 'SIGKILL' });
    expect(signal).toBe('SIGKILL');
    expect(readdirSync(output)).toContainEqual(expect.stringMatching(/^\.nx-oci-/));
    await expectOldOrNew(output, start);
    await expectNextBuild(output);
  });
});

/** Whoever reads now sees one layout whole, or none where there was none. */
async function expectOldOrNew(output: string, start: Start): Promise<void> {
  const read = (layout: string, name: string) => {
    const file = join(layout, name);
    return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
  };
  const index = read(output, 'index.json');
  if (start === 'nothing' && index === undefined) return;
  const age = index === read(layouts.old, 'index.json') ? 'old' : 'new';
  expect(index).toBe(read(layouts[age], 'index.json'));
  expect([undefined, read(layouts[age], 'digest')]).toContain(read(output, 'digest'));
  expect((await verifyLayout(output)).problems).toEqual([]);
}

async function expectNextBuild(output: string): Promise<void> {
  await build(output);
  expectSame(output, layouts.new);
}

/** The same files, and no others: no staging directory either. */
function expectSame(output: string, layout: string): void {
  expect(snapshot(output)).toEqual(snapshot(layout));
  expect(readdirSync(output).sort()).toEqual(readdirSync(layout).sort());
}

describe('ACCEPTANCE 53: a step of the file system fails', () => {
  const faults: readonly Fault[] = [
    { step: 'create', end: 'EMFILE' },
    { step: 'open', end: 'EMFILE' },
    { step: 'write', end: 'ENOSPC' },
    { step: 'sync', end: 'EIO' },
    { step: 'rename', end: 'EACCES' },
    { step: 'mkdir', end: 'ENOSPC' },
    { step: 'mkdtemp', end: 'EACCES' },
  ];

  describe.each(starts)('over %s', (start) => {
    let failed: Outcome[] = [];
    beforeAll(async () => {
      failed = await faultyBuilds(start, faults);
    });

    test.each(faults)('$step: $end', ({ step, end: code }) => {
      const outcomes = failed.filter((outcome) => outcome.step === step);
      expect(outcomes).not.toEqual([]);
      for (const { parent, output, ...outcome } of outcomes) {
        expect(outcome).toMatchObject({ result: 'failed', name: 'FileSystemError', code });
        expect(outcome.message).toContain(output);
        expect(outcome.message).toContain(`(${code}: injected)`);
        if (start === 'nothing') expect(existsSync(parent)).toBe(false);
        else expectSame(output, layouts.old);
      }
    });
  });

  test.each([
    ['create', 1, 'EMFILE'],
    ['write', 2, 'ENOSPC'],
    ['rename', 5, 'EACCES'],
  ])('%s number %i: %s is told in one line and by the exit code', async (step, at, end) => {
    const { output, code, stdout, stderr } = await faultyCommand('the old layout', { step, at, end });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(new RegExp(`^${output}.*: could not .* \\(${end}: injected\\)\n$`));
    expectSame(output, layouts.old);
  });
});
