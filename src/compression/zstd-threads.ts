import { once } from 'node:events';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

/** Threads that compress blocks to zstd frames. */
export interface CompressionThreads {
  /** Takes the block away: its memory is the thread's until it is spare. */
  compress(block: Uint8Array<ArrayBuffer>): Promise<Uint8Array>;
  /** The memory of blocks that are done, to be filled again: what is new with each block would grow until it is collected. */
  readonly spare: ArrayBuffer[];
  /** Ends all threads, with what they are at. Call it always. */
  end(): Promise<void>;
}

/**
 * What runs on a thread. It is text because a thread is started from a file of JavaScript, and this one must run from
 * TypeScript too, in tests.
 */
const program = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.encoder).then(({ compress }) => {
    parentPort.on('message', (block) => {
      const frame = compress(block, workerData.level);
      parentPort.postMessage([frame, block.buffer], [frame.buffer, block.buffer]);
    });
  });
`;

/**
 * The encoder's WebAssembly form, because its native one has a single context for all threads of a process: two threads
 * that compress at once would damage each other's data. Both give the same bytes, and this one runs everywhere.
 */
const encoder = () => pathToFileURL(require.resolve('@cloudpss/zstd/wasm')).href;

/** Starts no thread before there is a block for it, and never more than `most`. */
export function compressionThreads(level: number, most: number): CompressionThreads {
  const threads: Worker[] = [];
  const idle: Worker[] = [];
  const waiting: ((thread: Worker) => void)[] = [];
  const spare: ArrayBuffer[] = [];

  const start = (): Worker => {
    // Without the flags of this process, some of which would make the program above a module.
    const thread = new Worker(program, { eval: true, execArgv: [], workerData: { encoder: encoder(), level } });
    threads.push(thread);
    return thread;
  };
  const nextIdle = async (): Promise<Worker> => {
    const thread = idle.pop() ?? (threads.length < most ? start() : undefined);
    return thread ?? new Promise((resolve) => waiting.push(resolve));
  };
  const release = (thread: Worker): void => {
    const next = waiting.shift();
    if (next) next(thread);
    else idle.push(thread);
    // A reader that never comes back must not keep the process alive; the next block refers to the thread again.
    thread.unref();
  };

  return {
    spare,
    compress: async (block) => {
      const thread = await nextIdle();
      thread.ref();
      // A thread that fails says so here, and is not asked again.
      const answered = once(thread, 'message');
      thread.postMessage(block, [block.buffer]);
      const [[frame, memory]] = (await answered) as [[frame: Uint8Array, memory: ArrayBuffer]];
      spare.push(memory);
      release(thread);
      return frame;
    },
    end: async () => {
      await Promise.all(threads.map((thread) => thread.terminate()));
    },
  };
}
