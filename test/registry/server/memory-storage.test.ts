import { describe, expect, test } from '@jest/globals';
import { bytesBlob, DigestMismatchError, digestOf, LimitError } from '../../../src';
import { memoryStorage } from '../../../src/registry/server/memory-storage';
import { failureOf } from '../../fixtures';
import { storageSuite } from './storage-suite';

storageSuite('memory storage', async () => memoryStorage());

describe('the limit of what is kept in memory', () => {
  const limit = 100;
  async function* of(size: number, fill: number) {
    for (let left = size; left > 0; left -= 30) yield Buffer.alloc(Math.min(30, left), fill);
  }
  const put = async (storage: ReturnType<typeof memoryStorage>, size: number, fill = 0) => {
    const upload = await storage.startUpload('a');
    await upload.append(of(size, fill));
    const digest = digestOf(Buffer.alloc(size, fill));
    await upload.complete(digest);
    return digest;
  };

  test('holds for all uploads together, those that are not complete too', async () => {
    const storage = memoryStorage(limit);
    await put(storage, 60);
    const open = await storage.startUpload('b');
    await open.append(of(40, 1));
    const failure = await failureOf(LimitError, () => put(storage, 1, 2));
    expect(failure.message).toBe('uploads kept in memory: expected at most 100 bytes, found 101');
  });

  test.each<[string, (storage: ReturnType<typeof memoryStorage>) => Promise<unknown>]>([
    ['is deleted', async (storage) => storage.deleteBlob('a', await put(storage, 100, 1))],
    [
      'is cancelled',
      async (storage) => {
        const upload = await storage.startUpload('a');
        await upload.append(of(100, 1));
        await upload.cancel();
      },
    ],
    [
      'is not what its digest says',
      async (storage) => {
        const upload = await storage.startUpload('a');
        await upload.append(of(100, 1));
        await failureOf(DigestMismatchError, () => upload.complete(digestOf(Buffer.of())));
      },
    ],
    [
      'is deleted in the last repository that has it',
      async (storage) => {
        const digest = await put(storage, 100, 1);
        await storage.mount('b', digest, 'a');
        await storage.deleteBlob('a', digest);
        await failureOf(LimitError, () => put(storage, 1, 2));
        await storage.deleteBlob('b', digest);
      },
    ],
  ])('an upload that %s makes room', async (_, makeRoom) => {
    const storage = memoryStorage(limit);
    await makeRoom(storage);
    await put(storage, 100, 3);
  });

  test('does not count the same blob twice, nor what lies elsewhere', async () => {
    const storage = memoryStorage(limit);
    await put(storage, 50);
    await put(storage, 50);
    const elsewhere = Buffer.alloc(1000, 9);
    await storage.addBlob('a', digestOf(elsewhere), bytesBlob(elsewhere));
    await put(storage, 50, 1);
    await failureOf(LimitError, () => put(storage, 1, 2));
  });
});
