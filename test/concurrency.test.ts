import { setImmediate } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { inLanes } from '../src/concurrency';

test.each([
  [1, 1],
  [3, 3],
  [100, 20],
])('%i lanes run %i of 20 jobs at once, and each job once', async (lanes, atOnce) => {
  const items = Array.from({ length: 20 }, (_, item) => item);
  const done: number[] = [];
  let running = 0;
  let most = 0;
  await inLanes(items, lanes, async (item) => {
    most = Math.max(most, ++running);
    await setImmediate();
    running--;
    done.push(item);
  });
  expect(most).toBe(atOnce);
  expect(done.sort((a, b) => a - b)).toEqual(items);
});

test('takes an item only when a lane is free for it', async () => {
  let taken = 0;
  const items = (function* () {
    for (; taken < 10; taken++) yield taken;
  })();
  let done = 0;
  await inLanes(items, 2, async () => {
    expect(taken - done).toBeLessThanOrEqual(2);
    await setImmediate();
    done++;
  });
  expect(done).toBe(10);
});

test('nothing to do is done', async () => {
  await expect(inLanes([], 4, () => Promise.reject(new Error('no job')))).resolves.toBeUndefined();
});

test('ends with the first failure, when the jobs under way have ended, and starts no other', async () => {
  const ended: number[] = [];
  const job = async (item: number) => {
    if (item === 1) throw new Error('the first');
    for (let turn = 0; turn < 3; turn++) await setImmediate();
    ended.push(item);
    if (item === 2) throw new Error('a later one');
  };
  await expect(inLanes([0, 1, 2, 3, 4], 3, job)).rejects.toThrow('the first');
  expect(ended).toEqual([0, 2]);
});

test('a source of items that fails is a failure like another', async () => {
  const ended: number[] = [];
  const items = (function* () {
    yield 0;
    throw new Error('no more items');
  })();
  const job = async (item: number) => {
    await setImmediate();
    ended.push(item);
  };
  await expect(inLanes(items, 2, job)).rejects.toThrow('no more items');
  expect(ended).toEqual([0]);
});

test('a job may fail with nothing', async () => {
  await expect(inLanes([0], 1, () => Promise.reject(undefined))).rejects.toBeUndefined();
});
