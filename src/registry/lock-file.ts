import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { type Digest, isDigest } from '../digest';
import { fileSystemStep, hasSystemCode } from '../errors';
import { withLayoutLock } from '../layout/lock';
import { ownPrefix } from '../layout/paths';
import { parseDocument } from '../spec/json';

/** The committed file that says which digest each tag stands for. */
export const lockFileName = 'oci.lock.json';

/** References without a digest (`registry/repository:tag`), each with the digest that it stands for. */
export type LockedImages = Readonly<Record<string, Digest>>;

const lockFileSchema = z.strictObject({
  lockfileVersion: z.literal(1, '1'),
  images: z.record(
    z.string(),
    z.strictObject({ digest: z.string().refine(isDigest, 'a digest') as unknown as z.ZodType<Digest> }),
  ),
});

/**
 * What is locked in a directory; nothing if it has no lock file.
 *
 * @throws {InvalidDocumentError} naming the file.
 */
export async function readLockFile(directory: string): Promise<LockedImages> {
  const path = join(directory, lockFileName);
  const bytes = await fileSystemStep('read', path, () => readFile(path)).catch((error: unknown) => {
    if (!hasSystemCode(error, 'ENOENT')) throw error;
  });
  if (bytes === undefined) return {};
  const { images } = parseDocument(bytes, lockFileSchema, path);
  return Object.fromEntries(Object.entries(images).map(([reference, { digest }]) => [reference, digest]));
}

/** Changes what is locked. Of several processes that do so at once, each sees what the others did. */
export async function updateLockFile(
  directory: string,
  change: (locked: LockedImages) => LockedImages | Promise<LockedImages>,
): Promise<LockedImages> {
  const path = join(directory, lockFileName);
  const temporary = join(directory, `${ownPrefix}-${process.pid}-${lockFileName}`);
  return withLayoutLock(directory, async (stillHeld) => {
    const locked = await change(await readLockFile(directory));
    const images = Object.entries(locked)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([reference, digest]) => [reference, { digest }]);
    const document = { lockfileVersion: 1, images: Object.fromEntries(images) };
    // People read this file, in reviews.
    const text = `${JSON.stringify(document, null, 2)}\n`;
    try {
      await fileSystemStep('write', temporary, () => writeFile(temporary, text, { flush: true }));
      await stillHeld();
      await fileSystemStep('rename a file to', path, () => rename(temporary, path));
    } finally {
      await rm(temporary, { force: true });
    }
    return locked;
  });
}
