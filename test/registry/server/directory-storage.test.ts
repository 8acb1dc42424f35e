import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
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
import type { Readable, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  asImage,
  type Blob,
  bytesBlob,
  createLayout,
  type Digest,
  DigestMismatchError,
  digestOf,
  emptyImage,
  fileBlob,
  type Image,
  InvalidDocumentError,
  InvalidLayoutError,
  LayoutLockedError,
  LimitError,
  MissingBlobError,
  MissingIndexError,
  newIndex,
  newRef,
  parsePlatform,
  type Ref,
  readLayout,
  readLayoutIndex,
  SizeMismatchError,
  sealImage,
  tagOf,
  verifyLayout,
  writeTree,
} from '../../../src';
import { noBlobs } from '../../../src/blob';
import { blobFile, lockName } from '../../../src/layout/paths';
import { directoryStorage } from '../../../src/registry/server/directory-storage';
import type { RegistryStorage, StoredManifest } from '../../../src/registry/server/storage';
import { type ImageIndex, refNameAnnotation } from '../../../src/spec/documents';
import { encodeJson } from '../../../src/spec/json';
import { mediaTypes } from '../../../src/spec/media-types';
import {
  canReflink,
  collect,
  directoryOnOtherDevice,
  failureOf,
  repository,
  sampleImage,
  snapshot,
  temporaryDirectory,
  writeFiles,
} from '../../fixtures';
import { storageSuite } from './storage-suite';

storageSuite('directory storage', () => directoryStorage(join(temporaryDirectory(), 'storage')));

let path: string;
let storage: RegistryStorage;
beforeEach(() => {
  path = join(temporaryDirectory(), 'storage');
});
afterEach(() => storage?.close());

const open = async (): Promise<RegistryStorage> => {
  storage = await directoryStorage(path);
  return storage;
};
const reopen = async (): Promise<RegistryStorage> => {
  await storage.close();
  return open();
};

const stored = ({ mediaType, digest, rawManifest }: Ref): StoredManifest => ({ mediaType, digest, bytes: rawManifest });

/** Puts an image into a repository, as a client pushes it. */
async function push(name: string, image: Image, ...tags: string[]): Promise<void> {
  for (const descriptor of image.descriptors()) await storage.addBlob(name, descriptor.digest, image.blob(descriptor));
  await storage.putManifest(name, stored(image), tags);
}

async function upload(name: string, content: Uint8Array, digest = digestOf(content)): Promise<Digest> {
  const started = await storage.startUpload(name);
  await started.append(bytesBlob(content).open());
  await started.complete(digest);
  return digest;
}

const textOf = async (blob: Blob | undefined) => blob && String(await collect(blob.open()));
const indexOf = (name: string): ImageIndex => JSON.parse(readFileSync(join(path, name, 'index.json'), 'utf8'));

/** Many different manifests without content behind them. */
const manifestNumber = (number: number): StoredManifest => {
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.imageIndex,
    manifests: [],
    annotations: { n: `${number}` },
  };
  return stored(newRef(encodeJson(document), mediaTypes.imageIndex, undefined, noBlobs));
};

/** An artifact without files that refers to another manifest. */
const referrerOf = ({ mediaType, digest, rawManifest }: Ref, annotations: Record<string, string>): Image => {
  const { rawManifest: bytes } = sealImage(emptyImage(parsePlatform('linux/amd64')));
  const subject = { mediaType, digest, size: rawManifest.length };
  const document = { ...JSON.parse(String(bytes)), artifactType: 'text/signature', subject, annotations };
  return asImage(newRef(encodeJson(document), mediaTypes.imageManifest, undefined, noBlobs));
};

describe('one layout for each repository', () => {
  test('whose name a directory has, with + for /; nothing is nested', async () => {
    await open();
    const image = await sampleImage();
    await push('os', image, 'latest');
    await push('os/base', image, 'v1');
    await push('os/blobs/sha256', image, 'v1');
    await storage.close();
    expect(readdirSync(path).sort()).toEqual(['os', 'os+base', 'os+blobs+sha256']);
    for (const name of readdirSync(path)) {
      expect(readdirSync(join(path, name)).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
      expect(await verifyLayout(join(path, name))).toMatchObject({ problems: [], manifests: 1 });
    }
    await open();
    expect(await storage.repositories()).toEqual(['os', 'os/base', 'os/blobs/sha256']);
  });

  test('lists an entry for each tag and one for what has none, as layouts are written here', async () => {
    await open();
    const [one, two] = await Promise.all([sampleImage(['one']), sampleImage(['two'], 'linux/arm/v7')]);
    await push('a', one, 'v1', 'latest');
    await push('a', two);
    const referrer = referrerOf(one, { note: 'signed' });
    await storage.putManifest('a', stored(referrer), []);
    const written = (await readLayoutIndex(join(path, 'a'))).manifest.manifests;
    const common = { mediaType: mediaTypes.imageManifest };
    const platform = { architecture: 'amd64', os: 'linux' };
    const size = one.rawManifest.length;
    const tagged = (tag: string) => ({
      ...common,
      digest: one.digest,
      size,
      platform,
      annotations: { [refNameAnnotation]: tag },
    });
    expect(written).toEqual([
      tagged('v1'),
      tagged('latest'),
      {
        ...common,
        digest: two.digest,
        size: two.rawManifest.length,
        platform: { architecture: 'arm', os: 'linux', variant: 'v7' },
      },
      {
        ...common,
        artifactType: 'text/signature',
        digest: referrer.digest,
        size: referrer.rawManifest.length,
        annotations: { note: 'signed' },
      },
    ]);
    expect((await readLayout(join(path, 'a'), { tag: 'latest' })).digest).toBe(one.digest);
  });

  test.each<[string, StoredManifest['mediaType'], string]>([
    ['a manifest that is no image', 'application/vnd.example.manifest.v1+json', '{"any":"thing"}'],
    ['an image without its config', mediaTypes.imageManifest, JSON.stringify(emptyManifest())],
  ])('keeps %s as it came', async (_, mediaType, text) => {
    await open();
    const bytes = Buffer.from(text);
    await storage.putManifest('a', { mediaType, digest: digestOf(bytes), bytes }, ['v1']);
    await reopen();
    expect(await storage.manifest('a', 'v1')).toEqual({ mediaType, digest: digestOf(bytes), bytes });
    expect(await storage.referrers('a', digestOf(bytes))).toEqual([]);
  });

  test('ACCEPTANCE 11: an annotation named __proto__ comes through', async () => {
    await open();
    const subject = await sampleImage();
    const text = '{"__proto__":"x","a":"b"}';
    const { rawManifest } = referrerOf(subject, { a: 'b' });
    const bytes = Buffer.from(String(rawManifest).replace('{"a":"b"}', text));
    await storage.putManifest('a', { mediaType: mediaTypes.imageManifest, digest: digestOf(bytes), bytes }, ['v1']);
    expect(readFileSync(join(path, 'a/index.json'), 'utf8')).toContain('"__proto__":"x"');
    await reopen();
    const [referrer] = await storage.referrers('a', subject.digest);
    expect(JSON.stringify(referrer?.annotations)).toBe(text);
    expect(({} as Record<string, unknown>).a).toBeUndefined();
  });

  test('what could not be read again is not written', async () => {
    await open();
    await storage.putManifest('a', manifestNumber(1), ['v1']);
    const bytes = Buffer.from('{}');
    const manifest = { mediaType: 'no media type', digest: digestOf(bytes), bytes };
    const { message } = await failureOf(InvalidDocumentError, () => storage.putManifest('a', manifest, ['v1']));
    expect(message).toContain('"no media type"');
    expect((await storage.manifest('a', 'v1'))?.digest).toBe(manifestNumber(1).digest);
    await reopen();
    expect((await storage.manifest('a', 'v1'))?.digest).toBe(manifestNumber(1).digest);
  });

  test('ACCEPTANCE 12: what would make index.json larger than anybody reads is refused', async () => {
    await open();
    const subject = await sampleImage();
    const large = (number: number) => referrerOf(subject, { [number]: 'x'.repeat(26 * 1024 * 1024) });
    await storage.putManifest('a', stored(large(1)), ['v1']);
    const before = readFileSync(join(path, 'a/index.json'));
    const refused = stored(large(2));
    const { message } = await failureOf(LimitError, () => storage.putManifest('a', refused, ['v2']));
    expect(message).toContain(join(path, 'a/index.json'));
    expect(readFileSync(join(path, 'a/index.json')).equals(before)).toBe(true);
    expect(existsSync(blobFile(join(path, 'a'), refused.digest))).toBe(false);
    expect(await storage.tags('a')).toEqual(['v1']);
  });

  test('what somebody else put beside it is not removed by a deletion', async () => {
    await open();
    await upload('a', Buffer.from('mine'));
    const digest = digestOf(Buffer.from('theirs'));
    writeFileSync(blobFile(join(path, 'a'), digest), 'theirs');
    expect(await storage.deleteBlob('a', digest)).toBe(false);
    expect(await storage.deleteManifest('a', digest)).toBe(false);
    expect(existsSync(blobFile(join(path, 'a'), digest))).toBe(true);
  });

  test('a manifest with another digest than its own is refused, and leaves nothing', async () => {
    await open();
    const [one, two] = [manifestNumber(1), manifestNumber(2)];
    await storage.putManifest('a', one, []);
    const before = snapshot(path);
    const failure = await failureOf(DigestMismatchError, () =>
      storage.putManifest('a', { ...one, digest: two.digest }, ['v1']),
    );
    expect(failure.message).toContain(two.digest);
    expect(snapshot(path)).toEqual(before);
  });
});

function emptyManifest() {
  const config = { mediaType: mediaTypes.imageConfig, digest: digestOf(Buffer.from('missing')), size: 7 };
  return { schemaVersion: 2, mediaType: mediaTypes.imageManifest, config, layers: [] };
}

describe('after a restart', () => {
  test('everything that was acknowledged is there', async () => {
    await open();
    const [one, two] = await Promise.all([sampleImage(['one']), sampleImage(['two'])]);
    const index = newIndex([{ ref: one }, { ref: two }]);
    const referrer = referrerOf(index, { note: 'signed' });
    await push('os/base', one, 'one', 'moved');
    await push('os/base', two, 'two', 'moved');
    await storage.putManifest('os/base', stored(index), ['latest']);
    await storage.putManifest('os/base', stored(referrer), []);
    const sha512 = await upload('os/base', Buffer.from('sha512'), digestOf(Buffer.from('sha512'), 'sha512'));
    const blake3 = await upload('only/blobs', Buffer.from('blake3'), digestOf(Buffer.from('blake3'), 'blake3'));
    await storage.untag('os/base', 'two');
    await storage.deleteBlob('os/base', one.manifest.config.digest);
    const seen = async () => ({
      repositories: await storage.repositories(),
      tags: await storage.tags('os/base'),
      none: await storage.tags('only/blobs'),
      moved: await storage.manifest('os/base', 'moved'),
      one: await storage.manifest('os/base', 'one'),
      index: await storage.manifest('os/base', 'latest'),
      untagged: await storage.manifest('os/base', referrer.digest),
      referrers: await storage.referrers('os/base', index.digest),
      blobs: [
        await textOf(await storage.blob('os/base', sha512)),
        await textOf(await storage.blob('only/blobs', blake3)),
        await storage.blob('os/base', one.manifest.config.digest),
        await storage.blob('os/base', one.digest),
      ],
    });
    const before = await seen();
    expect(before).toMatchObject({
      tags: ['latest', 'moved', 'one'],
      none: [],
      moved: { digest: two.digest },
      referrers: [{ digest: referrer.digest, artifactType: 'text/signature', annotations: { note: 'signed' } }],
      blobs: ['sha512', 'blake3', undefined, undefined],
    });
    await reopen();
    expect(await seen()).toMatchObject({ ...before, untagged: { ...before.untagged, bytes: expect.anything() } });
    await storage.putManifest('os/base', stored(one), ['again']);
    await reopen();
    expect(await storage.tags('os/base')).toEqual(['again', 'latest', 'moved', 'one']);
  });

  test('what was not completed or was deleted is gone, with its files', async () => {
    await open();
    const image = await sampleImage();
    await push('a', image, 'v1');
    const before = snapshot(join(path, 'a'));
    const extra = manifestNumber(1);
    await storage.putManifest('a', extra, ['extra']);
    const blob = await upload('a', Buffer.from('extra'));
    expect(await storage.deleteManifest('a', extra.digest)).toBe(true);
    expect(await storage.deleteBlob('a', blob)).toBe(true);
    const unfinished = await storage.startUpload('a');
    await unfinished.append(bytesBlob(Buffer.from('unfinished')).open());
    expect(snapshot(join(path, 'a'))).toEqual(before);
    await storage.close();
    expect(readdirSync(path)).toEqual(['a']);
  });
});

describe('content that is manifest and blob', () => {
  const manifest = manifestNumber(1);
  const { digest } = manifest;
  const bytes = Buffer.from(manifest.bytes);
  const steps: Record<string, () => Promise<unknown>> = {
    'put a manifest': () => storage.putManifest('a', manifest, ['v1']),
    'upload a blob': () => upload('a', bytes),
    'delete the manifest': () => storage.deleteManifest('a', digest),
    'delete the blob': () => storage.deleteBlob('a', digest),
    'put an index of it': () =>
      storage.putManifest('a', stored(newIndex([{ ref: newRef(bytes, manifest.mediaType, digest, noBlobs) }])), [
        'list',
      ]),
    restart: () => reopen(),
  };

  test.each<[boolean, boolean, (keyof typeof steps)[]]>([
    [true, false, ['put a manifest']],
    [false, true, ['upload a blob']],
    [true, true, ['put a manifest', 'upload a blob']],
    [true, true, ['upload a blob', 'put a manifest']],
    [false, true, ['put a manifest', 'upload a blob', 'delete the manifest']],
    [false, true, ['upload a blob', 'put a manifest', 'restart', 'delete the manifest']],
    [true, false, ['upload a blob', 'put a manifest', 'delete the blob']],
    [true, false, ['put a manifest', 'upload a blob', 'restart', 'delete the blob']],
    [false, false, ['upload a blob', 'put a manifest', 'delete the manifest', 'delete the blob']],
    [false, false, ['upload a blob', 'put a manifest', 'delete the blob', 'delete the manifest']],
    [false, true, ['put an index of it', 'upload a blob']],
    [false, true, ['upload a blob', 'put an index of it']],
    [true, false, ['put a manifest', 'put an index of it']],
    [false, false, ['put a manifest', 'put an index of it', 'delete the manifest']],
    [false, true, ['put a manifest', 'put an index of it', 'upload a blob', 'restart', 'delete the manifest']],
  ])('is a manifest: %s, is a blob: %s after: %j', async (isManifest, isBlob, names) => {
    await open();
    for (const name of names) await steps[name]?.();
    const expectIt = async () => {
      expect((await storage.manifest('a', digest))?.digest).toBe(isManifest ? digest : undefined);
      expect((await storage.blob('a', digest))?.size).toBe(isBlob ? bytes.length : undefined);
      expect(existsSync(blobFile(join(path, 'a'), digest))).toBe(isManifest || isBlob);
    };
    await expectIt();
    await reopen();
    await expectIt();
    expect((await verifyLayout(join(path, 'a'))).problems.filter((problem) => problem.digest !== digest)).toEqual([]);
  });
});

describe('layouts of other tools', () => {
  test('are served: images by tag, indexes with what they list, and all their blobs', async () => {
    const [one, two, absent] = await Promise.all([
      sampleImage(['one']),
      sampleImage(['two'], 'linux/arm64'),
      sampleImage(['absent'], 'linux/s390x'),
    ]);
    const inner = newIndex([{ ref: two }, { ref: absent }]);
    const index = newIndex([{ ref: inner }, { ref: one }]);
    mkdirSync(path);
    const layout = join(path, 'os+base');
    await writeTree(await createLayout(index, { tag: 'v1' }), layout);
    rmSync(blobFile(layout, absent.digest));
    const before = snapshot(layout);
    await open();
    expect(await storage.repositories()).toEqual(['os/base']);
    for (const { digest, rawManifest } of [one, two, inner, index]) {
      expect(Buffer.from((await storage.manifest('os/base', digest))?.bytes ?? [])).toEqual(rawManifest);
      expect(await storage.blob('os/base', digest)).toBeUndefined();
    }
    expect(await storage.manifest('os/base', absent.digest)).toBeUndefined();
    for (const { digest, size } of [...one.descriptors(), ...two.descriptors()]) {
      expect((await storage.blob('os/base', digest))?.size).toBe(size);
    }
    // Reading changes nothing.
    await storage.close();
    expect(snapshot(layout)).toEqual(before);

    // What the index listed outlives it, as what was pushed does.
    await open();
    expect(await storage.deleteManifest('os/base', index.digest)).toBe(true);
    await reopen();
    expect((await storage.manifest('os/base', two.digest))?.digest).toBe(two.digest);
    expect((await storage.manifest('os/base', one.digest))?.digest).toBe(one.digest);
    expect(await storage.tags('os/base')).toEqual([]);
  });

  test('keep what they say beyond tags: annotations, names that are no tags, unknown keys', async () => {
    const [one, two] = await Promise.all([sampleImage(['one']), sampleImage(['two'])]);
    mkdirSync(path);
    const layout = join(path, 'a');
    await writeTree(
      await createLayout([
        { ref: one, annotations: { [refNameAnnotation]: 'v1', made: 'elsewhere' } },
        { ref: two, annotations: { [refNameAnnotation]: 'docker.io/library/two:latest' } },
        { ref: two, annotations: { [refNameAnnotation]: 'v1' } },
      ]),
      layout,
    );
    const document = { ...indexOf('a'), annotations: { whole: 'kept' }, unknown: 1 };
    writeFileSync(join(layout, 'index.json'), JSON.stringify(document));
    await open();
    // Readers of layouts take the first one, too.
    expect((await storage.manifest('a', 'v1'))?.digest).toBe(one.digest);
    expect(await storage.tags('a')).toEqual(['v1']);
    await storage.putManifest('a', manifestNumber(1), ['new']);
    const written = indexOf('a');
    expect(written).toMatchObject({ annotations: { whole: 'kept' }, unknown: 1 });
    expect(written.manifests.map((entry) => [entry.digest, entry.annotations])).toEqual([
      [one.digest, { [refNameAnnotation]: 'v1', made: 'elsewhere' }],
      [manifestNumber(1).digest, { [refNameAnnotation]: 'new' }],
      [two.digest, { [refNameAnnotation]: 'docker.io/library/two:latest' }],
    ]);
  });

  const damages: [string, (file: string, bytes: Buffer) => void, new (...facts: never[]) => Error][] = [
    [
      'damaged',
      (file, bytes) =>
        writeFileSync(
          file,
          bytes.map((byte) => byte ^ 1),
        ),
      DigestMismatchError,
    ],
    ['cut off', (file, bytes) => writeFileSync(file, bytes.subarray(1)), SizeMismatchError],
    ['missing', () => undefined, MissingBlobError],
  ];
  test.each(damages)(
    'ACCEPTANCE 20: a manifest that is %s is no other one, and can be put again',
    async (_, damage, type) => {
      const [image, subject] = await Promise.all([sampleImage(), sampleImage(['subject'])]);
      await open();
      await push('a', image, 'v1');
      await push('a', subject, 'v2');
      await storage.close();
      const file = blobFile(join(path, 'a'), image.digest);
      rmSync(file);
      damage(file, Buffer.from(image.rawManifest));
      await open();
      const { message } = await failureOf(type as typeof DigestMismatchError, async () => storage.manifest('a', 'v1'));
      expect(message).toContain(image.digest);
      // It could refer to anything.
      await expect(storage.referrers('a', subject.digest)).rejects.toThrow(image.digest);
      expect((await storage.manifest('a', 'v2'))?.digest).toBe(subject.digest);
      await storage.putManifest('a', stored(image), []);
      expect((await storage.manifest('a', 'v1'))?.digest).toBe(image.digest);
      expect(await storage.referrers('a', subject.digest)).toEqual([]);
    },
  );
});

describe('a directory that is no storage', () => {
  const refusals: Record<string, [(layout: string) => void, new (...facts: never[]) => Error, string]> = {
    "a user's file": [() => writeFiles(path, { 'notes.txt': 'mine' }), InvalidLayoutError, 'notes.txt'],
    'a file with the name of a repository': [
      () => writeFiles(path, { b: 'mine' }),
      InvalidLayoutError,
      'b: expected the layout of a repository, found a file',
    ],
    'a directory that is no layout': [() => writeFiles(path, { 'b/file': 'mine' }), InvalidLayoutError, 'b/oci-layout'],
    'a directory that no repository is called like': [() => mkdirSync(join(path, 'B_')), InvalidLayoutError, 'B_'],
    'two slashes in the name of a repository': [() => mkdirSync(join(path, 'b++c')), InvalidLayoutError, 'b++c'],
    'a layout itself': [
      (layout) => cpSync(join(layout, 'oci-layout'), join(path, 'oci-layout')),
      InvalidLayoutError,
      'oci-layout: expected the layout of a repository, found a file',
    ],
    'ACCEPTANCE 17: a layout without its marker': [
      (layout) => rmSync(join(layout, 'oci-layout')),
      InvalidLayoutError,
      'a/oci-layout: expected the marker file',
    ],
    'ACCEPTANCE 17: a malformed marker': [
      (layout) => writeFileSync(join(layout, 'oci-layout'), 'not JSON'),
      InvalidDocumentError,
      'a/oci-layout',
    ],
    'ACCEPTANCE 17: a layout of version 2.0.0': [
      (layout) => writeFileSync(join(layout, 'oci-layout'), '{"imageLayoutVersion":"2.0.0"}'),
      InvalidLayoutError,
      'found "2.0.0"',
    ],
    'a layout without index.json': [
      (layout) => rmSync(join(layout, 'index.json')),
      MissingIndexError,
      'a/index.json: expected the index',
    ],
    'ACCEPTANCE 9: a key twice in index.json': [
      (layout) => writeFileSync(join(layout, 'index.json'), '{"schemaVersion":2,"schemaVersion":2,"manifests":[]}'),
      InvalidDocumentError,
      'schemaVersion',
    ],
    'ACCEPTANCE 10: half an index.json': [
      (layout) => writeFileSync(join(layout, 'index.json'), '{"schemaVersion":2,'),
      InvalidDocumentError,
      'a/index.json',
    ],
    'ACCEPTANCE 1: a digest in index.json that leads out': [
      (layout) => writeIndex(layout, [{ mediaType: mediaTypes.imageManifest, digest: 'sha256:../../x', size: 1 }]),
      InvalidDocumentError,
      'sha256:../../x',
    ],
    'ACCEPTANCE 18: a link instead of a repository': [
      (layout) => linkedElsewhere(layout),
      InvalidLayoutError,
      'a: expected the layout of a repository, found a symbolic link',
    ],
    'ACCEPTANCE 18: a link instead of blobs': [
      (layout) => linkedElsewhere(join(layout, 'blobs')),
      InvalidLayoutError,
      'a/blobs: expected a directory, found a symbolic link',
    ],
    'ACCEPTANCE 18: a link instead of blobs/sha256': [
      (layout) => linkedElsewhere(join(layout, 'blobs/sha256')),
      InvalidLayoutError,
      'a/blobs/sha256: expected a directory, found a symbolic link',
    ],
    'ACCEPTANCE 18: a link instead of index.json': [
      (layout) => linkedElsewhere(join(layout, 'index.json')),
      InvalidLayoutError,
      'a/index.json: expected a regular file, found a symbolic link',
    ],
  };

  test.each(Object.entries(refusals))(
    'ACCEPTANCE 22: %s is refused, and nothing is changed',
    async (_, [spoil, type, named]) => {
      await open();
      await push('a', await sampleImage(), 'v1');
      await storage.close();
      spoil(join(path, 'a'));
      const before = snapshot(path);
      const names = readdirSync(path).sort();
      const { message } = await failureOf(type as typeof InvalidLayoutError, open);
      expect(message).toContain(named);
      expect(message).toContain(path);
      expect(snapshot(path)).toEqual(before);
      expect(readdirSync(path).sort()).toEqual(names);
    },
  );

  test.each<[string, () => void]>([
    ['a file', () => writeFileSync(path, 'mine')],
    ['a symbolic link', () => symlinkSync(temporaryDirectory(), path)],
  ])('the storage itself is %s', async (found, make) => {
    make();
    const { message } = await failureOf(InvalidLayoutError, open);
    expect(message).toContain(`${path}: expected a directory, found ${found}`);
  });

  test("a user's files get no lock beside them", async () => {
    writeFiles(path, { 'notes.txt': 'mine' });
    const before = statSync(path, { bigint: true }).mtimeNs;
    await failureOf(InvalidLayoutError, open);
    expect(statSync(path, { bigint: true }).mtimeNs).toBe(before);
  });

  test('ACCEPTANCE 18: a link instead of a blob is neither followed nor written to', async () => {
    await open();
    const digest = await upload('a', Buffer.from('secret'));
    await storage.close();
    const file = blobFile(join(path, 'a'), digest);
    const outside = linkedElsewhere(file);
    await open();
    const { message } = await failureOf(InvalidLayoutError, async () => storage.blob('a', digest));
    expect(message).toContain(file);
    await failureOf(InvalidLayoutError, () => storage.mount('b', digest, 'a'));
    expect(await storage.repositories()).toEqual(['a']);
    // Another upload puts a file in the place of the link.
    await upload('a', Buffer.from('secret'));
    expect(await textOf(await storage.blob('a', digest))).toBe('secret');
    expect(readFileSync(outside, 'utf8')).toBe('secret');
    expect(statSync(outside).nlink).toBe(1);
  });

  test('ACCEPTANCE 18: a link instead of a manifest is not followed', async () => {
    await open();
    const manifest = manifestNumber(1);
    await storage.putManifest('a', manifest, ['v1']);
    await storage.close();
    linkedElsewhere(blobFile(join(path, 'a'), manifest.digest));
    await open();
    const { message } = await failureOf(InvalidLayoutError, async () => storage.manifest('a', 'v1'));
    expect(message).toContain(blobFile(join(path, 'a'), manifest.digest));
  });

  /** Moves a file or directory out of the storage, and leaves a link to it; returns where it is. */
  function linkedElsewhere(file: string): string {
    const outside = join(temporaryDirectory(), 'outside');
    renameSync(file, outside);
    symlinkSync(outside, file);
    return outside;
  }

  function writeIndex(layout: string, manifests: unknown[]): void {
    writeFileSync(join(layout, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }));
  }
});

describe('one owner at a time', () => {
  const holder = async (): Promise<ChildProcessByStdio<Writable, Readable, null>> => {
    const program = join(repository, 'test/programs/edit-layout.js');
    const child = spawn(process.execPath, [program, 'hold', path], { stdio: ['pipe', 'pipe', 'inherit'] });
    expect(String(await once(child.stdout, 'data'))).toBe('held');
    return child;
  };

  test('a storage that another process, or this one, has open is refused, and works for its owner', async () => {
    await open();
    const elsewhere = path;
    path = join(temporaryDirectory(), 'other');
    mkdirSync(path);
    const child = await holder();
    const [mine, theirs] = await Promise.all([
      failureOf(LayoutLockedError, () => directoryStorage(elsewhere)),
      failureOf(LayoutLockedError, () => directoryStorage(path)),
    ]);
    expect(mine.message).toContain(elsewhere);
    expect(theirs.message).toContain(path);
    await upload('a', Buffer.from('still works'));
    child.stdin.end();
    await once(child, 'close');
    const next = await directoryStorage(path);
    await next.close();
    expect(readdirSync(path)).toEqual([]);
  });

  test('one that lost its lock changes nothing any more', async () => {
    await open();
    await storage.putManifest('a', manifestNumber(1), ['v1']);
    rmSync(join(path, lockName), { recursive: true });
    const before = snapshot(join(path, 'a'));
    const { message } = await failureOf(LayoutLockedError, () => storage.putManifest('a', manifestNumber(2), ['v1']));
    expect(message).toContain(path);
    await failureOf(LayoutLockedError, () => upload('b', Buffer.from('blob')));
    await failureOf(LayoutLockedError, () => storage.untag('a', 'v1'));
    expect(snapshot(join(path, 'a'))).toEqual(before);
    expect(await storage.repositories()).toEqual(['a']);
    expect((await storage.manifest('a', 'v1'))?.digest).toBe(manifestNumber(1).digest);
  });

  test('closing waits for what is on its way, and may come twice', async () => {
    await open();
    const putting = Array.from({ length: 20 }, (_, number) =>
      storage.putManifest('a', manifestNumber(number), [`v${number}`]),
    );
    const adding = upload('b', Buffer.from('blob'));
    await Promise.all([...putting, adding]);
    const last = storage.untag('a', 'v0');
    await Promise.all([storage.close(), storage.close()]);
    expect(await last).toBe(true);
    expect(readdirSync(path).sort()).toEqual(['a', 'b']);
    await open();
    expect(await storage.tags('a')).toHaveLength(19);
  });
});

describe('P8: blobs are shared, not copied', () => {
  const content = Buffer.alloc(100_000, 'x');
  const digest = digestOf(content);
  const inodeOf = (file: string) => statSync(file).ino;
  const source = () => join(writeFiles(temporaryDirectory(), { blob: content }), 'blob');

  test('a file that is added, and a blob that is mounted', async () => {
    await open();
    const file = source();
    await storage.addBlob('a', digest, fileBlob(file, content.length));
    expect(await storage.mount('b/c', digest, 'a')).toBe(true);
    expect(await storage.mount('d', digest)).toBe(true);
    const inodes = ['a', 'b+c', 'd'].map((name) => inodeOf(blobFile(join(path, name), digest)));
    if (!canReflink()) expect(inodes).toEqual(Array(3).fill(inodeOf(file)));
    expect(await storage.deleteBlob('a', digest)).toBe(true);
    expect(await textOf(await storage.blob('d', digest))).toBe(String(content));
    expect(readFileSync(file)).toEqual(content);
  });

  test('across devices they are copied', async () => {
    const device = directoryOnOtherDevice();
    if (device === undefined) return;
    await open();
    const file = join(writeFiles(device, { blob: content }), 'blob');
    await storage.addBlob('a', digest, fileBlob(file, content.length));
    expect(await textOf(await storage.blob('a', digest))).toBe(String(content));
    expect(statSync(blobFile(join(path, 'a'), digest)).mode & 0o222).toBe(0);
  });

  test.each<[string, Blob, new (...facts: never[]) => Error]>([
    ['other bytes', bytesBlob(Buffer.alloc(100_000, 'y')), DigestMismatchError],
    ['a byte less', bytesBlob(content.subarray(1)), DigestMismatchError],
    ['another size than it says', { ...bytesBlob(content), size: 5 }, SizeMismatchError],
  ])('ACCEPTANCE 3: content of %s is refused, and leaves nothing', async (_, blob, type) => {
    await open();
    await failureOf(type as typeof DigestMismatchError, () => storage.addBlob('a', digest, blob));
    const file = join(writeFiles(temporaryDirectory(), { blob: await collect(blob.open()) }), 'blob');
    await failureOf(type as typeof DigestMismatchError, () => storage.addBlob('a', digest, fileBlob(file, blob.size)));
    expect(await storage.repositories()).toEqual([]);
    expect(snapshot(path)).toEqual({});
  });

  test('uploads and manifests are read-only once they are there', async () => {
    await open();
    await upload('a', content);
    await storage.putManifest('a', manifestNumber(1), []);
    for (const name of [digest, manifestNumber(1).digest]) {
      expect(statSync(blobFile(join(path, 'a'), name)).mode & 0o777).toBe(0o444);
    }
  });
});

describe('uploads', () => {
  test('that end wrong are gone, and go on no more', async () => {
    await open();
    const started = await storage.startUpload('a');
    await started.append(bytesBlob(Buffer.from('content')).open());
    await failureOf(DigestMismatchError, () => started.complete(digestOf(Buffer.from('other'))));
    expect(snapshot(path)).toEqual({});
    await expect(started.append(bytesBlob(Buffer.from('more')).open())).rejects.toThrow('ENOENT');
    expect(snapshot(path)).toEqual({});
    await started.cancel();
  });

  test('that are cancelled in the middle of a stream leave nothing', async () => {
    await open();
    const started = await storage.startUpload('a');
    const appending = started.append(
      (async function* () {
        yield Buffer.from('first');
        await started.cancel();
        yield Buffer.from('second');
      })(),
    );
    await Promise.allSettled([appending]);
    expect(snapshot(path)).toEqual({});
    await expect(started.complete(digestOf(Buffer.from('firstsecond')))).rejects.toThrow('ENOENT');
    expect(await storage.repositories()).toEqual([]);
  });

  test('hold no file while nobody sends: hundreds may be open', async () => {
    await open();
    const files = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);
    const before = files();
    const uploads = await Promise.all(Array.from({ length: 300 }, () => storage.startUpload('a')));
    for (const [number, started] of uploads.entries()) await started.append(bytesBlob(Buffer.from(`${number}`)).open());
    expect(files() - before).toBeLessThan(20);
    await uploads[299]?.complete(digestOf(Buffer.from('299')));
    expect(await textOf(await storage.blob('a', digestOf(Buffer.from('299'))))).toBe('299');
  });
});

describe('many at once', () => {
  test('manifests, tags, blobs and deletions in several repositories: all that was acknowledged is there', async () => {
    await open();
    const names = ['a', 'a/b', 'c'];
    const numbers = Array.from({ length: 40 }, (_, number) => number);
    await Promise.all(
      names.flatMap((name) =>
        numbers.map(async (number) => {
          const manifest = manifestNumber(number);
          await storage.putManifest(name, manifest, [`v${number}`, 'latest']);
          await upload(name, Buffer.from(`${number}`));
          if (number % 4 === 0) await storage.deleteManifest(name, manifest.digest);
          if (number % 4 === 1) await storage.deleteBlob(name, digestOf(Buffer.from(`${number}`)));
          if (number % 4 === 2) await storage.untag(name, `v${number}`);
        }),
      ),
    );
    const check = async () => {
      for (const name of names) {
        const tags = numbers.filter((number) => number % 4 === 1 || number % 4 === 3).map((number) => `v${number}`);
        expect((await storage.tags(name))?.filter((tag) => tag !== 'latest')).toEqual(tags.sort());
        for (const number of numbers) {
          const { digest } = manifestNumber(number);
          expect((await storage.manifest(name, digest))?.digest).toBe(number % 4 === 0 ? undefined : digest);
          const blob = await storage.blob(name, digestOf(Buffer.from(`${number}`)));
          expect(await textOf(blob)).toBe(number % 4 === 1 ? undefined : `${number}`);
        }
      }
    };
    await check();
    await reopen();
    await check();
    for (const name of readdirSync(path).filter((entry) => !entry.startsWith('.'))) {
      expect((await verifyLayout(join(path, name))).problems).toEqual([]);
    }
  });

  test('one of them fails alone', async () => {
    await open();
    const good = manifestNumber(1);
    const bad = { ...manifestNumber(2), digest: manifestNumber(3).digest };
    const results = await Promise.allSettled([
      storage.putManifest('a', good, ['good']),
      storage.putManifest('a', bad, ['bad']),
      storage.putManifest('a', manifestNumber(4), ['fine']),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(await storage.tags('a')).toEqual(['fine', 'good']);
  });

  test('put and deleted again and again, a manifest is whole or not there', async () => {
    await open();
    const manifest = manifestNumber(1);
    await storage.putManifest('a', manifest, []);
    let done = false;
    const changing = Promise.all(
      Array.from({ length: 60 }, (_, number) =>
        number % 2 === 0 ? storage.deleteManifest('a', manifest.digest) : storage.putManifest('a', manifest, ['v1']),
      ),
    ).finally(() => {
      done = true;
    });
    const seen = new Set<boolean>();
    while (!done) {
      const found = await storage.manifest('a', manifest.digest);
      if (found) expect(found.bytes).toEqual(manifest.bytes);
      seen.add(found !== undefined);
      await new Promise(setImmediate);
    }
    await changing;
    expect(seen.size).toBeGreaterThan(0);
    expect((await storage.manifest('a', 'v1'))?.digest).toBe(manifest.digest);
    expect(existsSync(blobFile(join(path, 'a'), manifest.digest))).toBe(true);
  });

  test('2,000 tags at once cost a few writes of index.json, not 2,000', async () => {
    await open();
    await storage.putManifest('a', manifestNumber(0), []);
    const written = new Set<bigint>();
    const file = join(path, 'a/index.json');
    let done = false;
    const putting = Promise.all(
      Array.from({ length: 2000 }, (_, number) => storage.putManifest('a', manifestNumber(number), [`v${number}`])),
    ).finally(() => {
      done = true;
    });
    while (!done) {
      written.add(statSync(file, { bigint: true }).mtimeNs);
      await new Promise(setImmediate);
    }
    await putting;
    expect(written.size).toBeLessThan(100);
    expect(await storage.tags('a')).toHaveLength(2000);
    const listed = indexOf('a').manifests;
    expect(listed).toHaveLength(2000);
    expect(new Set(listed.map(tagOf)).size).toBe(2000);
    await reopen();
    expect(await storage.tags('a')).toHaveLength(2000);
    expect((await storage.manifest('a', 'v1999'))?.digest).toBe(manifestNumber(1999).digest);
  });
});
