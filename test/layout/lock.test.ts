import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from '@jest/globals';
import { FileSystemError, LayoutLockedError, newIndex, tagOf } from '../../src';
import { ensureLayout, type LayoutDirectory } from '../../src/layout/directory';
import { withLayoutLock } from '../../src/layout/lock';
import { lockName } from '../../src/layout/paths';
import { failureOf, repository, run, sampleImage, temporaryDirectory, writeFiles } from '../fixtures';

let layout: LayoutDirectory;
let lock: string;
beforeEach(async () => {
  layout = await ensureLayout(join(temporaryDirectory(), 'layout'));
  lock = join(layout.path, lockName);
});

const program = join(repository, 'test/programs/edit-layout.js');
const tagsOf = async (directory: LayoutDirectory) => (await directory.index()).manifest.manifests.map(tagOf);
const readIndex = () => readFileSync(join(layout.path, 'index.json'), 'utf8');

/** Makes a lock look as if its owner had been gone for a minute. */
function age(path: string): void {
  const then = new Date(Date.now() - 60_000);
  utimesSync(path, then, then);
}

/** A process that has taken the lock of a layout. */
async function holder(path: string): Promise<ChildProcessByStdio<Writable, Readable, null>> {
  const child = spawn(process.execPath, [program, 'hold', path], { stdio: ['pipe', 'pipe', 'inherit'] });
  expect(String(await once(child.stdout, 'data'))).toBe('held');
  return child;
}

describe('L12: one edit at a time', () => {
  test('within a process', async () => {
    let inside = 0;
    const most: number[] = [];
    const edit = () =>
      withLayoutLock(layout.path, async () => {
        most.push(++inside);
        await new Promise(setImmediate);
        inside--;
      });
    await Promise.all(Array.from({ length: 10 }, edit));
    expect(most).toEqual(Array(10).fill(1));
  });

  test.each(['succeeds', 'fails'])('the lock is released when the edit %s', async (end) => {
    const edit = withLayoutLock(layout.path, async () => {
      expect(existsSync(lock)).toBe(true);
      if (end === 'fails') throw new Error('of the edit');
      return 'done';
    });
    if (end === 'fails') await expect(edit).rejects.toThrow('of the edit');
    else await expect(edit).resolves.toBe('done');
    expect(existsSync(lock)).toBe(false);
  });

  test('a process that is asked to end takes its lock with it', async () => {
    const child = await holder(layout.path);
    child.kill('SIGTERM');
    await once(child, 'close');
    expect(existsSync(lock)).toBe(false);
  });

  test('what is no lock of another one is told at once', async () => {
    const missing = join(temporaryDirectory(), 'missing');
    const file = join(writeFiles(temporaryDirectory(), { file: '' }), 'file');
    for (const [path, code] of [
      [missing, 'ENOENT'],
      [file, 'ENOTDIR'],
    ] as const) {
      const started = Date.now();
      const error = await failureOf(FileSystemError, () => withLayoutLock(path, async () => undefined));
      expect(error.code).toBe(code);
      expect(error.message).toContain(join(path, lockName));
      expect(Date.now() - started).toBeLessThan(5_000);
    }
  });
});

describe('a stale lock', () => {
  test('is taken over', async () => {
    mkdirSync(lock);
    age(lock);
    await layout.insert(newIndex([]), { tag: 'v1' });
    expect(await tagsOf(layout)).toEqual(['v1']);
    expect(existsSync(lock)).toBe(false);
  });

  test('is one whose process was killed, never one whose process only takes its time', async () => {
    const other = await ensureLayout(join(temporaryDirectory(), 'layout'));
    const [killed, busy] = [await holder(layout.path), await holder(other.path)];
    const order: string[] = [];
    const waiting = other.insert(newIndex([]), { tag: 'v1' }).then(() => order.push('inserted'));
    killed.kill('SIGKILL');
    await once(killed, 'close');
    expect(existsSync(lock)).toBe(true);
    await layout.insert(newIndex([]), { tag: 'v1' });
    order.push('taken over');
    // The busy process has had its lock for longer than the dead one.
    expect(await Promise.race([waiting, setTimeout(300, 'still waiting')])).toBe('still waiting');
    order.push('let go');
    busy.stdin.end();
    await waiting;
    expect(order).toEqual(['taken over', 'let go', 'inserted']);
    expect([await tagsOf(layout), await tagsOf(other)]).toEqual([['v1'], ['v1']]);
  });
});

describe('a lock that is lost', () => {
  const losses: [string, () => void][] = [
    ['removed', () => rmdirSync(lock)],
    [
      "replaced by another one's",
      () => {
        rmdirSync(lock);
        mkdirSync(lock);
      },
    ],
  ];

  test.each(losses)('%s: the edit that had it fails, and index.json stays', async (_, lose) => {
    const image = await sampleImage();
    await layout.insert(newIndex([]), { tag: 'list' });
    const before = readIndex();
    const edit = () =>
      layout.edit('list', () => {
        lose();
        return newIndex([{ ref: image }]);
      });
    expect((await failureOf(LayoutLockedError, edit)).message).toContain(layout.path);
    expect(readIndex()).toBe(before);
  });

  test("what lies in its place is another one's, and stays", async () => {
    await failureOf(LayoutLockedError, () =>
      withLayoutLock(layout.path, async (stillHeld) => {
        rmdirSync(lock);
        mkdirSync(lock);
        await stillHeld();
      }),
    );
    expect(existsSync(lock)).toBe(true);
  });

  test('because this process slept: what another one did meanwhile stays', async () => {
    await layout.insert(newIndex([]), { tag: 'list' });
    const edit = layout.edit('list', async (index) => {
      age(lock);
      await run(process.execPath, [program, 'insert', layout.path, 'meanwhile']);
      return index;
    });
    await expect(edit).rejects.toThrow(LayoutLockedError);
    expect(await tagsOf(layout)).toEqual(['list', 'meanwhile']);
  });
});
