import { join } from 'node:path';
import { lock } from 'proper-lockfile';
import { LayoutLockedError } from '../errors';
import { lockName } from './paths';

/** A lock whose owner has not touched it for this many milliseconds belongs to a process that is gone. */
const staleAfter = 5_000;

/** How often, and at most how many milliseconds apart, a lock is asked for again: a minute and a half in all. */
const retries = { retries: 200, factor: 1.2, minTimeout: 20, maxTimeout: 500, randomize: true };

/**
 * Runs an edit of a layout while no other process edits it. Readers need no lock: they see the layout before or after.
 *
 * @param edit calls `stillHeld` before the step that makes its change visible.
 * @throws {LayoutLockedError} if others kept the lock for too long, or took it because this process slept for too long.
 */
export async function withLayoutLock<T>(layout: string, edit: (stillHeld: () => void) => Promise<T>): Promise<T> {
  let lost: Error | undefined;
  const release = await lock(layout, {
    lockfilePath: join(layout, lockName),
    realpath: false,
    stale: staleAfter,
    retries,
    onCompromised: (error) => {
      lost = error;
    },
  }).catch((error: unknown) => {
    throw new LayoutLockedError(
      `${layout}: expected to become the only one who edits it, found another process that keeps its lock (${lockName}); try again when it has ended`,
      { cause: error },
    );
  });
  try {
    return await edit(() => {
      if (lost)
        throw new LayoutLockedError(
          `${layout}: expected to be the only one who edits it, found that the lock was lost`,
          { cause: lost },
        );
    });
  } finally {
    if (lost === undefined) await release();
  }
}
