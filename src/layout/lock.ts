import { existsSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { lock } from 'proper-lockfile';
import { fileSystemStep, hasSystemCode, LayoutLockedError } from '../errors';
import { lockName } from './paths';

/** A lock whose owner has not touched it for this many milliseconds belongs to a process that is gone. */
export const staleAfter = 5_000;

/** For how many milliseconds a lock is asked for, where nobody keeps it for longer than an edit. */
const longEnough = 90_000;

/** How many milliseconds lie between two attempts, at most. */
const longestPause = 500;

/**
 * Runs an edit of a layout while no other process edits it. Readers need no lock: they see the layout before or after.
 *
 * @param edit calls `stillHeld` before the step that makes its change visible.
 * @param patience for how many milliseconds the lock is asked for.
 * @throws {LayoutLockedError} if others kept the lock for too long, or took it because this process slept for too long.
 * @throws {FileSystemError} if there can be no lock.
 */
export async function withLayoutLock<T>(
  layout: string,
  edit: (stillHeld: () => Promise<void>) => Promise<T>,
  patience: number = longEnough,
): Promise<T> {
  let lost: Error | undefined;
  const release = await acquire(layout, patience, (error) => {
    lost = error;
  });
  const acquired = await identityOf(layout);
  const isHeld = async () => lost === undefined && acquired !== undefined && (await identityOf(layout)) === acquired;
  try {
    return await edit(async () => {
      if (await isHeld()) return;
      throw new LayoutLockedError(
        `${layout}: expected to be the only one who edits it, found that the lock was lost; try again`,
        { cause: lost },
      );
    });
  } finally {
    // What lies in the place of a lost lock is another's.
    if (await isHeld()) await release();
  }
}

/** Waits for the lock; whatever else stands in the way will not go away by waiting. */
async function acquire(
  layout: string,
  patience: number,
  onCompromised: (error: Error) => void,
): Promise<() => Promise<void>> {
  const lockfilePath = join(layout, lockName);
  const deadline = Date.now() + patience;
  for (let pause = 20; ; pause = Math.min(pause * 1.2, longestPause)) {
    try {
      return await fileSystemStep('make the lock', lockfilePath, () =>
        lock(layout, { lockfilePath, realpath: false, stale: staleAfter, onCompromised }),
      );
    } catch (error) {
      // A lock that another process removed while it was made here is missing; so is one in a directory that is.
      const isTaken = hasSystemCode(error, 'ELOCKED') || (hasSystemCode(error, 'ENOENT') && existsSync(layout));
      if (!isTaken) throw error;
      if (Date.now() > deadline) {
        throw new LayoutLockedError(
          `${layout}: expected to become the only one who edits it, found another process that keeps its lock (${lockName}); try again when it has ended`,
          { cause: error },
        );
      }
    }
    await setTimeout(pause * (0.5 + Math.random()));
  }
}

/** Tells a lock from another one in its place, which may get the same inode. */
async function identityOf(layout: string): Promise<string | undefined> {
  const stats = await lstat(join(layout, lockName), { bigint: true }).catch(() => undefined);
  return stats && `${stats.ino} ${stats.birthtimeNs}`;
}
