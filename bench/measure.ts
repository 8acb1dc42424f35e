import { execFileSync, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import type { Workload } from './workloads';

/** What one run of a program took: its own process and every process it waited for. */
export interface Usage {
  readonly wallSeconds: number;
  /** User and system time of all processes together. */
  readonly cpuSeconds: number;
  /** Resident memory of the largest process; processes that run side by side are not added up. */
  readonly peakBytes: number;
  /** What the processes made dirty in the page cache of a disk, in whole pages. */
  readonly writtenBytes: number;
}

export interface Sample extends Partial<Usage> {
  readonly wallSeconds: number;
  readonly layerBytes?: number;
  readonly nanosecondsPerBlob?: number;
  readonly copiedBytes?: number;
  readonly answersPerSecond?: number;
  readonly servedBytesPerSecond?: number;
}

/** What is measured: a program at a workload. */
export interface Subject {
  readonly program: { readonly id: string; readonly name: string };
  readonly workload: Workload;
}

export interface Contender extends Subject {
  run(): Promise<Sample>;
}

/** The samples of one contender; none when a run failed. */
export interface Series extends Subject {
  readonly samples: readonly Sample[];
  readonly failure?: string;
}

export type OnSample = (subject: Subject, round: number, outcome: Sample | Error) => void;

/** Runs A B A B ...: a noisy minute of the machine then falls on all contenders, not on one. */
export async function takeTurns(
  contenders: readonly Contender[],
  rounds: number,
  onSample: OnSample,
): Promise<readonly Series[]> {
  const series = contenders.map((contender) => ({ contender, samples: [] as Sample[], failure: '' }));
  for (let round = 1; round <= rounds; round++) {
    for (const one of series.filter(({ failure }) => failure === '')) {
      const outcome = await one.contender.run().catch(asError);
      onSample(one.contender, round, outcome);
      if (outcome instanceof Error) one.failure = outcome.message;
      else one.samples.push(outcome);
    }
  }
  return series.map(({ contender: { program, workload }, samples, failure }) =>
    failure === '' ? { program, workload, samples } : { program, workload, samples: [], failure },
  );
}

export interface Finished extends Usage {
  readonly stdout: string;
}

/** A fresh directory for one run. */
export async function inRoom<T>(scratch: string, work: (room: string) => Promise<T>): Promise<T> {
  const room = await mkdtemp(join(scratch, 'run-'));
  try {
    return await work(room);
  } finally {
    await rm(room, { recursive: true, force: true });
  }
}

/**
 * Runs a command under GNU time, whose `wait4` yields the usage of the command and of its waited-for descendants.
 * The detour also keeps this process out of the figure: a child starts with the peak memory of what it was forked from.
 */
export async function runMeasured(
  command: readonly string[],
  directory: string,
  environment: NodeJS.ProcessEnv = {},
): Promise<Finished> {
  const usageFile = join(directory, 'usage');
  const timed = ['--quiet', '--format', '%U %S %M %O', '--output', usageFile, ...command];
  execFileSync('sync', ['--file-system', directory]); // else a run pays for the writes of the one before
  const started = performance.now();
  const stdout = await run(gnuTime(), timed, directory, environment);
  const wallSeconds = (performance.now() - started) / 1000;
  const [user = 0, system = 0, peakKibibytes = 0, sectors = 0] = (await readFile(usageFile, 'utf8'))
    .split(' ')
    .map(Number);
  await rm(usageFile);
  return {
    wallSeconds,
    cpuSeconds: user + system,
    peakBytes: peakKibibytes * 1024,
    writtenBytes: sectors * 512,
    stdout,
  };
}

/** A store that somebody has for daily work would make a build look fast that is not. */
const unset = { NX_OCI_STORE: undefined };

/**
 * Runs a command to its end and returns what it printed; a failure carries the start of its stderr.
 *
 * @param environment what it has besides that of this process; a variable that is undefined is not set.
 */
export function run(
  program: string,
  args: readonly string[],
  directory: string,
  environment: NodeJS.ProcessEnv = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: directory,
      env: { ...process.env, ...unset, PATH: searchPath().join(delimiter), ...environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr = (stderr + chunk).slice(0, 400);
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(stdout);
      else reject(new Error(`ended with ${signal ?? `exit code ${code}`}: ${stderr.trim()}`));
    });
  });
}

export function isInstalled(program: string): boolean {
  return searchPath().some((directory) => isExecutable(join(directory, program)));
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN;
  return (lower + upper) / 2;
}

let foundGnuTime: string | undefined;

function gnuTime(): string {
  foundGnuTime ??= ['time', 'gtime'].find(isGnuTime);
  if (foundGnuTime === undefined)
    throw new Error('GNU time (time, or gtime) is not on the PATH; it measures every run');
  return foundGnuTime;
}

function isGnuTime(program: string): boolean {
  return isInstalled(program) && execFileSync(program, ['--version'], { encoding: 'utf8' }).includes('GNU');
}

let foundSearchPath: readonly string[] | undefined;

/** The PATH, and where `go install` puts programs. */
function searchPath(): readonly string[] {
  foundSearchPath ??= [...pathDirectories(), ...goPrograms()];
  return foundSearchPath;
}

function pathDirectories(): readonly string[] {
  return (process.env.PATH ?? '').split(delimiter).filter((directory) => directory !== '');
}

function goPrograms(): readonly string[] {
  if (!pathDirectories().some((directory) => isExecutable(join(directory, 'go')))) return [];
  return [join(execFileSync('go', ['env', 'GOPATH'], { encoding: 'utf8' }).trim(), 'bin')];
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
