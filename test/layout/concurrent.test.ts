import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { newIndex, readLayoutIndex, tagOf, verifyLayout } from '../../src';
import { addToIndex } from '../../src/image-index';
import { ensureLayout, openLayout } from '../../src/layout/directory';
import { type Finished, nxOci, repository, run, sampleImage, temporaryDirectory } from '../fixtures';

const finished: Partial<Finished> = { code: 0, stdout: '', stderr: '' };

const insert = (path: string, tags: readonly string[]) =>
  run(process.execPath, [join(repository, 'test/programs/edit-layout.js'), 'insert', path, ...tags]);

test('ACCEPTANCE 52: eight processes make one layout and insert five manifests each; readers always see a whole one', async () => {
  const path = join(temporaryDirectory(), 'layout');
  await ensureLayout(path);
  const tags = Array.from({ length: 8 }, (_, writer) => Array.from({ length: 5 }, (_, tag) => `v${writer}.${tag}`));
  let writing = true;
  const writers = Promise.all(tags.map((own) => insert(path, own))).finally(() => {
    writing = false;
  });
  const counts = new Set<number>();
  let seen: string[] = [];
  while (writing) {
    const index = await readLayoutIndex(path);
    const last = index.children().at(-1);
    if (last) await index.ref(last);
    const now = index.manifest.manifests.map((descriptor) => String(tagOf(descriptor)));
    expect(now).toEqual(expect.arrayContaining(seen));
    seen = now;
    counts.add(now.length);
    // The writers need the processor too.
    await setTimeout(20);
  }
  for (const writer of await writers) expect(writer).toMatchObject(finished);
  expect(counts.size).toBeGreaterThan(3);
  const index = await readLayoutIndex(path);
  expect(index.manifest.manifests.map(tagOf).sort()).toEqual(tags.flat().sort());
  expect(await verifyLayout(path)).toMatchObject({ problems: [], manifests: 40 });
  expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
}, 90_000);

test('ACCEPTANCE 52: processes that find nothing make one layout together', async () => {
  const path = join(temporaryDirectory(), 'a/layout');
  const tags = ['v1', 'v2', 'v3'];
  for (const maker of await Promise.all(tags.map((tag) => insert(path, [tag])))) expect(maker).toMatchObject(finished);
  expect((await readLayoutIndex(path)).manifest.manifests.map(tagOf).sort()).toEqual(tags);
  expect((await verifyLayout(path)).problems).toEqual([]);
});

test('ACCEPTANCE 52: edits of one index and collections at the same time', async () => {
  const layout = await ensureLayout(join(temporaryDirectory(), 'layout'));
  await layout.insert(newIndex([]), { tag: 'list' });
  const images = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((text) => sampleImage([text])));
  const edits = images.map(async (ref) => {
    const own = await openLayout(layout.path);
    await own.edit('list', (index) => addToIndex(index, [{ ref }]));
    await own.collect();
  });
  await Promise.all(edits);
  const list = await layout.ref({ tag: 'list' });
  expect(
    list.kind === 'index' &&
      list
        .children()
        .map(({ digest }) => digest)
        .sort(),
  ).toEqual(images.map(({ digest }) => digest).sort());
  expect((await verifyLayout(layout.path)).problems).toEqual([]);
});

test('ACCEPTANCE 52: two commands that tag', async () => {
  const layout = await ensureLayout(join(temporaryDirectory(), 'layout'));
  await layout.insert(await sampleImage(), { tag: 'latest' });
  const commands = ['v1', 'v2'].map((tag) => nxOci(['tag', layout.path, 'latest', tag]));
  for (const command of await Promise.all(commands)) expect(command).toMatchObject({ code: 0, stderr: '' });
  expect((await layout.index()).manifest.manifests.map(tagOf).sort()).toEqual(['latest', 'v1', 'v2']);
});
