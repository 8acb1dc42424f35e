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
  const hashFile = ({ file, most, algorithm }) => {
    const hash = createHash(algorithm);
    let size = 0;
    while (size < most) {
      const read = readSync(file, buffer, 0, Math.min(buffer.length, most - size), size);
      if (read === 0) break;
      hash.update(buffer.subarray(0, read));
      size += read;
      parentPort.postMessage({ kind: 'read', bytes: read });
    }
    return { kind: 'hashed', size, encoded: hash.digest('hex') };
  };
  const failed = ({ message, code, syscall }) => ({ kind: 'failed', message, facts: { code, syscall } });
  parentPort.on('message', (job) => {
    try {
      parentPort.postMessage(hashFile(job));
    } catch (error) {
      parentPort.postMessage(failed(error));
    }
  });
`;

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
  end(): void;
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
  const nextThread = (bytes: number): OwnThread | undefined | Promise<OwnThread> => {
    if (bytes < notWorthAsking) return undefined;
    const thread = idle.pop();
    if (thread) return thread;
    if (threads.size === most) return new Promise((resolve) => waiting.push(resolve));
    return isWorthAnother() ? start() : undefined;
  };
  const release = (thread: OwnThread): void => {
    const next = waiting.shift();
    if (!thread.isFree()) {
      // It failed, or somebody left in the middle: what it says next would be no answer to the next question.
      threads.delete(thread);
      thread.end();
      next?.(start());
    } else if (next) next(thread);
    else {
      thread.unref();
      idle.push(thread);
    }
  };
  const endAll = () => {
    for (const thread of idle.splice(0)) thread.end();
    threads.clear();
    bytesSoFar = 0;
  };

  return {
    run: async (bytes, job) => {
      clearTimeout(ending);
      jobs++;
      bytesSoFar += bytes;
      const thread = await nextThread(bytes);
      try {
        thread?.ref();
        return await job(thread);
      } finally {
        if (thread) release(thread);
        jobs--;
        if (jobs === 0) ending = setTimeout(endAll, patience).unref();
      }
    },
  };
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
  return {
    isFree: () => isFree,
    ref: () => worker.ref(),
    unref: () => worker.unref(),
    end: () => void worker.terminate(),
    hash: async (file, most, algorithm, onRead) => {
      if (failure) throw failure;
      isFree = false;
      worker.postMessage({ file, most, algorithm });
      for await (const [answer] of on(worker, 'message', { close: ['exit'] }) as AsyncIterable<[Answer]>) {
        if (answer.kind === 'read') onRead(answer.bytes);
        else {
          isFree = true;
          if (answer.kind === 'failed') throw Object.assign(new Error(answer.message), answer.facts);
          return answer;
        }
      }
      throw failure ?? new Error('a thread that hashes ended before it answered');
    },
  };
}
