import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import {
  bytesBlob,
  createLayout,
  DepthError,
  type Descriptor,
  type Digest,
  DigestMismatchError,
  descriptorOf,
  digestOf,
  encodeJson,
  type Image,
  type Index,
  InvalidLayoutError,
  MissingBlobError,
  MissingIndexError,
  maxDepth,
  mediaTypes,
  newIndex,
  newRef,
  noBlobs,
  parsePlatform,
  readLayout,
  SizeMismatchError,
  tagOf,
  UnknownTagError,
  verifyLayout,
  writeTree,
} from '../../src';
import { type ArtifactOptions, newArtifact } from '../../src/artifact';
import { layeredBlobs } from '../../src/blob';
import { NotAnIndexError } from '../../src/errors';
import { addToIndex } from '../../src/image-index';
import { ensureLayout, type LayoutDirectory, openLayout } from '../../src/layout/directory';
import { blobFile, blobPath } from '../../src/layout/paths';
import {
  canReflink,
  directoryOnOtherDevice,
  failureOf,
  run,
  sampleImage,
  snapshot,
  temporaryDirectory,
  writeFiles,
  writtenLayout,
} from '../fixtures';

const refName = 'org.opencontainers.image.ref.name';

let one: Image;
let other: Image;
beforeAll(async () => {
  [one, other] = [await sampleImage(['one']), await sampleImage(['other'])];
});

let layout: LayoutDirectory;
beforeEach(async () => {
  layout = await ensureLayout(join(temporaryDirectory(), 'layout'));
});

const digestsOf = (image: Image) => [image.digest, ...image.descriptors().map(({ digest }) => digest)].sort();
const layerOf = (image: Image) => image.manifest.layers[0] as Descriptor;
const listed = async (directory = layout) => (await directory.index()).manifest.manifests;
const tags = async (directory = layout) => (await listed(directory)).map(tagOf);
const blobsOf = (path: string) =>
  readdirSync(join(path, 'sha256'))
    .sort()
    .map((encoded) => `sha256:${encoded}`);

/** What an edit must leave when it fails: every file, no lock, nothing staged. */
const stateOf = (path: string) => ({ names: readdirSync(path).sort(), files: snapshot(path) });

function rewrite(file: string, content: string | Uint8Array): void {
  rmSync(file);
  writeFileSync(file, content);
}

/** Turns one bit of a file. */
function flip(file: string): void {
  const bytes = readFileSync(file);
  bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
  rewrite(file, bytes);
}

function artifactFor(subject: Image | Index, options: Partial<ArtifactOptions> = {}): Image {
  return newArtifact([], { artifactType: 'application/vnd.example.sbom', subject: descriptorOf(subject), ...options });
}

describe('O1: opening a layout', () => {
  test('makes an empty one, above which nothing need be', async () => {
    const path = join(temporaryDirectory(), 'a/b/layout');
    const made = await ensureLayout(path);
    expect(made.path).toBe(path);
    expect(readdirSync(path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    expect(readFileSync(join(path, 'oci-layout'), 'utf8')).toBe('{"imageLayoutVersion":"1.0.0"}');
    expect(JSON.parse(readFileSync(join(path, 'index.json'), 'utf8'))).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.imageIndex,
      manifests: [],
    });
  });

  test('leaves one that is there as it is', async () => {
    const path = await writtenLayout(one);
    const before = stateOf(path);
    expect(await listed(await ensureLayout(path))).toHaveLength(1);
    expect(await listed(await openLayout(path))).toHaveLength(1);
    expect(stateOf(path)).toEqual(before);
  });

  test('completes one that was only begun', async () => {
    const path = writeFiles(temporaryDirectory(), { 'oci-layout': '{"imageLayoutVersion":"1.0.0"}' });
    expect(await listed(await ensureLayout(path))).toEqual([]);
  });

  test('refuses a layout without its index', async () => {
    rmSync(join(layout.path, 'index.json'));
    expect((await failureOf(MissingIndexError, () => openLayout(layout.path))).message).toContain(
      join(layout.path, 'index.json'),
    );
  });

  test.each<[string, Record<string, string>, string]>([
    ['no marker', { 'index.json': '{}' }, 'oci-layout'],
    ['version 2.0.0', { 'oci-layout': '{"imageLayoutVersion":"2.0.0"}', 'index.json': '{}' }, '2.0.0'],
  ])('ACCEPTANCE 17: %s is refused by openLayout and ensureLayout', async (_, files, found) => {
    const path = writeFiles(temporaryDirectory(), files);
    for (const open of [openLayout, ensureLayout]) {
      const { message } = await failureOf(InvalidLayoutError, () => open(path));
      expect(message).toContain(path);
      expect(message).toContain(found);
    }
    expect(Object.keys(snapshot(path))).toEqual(Object.keys(files).sort());
  });

  test("ACCEPTANCE 22: a user's directory is refused and stays as it is", async () => {
    const path = writeFiles(temporaryDirectory(), { 'thesis.txt': 'mine' });
    const before = stateOf(path);
    for (const open of [openLayout, ensureLayout]) {
      expect((await failureOf(InvalidLayoutError, () => open(path))).message).toContain(path);
    }
    expect(stateOf(path)).toEqual(before);
  });

  describe('with a directory of blobs elsewhere', () => {
    test('two layouts share it, and it is not collected for one of them', async () => {
      const parent = temporaryDirectory();
      const blobs = join(parent, 'shared');
      const [first, second] = [
        await ensureLayout(join(parent, 'first'), { blobs }),
        await ensureLayout(join(parent, 'second'), { blobs }),
      ];
      await first.insert(one, { tag: 'v1' });
      await second.insert(other, { tag: 'v1' });
      expect(readdirSync(first.path).sort()).toEqual(['index.json', 'oci-layout']);
      expect(readdirSync(blobs)).toEqual(['sha256']);
      expect(blobsOf(blobs)).toEqual([...new Set([...digestsOf(one), ...digestsOf(other)])].sort());
      const reopened = await openLayout(second.path, { blobs });
      const config = (await reopened.ref({ tag: 'v1' })).descriptors()[0] as Descriptor;
      expect(config).toEqual(other.manifest.config);
      const { message } = await failureOf(InvalidLayoutError, () => first.collect());
      expect(message).toContain(blobs);
      expect(blobsOf(blobs)).toHaveLength(new Set([...digestsOf(one), ...digestsOf(other)]).size);
    });

    const elsewhere = directoryOnOtherDevice();
    (elsewhere === undefined ? test.skip : test)('on another device', async () => {
      const blobs = join(elsewhere as string, 'shared');
      const path = join(temporaryDirectory(), 'layout');
      await (await ensureLayout(path, { blobs })).insert(one);
      expect(blobsOf(blobs)).toEqual(digestsOf(one));
      expect(readdirSync(blobs)).toEqual(['sha256']);
    });
  });

  test.each(['blobs', 'blobs/sha256', 'oci-layout', 'index.json'])(
    'ACCEPTANCE 18: %s as a link that leads out is refused by every edit',
    async (name) => {
      await layout.insert(one, { tag: 'v1' });
      const outside = temporaryDirectory();
      renameSync(join(layout.path, name), join(outside, 'moved'));
      symlinkSync(join(outside, 'moved'), join(layout.path, name));
      const before = [snapshot(layout.path), snapshot(outside)];
      const edits: (() => Promise<unknown>)[] = [
        () => layout.insert(other),
        () => layout.replace(other),
        () => layout.tag('v1', 'v2'),
        () => layout.untag('v1'),
        () => layout.collect(),
        () => openLayout(layout.path),
      ];
      for (const edit of edits) {
        expect((await failureOf(InvalidLayoutError, edit)).message).toContain(join(layout.path, name));
      }
      expect([snapshot(layout.path), snapshot(outside)]).toEqual(before);
    },
  );

  test('ACCEPTANCE 18: a blob that is a link is replaced, and what it leads to stays', async () => {
    const secret = join(writeFiles(temporaryDirectory(), { secret: 'secret' }), 'secret');
    const { digest } = layerOf(one);
    mkdirSync(join(layout.path, 'blobs/sha256'), { recursive: true });
    symlinkSync(secret, blobFile(layout.path, digest));
    await layout.insert(one);
    expect(readFileSync(secret, 'utf8')).toBe('secret');
    expect((await verifyLayout(layout.path)).problems).toEqual([]);
  });

  test('ACCEPTANCE 18: a blob of the source that is a link is not followed', async () => {
    const source = await writtenLayout(one);
    const file = blobFile(source, layerOf(one).digest);
    const outside = join(temporaryDirectory(), 'layer');
    renameSync(file, outside);
    symlinkSync(outside, file);
    const before = stateOf(layout.path);
    const from = await readLayout(source);
    expect((await failureOf(InvalidLayoutError, () => layout.insert(from))).message).toContain(file);
    expect(readFileSync(join(layout.path, 'index.json'))).toEqual(
      Buffer.from(before.files['index.json'] ?? '', 'base64'),
    );
    expect(readdirSync(layout.path).sort()).toEqual(before.names);
  });
});

describe('O8: inserting a manifest', () => {
  test('writes all that it leads to, and lists it with tag and platform', async () => {
    const descriptor = await layout.insert(one, { tag: 'v1', annotations: { key: 'value' } });
    expect(descriptor).toEqual({
      mediaType: mediaTypes.imageManifest,
      digest: one.digest,
      size: one.rawManifest.length,
      platform: { architecture: 'amd64', os: 'linux' },
      annotations: { key: 'value', [refName]: 'v1' },
    });
    expect(await listed()).toEqual([descriptor]);
    expect(blobsOf(join(layout.path, 'blobs'))).toEqual(digestsOf(one));
    expect(readdirSync(layout.path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    expect((await verifyLayout(layout.path)).problems).toEqual([]);
  });

  test('takes another platform than the one of the config', async () => {
    const platform = parsePlatform('windows/arm64');
    expect(await layout.insert(one, { platform })).toMatchObject({ platform });
    expect((await layout.ref({ platform })).digest).toBe(one.digest);
  });

  test('a tag moves', async () => {
    await layout.insert(one, { tag: 'v1' });
    await layout.insert(other, { tag: 'v1' });
    expect(await listed()).toEqual([expect.objectContaining({ digest: other.digest })]);
    expect((await layout.ref({ tag: 'v1' })).digest).toBe(other.digest);
  });

  test('one manifest has two tags', async () => {
    await layout.insert(one, { tag: 'v1' });
    await layout.insert(one, { tag: 'v2' });
    expect((await listed()).map(({ digest }) => digest)).toEqual([one.digest, one.digest]);
    expect(await tags()).toEqual(['v1', 'v2']);
  });

  test.each<[string, (string | undefined)[], (string | undefined)[]]>([
    ['without a tag twice', [undefined, undefined], [undefined]],
    ['without a tag, then with one', [undefined, 'v1'], ['v1']],
    ['with a tag, then without', ['v1', undefined], ['v1']],
    ['with the same tag twice', ['v1', 'v1'], ['v1']],
  ])('the same manifest %s is listed once', async (_, given, expected) => {
    for (const tag of given) await layout.insert(one, tag === undefined ? {} : { tag });
    expect(await tags()).toEqual(expected);
  });

  test('with a subject: its artifact type and annotations are listed, as in a list of referrers', async () => {
    const annotations = { 'org.example.tool': 'scanner' };
    const sbom = artifactFor(one, { annotations });
    expect(await layout.insert(sbom)).toEqual({
      mediaType: mediaTypes.imageManifest,
      artifactType: 'application/vnd.example.sbom',
      digest: sbom.digest,
      size: sbom.rawManifest.length,
      annotations,
    });
    const alone = newArtifact([], { artifactType: 'application/vnd.example.sbom', annotations });
    expect(await layout.insert(alone)).not.toHaveProperty('annotations');
  });

  test("a tag in a manifest's own annotations takes no tag from another one", async () => {
    await layout.insert(one, { tag: 'v1' });
    await layout.insert(artifactFor(one, { annotations: { [refName]: 'v1', key: 'value' } }));
    expect(await listed()).toEqual([
      expect.objectContaining({ digest: one.digest, annotations: { [refName]: 'v1' } }),
      expect.objectContaining({ annotations: { key: 'value' } }),
    ]);
  });

  test('unknown fields and other entries survive each edit', async () => {
    await layout.insert(one, { tag: 'v1' });
    const file = join(layout.path, 'index.json');
    const document = JSON.parse(readFileSync(file, 'utf8'));
    const foreign = {
      mediaType: 'application/vnd.example.unknown+json',
      digest: digestOf(Buffer.from('{}')),
      size: 2,
      'x-note': [1, { deep: null }],
    };
    const extra = { annotations: { key: 'value' }, 'x-extension': { list: [true, 'text'] } };
    const own = `"__proto__":{"key":"own"}`;
    const text = JSON.stringify({ ...document, ...extra, manifests: [foreign, ...document.manifests] });
    rewrite(file, text.replace(/^\{/, `{ ${own},\n`));
    writeFiles(layout.path, { [blobPath(foreign.digest)]: '{}' });

    const index = newIndex([{ ref: one }]);
    await layout.insert(index, { tag: 'list' });
    await layout.tag('v1', 'v2');
    await layout.untag('v1');
    await layout.edit('list', (current) => addToIndex(current, [{ ref: other }]));
    const after = readFileSync(file, 'utf8');
    expect(after).toContain(own);
    expect(JSON.parse(after)).toMatchObject({ ...extra, manifests: [foreign, {}, {}] });
    expect(await tags()).toEqual([undefined, 'list', 'v2']);
  });

  test('readers of one directory object see what another one inserted', async () => {
    const second = await openLayout(layout.path);
    await layout.insert(one, { tag: 'v1' });
    await second.insert(other, { tag: 'v2' });
    expect(await tags(layout)).toEqual(['v1', 'v2']);
  });

  test('blobs that were written to the directory become part of what is inserted; the rest goes', async () => {
    const content = Buffer.from('the content of a file');
    const written = await layout.write(bytesBlob(content).open());
    await layout.write(bytesBlob(Buffer.from('never used')).open());
    expect(written).toMatchObject({ digest: digestOf(content), size: content.length });
    const descriptor = { mediaType: 'text/plain', digest: written.digest, size: written.size };
    const artifact = newArtifact([{ descriptor, blob: written.blob }], { artifactType: 'text/plain' });
    await layout.insert(artifact);
    await layout.close();
    expect(readFileSync(blobFile(layout.path, written.digest))).toEqual(content);
    expect(blobsOf(join(layout.path, 'blobs'))).toEqual(digestsOf(artifact).filter(unique));
    expect(readdirSync(layout.path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
  });
});

const unique = <T>(value: T, position: number, all: readonly T[]) => all.indexOf(value) === position;

describe('O9: manifest, config and layers arrive together', () => {
  test('no index.json names a blob that is not there: one that is missing stops all', async () => {
    await layout.insert(one, { tag: 'v1' });
    const before = readFileSync(join(layout.path, 'index.json'));
    const source = await writtenLayout(other);
    const ref = await readLayout(source);
    rmSync(blobFile(source, layerOf(other).digest));
    const { message } = await failureOf(MissingBlobError, () => layout.insert(ref, { tag: 'v1' }));
    expect(message).toContain(layerOf(other).digest);
    expect(readFileSync(join(layout.path, 'index.json'))).toEqual(before);
    expect((await verifyLayout(layout.path)).problems).toEqual([]);
  });

  test('from another layout: shared, not copied, where the file system can', async () => {
    const source = await writtenLayout(one);
    await layout.insert(await readLayout(source));
    const [mine, theirs] = [layout.path, source].map((path) => statSync(blobFile(path, layerOf(one).digest)));
    expect(mine?.ino === theirs?.ino || canReflink()).toBe(true);
    expect((mine?.mode ?? 0) & 0o222).toBe(0);
  });

  test('an index of several sources', async () => {
    const sources = [await writtenLayout(one), await writtenLayout(other)];
    const refs = await Promise.all(sources.map((path) => readLayout(path)));
    await layout.insert(newIndex(refs.map((ref) => ({ ref }))), { tag: 'both' });
    const { problems, manifests } = await verifyLayout(layout.path);
    expect({ problems, manifests }).toEqual({ problems: [], manifests: 3 });
  });
});

describe('what can not be inserted leaves the layout as it was', () => {
  let before: Buffer;
  beforeEach(async () => {
    await layout.insert(one, { tag: 'v1' });
    before = readFileSync(join(layout.path, 'index.json'));
  });

  async function expectRefused<E extends Error>(
    type: new (...facts: never[]) => E,
    insert: () => Promise<unknown>,
    ...named: string[]
  ) {
    const { message } = await failureOf(type as never, insert);
    for (const name of named) expect(message).toContain(name);
    expect(readFileSync(join(layout.path, 'index.json'))).toEqual(before);
    expect(readdirSync(layout.path).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    expect((await verifyLayout(layout.path)).problems).toEqual([]);
  }

  test.each(['insert', 'replace'] as const)('ACCEPTANCE 19: %s: a missing blob, and who refers to it', async (edit) => {
    for (const missing of other.descriptors()) {
      const source = await writtenLayout(newIndex([{ ref: other }]));
      rmSync(blobFile(source, missing.digest));
      const ref = await readLayout(source);
      await expectRefused(MissingBlobError, () => layout[edit](ref), missing.digest, other.digest);
    }
  });

  test('ACCEPTANCE 19: a missing manifest, and the index that lists it', async () => {
    const index = newIndex([{ ref: other }]);
    const source = await writtenLayout(index);
    rmSync(blobFile(source, other.digest));
    const ref = await readLayout(source);
    await expectRefused(MissingBlobError, () => layout.insert(ref), other.digest, index.digest);
  });

  test('ACCEPTANCE 19: a blob of its own that went missing, and who refers to it', async () => {
    await layout.insert(newIndex([{ ref: one }]), { tag: 'list' });
    rmSync(blobFile(layout.path, layerOf(one).digest));
    const state = stateOf(layout.path);
    const edit = () => layout.edit('list', (index) => addToIndex(index, [{ ref: other }]));
    const { message } = await failureOf(MissingBlobError, edit);
    expect(message).toContain(layerOf(one).digest);
    expect(message).toContain(one.digest);
    expect(stateOf(layout.path)).toMatchObject({ ...state, files: { 'index.json': state.files['index.json'] } });
  });

  test('ACCEPTANCE 20: a bit flipped in each manifest, config and layer', async () => {
    const index = newIndex([{ ref: other }]);
    for (const damaged of [other.digest, ...other.descriptors().map(({ digest }) => digest)]) {
      const source = await writtenLayout(index);
      flip(blobFile(source, damaged));
      const insert = async () => layout.insert(await readLayout(source));
      await expectRefused(DigestMismatchError, insert, damaged);
    }
  });

  test('ACCEPTANCE 14: the same digest with different sizes', async () => {
    const { digest, size } = layerOf(one);
    const manifest = encodeJson({ ...one.manifest, layers: [layerOf(one), { ...layerOf(one), size: size + 1 }] });
    const ref = newRef(manifest, mediaTypes.imageManifest, undefined, one.blobs);
    await expectRefused(SizeMismatchError, () => layout.insert(ref), digest, String(size), String(size + 1));
  });

  test('ACCEPTANCE 14: the same digest twice with the same size is one blob', async () => {
    const manifest = encodeJson({ ...one.manifest, config: descriptorOfBytes(), layers: [layerOf(one), layerOf(one)] });
    await layout.insert(newRef(manifest, mediaTypes.imageManifest, undefined, layeredBlobs(anyConfig, one.blobs)));
    expect(blobsOf(join(layout.path, 'blobs'))).toHaveLength(digestsOf(one).length + 2);
  });

  test('ACCEPTANCE 13: indexes nested too deep', async () => {
    const chain = nested(maxDepth + 1);
    await expectRefused(DepthError, () => layout.insert(chain), chain.digest, String(maxDepth));
  });

  test('a change of an index that fails', async () => {
    await layout.insert(newIndex([]), { tag: 'list' });
    before = readFileSync(join(layout.path, 'index.json'));
    const failing = () =>
      layout.edit('list', () => {
        throw new UnknownTagError('no such thing');
      });
    await expectRefused(UnknownTagError, failing, 'no such thing');
  });
});

const anyBytes = Buffer.from('{"any":"config"}');
const anyConfig = new Map([[digestOf(anyBytes), bytesBlob(anyBytes)]]);

function descriptorOfBytes(): Descriptor {
  return { mediaType: 'application/vnd.example+json', digest: digestOf(anyBytes), size: anyBytes.length };
}

/** An index in an index in an index ... */
function nested(depth: number): Index {
  let index = newIndex([]);
  for (let level = 0; level < depth; level++) index = newIndex([{ ref: index }]);
  return index;
}

describe('ACCEPTANCE 21: what is damaged in the layout', () => {
  test('is repaired by inserting it again', async () => {
    await layout.insert(one, { tag: 'v1' });
    for (const digest of digestsOf(one)) flip(blobFile(layout.path, digest as Digest));
    expect((await verifyLayout(layout.path)).problems).not.toEqual([]);
    await layout.insert(one, { tag: 'v1' });
    expect((await verifyLayout(layout.path)).problems).toEqual([]);
  });
});

describe('O12: replacing the index by one manifest', () => {
  test('makes it the only one; the content of the others stays until it is collected', async () => {
    await layout.insert(one, { tag: 'v1' });
    const descriptor = await layout.replace(other, { tag: 'v2' });
    expect(await listed()).toEqual([descriptor]);
    expect((await layout.ref()).digest).toBe(other.digest);
    expect(blobsOf(join(layout.path, 'blobs'))).toEqual([...digestsOf(one), ...digestsOf(other)].filter(unique).sort());
    await layout.collect();
    expect(blobsOf(join(layout.path, 'blobs'))).toEqual(digestsOf(other));
  });
});

describe('tags', () => {
  beforeEach(async () => {
    await layout.insert(one, { tag: 'v1', annotations: { key: 'value' } });
    await layout.insert(newIndex([{ ref: other }]), { tag: 'list' });
  });

  test('another one beside the first, with all that is said of the manifest', async () => {
    const tagged = await layout.tag('v1', 'v2');
    expect(tagged).toEqual({ ...(await layout.find('v1')), annotations: { key: 'value', [refName]: 'v2' } });
    expect(await tags()).toEqual(['v1', 'list', 'v2']);
  });

  test('for what only a nested index lists', async () => {
    await layout.tag(other.digest, 'inner');
    expect((await layout.ref({ tag: 'inner' })).digest).toBe(other.digest);
    expect(await tags()).toEqual(['v1', 'list', 'inner']);
  });

  test('from one manifest to another', async () => {
    await layout.tag(other.digest, 'v1');
    expect(await tags()).toEqual(['list', 'v1']);
    expect((await layout.find('v1')).digest).toBe(other.digest);
  });

  test('on itself', async () => {
    await layout.tag('v1', 'v1');
    expect((await tags()).sort()).toEqual(['list', 'v1']);
  });

  test('taken away', async () => {
    await layout.tag('v1', 'v2');
    await layout.untag('v1');
    expect(await tags()).toEqual(['list', 'v2']);
    await layout.untag('v2');
    expect((await listed()).map(({ digest }) => digest)).not.toContain(one.digest);
  });

  test.each<[string, (name: string) => Promise<unknown>]>([
    ['tag', (name) => layout.tag(name, 'new')],
    ['untag', (name) => layout.untag(name)],
    ['edit', (name) => layout.edit(name, (index) => index)],
    ['find', (name) => layout.find(name)],
  ])('%s of one that is not there names it and lists what is', async (_, edit) => {
    const before = stateOf(layout.path);
    for (const name of ['v9', digestOf(Buffer.from('nothing'))]) {
      const { message } = await failureOf(UnknownTagError, () => edit(name));
      expect(message).toContain(name);
      expect(message).toContain('v1, list');
      expect(message).toContain(layout.path);
    }
    expect(stateOf(layout.path)).toEqual(before);
  });
});

describe('editing an index in place', () => {
  test('keeps its tag, its place and what is said of it', async () => {
    await layout.insert(newIndex([{ ref: one }]), { tag: 'list', annotations: { key: 'value' } });
    await layout.insert(one, { tag: 'v1' });
    const edited = await layout.edit('list', (index) => addToIndex(index, [{ ref: other }]));
    expect(edited.annotations).toEqual({ key: 'value', [refName]: 'list' });
    expect(await tags()).toEqual(['list', 'v1']);
    const ref = await layout.ref({ tag: 'list' });
    expect(ref.digest).toBe(edited.digest);
    expect(ref.manifest).toMatchObject({ manifests: [{ digest: one.digest }, { digest: other.digest }] });
    expect((await verifyLayout(layout.path)).problems).toEqual([]);
  });

  test('leaves another tag of the same index where it was', async () => {
    const before = newIndex([{ ref: one }]);
    await layout.insert(before, { tag: 'old' });
    await layout.tag('old', 'new');
    await layout.edit('new', (index) => addToIndex(index, [{ ref: other }]));
    expect((await layout.find('old')).digest).toBe(before.digest);
    expect((await layout.find('new')).digest).not.toBe(before.digest);
  });

  test("keeps Docker's media type", async () => {
    const list = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.dockerManifestList, manifests: [] });
    await layout.insert(newRef(list, mediaTypes.dockerManifestList, undefined, noBlobs), { tag: 'list' });
    const edited = await layout.edit('list', (index) => addToIndex(index, [{ ref: one }]));
    expect(edited.mediaType).toBe(mediaTypes.dockerManifestList);
  });

  test('refuses an image, by its media type', async () => {
    await layout.insert(one, { tag: 'v1' });
    const { message } = await failureOf(NotAnIndexError, () => layout.edit('v1', (index) => index));
    expect(message).toContain(mediaTypes.imageManifest);
  });
});

describe('O10, O11: artifacts for a subject, and who refers to it', () => {
  const sbomType = 'application/vnd.example.sbom';
  const signatureType = 'application/vnd.example.signature';
  let sbom: Image;
  let signature: Image;
  beforeEach(async () => {
    sbom = artifactFor(one, { annotations: { key: 'value' } });
    const config = { mediaType: signatureType, content: Buffer.from('{}') };
    signature = newArtifact([], { config, subject: descriptorOf(one) });
    await layout.insert(one, { tag: 'v1' });
    await layout.insert(sbom);
    await layout.insert(newIndex([{ ref: newIndex([{ ref: signature }]) }, { ref: other }]), { tag: 'nested' });
  });

  test('all of them, at any depth, with artifact type and annotations', async () => {
    const found = await layout.referrers(one.digest);
    expect([...found].sort((a, b) => Number(a.digest === sbom.digest) - Number(b.digest === sbom.digest))).toEqual([
      { ...descriptorOf(signature), artifactType: signatureType },
      { ...descriptorOf(sbom), artifactType: sbomType, annotations: { key: 'value' } },
    ]);
  });

  test.each<[string, string, () => Image[]]>([
    ['the type of the manifest', sbomType, () => [sbom]],
    ['the media type of the config, where the manifest has none', signatureType, () => [signature]],
    ['a type that nothing has', 'text/plain', () => []],
  ])('by %s', async (_, type, expected) => {
    const found = await layout.referrers(one.digest, type);
    expect(found.map(({ digest }) => digest)).toEqual(expected().map(({ digest }) => digest));
  });

  test('none for what nobody refers to; some for what is not in the layout', async () => {
    expect(await layout.referrers(other.digest)).toEqual([]);
    const elsewhere = await sampleImage(['elsewhere']);
    const about = artifactFor(elsewhere);
    await layout.insert(about);
    expect((await layout.referrers(elsewhere.digest)).map(({ digest }) => digest)).toEqual([about.digest]);
  });

  test('each manifest is read once in the life of the directory', async () => {
    const found = await layout.referrers(one.digest);
    for (const digest of blobsOf(join(layout.path, 'blobs'))) rmSync(blobFile(layout.path, digest as Digest));
    expect(await layout.referrers(one.digest)).toEqual(found);
    const later = artifactFor(one, { annotations: { later: 'yes' } });
    await layout.insert(later);
    expect((await layout.referrers(one.digest)).map(({ digest }) => digest)).toContain(later.digest);
    await expect((await openLayout(layout.path)).referrers(one.digest)).rejects.toThrow(MissingBlobError);
  });

  test('ACCEPTANCE 19: a missing manifest, and the index that lists it', async () => {
    const inner = newIndex([{ ref: signature }]);
    rmSync(blobFile(layout.path, signature.digest));
    const { message } = await failureOf(MissingBlobError, () => layout.referrers(one.digest));
    expect(message).toContain(signature.digest);
    expect(message).toContain(inner.digest);
  });
});

/** What a walk through a layout is asked for. */
const walks: [string, (directory: LayoutDirectory) => Promise<unknown>][] = [
  ['referrers', (directory) => directory.referrers(digestOf(Buffer.from('x')))],
  ['collect', (directory) => directory.collect()],
  ['find', (directory) => directory.find(digestOf(Buffer.from('x')))],
];

describe.each(walks)('ACCEPTANCE 13: %s', (name, walk) => {
  test('an index that lists itself is a digest mismatch, at once', async () => {
    const index = newIndex([{ ref: one }]);
    await layout.insert(index, { tag: 'list' });
    const itself = { ...index.manifest, manifests: [descriptorOf(index)] };
    const bytes = Buffer.from(encodeJson(itself));
    rewrite(
      blobFile(layout.path, index.digest),
      Buffer.concat([bytes, Buffer.alloc(200, ' ')]).subarray(0, index.rawManifest.length),
    );
    const before = snapshot(layout.path);
    const { message } = await failureOf(DigestMismatchError, () => walk(layout));
    expect(message).toContain(index.digest);
    expect(snapshot(layout.path)).toEqual(before);
  });

  test('a chain that is too deep', async () => {
    let chain = newIndex([]);
    for (let level = 0; level <= maxDepth; level++) {
      writeFiles(layout.path, { [blobPath(chain.digest)]: chain.rawManifest });
      chain = newIndex([{ ref: chain }]);
    }
    rewrite(join(layout.path, 'index.json'), chain.rawManifest);
    const before = snapshot(layout.path);
    const { message } = await failureOf(DepthError, () => walk(layout));
    expect(message).toContain(String(maxDepth));
    expect(snapshot(layout.path)).toEqual(before);
  });

  test('a diamond of 30 levels is walked in no time', async () => {
    let diamond = newIndex([{ ref: one }]);
    for (let level = 0; level < 28; level++) {
      diamond = newIndex([
        { ref: diamond, annotations: { side: 'left' } },
        { ref: diamond, annotations: { side: 'right' } },
      ]);
    }
    await layout.insert(diamond);
    // 2^28 visits would not end today.
    const walking = walk(layout);
    if (name === 'find') await expect(walking).rejects.toThrow(UnknownTagError);
    else await expect(walking).resolves.toBeDefined();
  });
});

describe('collecting', () => {
  beforeEach(async () => {
    await layout.insert(one, { tag: 'v1' });
    await layout.insert(newIndex([{ ref: other }]), { tag: 'list' });
  });

  const garbage = 'never named';
  const garbageDigest = digestOf(Buffer.from(garbage));
  const addGarbage = () => writeFiles(layout.path, { [blobPath(garbageDigest)]: garbage });

  test('removes what index.json does not lead to, and nothing else', async () => {
    await layout.untag('v1');
    addGarbage();
    const kept = [...digestsOf(other), newIndex([{ ref: other }]).digest].filter(unique).sort();
    const gone = digestsOf(one).filter((digest) => !kept.includes(digest));
    const size = gone.reduce((sum, digest) => sum + statSync(blobFile(layout.path, digest as Digest)).size, 0);
    writeFiles(layout.path, { 'notes.txt': 'mine', 'blobs/sha256/notes.txt': 'mine', 'blobs/other/file': 'mine' });
    const collected = await layout.collect();
    expect(collected).toEqual({ digests: [...gone, garbageDigest].sort(), size: size + garbage.length });
    expect(blobsOf(join(layout.path, 'blobs'))).toEqual([...kept, 'sha256:notes.txt'].sort());
    expect(snapshot(layout.path)).toMatchObject({
      'notes.txt': expect.anything(),
      'blobs/other/file': expect.anything(),
    });
    expect((await verifyLayout(layout.path)).problems).toEqual([]);
    expect(await layout.collect()).toEqual({ digests: [], size: 0 });
  });

  test('a dry run says the same and removes nothing', async () => {
    addGarbage();
    mkdirSync(join(layout.path, '.nx-oci-0-abandoned'));
    const before = stateOf(layout.path);
    const planned = await layout.collect({ dryRun: true });
    expect(planned).toEqual({ digests: [garbageDigest], size: garbage.length });
    expect(stateOf(layout.path)).toEqual(before);
    expect(await layout.collect()).toEqual(planned);
  });

  test('keeps what other media types name', async () => {
    const bytes = Buffer.from('any bytes');
    const descriptor = { mediaType: 'text/plain', digest: digestOf(bytes), size: bytes.length };
    writeFiles(layout.path, { [blobPath(descriptor.digest)]: bytes });
    const { manifest } = await layout.index();
    rewrite(
      join(layout.path, 'index.json'),
      encodeJson({ ...manifest, manifests: [...manifest.manifests, descriptor] }),
    );
    expect(await layout.collect()).toEqual({ digests: [], size: 0 });
  });

  const nodes: [string, () => Digest][] = [
    ['an image', () => one.digest],
    ['an index', () => newIndex([{ ref: other }]).digest],
    ['an image in an index', () => other.digest],
  ];
  test.each(nodes)(
    'ACCEPTANCE 19, 20: %s that is missing or damaged stops it before anything is removed',
    async (_, node) => {
      addGarbage();
      const file = blobFile(layout.path, node());
      const bytes = readFileSync(file);
      for (const [fault, type] of [
        ['missing', MissingBlobError],
        ['damaged', DigestMismatchError],
      ] as const) {
        if (fault === 'missing') rmSync(file);
        else writeFileSync(file, Buffer.from(bytes).fill(' ', 0, 1));
        const before = stateOf(layout.path);
        const { message } = await failureOf<MissingBlobError | DigestMismatchError>(type, () => layout.collect());
        expect(message).toContain(node());
        expect(stateOf(layout.path)).toEqual(before);
        if (fault === 'damaged') rmSync(file);
      }
    },
  );

  test('ACCEPTANCE 10: an index.json that can not be read stops it', async () => {
    addGarbage();
    rewrite(join(layout.path, 'index.json'), '{"schemaVersion":2,"manifests":[');
    const before = stateOf(layout.path);
    await expect(layout.collect()).rejects.toThrow(join(layout.path, 'index.json'));
    expect(stateOf(layout.path)).toEqual(before);
  });

  test('removes the staging of processes that are gone, and leaves that of others alone', async () => {
    const { stdout: gone } = await run(process.execPath, ['-p', 'process.pid']);
    const abandoned = `.nx-oci-${gone.trim()}-abandoned`;
    const live = `.nx-oci-${process.ppid}-live`;
    const written = await layout.write(bytesBlob(Buffer.from('in progress')).open());
    const own = readdirSync(layout.path).find((name) => name.startsWith(`.nx-oci-${process.pid}-`)) as string;
    for (const name of [abandoned, live]) writeFiles(layout.path, { [`${name}/0`]: 'bytes' });
    await (await openLayout(layout.path)).collect();
    expect(
      readdirSync(layout.path)
        .filter((name) => name.startsWith('.nx-oci'))
        .sort(),
    ).toEqual([live, own].sort());
    const descriptor = { mediaType: 'text/plain', digest: written.digest, size: written.size };
    await layout.insert(newArtifact([{ descriptor, blob: written.blob }], { artifactType: 'text/plain' }));
    await layout.close();
    expect(existsSync(join(layout.path, own))).toBe(false);
    expect((await verifyLayout(layout.path)).problems).toEqual([]);
  });
});

describe('O14: the image of a platform', () => {
  test('at any depth, by its descriptor or its config', async () => {
    const arm64 = await sampleImage(['one'], 'linux/arm64');
    const v6 = await sampleImage(['one'], 'linux/arm/v6');
    const inner = newIndex([{ ref: arm64, platform: parsePlatform('linux/arm64') }, { ref: v6 }]);
    await layout.insert(newIndex([{ ref: newIndex([{ ref: inner }]) }]), { tag: 'list' });
    const find = async (text: string) => (await layout.ref({ tag: 'list', platform: parsePlatform(text) })).digest;
    expect(await find('linux/arm64')).toBe(arm64.digest);
    expect(await find('linux/arm/v7')).toBe(v6.digest);
    await expect(find('linux/riscv64')).rejects.toThrow(/linux\/riscv64.*linux\/arm64, linux\/arm\/v6/);
  });
});

test('writeTree and edits can follow each other', async () => {
  await layout.insert(one, { tag: 'v1' });
  await writeTree(await createLayout(other, { tag: 'v2' }), layout.path);
  expect(await tags()).toEqual(['v2']);
  await layout.insert(one, { tag: 'v1' });
  expect(await tags()).toEqual(['v2', 'v1']);
  expect((await verifyLayout(layout.path)).problems).toEqual([]);
});
