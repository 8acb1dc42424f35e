import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { fileBlob, verified } from '../../../blob';
import { algorithmOf, createDigester, type Digest, type Digester } from '../../../digest';
import { DigestMismatchError, fileSystemStep } from '../../../errors';
import { remove } from '../../../layout/stage';
import type { BlobUpload } from '../storage';

/**
 * An upload that grows as a file, which is open only while bytes arrive: uploads that nobody goes on with hold nothing.
 * Whatever its completion ends with, the file is gone then.
 *
 * @param path where nothing is yet.
 * @param keep takes the complete file away, under its digest.
 */
export async function fileUpload(
  path: string,
  keep: (digest: Digest, path: string) => Promise<void>,
): Promise<BlobUpload> {
  const created = await fileSystemStep('create', path, () => open(path, 'wx', 0o644));
  await created.close();
  let size = 0;
  // Most digests are of this algorithm, and hashing as bytes arrive saves reading them again.
  let digester: Digester | undefined = createDigester('sha256');

  const verify = async (expected: Digest): Promise<void> => {
    const passing = algorithmOf(expected) === 'sha256' ? digester : undefined;
    digester = undefined;
    const found = passing?.digest();
    if (found === expected) return;
    if (found !== undefined) throw new DigestMismatchError(`blob ${expected}`, expected, found);
    for await (const _ of verified(fileBlob(path, size).open(), { digest: expected, size }));
  };

  return {
    get size() {
      return size;
    },

    async append(content) {
      const flags = constants.O_WRONLY | constants.O_APPEND;
      const file = await fileSystemStep('open', path, () => open(path, flags));
      const write = async (chunk: Uint8Array) => {
        try {
          await fileSystemStep('write', path, () => file.appendFile(chunk));
          size += chunk.length;
        } catch (error) {
          digester = undefined;
          await file.truncate(size).catch(() => undefined);
          throw error;
        }
      };
      // While one chunk is on its way to the disk, the next one arrives.
      let writing = Promise.resolve();
      try {
        for await (const chunk of content) {
          await writing;
          writing = write(chunk);
          writing.catch(() => undefined);
          digester?.update(chunk);
        }
        await writing;
      } finally {
        await writing.catch(() => undefined);
        await file.close();
      }
    },

    async complete(digest) {
      try {
        await verify(digest);
        await seal(path);
        await keep(digest, path);
      } catch (error) {
        await remove(path);
        throw error;
      }
    },

    cancel: () => remove(path),
  };
}

/** Makes the bytes last; then nothing may change them in place. */
async function seal(path: string): Promise<void> {
  const file = await fileSystemStep('open', path, () => open(path, 'r+'));
  try {
    await fileSystemStep('synchronise', path, () => file.sync());
    await fileSystemStep('change the mode of', path, () => file.chmod(0o444));
  } finally {
    await file.close();
  }
}
