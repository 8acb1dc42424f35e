import { type ChildProcess, spawn } from 'node:child_process';

/** What became of a program. */
export type Ending =
  | { readonly kind: 'absent'; readonly code: string }
  | { readonly kind: 'stopped'; readonly reason: string }
  | {
      readonly kind: 'ended';
      /** `null` if a signal ended it. */
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
      readonly stdout: string;
      readonly stderr: string;
    };

/** In bytes, of what a program says on standard output. The largest tokens have a few kilobytes. */
const maxAnswerSize = 256 * 1024;

/** In characters, of what is kept of standard error. */
const maxComplaint = 4096;

export interface ProgramOptions {
  /** What it reads on standard input. */
  readonly input: string;
  readonly environment: NodeJS.ProcessEnv;
  /** After how many milliseconds it is stopped. */
  readonly patience: number;
}

/** Runs a program that is found on PATH, without a shell, and gives what it says. It does not outlive its patience. */
export function runProgram(
  program: string,
  args: readonly string[],
  { input, environment, patience }: ProgramOptions,
): Promise<Ending> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { env: environment, stdio: 'pipe', windowsHide: true });
    let stdout = '';
    let stderr = '';
    const end = (ending: Ending) => {
      clearTimeout(timer);
      resolve(ending);
    };
    const stop = (reason: string) => {
      end({ kind: 'stopped', reason });
      abandon(child);
    };
    const timer = setTimeout(() => stop(`none within ${patience / 1000} s`), patience);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      if (stdout.length > maxAnswerSize) stop(`more than ${maxAnswerSize} bytes`);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr = (stderr + text).slice(0, maxComplaint);
    });
    // A program need not read what it is given.
    child.stdin.on('error', () => undefined).end(input);
    child.on('error', (error: NodeJS.ErrnoException) => end({ kind: 'absent', code: error.code ?? error.message }));
    child.on('close', (code, signal) => end({ kind: 'ended', code, signal, stdout, stderr }));
  });
}

/** Children of the program may keep its pipes open; nobody waits for these. */
function abandon(child: ChildProcess): void {
  child.kill('SIGKILL');
  for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe?.destroy();
}
