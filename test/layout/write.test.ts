import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from '@jest/globals';
import {
  type Blob,
  bytesBlob,
  createLayout,
  type Digest,
  DigestMismatchError,
  digestOf,
  FileSystemError,
  type Image,
  InvalidDocumentError,
  InvalidLayoutError,
  layoutWriter,
  readLayout,
  SizeMismatchError,
  type Tree,
  verifyLayout,
  writeTree,
} from '../../src';
import { blobFile, blobPath } from '../../src/layout/paths';
import { run, sampleImage, snapshot, temporaryDirectory, writeFiles, writtenLayout } from '../fixtures';

let one: Image;
let other: Image;
beforeEach(async () => {
  [one, other] = [await sampleImage(['one']), await sampleImage(['other'])];
});

const blobsOf = (path: string) => readdirSync(join(path, 'blobs/sha256')).sort();
const digestsOf = (image: Image) => [image.digest, ...image.descriptors().map(({ digest }) => digest)];
const encodedOf = (image: Image) =>
  digestsOf(image)
    .map((digest) => digest.slice('sha256:'.length))
    .sort();

function rewrite(file: string, content: string | Uint8Array): void {
  rmSync(file);
  writeFileSync(file, content);
}

describe('writeTree', () => {
  test('makes the directory, and those above it', async () => {
    const path = join(temporaryDirectory(), 'a/b/layout');
    await writeTree(await createLayout(one), path);
    expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    expect(blobsOf(path)).toEqual(encodedOf(one));
    expect((await readLayout(path)).digest).toBe(one.digest);
  });

  test('replaces a layout, and removes the blobs that nothing names any more', async () => {
    const path = await writtenLayout(one);
    await writeTree(await createLayout(other), path);
    expect(snapshot(path)).toEqual(snapshot(await writtenLayout(other)));
    expect(blobsOf(path)).toEqual(encodedOf(other));
  });

  test('writes the same again', async () => {
    const path = await writtenLayout(one);
    const before = snapshot(path);
    await writeTree(await createLayout(one), path);
    expect(snapshot(path)).toEqual(before);
  });

  test('leaves alone what is no part of a layout', async () => {
    const path = writeFiles(await writtenLayout(one), { 'notes.txt': 'mine', 'blobs/sha256/notes.txt': 'mine too' });
    await writeTree(await createLayout(other), path);
    expect(snapshot(path)).toMatchObject({
      'notes.txt': Buffer.from('mine').toString('base64'),
      'blobs/sha256/notes.txt': Buffer.from('mine too').toString('base64'),
    });
  });

  test('copies a layout without touching its source', async () => {
    const source = await writtenLayout(one);
    const before = snapshot(source);
    const path = join(temporaryDirectory(), 'copy');
    const tree = await createLayout(await readLayout(source));
    await writeTree(tree, path);
    expect(snapshot(path)).toEqual(before);
    await writeTree(tree, path);
    await writeTree(await createLayout(other), path);
    expect(snapshot(source)).toEqual(before);
    expect(await verifyLayout(source)).toMatchObject({ problems: [] });
  });

  test('replaces a layout by one of its own images', async () => {
    const annotations = { 'org.opencontainers.image.ref.name': 'kept' };
    const path = await writtenLayout([{ ref: one, annotations }, { ref: other }]);
    await writeTree(await createLayout(await readLayout(path, { tag: 'kept' })), path);
    expect(snapshot(path)).toEqual(snapshot(await writtenLayout(one)));
  });

  test.each<[string, (right: Buffer) => Blob, new (...args: never[]) => Error]>([
    ['other bytes', (right) => bytesBlob(Buffer.alloc(right.length)), DigestMismatchError],
    ['fewer bytes than it says', (right) => ({ ...bytesBlob(right), size: right.length + 1 }), SizeMismatchError],
    ['more bytes than it says', (right) => ({ ...bytesBlob(right), size: right.length - 1 }), SizeMismatchError],
  ])('refuses a blob with %s, and nothing changes', async (_, wrong, errorClass) => {
    const path = await writtenLayout(one);
    const before = snapshot(path);
    const { digest } = other.manifest.config;
    const right = Buffer.from(await other.readBlobVerified(other.manifest.config));
    const tree: Tree = new Map(await createLayout(other)).set(blobPath(digest), wrong(right));
    const writing = writeTree(tree, path);
    await expect(writing).rejects.toThrow(errorClass);
    await expect(writing).rejects.toThrow(digest);
    expect(snapshot(path)).toEqual(before);
  });

  test.each(['damaged', 'missing'])('refuses a source with a %s blob, and nothing changes', async (fault) => {
    const source = await writtenLayout(other);
    const tree = await createLayout(await readLayout(source));
    const path = await writtenLayout(one);
    const before = snapshot(path);
    const layer = other.manifest.layers[0]?.digest as Digest;
    if (fault === 'missing') rmSync(blobFile(source, layer));
    else rewrite(blobFile(source, layer), Buffer.alloc(other.manifest.layers[0]?.size ?? 0));
    await expect(writeTree(tree, path)).rejects.toThrow(layer.slice('sha256:'.length));
    expect(snapshot(path)).toEqual(before);
  });
});

describe('ACCEPTANCE 18: a symbolic link in the output that leads out', () => {
  let outside: string;
  beforeEach(() => {
    outside = writeFiles(temporaryDirectory(), { secret: 'secret' });
  });

  test.each(['blobs', 'blobs/sha256', 'blobs/blake3', 'oci-layout'])('%s is refused', async (name) => {
    const path = await writtenLayout(one);
    if (existsSync(join(path, name))) renameSync(join(path, name), join(outside, 'moved'));
    else mkdirSync(join(outside, 'moved'));
    symlinkSync(join(outside, 'moved'), join(path, name));
    const [before, beforeOutside] = [readFileSync(join(path, 'index.json')), snapshot(outside)];
    const writing = writeTree(await createLayout(other), path);
    await expect(writing).rejects.toThrow(InvalidLayoutError);
    await expect(writing).rejects.toThrow(join(path, name));
    expect(readFileSync(join(path, 'index.json'))).toEqual(before);
    expect(snapshot(outside)).toEqual(beforeOutside);
  });

  test.each(['index.json', 'a blob'])('%s is replaced, and what it led to stays as it is', async (name) => {
    const path = await writtenLayout(one);
    const link = name === 'a blob' ? blobFile(path, one.digest) : join(path, name);
    rmSync(link);
    symlinkSync(join(outside, 'secret'), link);
    await writeTree(await createLayout(one), path);
    expect(snapshot(path)).toEqual(snapshot(await writtenLayout(one)));
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
    expect(readFileSync(join(outside, 'secret'), 'utf8')).toBe('secret');
  });

  test('the output itself', async () => {
    const path = join(temporaryDirectory(), 'link');
    symlinkSync(outside, path);
    const writing = writeTree(await createLayout(one), path);
    await expect(writing).rejects.toThrow(InvalidLayoutError);
    await expect(writing).rejects.toThrow(`${path}: expected a directory for the layout, found a symbolic link`);
    expect(readdirSync(outside)).toEqual(['secret']);
  });
});

describe('ACCEPTANCE 21: a corrupt blob of the right size in the output', () => {
  test.each([0, 1, 2])('blob %i of the image is repaired by the next build', async (position) => {
    const path = await writtenLayout(one);
    const sound = snapshot(path);
    const file = blobFile(path, digestsOf(one)[position] as Digest);
    const { size, mtime } = statSync(file);
    rewrite(file, Buffer.alloc(size));
    utimesSync(file, mtime, mtime);
    await writeTree(await createLayout(one), path);
    expect(snapshot(path)).toEqual(sound);
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
  });
});

describe('ACCEPTANCE 22: an output that is no place for a layout', () => {
  test.each([
    ["a user's files", { 'report.txt': 'mine', 'src/main.ts': 'mine' }, '"report.txt"'],
    ['hidden files', { '.gitignore': '*' }, '".gitignore"'],
    ['a blobs directory of something else', { 'blobs/file': 'mine' }, '"blobs"'],
    ['an index.json of something else', { 'index.json': '{}' }, '"index.json"'],
  ])('%s', async (_, files, found) => {
    const path = writeFiles(temporaryDirectory(), files);
    const before = snapshot(path);
    const writing = writeTree(await createLayout(one), path);
    await expect(writing).rejects.toThrow(InvalidLayoutError);
    await expect(writing).rejects.toThrow(`${path}: expected an empty directory or an OCI image layout`);
    await expect(writing).rejects.toThrow(`found ${found} and no oci-layout`);
    expect(snapshot(path)).toEqual(before);
    expect(readdirSync(path).sort()).toEqual([...new Set(Object.keys(files).map((name) => name.split('/')[0]))].sort());
  });

  test('a file', async () => {
    const path = join(writeFiles(temporaryDirectory(), { out: 'mine' }), 'out');
    const writing = writeTree(await createLayout(one), path);
    await expect(writing).rejects.toThrow(InvalidLayoutError);
    await expect(writing).rejects.toThrow(`${path}: expected a directory for the layout, found a file`);
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });

  test('below a file', async () => {
    const path = join(writeFiles(temporaryDirectory(), { file: 'mine' }), 'file/layout');
    const writing = writeTree(await createLayout(one), path);
    await expect(writing).rejects.toThrow(FileSystemError);
    await expect(writing).rejects.toThrow(`${path}: could not read (ENOTDIR`);
  });

  test.each([
    ['{"imageLayoutVersion":"2.0.0"}', InvalidLayoutError, 'found "2.0.0"'],
    ['not JSON', InvalidDocumentError, 'expected JSON'],
  ])('ACCEPTANCE 17: a layout whose marker is %s', async (marker, errorClass, message) => {
    const path = writeFiles(await writtenLayout(one), { 'oci-layout': marker });
    const before = snapshot(path);
    const writing = writeTree(await createLayout(other), path);
    await expect(writing).rejects.toThrow(errorClass);
    await expect(writing).rejects.toThrow(join(path, 'oci-layout'));
    await expect(writing).rejects.toThrow(message);
    expect(snapshot(path)).toEqual(before);
  });
});

describe('layoutWriter', () => {
  test('names a blob when its last byte is there, and leaves nothing without a commit', async () => {
    const path = join(temporaryDirectory(), 'a/layout');
    const writer = await layoutWriter(path);
    const bytes = Buffer.from('content');
    const written = await writer.write(bytesBlob(bytes).open(), 'blake3');
    expect(written).toMatchObject({ digest: digestOf(bytes, 'blake3'), size: bytes.length });
    expect(existsSync(join(path, 'blobs'))).toBe(false);
    await writer.close();
    expect(existsSync(join(path, '..'))).toBe(false);
  });

  test('leaves a directory that was there before', async () => {
    const path = temporaryDirectory();
    await (await layoutWriter(path)).close();
    expect(readdirSync(path)).toEqual([]);
  });

  test('two at once on one directory do not disturb each other', async () => {
    const path = join(temporaryDirectory(), 'layout');
    const [first, second] = [await layoutWriter(path), await layoutWriter(path)];
    await first.commit(await createLayout(one));
    await first.close();
    await second.commit(await createLayout(other));
    await second.close();
    expect(snapshot(path)).toEqual(snapshot(await writtenLayout(other)));
    expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
  });

  test('removes what killed processes left, and nothing of those that live', async () => {
    const { stdout: deadId } = await run(process.execPath, ['--print', 'process.pid']);
    const left = (id: string | number) => `.nx-oci-${id}-aBcDeF`;
    const path = writeFiles(temporaryDirectory(), {
      [`${left(deadId.trim())}/0`]: 'of a process that is gone',
      // Process ids come again, in a container with every run.
      [`${left(process.pid)}/0`]: 'of an earlier process with the id of this one',
      [`${left(process.ppid)}/0`]: 'of a process that lives',
    });
    await writeTree(await createLayout(one), path);
    expect(readdirSync(path).sort()).toEqual([left(process.ppid), 'blobs', 'index.json', 'oci-layout']);
  });
});
