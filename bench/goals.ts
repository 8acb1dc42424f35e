import { median, type Sample, type Series } from './measure';

export const goalIds = ['P1', 'P2', 'P3', 'P4', 'P5', 'P6', 'P7', 'P8', 'P9', 'P10', 'P11', 'P12', 'P13'] as const;

export type GoalId = (typeof goalIds)[number];

/** One figure against another, or against a bound; `atMost` or `atLeast` where there is a goal to reach. */
export interface Comparison {
  readonly figure: string;
  readonly value: number;
  readonly goal?: GoalId;
  readonly atMost?: number;
  readonly atLeast?: number;
  readonly reached?: boolean;
}

interface BuildGoal {
  readonly id: GoalId;
  /** Which of our programs; see peers.ts. */
  readonly own: string;
  readonly peer: string;
  readonly wallAtMost: Readonly<Record<string, number>>;
  readonly layerAtMost?: number;
}

export const buildGoals: readonly BuildGoal[] = [
  { id: 'P1', own: 'nx-oci', peer: 'umoci', wallAtMost: { W1: 0.8, W2: 0.8, W3: 0.8 }, layerAtMost: 1 },
  { id: 'P2', own: 'nx-oci', peer: 'crane', wallAtMost: { W1: 0.5, W2: 0.8, W3: 0.5 } },
  { id: 'P3', own: 'nx-oci-zstd', peer: 'umoci', wallAtMost: { W1: 0.5, W2: 0.5, W3: 0.5 }, layerAtMost: 1 },
];

/** By what happened to the payload; see rebuilds.ts. */
const rebuildGoals: Readonly<Record<string, { goal: GoalId; atMost: number }>> = {
  changed: { goal: 'P4', atMost: 0.2 },
  unchanged: { goal: 'P5', atMost: 0.05 },
};

/** One of our builds against a peer's; with zstd only where there is a goal for it. */
export function compareBuilds(own: Series, peer: Series): readonly Comparison[] {
  const goal = buildGoals.find((candidate) => candidate.own === own.program.id && candidate.peer === peer.program.id);
  const isZstd = own.program.id === 'nx-oci-zstd';
  if (isZstd && goal === undefined) return [];
  const prefix = isZstd ? 'zstd ' : '';
  return [
    compare(`${prefix}time`, ratio(own, peer, figures.wallSeconds), goal?.id, goal?.wallAtMost[peer.workload.id]),
    compare(`${prefix}bytes`, ratio(own, peer, figures.layerBytes), goal?.id, goal?.layerAtMost),
  ].filter(isKnown);
}

/** A build of what was built before, against one that knows nothing of it. */
export function compareRebuild(cold: Series, again: Series): readonly Comparison[] {
  const { goal, atMost } = rebuildGoals[again.program.id] ?? {};
  const isGoal = again.workload.id === 'W1';
  return [compare('time', ratio(again, cold, figures.wallSeconds), isGoal ? goal : undefined, atMost)].filter(isKnown);
}

export function compareMemory(small: Series, large: Series): readonly Comparison[] {
  return [
    compare('memory', ratio(large, small, figures.peakBytes), 'P6', 1.1),
    compare('memory in MB', medianOf(large, figures.peakBytes) / 1e6, 'P6', 250),
  ].filter(isKnown);
}

export function compareLayoutCost(few: Series, many: Series): readonly Comparison[] {
  return [compare('time per blob', ratio(many, few, figures.nanosecondsPerBlob), 'P7', 1.3)].filter(isKnown);
}

/** An index must share what it lists: nothing else than the index itself is written. */
export function judgeIndex(series: Series): readonly Comparison[] {
  return [
    compare('copied MB', medianOf(series, figures.copiedBytes) / 1e6, 'P8', 0),
    compare('written MB', medianOf(series, figures.writtenBytes) / 1e6, undefined, undefined),
  ].filter(isKnown);
}

/** Our verification against a program that only hashes. */
export function compareVerification(ours: Series, peer: Series): readonly Comparison[] {
  return [compare('time', ratio(ours, peer, figures.wallSeconds), 'P9', 0.7)].filter(isKnown);
}

/** What an executor takes above what Nx takes for any. */
export function compareTargetRuns(image: Series, other: Series): readonly Comparison[] {
  const more = medianOf(image, figures.wallSeconds) - medianOf(other, figures.wallSeconds);
  return [compare('seconds more', more, other.program.id === 'empty' ? 'P13' : undefined, 0.3)].filter(isKnown);
}

/** Ours against a peer, pushing or pulling the same. */
export function compareTransfers(goal: 'P10' | 'P11', ours: Series, peer: Series): readonly Comparison[] {
  const bounds: Readonly<Record<string, number>> = goal === 'P10' ? { crane: 1, oras: 1 } : { crane: 0.9 };
  return [compare('time', ratio(ours, peer, figures.wallSeconds), goal, bounds[peer.program.id])].filter(isKnown);
}

/** What a transfer keeps in memory must not grow with the blob. */
export function compareTransferMemory(small: Series, large: Series): readonly Comparison[] {
  return [compare('memory', ratio(large, small, figures.peakBytes), undefined, undefined)].filter(isKnown);
}

/** Our registry against another one. */
export function compareServing(ours: Series, peer: Series): readonly Comparison[] {
  const isSmall = peer.workload.id.includes('manifest');
  const figure = isSmall ? figures.answersPerSecond : figures.servedBytesPerSecond;
  const atLeast = isSmall ? 8 : 1;
  const value = ratio(ours, peer, figure);
  const name = isSmall ? 'manifests' : 'bytes';
  return [{ figure: name, value, goal: 'P12' as const, atLeast, reached: value >= atLeast }].filter(isKnown);
}

type Figure = (sample: Sample) => number | undefined;

export const figures = {
  wallSeconds: (sample) => sample.wallSeconds,
  cpuSeconds: (sample) => sample.cpuSeconds,
  peakBytes: (sample) => sample.peakBytes,
  layerBytes: (sample) => sample.layerBytes,
  nanosecondsPerBlob: (sample) => sample.nanosecondsPerBlob,
  writtenBytes: (sample) => sample.writtenBytes,
  copiedBytes: (sample) => sample.copiedBytes,
  answersPerSecond: (sample) => sample.answersPerSecond,
  servedBytesPerSecond: (sample) => sample.servedBytesPerSecond,
} satisfies Record<string, Figure>;

/** The values of a figure; empty when the program does not have it. */
export function valuesOf(series: Series, figure: Figure): readonly number[] {
  return series.samples.map(figure).filter((value) => value !== undefined);
}

export function medianOf(series: Series, figure: Figure): number {
  return median(valuesOf(series, figure));
}

function ratio(numerator: Series, denominator: Series, figure: Figure): number {
  return medianOf(numerator, figure) / medianOf(denominator, figure);
}

function compare(figure: string, value: number, goal: GoalId | undefined, atMost: number | undefined): Comparison {
  if (goal === undefined || atMost === undefined) return { figure, value };
  return { figure, value, goal, atMost, reached: value <= atMost };
}

function isKnown({ value }: Comparison): boolean {
  return !Number.isNaN(value);
}
