import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { buildGoals, type GoalId, goalIds } from './goals';
import type { OnSample } from './measure';
import {
  type Circumstances,
  measureBuilds,
  measureExecutor,
  measureIndex,
  measureLayoutCost,
  measureMemory,
  measureRebuilds,
  measureServing,
  measureTransfers,
  measureVerification,
  type Result,
} from './parts';
import { ours, oursWithZstd, type Program, peers, versionOf } from './peers';
import { nothingChanged, oneFileChanged, type Rebuild } from './rebuilds';
import { dockerRegistry } from './registries';
import { describeMachine, renderReport, writeJson } from './report';
import { ourTransfer, type Transferrer, transferPeers } from './transfers';
import { opensslVerifier, ourVerifier } from './verifying';
import type { PayloadId } from './workloads';

interface Options {
  readonly runs?: number;
  readonly only?: readonly GoalId[];
  readonly workloads?: readonly PayloadId[];
  readonly peers?: readonly string[];
  readonly work: string;
  readonly output: string;
}

const defaultRuns = 5;
const buildWorkloads: readonly PayloadId[] = ['W1', 'W2', 'W3'];

const command = new Command('npm run bench --')
  .description('Measures nx-oci against other programs, in turns, and prints one table.')
  .option('--runs <n>', `runs of each program (default: ${defaultRuns}, and 1 for P6)`, positiveInteger)
  .option('--only <ids>', `what to measure, of ${goalIds} (default: all, and programs no goal names)`, listOf(goalIds))
  .option('--workloads <ids>', `payloads for P1 to P5, of ${buildWorkloads} (default: all)`, listOf(buildWorkloads))
  .option('--peers <ids>', `programs to compare with, of ${peerIds()}`, listOf(peerIds()))
  .option('--work <directory>', 'where payloads and outputs are made', 'dist/bench/work')
  .option('--output <file>', 'where all samples go, as JSON', 'dist/bench/results.json')
  .action(bench);

async function bench(options: Options): Promise<void> {
  const started = new Date().toISOString();
  const asked = chosenPrograms(options);
  const programs = asked.filter((program) => program.missing() === undefined);
  const others = otherPrograms(options);
  const skipped = [...asked, ...others].flatMap(({ name, missing }) => {
    const reason = missing();
    return reason === undefined ? [] : [{ name, reason }];
  });
  const results = await inScratch(options.work, (scratch) => measureAll(options, programs, scratch));
  const present = [...programs, ...others.filter(({ missing }) => missing() === undefined)];
  const versions = present.map(async (program) => ({ name: program.name, version: await versionOf(program) }));
  const report = { started, machine: describeMachine(), programs: await Promise.all(versions), skipped, results };
  await writeJson(report, options.output);
  console.log(renderReport(report));
  if (results.some(({ failure }) => failure !== undefined)) process.exitCode = 1;
}

async function measureAll(
  { only = goalIds, runs, workloads = buildWorkloads }: Options,
  programs: readonly Program[],
  scratch: string,
): Promise<readonly Result[]> {
  const circumstances: Circumstances = { scratch, rounds: runs ?? defaultRuns, onSample: showProgress };
  const results: Result[] = [];
  if (comparesBuilds(only)) {
    for (const id of workloads) results.push(...(await measureBuilds(id, programs, circumstances)));
  }
  const rebuilds = rebuildsFor(only);
  if (rebuilds.length > 0) {
    for (const id of workloads) results.push(...(await measureRebuilds(id, rebuilds, circumstances)));
  }
  if (only.includes('P6') && programs.includes(ours)) {
    results.push(...(await measureMemory({ ...circumstances, rounds: runs ?? 1 }))); // memory hardly varies
  }
  if (only.includes('P7')) results.push(...(await measureLayoutCost(circumstances)));
  if (only.includes('P8')) results.push(...(await measureIndex(circumstances)));
  if (only.includes('P9')) {
    const verifiers = [ourVerifier, opensslVerifier].filter(({ missing }) => missing() === undefined);
    results.push(...(await measureVerification(verifiers, circumstances)));
  }
  if (only.includes('P10')) results.push(...(await measureTransfers('pull', transferrers(), circumstances)));
  if (only.includes('P11')) results.push(...(await measureTransfers('push', transferrers(), circumstances)));
  if (only.includes('P12')) results.push(...(await measureServing(circumstances)));
  if (only.includes('P13')) results.push(...(await measureExecutor(circumstances)));
  return results;
}

function rebuildsFor(goals: readonly GoalId[]): readonly Rebuild[] {
  return [...(goals.includes('P4') ? [oneFileChanged] : []), ...(goals.includes('P5') ? [nothingChanged] : [])];
}

/** Us first, then those that are here. */
function transferrers(): readonly Transferrer[] {
  return [ourTransfer, ...transferPeers.filter(({ missing }) => missing() === undefined)];
}

function comparesBuilds(ids: readonly GoalId[]): boolean {
  return buildGoals.some(({ id }) => ids.includes(id));
}

function chosenPrograms({ only = goalIds, peers: ids }: Options): readonly Program[] {
  if (!comparesBuilds(only)) return only.includes('P6') ? [ours] : [];
  const own = [ours, oursWithZstd].filter(
    ({ id }) =>
      buildGoals.some((goal) => goal.own === id && only.includes(goal.id)) || (id === ours.id && only.includes('P6')),
  );
  return [...own, ...peers.filter(({ id }) => (ids ?? peersOf(only)).includes(id))];
}

/** What verifies, pushes, pulls and serves for comparison. */
function otherPrograms({ only = goalIds }: Options): readonly Pick<Program, 'name' | 'missing' | 'version'>[] {
  const transfers = only.includes('P10') || only.includes('P11');
  return [
    ...(only.includes('P9') ? [opensslVerifier] : []),
    ...(transfers ? transferPeers : []),
    ...(transfers || only.includes('P12') ? [dockerRegistry] : []),
  ];
}

/** The peers that some goals name; for all goals all peers, with those that are only for reference. */
function peersOf(goals: readonly GoalId[]): readonly string[] {
  if (goals === goalIds) return peerIds();
  return buildGoals.filter(({ id }) => goals.includes(id)).map(({ peer }) => peer);
}

async function inScratch<T>(work: string, use: (scratch: string) => Promise<T>): Promise<T> {
  await mkdir(work, { recursive: true });
  const scratch = await mkdtemp(join(resolve(work), 'bench-'));
  try {
    return await use(scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

const showProgress: OnSample = ({ program, workload }, round, outcome) => {
  const result = outcome instanceof Error ? 'failed' : `${outcome.wallSeconds.toFixed(2)} s`;
  console.error(`${workload.id}, ${program.name}, run ${round}: ${result}`);
};

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Expected a whole number above 0.');
  return value;
}

function listOf<T extends string>(allowed: readonly T[]): (text: string) => readonly T[] {
  return (text) =>
    text.split(',').map((item) => {
      const found = allowed.find((one) => one === item);
      if (found === undefined) throw new InvalidArgumentError(`Expected some of ${allowed.join(',')}.`);
      return found;
    });
}

function peerIds(): readonly string[] {
  return peers.map(({ id }) => id);
}

command.parseAsync().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
