import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { bytesBlob, DigestMismatchError, digestAlgorithms, digestOf, OciError, SizeMismatchError } from '../../src';
import type { Blob } from '../../src/blob';
import { openStage, type Stage } from '../../src/layout/stage';
import { failureOf, temporaryDirectory } from '../fixtures';

const layout = temporaryDirectory();
let stage: Stage;
beforeEach(async () => {
  stage = await openStage(layout);
});
afterEach(() => stage.close());

/** What arrives from elsewhere, in pieces. */
const arriving = (bytes: Uint8Array, size = bytes.length): Blob => ({
  size,
  open: async function* () {
    for (let position = 0; position < bytes.length; position += 65_536)
      yield bytes.subarray(position, position + 65_536);
  },
});

// The larger one is hashed on a thread of its own, where there is another core.
describe.each([1000, 20_000_000])('a blob of %d bytes that arrives from elsewhere', (size) => {
  const content = Buffer.alloc(size, 'sixteen letters ');
  const digest = digestOf(content);
  const flipped = Buffer.from(content);
  flipped.writeUInt8(flipped.readUInt8(size / 2) ^ 1, size / 2);
  const tooMany = Buffer.concat([content, Buffer.of(0)]);

  test.each(digestAlgorithms)('is staged under its %s digest, and read-only', async (algorithm) => {
    const path = await stage.stageBlob(arriving(content), digestOf(content, algorithm));
    expect(readFileSync(path).equals(content)).toBe(true);
    expect(statSync(path).mode & 0o777).toBe(0o444);
  });

  test.each<[string, Buffer, new (...facts: never[]) => OciError, { expected: string; found: string }]>([
    ['has one bit flipped', flipped, DigestMismatchError, { expected: digest, found: digestOf(flipped) }],
    ['is one byte longer', tooMany, SizeMismatchError, { expected: `${size}`, found: 'more' }],
    ['is one byte shorter', content.subarray(1), SizeMismatchError, { expected: `${size}`, found: `${size - 1}` }],
    ['is empty', Buffer.of(), SizeMismatchError, { expected: `${size}`, found: '0' }],
  ])('ACCEPTANCE 3: that %s is refused, and nothing is left of it', async (_, bytes, type, told) => {
    const error = await failureOf(type, () => stage.stageBlob(arriving(bytes, size), digest));
    expect(error.message).toContain(`blob ${digest}: expected`);
    expect(error).toMatchObject(told);
    expect(readdirSync(dirname(stage.nextPath()))).toEqual([]);
  });

  test('ACCEPTANCE 3: that does not end is refused as soon as it is too long', async () => {
    let given = 0;
    const endless: Blob = {
      size,
      open: async function* () {
        for (;;) {
          given += content.length;
          if (given > 2 * size) throw new OciError('read on');
          yield content;
        }
      },
    };
    const { found } = await failureOf(SizeMismatchError, () => stage.stageBlob(endless, digest));
    expect(found).toBe('more');
    expect(readdirSync(dirname(stage.nextPath()))).toEqual([]);
  });

  test('that breaks off leaves nothing', async () => {
    const broken: Blob = {
      size,
      open: async function* () {
        yield content.subarray(0, size / 2);
        throw new OciError('it broke off');
      },
    };
    expect((await failureOf(OciError, () => stage.stageBlob(broken, digest))).message).toBe('it broke off');
    expect(readdirSync(dirname(stage.nextPath()))).toEqual([]);
  });
});

test('many blobs at once get the digests that they have', async () => {
  const contents = Array.from({ length: 12 }, (_, seed) => Buffer.alloc(5_000_000 + seed, `${seed} `));
  const written = await Promise.all(contents.map((content) => stage.write(bytesBlob(content).open())));
  const staged = await Promise.all(contents.map((content) => stage.stageBlob(arriving(content), digestOf(content))));
  expect(written.map(({ digest }) => digest)).toEqual(contents.map((content) => digestOf(content)));
  expect(staged.map((path) => readFileSync(path).equals(contents[staged.indexOf(path)] as Buffer))).toEqual(
    contents.map(() => true),
  );
  expect(readdirSync(layout)).toHaveLength(1);
});
