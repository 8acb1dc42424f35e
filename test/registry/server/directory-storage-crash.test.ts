import { cpSync, existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { type Blob, bytesBlob, type Digest, digestOf, fileBlob, type Image, tagOf, verifyLayout } from '../../../src';
import { blobPath, lockName, ownPrefix, stagingPrefix } from '../../../src/layout/paths';
import { directoryStorage } from '../../../src/registry/server/directory-storage';
import type { RegistryStorage } from '../../../src/registry/server/storage';
import { collect, repository, run, sampleImage, snapshot, temporaryDirectory } from '../../fixtures';

const newBlob = Buffer.from('new blob');
const oldBlob = Buffer.from('old blob');
const file = { path: join(temporaryDirectory(), 'file'), size: 10, digest: digestOf(Buffer.from('added blob')) };

/** With the repositories `os/base`, which is changed, and `kept`, which is not. */
const original = join(temporaryDirectory(), 'storage');
let image: Image;
let next: Image;

beforeAll(async () => {
  writeFileSync(file.path, 'added blob');
  [image, next] = await Promise.all([sampleImage(['one']), sampleImage(['one', 'two'])]);
  const storage = await directoryStorage(original);
  for (const ref of [image, next]) {
    for (const descriptor of ref.descriptors()) {
      await storage.addBlob('os/base', descriptor.digest, ref.blob(descriptor));
    }
  }
  await storage.addBlob('os/base', digestOf(oldBlob), bytesBlob(oldBlob));
  for (const name of ['os/base', 'kept']) await put(storage, name, 'v1', image);
  await storage.close();
});

function put(storage: RegistryStorage, name: string, tag: string, { mediaType, digest, rawManifest: bytes }: Image) {
  return storage.putManifest(name, { mediaType, digest, bytes }, [tag]);
}

async function upload(storage: RegistryStorage, name: string): Promise<void> {
  const started = await storage.startUpload(name);
  await started.append(bytesBlob(newBlob).open());
  await started.complete(digestOf(newBlob));
}

/** What test/programs/faulty-storage.js does, without a fault. */
const changes = {
  push: async (storage) => {
    await upload(storage, 'os/base');
    await put(storage, 'os/base', 'v2', next);
  },
  'push to a new repository': async (storage) => {
    await upload(storage, 'new/one');
    await put(storage, 'new/one', 'v2', next);
  },
  'move a tag': (storage) => put(storage, 'os/base', 'v1', next),
  mount: (storage) => storage.mount('other', digestOf(oldBlob), 'os/base'),
  'add a blob': (storage) => storage.addBlob('os/base', file.digest, fileBlob(file.path, file.size)),
  untag: (storage) => storage.untag('os/base', 'v1'),
  'delete a manifest': (storage) => storage.deleteManifest('os/base', image.digest),
  'delete a blob': (storage) => storage.deleteBlob('os/base', digestOf(oldBlob)),
} satisfies Record<string, (storage: RegistryStorage) => Promise<unknown>>;
type Change = keyof typeof changes;

const textOf = async (blob: Blob | undefined) => blob && String(await collect(blob.open()));

/** That a change is there, as its caller was told. */
const expectChanged: Record<Change, (storage: RegistryStorage) => Promise<void>> = {
  push: async (storage) => {
    expect(await textOf(await storage.blob('os/base', digestOf(newBlob)))).toBe('new blob');
    expect(Buffer.from((await storage.manifest('os/base', 'v2'))?.bytes ?? [])).toEqual(next.rawManifest);
  },
  'push to a new repository': async (storage) => {
    expect(await textOf(await storage.blob('new/one', digestOf(newBlob)))).toBe('new blob');
    expect(Buffer.from((await storage.manifest('new/one', 'v2'))?.bytes ?? [])).toEqual(next.rawManifest);
  },
  'move a tag': async (storage) => expect((await storage.manifest('os/base', 'v1'))?.digest).toBe(next.digest),
  mount: async (storage) => expect(await textOf(await storage.blob('other', digestOf(oldBlob)))).toBe('old blob'),
  'add a blob': async (storage) => expect(await textOf(await storage.blob('os/base', file.digest))).toBe('added blob'),
  untag: async (storage) => expect(await storage.tags('os/base')).toEqual([]),
  'delete a manifest': async (storage) => {
    expect(await storage.manifest('os/base', image.digest)).toBeUndefined();
    expect(await storage.tags('os/base')).toEqual([]);
  },
  'delete a blob': async (storage) => expect(await storage.blob('os/base', digestOf(oldBlob))).toBeUndefined(),
};

/** What a step of the file system comes to: see test/programs/faulty-file-system.js. */
interface Fault {
  readonly step: string;
  readonly end: string;
}

interface Outcome {
  readonly step: string;
  readonly path: string;
  readonly acknowledged: boolean;
  readonly result: 'changed' | 'stopped' | 'failed';
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
}

/** Changes a copy of the storage with each fault at each step in turn; gives the changes that met theirs. */
async function faultyChanges(change: Change, faults: readonly Fault[]): Promise<Outcome[]> {
  const { mediaType, digest, rawManifest } = next;
  const manifest = { mediaType, digest, bytes: [...rawManifest] };
  const old = { manifest: image.digest, blob: digestOf(oldBlob) };
  const request = { change, storage: original, into: temporaryDirectory(), faults, file, manifest, old };
  const program = join(repository, 'test/programs/faulty-storage.js');
  // A job that was stopped leaves files open, of which Node warns.
  const { stdout, stderr, signal } = await run(process.execPath, ['--no-warnings', program, JSON.stringify(request)]);
  expect({ stderr, signal }).toEqual({ stderr: '', signal: 'SIGKILL' });
  const lines = stdout.trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Outcome).filter(({ result }) => result !== 'changed');
}

/** A copy of the storage after a change that met no fault. */
async function changedStorage(change: Change): Promise<string> {
  const path = join(temporaryDirectory(), 'storage');
  cpSync(original, path, { recursive: true });
  const storage = await directoryStorage(path);
  await changes[change](storage);
  await expectChanged[change](storage);
  await storage.close();
  return path;
}

/** Makes a killed process's lock stale without waiting for it. */
function age(path: string): void {
  const lock = join(path, lockName);
  const then = new Date(Date.now() - 60_000);
  if (existsSync(lock)) utimesSync(lock, then, then);
}

/** The files of the repositories by their paths, without what only waits for its removal. */
function filesOf(path: string): Record<string, string> {
  return Object.fromEntries(Object.entries(snapshot(path)).filter(([name]) => !name.startsWith(ownPrefix)));
}

/** Only the index.json files, or only the others. */
const indexesOf = (path: string) => withNames(path, (name) => name.endsWith('index.json'));
const blobsOf = (path: string) => withNames(path, (name) => !name.endsWith('index.json'));
const withNames = (path: string, matches: (name: string) => boolean) =>
  Object.fromEntries(Object.entries(filesOf(path)).filter(([name]) => matches(name)));

/** The index.json of a repository that was made, and got nothing yet. */
const emptyIndex = Buffer.from(
  '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}',
).toString('base64');

const abandoned = join(temporaryDirectory(), 'abandoned');
const stages = () => readdirSync(abandoned).filter((name) => name.startsWith(stagingPrefix));
let opening: Promise<RegistryStorage>;

describe('a killed upload', () => {
  test('ACCEPTANCE 51: a process that is killed during an upload leaves its lock and what came', async () => {
    const program = join(repository, 'test/programs/abandoned-upload.js');
    const { signal, stderr } = await run(process.execPath, [program, abandoned]);
    expect({ signal, stderr }).toEqual({ signal: 'SIGKILL', stderr: '' });
    expect(stages()).toHaveLength(1);
    expect(readdirSync(join(abandoned, stages()[0] as string))).not.toEqual([]);
    // The lock is as young as it is: the next one waits for it, while other tests run.
    opening = directoryStorage(abandoned);
  });
});

describe.each<[Change, number]>([
  ['push', 8],
  ['push to a new repository', 13],
  ['move a tag', 6],
  ['mount', 8],
  ['add a blob', 4],
  ['untag', 4],
  ['delete a manifest', 5],
  ['delete a blob', 2],
])('%s', (change, fewestSteps) => {
  test('ACCEPTANCE 51: killed at any step it leaves the old or the new index, and all that was acknowledged', async () => {
    const changed = await changedStorage(change);
    const killed = await faultyChanges(change, [{ step: 'change', end: 'stop' }]);
    expect(killed.length).toBeGreaterThanOrEqual(fewestSteps);
    const before = indexesOf(original);
    const after = indexesOf(changed);
    for (const { path, result, acknowledged } of killed) {
      expect(result).toBe('stopped');
      for (const [name, index] of Object.entries(indexesOf(path))) {
        expect([before[name] ?? emptyIndex, after[name]]).toContain(index);
      }
      expect(filesOf(path)).toMatchObject(withNames(original, (name) => name.startsWith('kept/')));
      age(path);
      const storage = await directoryStorage(path);
      if (acknowledged) await expectChanged[change](storage);
      await changes[change](storage);
      await expectChanged[change](storage);
      await storage.close();
      expect(readdirSync(path).sort()).toEqual(readdirSync(changed).sort());
      expect((await verifyLayout(join(path, 'os+base'))).problems).toEqual([]);
      expectSameBut(path, changed);
    }
  });
});

/** The same files but for manifests which nothing names: those are blobs by now. */
function expectSameBut(path: string, expected: string): void {
  const left = [image, next].map(({ digest }) => blobPath(digest));
  const files = blobsOf(path);
  const others = Object.keys(files).filter((name) => !left.some((blob) => name.endsWith(blob)));
  expect(files).toMatchObject(blobsOf(expected));
  expect(Object.keys(blobsOf(expected))).toEqual(expect.arrayContaining(others));
  for (const [name, index] of Object.entries(indexesOf(expected))) {
    expect(listed(indexesOf(path)[name])).toEqual(listed(index));
  }
}

/** What an index.json lists as manifests. */
function listed(index: string | undefined): unknown[] {
  const { manifests } = JSON.parse(String(Buffer.from(index ?? '', 'base64')));
  return manifests
    .filter(({ mediaType }: { mediaType: string }) => mediaType !== 'application/octet-stream')
    .map((descriptor: Parameters<typeof tagOf>[0] & { digest: Digest }) => [descriptor.digest, tagOf(descriptor)]);
}

describe('ACCEPTANCE 53', () => {
  const faults: readonly Fault[] = [
    { step: 'create', end: 'EMFILE' },
    { step: 'open', end: 'EMFILE' },
    { step: 'write', end: 'ENOSPC' },
    { step: 'sync', end: 'EIO' },
    { step: 'rename', end: 'EACCES' },
    { step: 'mkdir', end: 'ENOSPC' },
    { step: 'mkdtemp', end: 'ENOSPC' },
  ];
  const only = (...steps: string[]) => faults.filter(({ step }) => steps.includes(step));

  describe.each<[Change, readonly Fault[]]>([
    ['push to a new repository', faults],
    ['move a tag', only('create', 'write', 'sync', 'rename')],
    ['add a blob', only('open', 'sync', 'rename', 'mkdtemp')],
    ['delete a manifest', only('write', 'sync', 'rename')],
  ])('%s', (change, expected) => {
    let failed: Outcome[] = [];
    let changed: string;
    beforeAll(async () => {
      changed = await changedStorage(change);
      failed = await faultyChanges(change, expected);
    });

    test.each(expected)(
      '$step: $end is told; nothing is half-written, and the next try succeeds',
      async ({ step, end: code }) => {
        const outcomes = failed.filter((outcome) => outcome.step === step);
        expect(outcomes).not.toEqual([]);
        for (const { path, acknowledged, ...outcome } of outcomes) {
          expect(outcome).toMatchObject({ result: 'failed', name: 'FileSystemError', code });
          expect(outcome.message).toContain(path);
          expect(outcome.message).toContain(`(${code}: injected)`);
          if (!acknowledged) expectOldAndWhole(`${path}-failed`, changed);
          expect(filesOf(path)).toEqual(filesOf(changed));
          const storage = await directoryStorage(path);
          await expectChanged[change](storage);
          await storage.close();
          expect(readdirSync(path).sort()).toEqual(readdirSync(changed).sort());
        }
      },
    );
  });

  /** All that was there, with the old index; of what is new only whole blobs, and no manifest. */
  function expectOldAndWhole(path: string, changed: string): void {
    const { [`new+one/${blobPath(next.digest)}`]: _, ...blobs } = { ...blobsOf(changed), ...blobsOf(original) };
    expect(filesOf(path)).toMatchObject(filesOf(original));
    for (const [name, content] of Object.entries(filesOf(path))) {
      expect([name, content]).toEqual([name, { ...blobs, ...indexesOf(original) }[name] ?? emptyIndex]);
    }
  }

  test.each<Change>(['delete a blob', 'delete a manifest'])(
    '%s: what can not be removed is told, and a blob still',
    async (change) => {
      const failures = await faultyChanges(change, [{ step: 'rm', end: 'EACCES' }]);
      const content = change === 'delete a blob' ? digestOf(oldBlob) : image.digest;
      const ofContent = failures.filter(({ message }) => message?.includes(blobPath(content)));
      expect(ofContent).toHaveLength(1);
      for (const { path, name, code } of ofContent) {
        expect({ name, code }).toEqual({ name: 'FileSystemError', code: 'EACCES' });
        age(`${path}-failed`);
        const storage = await directoryStorage(`${path}-failed`);
        expect((await storage.blob('os/base', content))?.size).toBeGreaterThan(0);
        await storage.close();
      }
    },
  );

  test('an upload that outgrows what the system allows knows how much of it is there', async () => {
    const path = join(temporaryDirectory(), 'storage');
    const program = join(repository, 'test/programs/limited-upload.js');
    const limited = 'ulimit -f 1000 && exec "$0" "$@"';
    const { stdout, stderr } = await run('sh', ['-c', limited, process.execPath, program, path]);
    expect(stderr).toBe('');
    const { name, code, size, onDisk, blob } = JSON.parse(stdout);
    expect({ name, code }).toEqual({ name: 'FileSystemError', code: 'EFBIG' });
    expect(size).toBeGreaterThan(0);
    expect({ onDisk, blob }).toEqual({ onDisk: size, blob: size });
  });
});

describe('after a killed upload', () => {
  test('ACCEPTANCE 51: the next process gets the storage, and removes the upload', async () => {
    const storage = await opening;
    expect(stages()).toHaveLength(1);
    expect(readdirSync(join(abandoned, stages()[0] as string))).toEqual([]);
    expect((await storage.manifest('a', 'v1'))?.bytes).toEqual(Buffer.from('{}'));
    await storage.close();
    expect(readdirSync(abandoned)).toEqual(['a']);
  });
});
