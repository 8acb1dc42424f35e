import { chmodSync, existsSync, mkdirSync, readdirSync, statSync, symlinkSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { bytesBlob, type Digest, digestOf, fileBlob, type LayerEntry, mediaTypes } from '../../src';
import { keep } from '../../src/store/blobs';
import { boundStore } from '../../src/store/bound';
import { type LayerInputs, layerMemory } from '../../src/store/layers';
import { asOrdinaryUser, noise, snapshot, temporaryDirectory, writeFiles } from '../fixtures';

const newStore = () => join(temporaryDirectory(), 'store');

const fileIn = (store: string, digest: Digest) => join(store, 'blobs', digest.replace(':', '/'));

const now = Math.floor(Date.now() / 1000);

/** Makes a file look as if it was used so many hours ago. */
const age = (path: string, hours: number): void => utimesSync(path, now, now - hours * 3600);

/** Keeps a blob of 100 kB that was written so many hours ago. */
async function keepBlob(store: string, name: string, hours: number): Promise<Digest> {
  const bytes = noise(100_000, name);
  const digest = digestOf(bytes);
  await keep(store, digest, bytesBlob(bytes));
  age(fileIn(store, digest), hours);
  return digest;
}

const inputs = (place: string): LayerInputs => ({
  place,
  entries: [{ name: place, type: 'directory', mode: 0o755, uid: 0, gid: 0 } satisfies LayerEntry],
  listedAt: Date.now(),
  mtime: 0,
  mediaType: mediaTypes.layerGzip,
  encoding: { compression: 'gzip', level: 1 },
});

const recordsIn = (store: string): string[] =>
  readdirSync(join(store, 'layers')).flatMap((place) =>
    readdirSync(join(store, 'layers', place)).map((name) => join(store, 'layers', place, name)),
  );

/** Keeps a layer that was written so many hours ago, and last used later. */
async function keepLayer(store: string, place: string, written: number, used: number) {
  const bytes = noise(100_000, place);
  const digest = digestOf(bytes);
  const path = join(writeFiles(temporaryDirectory(), { blob: bytes }), 'blob');
  const before = new Set(existsSync(join(store, 'layers')) ? recordsIn(store) : []);
  const memory = await layerMemory(store, inputs(place));
  const descriptor = { mediaType: mediaTypes.layerGzip, digest, size: bytes.length };
  await memory.keep({ descriptor, diffId: digest, blob: fileBlob(path, bytes.length, digest) });
  const record = recordsIn(store).find((path) => !before.has(path)) as string;
  age(fileIn(store, digest), written);
  age(record, used);
  return { digest, record };
}

describe('a store over its limit', () => {
  test('loses what was not used for longest, until there is room', async () => {
    const store = newStore();
    const digests: Digest[] = [];
    // Not in the order of their digests.
    for (const hours of [5, 1, 4, 2, 3, 6, 0, 9, 8, 7]) digests[hours] = await keepBlob(store, `blob ${hours}`, hours);
    await boundStore(store, 990_000);
    const left = digests.map((digest) => existsSync(fileIn(store, digest)));
    // 1,000,000 bytes become at most four fifths of the limit.
    expect(left).toEqual([true, true, true, true, true, true, true, false, false, false]);
    await boundStore(store, 990_000);
    expect(digests.map((digest) => existsSync(fileIn(store, digest)))).toEqual(left);
  });

  test('knows the last use of a layer from its record, and removes both together', async () => {
    const store = newStore();
    const used = await keepLayer(store, 'written long ago, used now', 100, 0);
    const unused = await keepLayer(store, 'written before, used before', 50, 40);
    const blob = await keepBlob(store, 'written since', 30);
    await boundStore(store, 299_999);
    expect(existsSync(fileIn(store, unused.digest))).toBe(false);
    expect(existsSync(unused.record)).toBe(false);
    expect(recordsIn(store)).toEqual([used.record]);
    expect(existsSync(fileIn(store, used.digest))).toBe(true);
    expect(existsSync(fileIn(store, blob))).toBe(true);
    expect((await layerMemory(store, inputs('written before, used before'))).layer).toBeUndefined();
    expect((await layerMemory(store, inputs('written long ago, used now'))).layer?.descriptor.digest).toBe(used.digest);
  });

  test.each([0, 1, 2, 3, 4])('keeps a layer that several places have while one of them uses it: %i', async (using) => {
    const store = newStore();
    const first = await keepLayer(store, 'place', 100, 90);
    const descriptor = { mediaType: mediaTypes.layerGzip, digest: first.digest, size: 100_000 };
    for (const place of ['b', 'c', 'd', 'e']) {
      const other = await layerMemory(store, inputs(place));
      await other.keep({ descriptor, diffId: first.digest, blob: fileBlob(fileIn(store, first.digest), 100_000) });
    }
    // In whichever order they are found.
    recordsIn(store).forEach((record, at) => {
      age(record, at === using ? 0 : 90);
    });
    age(fileIn(store, first.digest), 100);
    const blob = await keepBlob(store, 'blob', 50);
    await boundStore(store, 190_000);
    expect(existsSync(fileIn(store, blob))).toBe(false);
    expect(existsSync(fileIn(store, first.digest))).toBe(true);
    expect(recordsIn(store)).toHaveLength(5);
  });

  test('counts a small file as more than its bytes', async () => {
    const store = newStore();
    for (let at = 0; at < 20; at++) await keep(store, digestOf(Buffer.of(at)), bytesBlob(Buffer.of(at)));
    await boundStore(store, 20 * 8192);
    expect(readdirSync(join(store, 'blobs/sha256'))).toHaveLength(20);
    await boundStore(store, 20 * 8192 - 1);
    expect(readdirSync(join(store, 'blobs/sha256'))).toHaveLength(15);
  });

  test('may lose all it has', async () => {
    const store = newStore();
    const { record } = await keepLayer(store, 'place', 0, 0);
    await boundStore(store, 50_000);
    expect(readdirSync(join(store, 'blobs/sha256'))).toEqual([]);
    expect(existsSync(record)).toBe(false);
  });

  test('is emptied by several builds at once', async () => {
    const store = newStore();
    for (let at = 0; at < 10; at++) await keepBlob(store, `${at}`, at);
    await Promise.all(Array.from({ length: 4 }, () => boundStore(store, 500_000)));
    expect(readdirSync(join(store, 'blobs/sha256')).length).toBeLessThanOrEqual(4);
  });

  test('touches nothing that is not a blob', async () => {
    const store = newStore();
    await keepBlob(store, 'blob', 0);
    writeFiles(store, { 'blobs/sha256/other': 'x', 'blobs/other/file': 'x', file: 'x' });
    const precious = writeFiles(temporaryDirectory(), { precious: 'x' });
    symlinkSync(join(precious, 'precious'), fileIn(store, digestOf(Buffer.from('link'))));
    mkdirSync(fileIn(store, digestOf(Buffer.from('directory'))));
    await boundStore(store, 1);
    expect(Object.keys(snapshot(store)).sort()).toEqual([
      '.gitignore',
      'blobs/other/file',
      'blobs/sha256/other',
      'file',
    ]);
    expect(existsSync(join(precious, 'precious'))).toBe(true);
  });
});

describe('a store within its limit', () => {
  test('is as it was, times too', async () => {
    const store = newStore();
    for (let at = 0; at < 3; at++) await keepBlob(store, `${at}`, 10_000 * at);
    const { record } = await keepLayer(store, 'place', 9999, 9999);
    const times = () =>
      [record, ...readdirSync(join(store, 'blobs/sha256')).map((name) => join(store, 'blobs/sha256', name))].map(
        (path) => statSync(path).mtimeMs,
      );
    const before = { files: snapshot(store), times: times() };
    await boundStore(store, 400_000);
    await boundStore(store);
    expect({ files: snapshot(store), times: times() }).toEqual(before);
  });
});

describe('nothing fails', () => {
  test.each<[string, () => string]>([
    ['is not there', newStore],
    ['is a file', () => join(writeFiles(temporaryDirectory(), { store: 'x' }), 'store')],
    ['has files for directories', () => writeFiles(temporaryDirectory(), { blobs: 'x', layers: 'x' })],
  ])('where the store %s', async (_, make) => {
    await expect(boundStore(make(), 0)).resolves.toBeUndefined();
  });

  test.each([
    ['blobs', 0],
    ['blobs/sha256', 0],
    ['blobs/sha256', 0o555],
    ['layers', 0],
  ])('where %s of the store may not be changed (mode %i)', async (name, mode) => {
    const store = newStore();
    await keepLayer(store, 'place', 0, 0);
    const path = join(store, name);
    for (const above of [join(store, '..'), store]) chmodSync(above, 0o755);
    chmodSync(path, mode);
    try {
      await expect(asOrdinaryUser(() => boundStore(store, 1))).resolves.toBeUndefined();
    } finally {
      chmodSync(path, 0o755);
    }
  });
});
