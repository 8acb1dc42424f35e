import { cpSync, existsSync, readdirSync, readFileSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { createLayout, newIndex, readLayout, tagOf, verifyLayout, writeTree } from '../../src';
import { addToIndex } from '../../src/image-index';
import { ensureLayout, type LayoutDirectory, openLayout } from '../../src/layout/directory';
import { lockName } from '../../src/layout/paths';
import { nxOci, repository, run, sampleImage, snapshot, temporaryDirectory } from '../fixtures';

const source = join(temporaryDirectory(), 'source');
const layout = join(temporaryDirectory(), 'layout');

/** What test/programs/faulty-edits.js does, without a fault. */
const edits = {
  insert: async (directory) => directory.insert(await readLayout(source), { tag: 'new' }),
  tag: (directory) => directory.tag('v1', 'new'),
  edit: (directory) => directory.edit('list', async (index) => addToIndex(index, [{ ref: await readLayout(source) }])),
  collect: (directory) => directory.collect(),
} satisfies Record<string, (directory: LayoutDirectory) => Promise<unknown>>;
type Edit = keyof typeof edits;

beforeAll(async () => {
  await writeTree(await createLayout(await sampleImage(['new', 'layers'])), source);
  const directory = await ensureLayout(layout);
  const one = await sampleImage(['one']);
  await directory.insert(await sampleImage(['collected']), { tag: 'old' });
  await directory.insert(one, { tag: 'v1' });
  await directory.insert(newIndex([{ ref: one }]), { tag: 'list' });
  await directory.untag('old');
});

/** What a step of the file system comes to: see test/programs/faulty-file-system.js. */
interface Fault {
  readonly step: string;
  readonly end: string;
}

interface Outcome {
  readonly step: string;
  readonly output: string;
  readonly result: 'edited' | 'stopped' | 'failed';
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
}

/** Edits a copy of the layout with each fault at each step in turn; gives the edits that met theirs. */
async function faultyEdits(edit: Edit, faults: readonly Fault[]): Promise<Outcome[]> {
  const request = { edit, layout, source, into: temporaryDirectory(), faults };
  const program = join(repository, 'test/programs/faulty-edits.js');
  // A job that was stopped leaves files open, of which Node warns.
  const { stdout, stderr, signal } = await run(process.execPath, ['--no-warnings', program, JSON.stringify(request)]);
  expect({ stderr, signal }).toEqual({ stderr: '', signal: 'SIGKILL' });
  const lines = stdout.trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Outcome).filter(({ result }) => result !== 'edited');
}

const indexOf = (path: string) => readFileSync(join(path, 'index.json'), 'utf8');
const layoutNames = ['blobs', 'index.json', 'oci-layout'];

/** Makes a killed process's lock stale without waiting for it. */
function age(path: string): void {
  const lock = join(path, lockName);
  const then = new Date(Date.now() - 60_000);
  if (existsSync(lock)) utimesSync(lock, then, then);
}

/** The layout after an edit that met no fault, and a collection of what it no longer names. */
async function edited(edit: Edit, path: string): Promise<LayoutDirectory> {
  const directory = await openLayout(path);
  await edits[edit](directory);
  await directory.collect();
  return directory;
}

describe.each<[Edit, number]>([
  ['insert', 15],
  ['tag', 5],
  ['edit', 15],
  ['collect', 3],
])('%s', (edit, fewestSteps) => {
  const clean = join(temporaryDirectory(), 'clean');
  beforeAll(async () => {
    cpSync(layout, clean, { recursive: true });
    await edited(edit, clean);
  });

  test('ACCEPTANCE 51: killed at any step it leaves the old or the new index, and the next edit succeeds', async () => {
    const killed = await faultyEdits(edit, [{ step: 'change', end: 'stop' }]);
    expect(killed.length).toBeGreaterThanOrEqual(fewestSteps);
    const found = new Set<string>();
    for (const { output, result } of killed) {
      expect(result).toBe('stopped');
      expect([indexOf(layout), indexOf(clean)]).toContain(indexOf(output));
      found.add(indexOf(output));
      expect((await verifyLayout(output)).problems).toEqual([]);
      age(output);
      await edited(edit, output);
      expect(snapshot(output)).toEqual(snapshot(clean));
      expect(readdirSync(output).sort()).toEqual(layoutNames);
    }
    // Some were killed before the index was replaced, and some after.
    expect(found).toEqual(new Set([indexOf(layout), indexOf(clean)]));
  });

  const faults: readonly Fault[] = [
    { step: 'open', end: 'EMFILE' },
    ...(edit === 'collect'
      ? [{ step: 'rm', end: 'EACCES' }]
      : [
          { step: 'create', end: 'EMFILE' },
          { step: 'write', end: 'ENOSPC' },
          { step: 'sync', end: 'EIO' },
          { step: 'rename', end: 'EACCES' },
          { step: 'mkdtemp', end: 'ENOSPC' },
        ]),
  ];

  describe('ACCEPTANCE 53', () => {
    let failed: Outcome[] = [];
    beforeAll(async () => {
      failed = await faultyEdits(edit, faults);
    });

    test.each(faults)(
      '$step: $end is told; the index is as it was, without lock and staging',
      async ({ step, end }) => {
        const outcomes = failed.filter((outcome) => outcome.step === step);
        expect(outcomes).not.toEqual([]);
        for (const { output, ...outcome } of outcomes) {
          expect(outcome).toMatchObject({ result: 'failed', name: 'FileSystemError', code: end });
          expect(outcome.message).toContain(`(${end}: injected)`);
          expect([output, source].some((path) => outcome.message?.startsWith(path))).toBe(true);
          expect(indexOf(output)).toBe(indexOf(layout));
          expect(readdirSync(output).sort()).toEqual(layoutNames);
          expect((await verifyLayout(output)).problems).toEqual([]);
        }
      },
    );
  });
});

describe('the command', () => {
  const program = join(repository, 'test/programs/faulty-file-system.js');
  const faulty = (args: readonly string[], fault: Fault & { at: number }) =>
    nxOci(args, { env: { NODE_OPTIONS: `--require ${program}`, FAULT: JSON.stringify(fault) } });

  test.each([
    [1, ['v1', 'list']],
    [3, ['v1', 'list']],
    [5, ['v1', 'list', 'new']],
  ])('ACCEPTANCE 51: tag, by SIGKILL at step %i', async (at, tags) => {
    const output = join(temporaryDirectory(), 'output');
    cpSync(layout, output, { recursive: true });
    const { signal } = await faulty(['tag', output, 'v1', 'new'], { step: 'change', at, end: 'SIGKILL' });
    expect(signal).toBe('SIGKILL');
    expect(readdirSync(output)).toContain(lockName);
    const directory = await openLayout(output);
    expect((await directory.index()).manifest.manifests.map(tagOf)).toEqual(tags);
    age(output);
    await edited('tag', output);
    expect(readdirSync(output).sort()).toEqual(layoutNames);
    expect((await directory.index()).manifest.manifests.map(tagOf)).toEqual(['v1', 'list', 'new']);
  });

  test('ACCEPTANCE 53: ENOSPC is told in one line and by the exit code', async () => {
    const output = join(temporaryDirectory(), 'output');
    cpSync(layout, output, { recursive: true });
    const fault = { step: 'write', at: 1, end: 'ENOSPC' };
    const { code, stdout, stderr } = await faulty(['tag', output, 'v1', 'new'], fault);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(new RegExp(`^${output}.*: could not write \\(ENOSPC: injected\\)\n$`));
    expect(snapshot(output)).toEqual(snapshot(layout));
    expect(readdirSync(output).sort()).toEqual(layoutNames);
  });
});
