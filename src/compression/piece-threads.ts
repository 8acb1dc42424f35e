import * as crypto from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { availableParallelism } from 'node:os';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import * as zlib from 'node:zlib';
import { FileSystemError, fileChanged } from '../errors';
import { type FilePart, type Piece, type PieceFailure, type PieceTask, pieceMaker } from './piece-maker';

export type { FilePart, Piece, PieceTask, SourceFile, StoredPiece } from './piece-maker';

/** Threads that make the pieces of streams: they read and compress. */
export interface PieceThreads {
  /** How many there are at most. */
  readonly lanes: number;
  /**
   * Takes the block's memory away until the piece is there.
   *
   * @throws {LayerSourceError} naming a file that is no longer what it was when it was listed.
   * @throws {FileSystemError} naming a file that can't be read.
   */
  make(task: PieceTask): Promise<Piece>;
  /** Ends all threads, with what they are at. Call it always. */
  end(): Promise<void>;
}

/** Threads at most, whatever the machine has: with zstd each holds some 50 MB, and up to 130 at the highest levels. */
const mostThreads = 16;

/**
 * What runs on a thread. It is text because a thread is started from a file of JavaScript, and this one must run from
 * TypeScript too, in tests.
 */
const program = `
  const { parentPort, workerData } = require('node:worker_threads');
  const tools = { fs: require('node:fs'), crypto: require('node:crypto'), zlib: require('node:zlib') };
  const makePiece = (${pieceMaker})(tools);
  parentPort.on('message', async ({ block, paths, numbers, ...task }) => {
    const files = paths.map((path, file) => {
      const [follow, size, mtimeMs, ino, dev, start, length, at] = numbers.subarray(8 * file, 8 * file + 8);
      return { source: { path, follow: follow === 1, size, mtimeMs, ino, dev }, start, length, at };
    });
    if (task.compression === 'zstd') tools.zstd ??= await import(workerData.zstd);
    const piece = makePiece({ ...task, block, files });
    parentPort.postMessage(piece, [block.buffer, ...(piece.compressed ? [piece.compressed.buffer] : [])]);
  });
`;

/**
 * The encoder's WebAssembly form, because its native one has a single context for all threads of a process: two threads
 * that compress at once would damage each other's data. Both give the same bytes, and this one runs everywhere.
 */
const zstd = () => pathToFileURL(require.resolve('@cloudpss/zstd/wasm')).href;

/** Starts no thread before there is work for it, and never more than `lanes`. */
export function pieceThreads(lanes = Math.min(availableParallelism(), mostThreads)): PieceThreads {
  const threads: Worker[] = [];
  const idle: Worker[] = [];
  const waiting: ((thread: Worker) => void)[] = [];

  const start = (): Worker => {
    // Without the flags of this process, some of which would make the program above a module.
    const thread = new Worker(program, { eval: true, execArgv: [], workerData: { zstd: zstd() } });
    threads.push(thread);
    return thread;
  };
  const nextIdle = async (): Promise<Worker> => {
    const thread = idle.pop() ?? (threads.length < lanes ? start() : undefined);
    return thread ?? new Promise((resolve) => waiting.push(resolve));
  };
  const release = (thread: Worker): void => {
    const next = waiting.shift();
    if (next) next(thread);
    else idle.push(thread);
    // A reader that never comes back must not keep the process alive; the next piece refers to the thread again.
    thread.unref();
  };

  return {
    lanes,
    make: async ({ files, ...task }) => {
      const thread = await nextIdle();
      thread.ref();
      // A thread that fails says so here, and is not asked again.
      const answered = once(thread, 'message');
      const numbers = numbersOf(files);
      const paths = files.map(({ source }) => source.path);
      thread.postMessage({ ...task, paths, numbers }, [task.block.buffer, numbers.buffer]);
      const [piece] = (await answered) as [ReturnType<ReturnType<typeof pieceMaker>>];
      release(thread);
      return finished(piece);
    },
    end: async () => {
      await Promise.all(threads.map((thread) => thread.terminate()));
    },
  };
}

const makePiece = pieceMaker({ fs, crypto, zlib });

/** Makes a piece here and now: starting a thread takes longer than making one or two. Not for zstd. */
export function makeHere(task: PieceTask): Piece {
  return finished(makePiece(task));
}

function finished(piece: ReturnType<typeof makePiece>): Piece {
  if ('failure' in piece) throw failureOf(piece.failure);
  return piece;
}

function failureOf(failure: PieceFailure): Error {
  if ('read' in failure) return fileChanged(failure.path, failure.size, failure.read, failure.now);
  const { path, message, ...system } = failure;
  return new FileSystemError('read', path, Object.assign(new Error(message), { ...system, path }));
}

/** Many numbers change threads much faster in one array than in many objects. */
function numbersOf(files: readonly FilePart[]): Float64Array<ArrayBuffer> {
  const numbers = new Float64Array(8 * files.length);
  let at = 0;
  for (const { source, ...part } of files) {
    const { follow, size, mtimeMs, ino, dev } = source;
    for (const number of [follow ? 1 : 0, size, mtimeMs, ino, dev, part.start, part.length, part.at])
      numbers[at++] = number;
  }
  return numbers;
}
