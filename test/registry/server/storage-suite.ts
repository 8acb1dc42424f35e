import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type Bytes, bytesBlob, type Digest, type DigestAlgorithm, DigestMismatchError, digestOf } from '../../../src';
import type { RegistryStorage, StoredManifest } from '../../../src/registry/server/storage';
import type { Descriptor } from '../../../src/spec/documents';
import { collect, failureOf } from '../../fixtures';

const hello = Buffer.from('hello');
const helloDigest = digestOf(hello);
const absent = digestOf(Buffer.from('absent'));

/** What every storage of a registry does. `open` gives an empty one each time. */
export function storageSuite(name: string, open: () => Promise<RegistryStorage>): void {
  describe(name, () => {
    let storage: RegistryStorage;
    beforeEach(async () => {
      storage = await open();
    });
    afterEach(() => storage.close());

    const put = async (repository: string, content: Uint8Array, digest: Digest = digestOf(content)) => {
      const upload = await storage.startUpload(repository);
      await upload.append(chunksOf(content));
      await upload.complete(digest);
      return digest;
    };
    const read = async (repository: string, digest: Digest) => {
      const blob = await storage.blob(repository, digest);
      return blob && collect(blob.open());
    };

    describe('repositories', () => {
      test('are there as soon as something was put into them, sorted', async () => {
        expect(await storage.repositories()).toEqual([]);
        await put('b', hello);
        await storage.putManifest('a/c', manifestOf('one'), ['latest']);
        await storage.putManifest('a-b', manifestOf('one'), []);
        expect(await storage.repositories()).toEqual(['a-b', 'a/c', 'b']);
      });

      test('asking for something makes none', async () => {
        expect(await storage.blob('a', absent)).toBeUndefined();
        expect(await storage.manifest('a', absent)).toBeUndefined();
        expect(await storage.manifest('a', 'latest')).toBeUndefined();
        expect(await storage.tags('a')).toBeUndefined();
        expect(await storage.referrers('a', absent)).toEqual([]);
        expect(await storage.deleteBlob('a', absent)).toBe(false);
        expect(await storage.deleteManifest('a', absent)).toBe(false);
        expect(await storage.untag('a', 'latest')).toBe(false);
        expect(await storage.mount('a', absent, 'b')).toBe(false);
        expect(await storage.mount('a', absent)).toBe(false);
        expect(await storage.repositories()).toEqual([]);
      });

      test('with names that begin alike are different ones', async () => {
        await put('a', hello);
        expect(await read('a/b', helloDigest)).toBeUndefined();
        await storage.putManifest('a/b', manifestOf('one'), ['latest']);
        expect(await storage.tags('a')).toEqual([]);
        expect(await storage.tags('a/b')).toEqual(['latest']);
      });
    });

    describe('uploads', () => {
      test.each<DigestAlgorithm>(['sha256', 'sha512', 'blake3'])(
        'become blobs under their %s digest',
        async (algorithm) => {
          const content = randomBytes(300_000);
          const digest = await put('a', content, digestOf(content, algorithm));
          expect((await storage.blob('a', digest))?.size).toBe(content.length);
          expectBytes(await read('a', digest), content);
        },
      );

      test('may be empty', async () => {
        const upload = await storage.startUpload('a');
        expect(upload.size).toBe(0);
        await upload.complete(digestOf(Buffer.of()));
        expect(await read('a', digestOf(Buffer.of()))).toEqual(Buffer.of());
      });

      test('know how many bytes are there, and have no name before the last one', async () => {
        const upload = await storage.startUpload('a');
        await upload.append(chunksOf(hello.subarray(0, 2)));
        expect(upload.size).toBe(2);
        await upload.append(chunksOf(hello.subarray(2)));
        expect(upload.size).toBe(5);
        expect(await storage.blob('a', helloDigest)).toBeUndefined();
        await upload.complete(helloDigest);
        expect(await read('a', helloDigest)).toEqual(hello);
      });

      test('keep the bytes that came before a stream failed', async () => {
        const upload = await storage.startUpload('a');
        const broken = async function* () {
          yield hello.subarray(0, 3);
          throw new Error('connection lost');
        };
        await expect(upload.append(broken())).rejects.toThrow('connection lost');
        expect(upload.size).toBe(3);
        await upload.append(chunksOf(hello.subarray(3)));
        await upload.complete(helloDigest);
        expect(await read('a', helloDigest)).toEqual(hello);
      });

      test.each([
        ['sha256', absent],
        ['sha512', digestOf(Buffer.from('absent'), 'sha512')],
      ] as const)('of other content than their %s digest says leave nothing', async (_, expected) => {
        const upload = await storage.startUpload('a');
        await upload.append(chunksOf(hello));
        const failure = await failureOf(DigestMismatchError, () => upload.complete(expected));
        expect(failure.message).toContain(expected);
        expect(failure.message).toContain(digestOf(hello, expected.startsWith('sha512') ? 'sha512' : 'sha256'));
        expect(await storage.blob('a', expected)).toBeUndefined();
        expect(await storage.blob('a', helloDigest)).toBeUndefined();
      });

      test('that were cancelled leave nothing', async () => {
        const upload = await storage.startUpload('a');
        await upload.append(chunksOf(hello));
        await upload.cancel();
        expect(await storage.blob('a', helloDigest)).toBeUndefined();
      });

      test('side by side do not mix', async () => {
        const [one, two] = [await storage.startUpload('a'), await storage.startUpload('a')];
        await one.append(chunksOf(Buffer.from('on')));
        await two.append(chunksOf(Buffer.from('tw')));
        await one.append(chunksOf(Buffer.from('e')));
        await two.append(chunksOf(Buffer.from('o')));
        await one.complete(digestOf(Buffer.from('one')));
        await two.complete(digestOf(Buffer.from('two')));
        expect(await read('a', digestOf(Buffer.from('one')))).toEqual(Buffer.from('one'));
        expect(await read('a', digestOf(Buffer.from('two')))).toEqual(Buffer.from('two'));
      });

      test('of one blob, fifty at once, all succeed', async () => {
        const content = randomBytes(70_000);
        await Promise.all(Array.from({ length: 50 }, () => put('a', content)));
        expectBytes(await read('a', digestOf(content)), content);
      });
    });

    describe('blobs', () => {
      test.each([
        [{ start: 2 }, 'llo'],
        [{ end: 2 }, 'he'],
        [{ start: 1, end: 4 }, 'ell'],
        [{ start: 5, end: 5 }, ''],
      ])('can be read in part: %j', async (range, expected) => {
        await put('a', hello);
        const blob = await storage.blob('a', helloDigest);
        expect(String(await collect((blob as NonNullable<typeof blob>).open(range)))).toBe(expected);
      });

      test('can be read in part across everything that they are kept in', async () => {
        const content = randomBytes(3_000_000);
        const blob = await storage.blob('a', await put('a', content));
        const range = { start: 1_000_001, end: 2_999_999 };
        expectBytes(await collect((blob as NonNullable<typeof blob>).open(range)), content.subarray(1_000_001, -1));
      });

      test('belong to their repository', async () => {
        await put('a', hello);
        expect(await storage.blob('b', helloDigest)).toBeUndefined();
      });

      test('are no manifests, and manifests are no blobs', async () => {
        const manifest = manifestOf('one');
        await storage.putManifest('a', manifest, []);
        expect(await storage.blob('a', manifest.digest)).toBeUndefined();
        await put('a', hello);
        expect(await storage.manifest('a', helloDigest)).toBeUndefined();
      });

      test('are mounted from the repository that has them, or from any', async () => {
        await put('a', hello);
        expect(await storage.mount('b', helloDigest, 'a')).toBe(true);
        expect(await read('b', helloDigest)).toEqual(hello);
        expect(await storage.mount('c', helloDigest)).toBe(true);
        expect(await read('c', helloDigest)).toEqual(hello);
      });

      test('are not mounted from a repository that lacks them', async () => {
        await put('a', hello);
        expect(await storage.mount('c', helloDigest, 'b')).toBe(false);
        expect(await storage.blob('c', helloDigest)).toBeUndefined();
      });

      test('are mounted where they are already', async () => {
        await put('a', hello);
        expect(await storage.mount('a', helloDigest, 'a')).toBe(true);
        expect(await read('a', helloDigest)).toEqual(hello);
      });

      test('that lie elsewhere are given to a repository, and mounted on from there', async () => {
        await storage.addBlob('a', helloDigest, bytesBlob(hello));
        expect(await read('a', helloDigest)).toEqual(hello);
        expect((await storage.blob('a', helloDigest))?.size).toBe(5);
        expect(await storage.mount('b', helloDigest)).toBe(true);
        await storage.deleteBlob('a', helloDigest);
        expect(await read('b', helloDigest)).toEqual(hello);
      });

      test('are deleted from one repository alone', async () => {
        await put('a', hello);
        await storage.mount('b', helloDigest, 'a');
        expect(await storage.deleteBlob('a', helloDigest)).toBe(true);
        expect(await storage.deleteBlob('a', helloDigest)).toBe(false);
        expect(await storage.blob('a', helloDigest)).toBeUndefined();
        expect(await read('b', helloDigest)).toEqual(hello);
        expect(await storage.deleteBlob('b', helloDigest)).toBe(true);
        expect(await storage.mount('c', helloDigest)).toBe(false);
        await put('a', hello);
        expect(await read('a', helloDigest)).toEqual(hello);
      });

      test('that are deleted while they are read come whole, or fail', async () => {
        const content = randomBytes(3_000_000);
        const digest = await put('a', content);
        const blob = (await storage.blob('a', digest)) as NonNullable<Awaited<ReturnType<typeof storage.blob>>>;
        const chunks: Uint8Array[] = [];
        const reading = (async () => {
          for await (const chunk of blob.open()) {
            if (chunks.push(chunk) === 1) await storage.deleteBlob('a', digest);
          }
          return Buffer.concat(chunks);
        })();
        const [outcome] = await Promise.allSettled([reading]);
        if (outcome.status === 'fulfilled') expectBytes(outcome.value, content);
        expect(chunks.length).toBeGreaterThan(0);
        expect(await storage.blob('a', digest)).toBeUndefined();
      });
    });

    describe('manifests', () => {
      test('come back as they were put, by digest and by each tag', async () => {
        const manifest = manifestOf('one');
        await storage.putManifest('a', manifest, ['v1', 'latest']);
        for (const name of [manifest.digest, 'v1', 'latest']) expect(await found('a', name)).toEqual(manifest);
        expect(await storage.manifest('b', 'v1')).toBeUndefined();
        expect(await storage.manifest('a', 'v2')).toBeUndefined();
        expect(await storage.manifest('a', absent)).toBeUndefined();
      });

      test.each<DigestAlgorithm>(['sha512', 'blake3'])('may have a %s digest', async (algorithm) => {
        const manifest = manifestOf('one', undefined, algorithm);
        await storage.putManifest('a', manifest, ['latest']);
        expect(await found('a', manifest.digest)).toEqual(manifest);
        expect(await found('a', 'latest')).toEqual(manifest);
      });

      test('move a tag, and stay where they were by digest', async () => {
        const [one, two] = [manifestOf('one'), manifestOf('two')];
        await storage.putManifest('a', one, ['latest', 'v1']);
        await storage.putManifest('a', two, ['latest']);
        expect(await found('a', 'latest')).toEqual(two);
        expect(await found('a', 'v1')).toEqual(one);
        expect(await found('a', one.digest)).toEqual(one);
        expect(await storage.tags('a')).toEqual(['latest', 'v1']);
      });

      test('put again without tags keep those that they have', async () => {
        const manifest = manifestOf('one');
        await storage.putManifest('a', manifest, ['latest']);
        await storage.putManifest('a', manifest, []);
        expect(await storage.tags('a')).toEqual(['latest']);
      });

      test('are listed by tags in ASCII order', async () => {
        await storage.putManifest('a', manifestOf('one'), ['b', 'a', '_', 'B', 'A', '1.10', '1.9']);
        expect(await storage.tags('a')).toEqual(['1.10', '1.9', 'A', 'B', '_', 'a', 'b']);
      });

      test('lose a tag and stay', async () => {
        const manifest = manifestOf('one');
        await storage.putManifest('a', manifest, ['v1', 'latest']);
        expect(await storage.untag('a', 'v1')).toBe(true);
        expect(await storage.untag('a', 'v1')).toBe(false);
        expect(await storage.manifest('a', 'v1')).toBeUndefined();
        expect(await storage.tags('a')).toEqual(['latest']);
        expect(await found('a', manifest.digest)).toEqual(manifest);
      });

      test('go with all their tags', async () => {
        const [one, two] = [manifestOf('one'), manifestOf('two')];
        await storage.putManifest('a', one, ['v1', 'old']);
        await storage.putManifest('a', two, ['v2']);
        expect(await storage.deleteManifest('a', one.digest)).toBe(true);
        expect(await storage.deleteManifest('a', one.digest)).toBe(false);
        expect(await storage.manifest('a', one.digest)).toBeUndefined();
        expect(await storage.manifest('a', 'v1')).toBeUndefined();
        expect(await storage.tags('a')).toEqual(['v2']);
        await storage.deleteManifest('a', two.digest);
        expect(await storage.tags('a')).toEqual([]);
      });

      test('put by fifty at once are there, with the tag of each', async () => {
        const manifest = manifestOf('one');
        const tags = Array.from({ length: 50 }, (_, position) => `v${position}`);
        await Promise.all(tags.map((tag) => storage.putManifest('a', manifest, [tag, 'latest'])));
        expect(await storage.tags('a')).toEqual(['latest', ...tags].sort());
        expect(await found('a', 'latest')).toEqual(manifest);
      });

      test('that take one tag at once leave it on one of them', async () => {
        const manifests = Array.from({ length: 20 }, (_, position) => manifestOf(`image ${position}`));
        await Promise.all(manifests.map((manifest) => storage.putManifest('a', manifest, ['latest'])));
        const latest = await found('a', 'latest');
        expect(manifests).toContainEqual(latest);
        expect(await storage.tags('a')).toEqual(['latest']);
        for (const manifest of manifests) expect(await found('a', manifest.digest)).toEqual(manifest);
      });
    });

    describe('referrers', () => {
      test('are found by their subject, there or not, each once', async () => {
        const [one, two] = [manifestOf('one', absent), manifestOf('two', absent)];
        await storage.putManifest('a', one, []);
        await storage.putManifest('a', two, ['signature']);
        await storage.putManifest('a', one, ['again']);
        await storage.putManifest('a', manifestOf('three', helloDigest), []);
        await storage.putManifest('b', manifestOf('four', absent), []);
        const referrers = await storage.referrers('a', absent);
        expect(referrers).toHaveLength(2);
        expect(referrers).toEqual(expect.arrayContaining([descriptorOf(one), descriptorOf(two)]));
      });

      test('are none once they were deleted', async () => {
        const [one, two] = [manifestOf('one', absent), manifestOf('two', absent)];
        await storage.putManifest('a', one, []);
        await storage.putManifest('a', two, []);
        await storage.deleteManifest('a', one.digest);
        expect(await storage.referrers('a', absent)).toEqual([descriptorOf(two)]);
      });

      test('outlive their subject', async () => {
        const subject = manifestOf('subject');
        const referrer = manifestOf('one', subject.digest);
        await storage.putManifest('a', subject, []);
        await storage.putManifest('a', referrer, []);
        await storage.deleteManifest('a', subject.digest);
        expect(await storage.referrers('a', subject.digest)).toEqual([descriptorOf(referrer)]);
      });
    });

    const found = async (repository: string, name: string) => {
      const manifest = await storage.manifest(repository, name);
      return manifest && { ...manifest, bytes: Buffer.from(manifest.bytes) };
    };
  });
}

/** As `toEqual`, which takes seconds for large buffers. */
function expectBytes(found: Uint8Array | undefined, expected: Uint8Array): void {
  expect(found && digestOf(found)).toBe(digestOf(expected));
}

/** A stream of the content, a few bytes at a time. */
async function* chunksOf(content: Uint8Array): Bytes {
  for (let at = 0; at < content.length; at += 50_000) yield content.subarray(at, at + 50_000);
}

function manifestOf(text: string, subject?: Digest, algorithm?: DigestAlgorithm): StoredManifest {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [], annotations: { text } }));
  const mediaType = 'application/vnd.oci.image.index.v1+json';
  const digest = digestOf(bytes, algorithm);
  const descriptor = { mediaType, digest, size: bytes.length, artifactType: 'text/plain', annotations: { text } };
  return { mediaType, digest, bytes, ...(subject && { referrer: { subject, descriptor } }) };
}

function descriptorOf(manifest: StoredManifest): Descriptor | undefined {
  return manifest.referrer?.descriptor;
}
