import { on } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { DigestAlgorithm } from './digest';

/** A thread that is somebody's for one file. */
export interface HashingThread {
  /**
   * Hashes an open file from its start. Nobody else may close it meanwhile.
   *
   * @param most bytes to read, where the file has so many.
   * @param onRead called with the bytes that were read since the last call.
   * @throws the system's error.
   */
  hash(file: number, most: number, algorithm: ThreadAlgorithm, onRead: (bytes: number) => void): Promise<HashedBytes>;
  /** Hashes an open file from its start, as far as it is told to. Nobody else may close it before the end. */
  follow(file: number, algorithm: ThreadAlgorithm): FollowedFile;
}

/** A file that grows while it is hashed. */
export interface FollowedFile {
  /** There are so many bytes in the file now; returns at once. */
  reached(size: number): void;
  /**
   * What was hashed, when that is all of what was reached.
   *
   * @throws the system's error.
   */
  end(): Promise<HashedBytes>;
  /** Resolves when the file is not read any more. */
  abandon(): Promise<void>;
}

/** What `node:crypto` has, on every thread. */
export type ThreadAlgorithm = Exclude<DigestAlgorithm, 'blake3'>;

/** How many bytes were hashed, and the hash in hexadecimal digits. */
export interface HashedBytes {
  readonly size: number;
  readonly encoded: string;
}

/** Threads that are there as long as there is work that is worth them. */
export interface HashingThreads {
  /**
   * Does a job about so many bytes with a thread, or without one: where the bytes, and those of the jobs that are under way
   * with it, are hashed before a thread has started. Where all threads are taken it waits for one.
   */
  run<T>(bytes: number, job: (thread: HashingThread | undefined) => Promise<T>): Promise<T>;
  /** As {@link run}, but waits for no other job: where all threads are taken, it goes without. */
  runNow<T>(bytes: number, job: (thread: HashingThread | undefined) => Promise<T>): Promise<T>;
}

/** Bytes that are read at once. More is no faster: on every thread it is the hashing that takes the time. */
const readSize = 1024 * 1024;

/** Bytes that take about as long to hash as a thread takes to start: 20 to 60 ms, with and without instructions for it. */
const priceOfThread = 16 * 1024 * 1024;

/** Bytes that are hashed before a thread has been told of them. */
const notWorthAsking = 128 * 1024;

/** Milliseconds that idle threads wait for more to hash. */
const patience = 1000;

/**
 * What runs on a thread. It is text because a thread is started from a file of JavaScript, and this one must run from
 * TypeScript and from the bundled command too.
 */
const program = `
  const { createHash } = require('node:crypto');
  const { readSync } = require('node:fs');
  const { parentPort } = require('node:worker_threads');
  const buffer = Buffer.allocUnsafeSlow(${readSize});
  const nothing = (algorithm) => ({ hash: createHash(algorithm), size: 0 });
  const hashTo = (hashed, file, end) => {
    while (hashed.size < end) {
      const read = readSync(file, buffer, 0, Math.min(buffer.length, end - hashed.size), hashed.size);
      if (read === 0) return;
      hashed.hash.update(buffer.subarray(0, read));
      hashed.size += read;
      parentPort.postMessage({ kind: 'read', bytes: read });
    }
  };
  const failed = ({ message, code, syscall }) => ({ kind: 'failed', message, facts: { code, syscall } });
  let current;
  parentPort.on('message', ({ file, algorithm, end, isLast }) => {
    try {
      current ??= nothing(algorithm);
      hashTo(current, file, end);
      if (!isLast) return;
      parentPort.postMessage({ kind: 'hashed', size: current.size, encoded: current.hash.digest('hex') });
    } catch (error) {
      // Whoever follows a file asks once more, and hears of it then.
      if (isLast) parentPort.postMessage(failed(error));
    }
    current = undefined;
  });
`;

/** The next part of a file to hash. */
interface Question {
  readonly file: number;
  readonly algorithm: ThreadAlgorithm;
  /** How far to read, from the start of the file in bytes. */
  readonly end: number;
  readonly isLast: boolean;
}

type Answer =
  | { readonly kind: 'read'; readonly bytes: number }
  | ({ readonly kind: 'hashed' } & HashedBytes)
  | { readonly kind: 'failed'; readonly message: string; readonly facts: object };

/** A thread, which knows whether it has an answer to give. */
interface OwnThread extends HashingThread {
  isFree(): boolean;
  /** The process waits for a thread that works, and for no other. */
  ref(): void;
  unref(): void;
  /** Resolves when nothing runs on it any more. */
  end(): Promise<void>;
}

/** Starts at most so many threads. A process that has nothing else to do does not wait for those that are idle. */
export function hashingThreads(most: number): HashingThreads {
  const threads = new Set<OwnThread>();
  const idle: OwnThread[] = [];
  const waiting: ((thread: OwnThread) => void)[] = [];
  let jobs = 0;
  let bytesSoFar = 0;
  let ending: NodeJS.Timeout | undefined;

  const start = (): OwnThread => {
    const thread = startThread();
    threads.add(thread);
    return thread;
  };
  // Whoever starts a thread only after hashing for as long as that takes never needs more than twice the time.
  const isWorthAnother = () => most > 1 && bytesSoFar >= priceOfThread * (threads.size + 1);
  const freeThread = (bytes: number): OwnThread | undefined => {
    if (bytes < notWorthAsking) return undefined;
    const thread = idle.pop();
    if (thread || threads.size === most) return thread;
    return isWorthAnother() ? start() : undefined;
  };
  const nextThread = (bytes: number): OwnThread | undefined | Promise<OwnThread> => {
    const isTaken = idle.length === 0 && threads.size === most;
    if (bytes < notWorthAsking || !isTaken) return freeThread(bytes);
    return new Promise((resolve) => waiting.push(resolve));
  };
  const release = (thread: OwnThread): void => {
    const next = waiting.shift();
    if (!thread.isFree()) {
      // It failed, or somebody left in the middle: what it says next would be no answer to the next question.
      threads.delete(thread);
      void thread.end();
      next?.(start());
    } else if (next) next(thread);
    else {
      thread.unref();
      idle.push(thread);
    }
  };
  const endAll = () => {
    for (const thread of idle.splice(0)) void thread.end();
    threads.clear();
    bytesSoFar = 0;
  };

  const runWith =
    (threadFor: typeof nextThread): HashingThreads['run'] =>
    async (bytes, job) => {
      clearTimeout(ending);
      jobs++;
      bytesSoFar += bytes;
      const thread = await threadFor(bytes);
      try {
        thread?.ref();
        return await job(thread);
      } finally {
        if (thread) release(thread);
        jobs--;
        if (jobs === 0) ending = setTimeout(endAll, patience).unref();
      }
    };

  return { run: runWith(nextThread), runNow: runWith(freeThread) };
}

function startThread(): OwnThread {
  // Without the flags of this process, some of which would make the program a module, and without what NODE_OPTIONS loads.
  const worker = new Worker(program, { eval: true, execArgv: [], env: {} });
  let isFree = true;
  let failure: unknown;
  // It may fail before anybody asks it.
  worker.on('error', (error) => {
    failure = error;
    isFree = false;
  });
  const ask = (question: Question) => {
    isFree = false;
    worker.postMessage(question);
  };
  const answer = async (onRead: (bytes: number) => void): Promise<HashedBytes> => {
    if (failure) throw failure;
    for await (const [answer] of on(worker, 'message', { close: ['exit'] }) as AsyncIterable<[Answer]>) {
      if (answer.kind === 'read') onRead(answer.bytes);
      else {
        isFree = true;
        if (answer.kind === 'failed') throw Object.assign(new Error(answer.message), answer.facts);
        return answer;
      }
    }
    throw failure ?? new Error('a thread that hashes ended before it answered');
  };
  const end = async () => {
    isFree = false;
    await worker.terminate();
  };
  return {
    isFree: () => isFree,
    ref: () => worker.ref(),
    unref: () => worker.unref(),
    end,
    hash: (file, most, algorithm, onRead) => {
      ask({ file, algorithm, end: most, isLast: true });
      return answer(onRead);
    },
    follow: (file, algorithm) => {
      let size = 0;
      return {
        reached: (now) => {
          size = now;
          ask({ file, algorithm, end: size, isLast: false });
        },
        end: () => {
          ask({ file, algorithm, end: size, isLast: true });
          return answer(() => undefined);
        },
        abandon: end,
      };
    },
  };
}
