import { staleAfter, withLayoutLock } from '../../../layout/lock';

/** Who alone may change what lies in a directory. */
export interface Owner {
  /** @throws {LayoutLockedError} if another process took the directory, because this one slept for too long. */
  stillHeld(): Promise<void>;
  /** Lets others have the directory. */
  release(): Promise<void>;
}

/** For how many milliseconds a directory is asked for: until the lock of a process that was killed just now is stale. */
const patience = staleAfter + 1_500;

/**
 * Becomes the owner of a directory until it is released.
 *
 * @throws {LayoutLockedError} if it has another one, who goes on.
 */
export function ownDirectory(path: string): Promise<Owner> {
  return new Promise((resolve, reject) => {
    let letGo: (() => void) | undefined;
    const keep = (stillHeld: Owner['stillHeld']) => {
      const release = () => {
        letGo?.();
        return held;
      };
      resolve({ stillHeld, release });
      return new Promise<void>((done) => {
        letGo = done;
      });
    };
    const held = withLayoutLock(path, keep, patience);
    held.catch(reject);
  });
}
