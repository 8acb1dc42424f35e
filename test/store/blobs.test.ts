import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  bytesBlob,
  DigestMismatchError,
  digestOf,
  type Image,
  MissingBlobError,
  newRef,
  SizeMismatchError,
} from '../../src';
import { type Blobs, noBlobs } from '../../src/blob';
import { descriptorOf } from '../../src/ref';
import type { Descriptor } from '../../src/spec/documents';
import { keep, storedBlobs, storedManifest } from '../../src/store/blobs';
import {
  collect,
  countingBlobs,
  failureOf,
  sampleImage,
  snapshot,
  temporaryDirectory,
  writtenLayout,
} from '../fixtures';

const bytes = Buffer.from('content');
const descriptor: Descriptor = { mediaType: 'text/plain', digest: digestOf(bytes), size: bytes.length };
const fileIn = (store: string, { digest } = descriptor) => join(store, 'blobs', digest.replace(':', '/'));
const newStore = () => join(temporaryDirectory(), 'deeper', 'store');

const read = async (blobs: Blobs, wanted = descriptor) => (await collect(blobs.blob(wanted).open())).toString();

describe('a blob', () => {
  test('is fetched once', async () => {
    const [store, below] = [newStore(), countingBlobs(bytes)];
    for (let count = 0; count < 3; count++) expect(await read(storedBlobs(store, below))).toBe('content');
    expect(below.read).toEqual([descriptor.digest]);
    expect(readFileSync(fileIn(store)).equals(bytes)).toBe(true);
  });

  test('is read in part', async () => {
    const blobs = storedBlobs(newStore(), countingBlobs(bytes));
    expect((await collect(blobs.blob(descriptor).open({ start: 1, end: 3 }))).toString()).toBe('on');
  });

  test('and a manifest is found without asking anyone', async () => {
    const store = newStore();
    const image = await sampleImage();
    const own = descriptorOf(image);
    await keep(store, image.digest, bytesBlob(image.rawManifest));
    expect(await storedManifest(store, image.digest)).toEqual(Buffer.from(image.rawManifest));
    expect(await storedBlobs(store, noBlobs).manifest(own)).toEqual(Buffer.from(image.rawManifest));
    await failureOf(MissingBlobError, () => read(storedBlobs(store, noBlobs)));
    expect(await storedManifest(store, descriptor.digest)).toBeUndefined();
  });

  test('with a sha512 has a place of its own', async () => {
    const store = newStore();
    const long = { ...descriptor, digest: digestOf(bytes, 'sha512') };
    const below: Blobs = { ...noBlobs, blob: () => bytesBlob(bytes) };
    expect(await read(storedBlobs(store, below), long)).toBe('content');
    expect(existsSync(fileIn(store, long))).toBe(true);
  });

  test.each<[string, (path: string) => void]>([
    ['changed', (path) => writeFileSync(path, 'c0ntent')],
    ['cut', (path) => writeFileSync(path, 'cont')],
    ['longer', (path) => writeFileSync(path, 'content and more')],
    ['gone', () => undefined],
    ['a link', (path) => symlinkSync('/etc/hostname', path)],
  ])('that is %s is fetched again', async (_how, damage) => {
    const [store, below] = [newStore(), countingBlobs(bytes)];
    const blobs = storedBlobs(store, below);
    await read(blobs);
    rmSync(fileIn(store));
    damage(fileIn(store));
    expect(await storedManifest(store, descriptor.digest)).toBeUndefined();
    expect(await read(blobs)).toBe('content');
    expect(below.read).toHaveLength(2);
    expect(readFileSync(fileIn(store), 'utf8')).toBe('content');
    rmSync(fileIn(store));
    damage(fileIn(store));
    expect((await blobs.manifest(descriptor)).toString()).toBe('content');
    expect(below.read).toHaveLength(3);
  });

  test.each([
    ['other bytes', Buffer.from('c0ntent'), DigestMismatchError],
    ['more bytes', Buffer.from('content!'), SizeMismatchError],
    ['fewer bytes', Buffer.from('conten'), SizeMismatchError],
  ])('of which %s come is not kept', async (_what, wrong, type) => {
    const store = newStore();
    const below: Blobs = { ...noBlobs, blob: ({ size }) => ({ size, open: () => bytesBlob(wrong).open() }) };
    const { message } = await failureOf(type, () => read(storedBlobs(store, below)));
    expect(message).toContain(descriptor.digest);
    expect(existsSync(fileIn(store))).toBe(false);
    expect(readdirSync(store).sort()).toEqual(['.gitignore', 'blobs']);
  });

  test('of which other bytes come as a manifest is not kept', async () => {
    const store = newStore();
    const below: Blobs = { ...noBlobs, manifest: async () => Buffer.from('c0ntent') };
    await failureOf(DigestMismatchError, () => storedBlobs(store, below).manifest(descriptor));
    expect(existsSync(fileIn(store))).toBe(false);
  });
});

describe('the store', () => {
  test('may be deleted at any time', async () => {
    const [store, below] = [newStore(), countingBlobs(bytes)];
    const blobs = storedBlobs(store, below);
    const blob = blobs.blob(descriptor);
    for (let count = 1; count <= 3; count++) {
      expect((await collect(blob.open())).toString()).toBe('content');
      expect((await blobs.manifest(descriptor)).toString()).toBe('content');
      expect(below.read).toHaveLength(count);
      rmSync(store, { recursive: true });
    }
  });

  test('is not part of the workspace that it lies in', async () => {
    const store = newStore();
    await read(storedBlobs(store, countingBlobs(bytes)));
    expect(readFileSync(join(store, '.gitignore'), 'utf8')).toBe('*\n');
    writeFileSync(join(store, '.gitignore'), 'mine\n');
    rmSync(fileIn(store));
    await read(storedBlobs(store, countingBlobs(bytes)));
    expect(readFileSync(join(store, '.gitignore'), 'utf8')).toBe('mine\n');
  });

  test('takes many blobs at once, and the same one many times', async () => {
    const contents = Array.from({ length: 40 }, (_, at) => Buffer.from(`content ${at}`));
    const store = newStore();
    const blobs = storedBlobs(store, countingBlobs(...contents));
    const texts = await Promise.all(
      [...contents, ...contents].map((content) =>
        read(blobs, { ...descriptor, digest: digestOf(content), size: content.length }),
      ),
    );
    expect(texts).toEqual([...contents, ...contents].map(String));
    expect(readdirSync(store).sort()).toEqual(['.gitignore', 'blobs']);
  });

  test('is cleared of what a process left that is gone', async () => {
    const store = newStore();
    mkdirSync(join(store, '.nx-oci-999999999-abc'), { recursive: true });
    await keep(store, descriptor.digest, bytesBlob(bytes));
    expect(readdirSync(store).sort()).toEqual(['.gitignore', 'blobs']);
  });

  test('shares its files with a layout, which does not need them from then on', async () => {
    const image = await sampleImage(['one', 'two']);
    const store = newStore();
    const contents = await Promise.all(image.descriptors().map((each) => image.readBlobVerified(each)));
    const below = countingBlobs(image.rawManifest, ...contents);
    const ref = newRef(image.rawManifest, image.mediaType, image.digest, storedBlobs(store, below)) as Image;
    const layout = await writtenLayout(ref);
    const before = snapshot(layout);
    const fetched = below.read.length;
    const again = await writtenLayout(ref);
    expect(snapshot(again)).toEqual(before);
    expect(below.read).toHaveLength(fetched);
    rmSync(store, { recursive: true });
    expect(snapshot(layout)).toEqual(before);
    expect(snapshot(await writtenLayout(ref))).toEqual(before);
  });
});
