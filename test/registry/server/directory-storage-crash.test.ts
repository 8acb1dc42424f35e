import { existsSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { bytesBlob, type Digest, digestOf, fileBlob, type Image, verifyLayout } from '../../../src';
import { lockName } from '../../../src/layout/paths';
import { directoryStorage } from '../../../src/registry/server/directory-storage';
import type { RegistryStorage } from '../../../src/registry/server/storage';
import { collect, repository, run, sampleImage, snapshot, temporaryDirectory } from '../../fixtures';

const storagePath = join(temporaryDirectory(), 'storage');
const file = { path: join(temporaryDirectory(), 'file'), size: 8, digest: digestOf(Buffer.from('added ->')) };
const newBlob = digestOf(Buffer.from('new blob'));
let image: Image;
let next: Image;
let old: { readonly manifest: Digest; readonly blob: Digest };

/** Puts an image into a repository, as a client pushes it. */
async function push(storage: RegistryStorage, name: string, pushed: Image, tags: readonly string[]): Promise<void> {
  for (const descriptor of pushed.descriptors()) {
    await storage.addBlob(name, descriptor.digest, pushed.blob(descriptor));
  }
  const { mediaType, digest, rawManifest: bytes } = pushed;
  await storage.putManifest(name, { mediaType, digest, bytes }, tags);
}

beforeAll(async () => {
  writeFileSync(file.path, 'added ->');
  [image, next] = await Promise.all([sampleImage(['one']), sampleImage(['one', 'two'])]);
  const storage = await directoryStorage(storagePath);
  await push(storage, 'os/base', image, ['v1']);
  await push(storage, 'os/base', next, []);
  await storage.deleteManifest('os/base', next.digest);
  await push(storage, 'kept', image, ['v1']);
  const blob = digestOf(Buffer.from('old blob'));
  await storage.addBlob('os/base', blob, bytesBlob(Buffer.from('old blob')));
  await storage.close();
  old = { manifest: image.digest, blob };
});

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
async function faultyChanges(change: string, faults: readonly Fault[]): Promise<Outcome[]> {
  const { mediaType, digest, rawManifest } = next;
  const manifest = { mediaType, digest, bytes: [...rawManifest] };
  const request = { change, storage: storagePath, into: temporaryDirectory(), faults, file, manifest, old };
  const program = join(repository, 'test/programs/faulty-storage.js');
  // A job that was stopped leaves files open, of which Node warns.
  const { stdout, stderr, signal } = await run(process.execPath, ['--no-warnings', program, JSON.stringify(request)]);
  expect({ stderr, signal }).toEqual({ stderr: '', signal: 'SIGKILL' });
  const lines = stdout.trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as Outcome).filter(({ result }) => result !== 'changed');
}

/** Makes a killed process's lock stale without waiting for it. */
function age(path: string): void {
  const lock = join(path, lockName);
  const then = new Date(Date.now() - 60_000);
  if (existsSync(lock)) utimesSync(lock, then, then);
}

/** What is in a storage when its change is complete. */
type Check = (storage: RegistryStorage) => Promise<void>;

const hasPushed =
  (name: string): Check =>
  async (storage) => {
    const blob = await storage.blob(name, newBlob);
    expect(blob && String(await collect(blob.open()))).toBe('new blob');
    expect((await storage.manifest(name, 'v2'))?.bytes).toEqual(next.rawManifest);
  };

const changes: [string, number, Check, (storage: RegistryStorage) => Promise<unknown>][] = [];
const define = (
  name: string,
  fewestSteps: number,
  check: Check,
  again: (storage: RegistryStorage) => Promise<unknown>,
) => changes.push([name, fewestSteps, check, again]);

const uploadAndPut = async (storage: RegistryStorage, name: string, tag: string) => {
  const upload = await storage.startUpload(name);
  await upload.append(bytesBlob(Buffer.from('new blob')).open());
  await upload.complete(newBlob);
  await putNext(storage, name, tag);
};
const putNext = (storage: RegistryStorage, name: string, tag: string) =>
  storage.putManifest(name, { mediaType: next.mediaType, digest: next.digest, bytes: next.rawManifest }, [tag]);

define('push', 8, hasPushed('os/base'), (storage) => uploadAndPut(storage, 'os/base', 'v2'));
define('push to a new repository', 13, hasPushed('new/one'), (storage) => uploadAndPut(storage, 'new/one', 'v2'));
define(
  'move a tag',
  6,
  async (storage) => expect((await storage.manifest('os/base', 'v1'))?.digest).toBe(next.digest),
  (storage) => putNext(storage, 'os/base', 'v1'),
);
define(
  'mount',
  8,
  async (storage) => expect((await storage.blob('other', old.blob))?.size).toBe(8),
  (storage) => storage.mount('other', old.blob, 'os/base'),
);
define(
  'add a blob',
  4,
  async (storage) => expect((await storage.blob('os/base', file.digest))?.size).toBe(8),
  (storage) => storage.addBlob('os/base', file.digest, fileBlob(file.path, file.size)),
);
define(
  'untag',
  4,
  async (storage) => expect(await storage.tags('os/base')).toEqual([]),
  (storage) => storage.untag('os/base', 'v1'),
);
define(
  'delete a manifest',
  5,
  async (storage) => {
    expect(await storage.manifest('os/base', old.manifest)).toBeUndefined();
    expect(await storage.tags('os/base')).toEqual([]);
  },
  (storage) => storage.deleteManifest('os/base', old.manifest),
);
define(
  'delete a blob',
  2,
  async (storage) => expect(await storage.blob('os/base', old.blob)).toBeUndefined(),
  (storage) => storage.deleteBlob('os/base', old.blob),
);

/** The files that say something, without those that only await their removal. */
const contentOf = (path: string) =>
  Object.fromEntries(Object.entries(snapshot(path)).filter(([name]) => !name.startsWith('.nx-oci')));

const indexesOf = (path: string) =>
  Object.fromEntries(Object.entries(contentOf(path)).filter(([name]) => name.endsWith('index.json')));

describe.each(changes)('%s', (change, fewestSteps, check, again) => {
  const clean = join(temporaryDirectory(), 'clean');
  const before = () => indexesOf(storagePath);

  beforeAll(async () => {
    await run('cp', ['-r', storagePath, clean]);
    const storage = await directoryStorage(clean);
    await again(storage);
    await check(storage);
    await storage.close();
  });

  test('ACCEPTANCE 51: killed at any step it leaves the old or the new index, and all that was acknowledged', async () => {
    const killed = await faultyChanges(change, [{ step: 'change', end: 'stop' }]);
    expect(killed.length).toBeGreaterThanOrEqual(fewestSteps);
    for (const { path, result, acknowledged } of killed) {
      expect(result).toBe('stopped');
      for (const [name, content] of Object.entries(indexesOf(path))) {
        const index = String(Buffer.from(content, 'base64'));
        expect(JSON.parse(index).schemaVersion).toBe(2);
        const known = [before()[name], indexesOf(clean)[name], emptyIndex];
        expect(known).toContain(content);
      }
      age(path);
      const storage = await directoryStorage(path);
      if (acknowledged) await check(storage);
      expect((await storage.manifest('kept', 'v1'))?.digest).toBe(image.digest);
      await again(storage);
      await check(storage);
      await storage.close();
      expect(readdirSync(path).sort()).toEqual(readdirSync(clean).sort());
      for (const name of readdirSync(path)) expect((await verifyLayout(join(path, name))).problems).toEqual([]);
      expect(contentOf(path)).toEqual(contentOf(clean));
    }
  });
});

/** Of a repository that was made, and got nothing yet. */
const emptyIndex = Buffer.from(
  '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}',
).toString('base64');

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
  const removals: readonly Fault[] = [{ step: 'rm', end: 'EACCES' }];

  describe.each<[string, readonly Fault[]]>([
    ['push', faults],
    ['push to a new repository', faults],
    ['add a blob', faults],
    ['delete a manifest', [...faults.filter(({ step }) => step !== 'mkdir'), ...removals]],
    ['delete a blob', removals],
  ])('%s', (change, expected) => {
    let failed: Outcome[] = [];
    const [, , check, again] = changes.find(([name]) => name === change) as (typeof changes)[number];
    const clean = join(temporaryDirectory(), 'clean');
    beforeAll(async () => {
      await run('cp', ['-r', storagePath, clean]);
      const storage = await directoryStorage(clean);
      await again(storage);
      await storage.close();
      failed = await faultyChanges(change, expected);
    });

    test.each(expected)(
      '$step: $end is told; nothing is half-written, and it works the next time',
      async ({ step, end: code }) => {
        const outcomes = failed.filter((outcome) => outcome.step === step);
        expect(outcomes).not.toEqual([]);
        for (const { path, acknowledged, ...outcome } of outcomes) {
          expect(outcome).toMatchObject({ result: 'failed', name: 'FileSystemError', code });
          expect(outcome.message).toContain(path);
          expect(outcome.message).toContain(`(${code}: injected)`);
          if (!acknowledged) {
            // What was pushed before the step that failed stays.
            const left = contentOf(`${path}-failed`);
            const known = { ...contentOf(storagePath), ...contentOf(clean) };
            for (const [name, content] of Object.entries(left)) {
              if (name.endsWith('index.json')) {
                expect([indexBefore(name), known[name], emptyIndex]).toContain(content);
              } else expect(known[name]).toBe(content);
            }
            expect(left['os+base/index.json']).toBe(
              step === 'rm' && change === 'delete a manifest'
                ? known['os+base/index.json']
                : indexBefore('os+base/index.json'),
            );
          }
          expect(contentOf(path)).toEqual(contentOf(clean));
          const storage = await directoryStorage(path);
          await check(storage);
          await storage.close();
          expect(readdirSync(path).sort()).toEqual(readdirSync(clean).sort());
        }
      },
    );
    const indexBefore = (name: string) => contentOf(storagePath)[name];
  });
});

test('ACCEPTANCE 51: a killed process leaves its uploads to nobody, and the storage to the next one', async () => {
  const path = join(temporaryDirectory(), 'storage');
  const program = join(repository, 'test/programs/abandoned-upload.js');
  const { signal, stderr } = await run(process.execPath, [program, path]);
  expect({ signal, stderr }).toEqual({ signal: 'SIGKILL', stderr: '' });
  const left = readdirSync(path).filter((name) => name.startsWith('.nx-oci-'));
  expect(left).toHaveLength(1);
  expect(readdirSync(join(path, left[0] as string))).not.toEqual([]);
  // Without making the lock look older: the next one waits for it.
  const storage = await directoryStorage(path);
  expect(readdirSync(path).filter((name) => left.includes(name))).toEqual([]);
  expect((await storage.manifest('a', 'v1'))?.bytes).toEqual(Buffer.from('{}'));
  await storage.close();
});

test('ACCEPTANCE 53: an upload that a full disk stops knows how much of it is there', async () => {
  const path = join(temporaryDirectory(), 'storage');
  const program = join(repository, 'test/programs/limited-upload.js');
  // Of 512 or 1024 bytes each, as the shell counts.
  const { stdout, stderr } = await run('sh', [
    '-c',
    'ulimit -f 1000 && exec "$0" "$@"',
    process.execPath,
    program,
    path,
  ]);
  expect(stderr).toBe('');
  const { name, code, size, onDisk, blob } = JSON.parse(stdout);
  expect({ name, code }).toEqual({ name: 'FileSystemError', code: 'EFBIG' });
  expect(size).toBeGreaterThan(0);
  expect(onDisk).toBe(size);
  expect(blob).toBe(size);
  expect(readFileSync(join(path, 'a/oci-layout'), 'utf8')).toContain('1.0.0');
});
