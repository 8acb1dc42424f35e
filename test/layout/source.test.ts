import { symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { digestOf, type Image, InvalidLayoutError, newIndex, UnknownTagError } from '../../src';
import { parseLayoutReference } from '../../src/layout/reference';
import { readSource, readSourceIndex } from '../../src/layout/source';
import {
  archiveOf,
  failureOf,
  run,
  sampleImage,
  snapshot,
  taggedLayout,
  temporaryDirectory,
  writeFiles,
} from '../fixtures';

let one: Image;
let inner: Image;
let layout: string;
let archive: string;
let link: string;
beforeAll(async () => {
  [one, inner] = [await sampleImage(['one']), await sampleImage(['inner'])];
  layout = await taggedLayout({ v1: one, 'v2:rc': one, list: newIndex([{ ref: inner }]) });
  archive = await archiveOf(layout);
  link = linkTo(archive);
});

describe.each<[string, () => string]>([
  ['a layout', () => layout],
  ['an archive', () => archive],
  ['a link to an archive', () => link],
])('readSource of %s', (_, path) => {
  const read = async (suffix: string) => {
    const found = await readSource(parseLayoutReference(path() + suffix));
    return found.map(({ ref, descriptor }) => {
      expect(descriptor.digest).toBe(ref.digest);
      return ref.digest;
    });
  };

  test('path: all of it', async () => {
    expect(await read('')).toEqual([one.digest, one.digest, newIndex([{ ref: inner }]).digest]);
  });

  test.each([
    [':v1', () => one],
    [':v2:rc', () => one],
    [':list', () => newIndex([{ ref: inner }])],
  ])('path%s', async (suffix, expected) => {
    expect(await read(suffix)).toEqual([expected().digest]);
  });

  test('path@digest, of what is nested too, with its content', async () => {
    expect(await read(`@${one.digest}`)).toEqual([one.digest]);
    const [found] = await readSource(parseLayoutReference(`${path()}@${inner.digest}`));
    expect(found?.ref.digest).toBe(inner.digest);
    const layer = inner.manifest.layers[0];
    expect(layer && (await found?.ref.readBlobVerified(layer))?.length).toBe(layer?.size);
  });

  test.each<[string, () => string]>([
    ['a tag', () => ':v9'],
    ['a digest', () => `@${digestOf(Buffer.from('nothing'))}`],
  ])('%s that is not there: named, with what is', async (_, suffix) => {
    const { message } = await failureOf(UnknownTagError, () => read(suffix()));
    expect(message).toContain(path());
    expect(message).toContain(suffix().slice(1));
    expect(message).toContain('v1, v2:rc, list');
  });
});

function linkTo(target: string): string {
  const path = join(temporaryDirectory(), 'link.tar');
  symlinkSync(target, path);
  return path;
}

describe('what is no source', () => {
  test.each<[string, (directory: string) => string]>([
    ['nothing', (directory) => join(directory, 'missing')],
    ['an empty directory', (directory) => directory],
    ['an empty file', (directory) => join(writeFiles(directory, { empty: '' }), 'empty')],
    ['a text', (directory) => join(writeFiles(directory, { text: 'text'.repeat(300) }), 'text')],
    ['a link to nothing', (directory) => linkTo(join(directory, 'missing'))],
  ])('ACCEPTANCE 17: %s', async (_, make) => {
    const path = make(temporaryDirectory());
    expect((await failureOf(InvalidLayoutError, () => readSourceIndex(path))).message).toContain(path);
  });

  test('a FIFO, which nobody writes to', async () => {
    const path = join(temporaryDirectory(), 'fifo');
    expect((await run('mkfifo', [path])).code).toBe(0);
    expect((await failureOf(InvalidLayoutError, () => readSourceIndex(path))).message).toContain(path);
  });
});

test('reading leaves a source as it is', async () => {
  const before = [snapshot(layout), snapshot(join(archive, '..'))];
  for (const path of [layout, archive]) await readSource({ path });
  expect([snapshot(layout), snapshot(join(archive, '..'))]).toEqual(before);
});

test('an archive that was cut after it was opened is found out', async () => {
  const cut = await archiveOf(layout);
  const [found] = await readSource({ path: cut, tag: 'v1' });
  truncateSync(cut, 1024);
  const layer = one.manifest.layers[0];
  await expect(layer && found?.ref.readBlobVerified(layer)).rejects.toThrow(layer?.digest);
});
