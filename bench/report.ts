import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { dirname } from 'node:path';
import { type Comparison, figures, medianOf, valuesOf } from './goals';
import { median, type Subject } from './measure';
import type { Result } from './parts';

export interface Report {
  readonly started: string;
  readonly machine: ReturnType<typeof describeMachine>;
  readonly programs: readonly { readonly name: string; readonly version: string }[];
  /** What was asked for and cannot run here. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  readonly results: readonly Result[];
}

export function describeMachine() {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    platform: `${process.platform}/${process.arch}`,
    node: process.version,
  };
}

export async function writeJson(report: Report, file: string): Promise<void> {
  const results = report.results.map((result) => ({ ...result, medians: mediansOf(result) }));
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify({ ...report, results }, undefined, 2)}\n`);
}

function mediansOf(result: Result): Record<string, number> {
  const medians = Object.entries(figures).map(([name, figure]) => [name, medianOf(result, figure)] as const);
  return Object.fromEntries(medians.filter(([, value]) => !Number.isNaN(value)));
}

export function renderReport({ machine, programs, skipped, results }: Report): string {
  const failed = results.filter(({ failure }) => failure !== undefined);
  return [
    renderTable(results),
    '',
    `machine: ${machine.processor}, ${machine.cores} cores, ${machine.platform}, Node ${machine.node}`,
    ...(programs.length === 0 ? [] : [`versions: ${[...new Set(programs.map(({ version }) => version))].join('; ')}`]),
    ...skipped.map(({ name, reason }) => `skipped: ${name} (${reason})`),
    ...failed.map((result) => `failed: ${result.workload.id}, ${result.program.name}: ${result.failure}`),
  ].join('\n');
}

interface Column {
  readonly title: string;
  readonly align: 'left' | 'right';
  cell(result: Result): string;
}

const columns: readonly Column[] = [
  { title: 'part', align: 'left', cell: ({ part }) => part },
  { title: 'workload', align: 'left', cell: describeWorkload },
  { title: 'program', align: 'left', cell: ({ program }) => program.name },
  { title: 'runs', align: 'right', cell: ({ samples, failure }) => (failure ? 'failed' : String(samples.length)) },
  { title: 'time', align: 'right', cell: (result) => describeTime(result, (values) => [median(values)]) },
  { title: 'spread', align: 'left', cell: (result) => describeTime(result, leastAndMost) },
  { title: 'CPU', align: 'right', cell: (result) => seconds(medianOf(result, figures.cpuSeconds)) },
  { title: 'peak', align: 'right', cell: (result) => megabytes(medianOf(result, figures.peakBytes)) },
  { title: 'layer', align: 'right', cell: (result) => megabytes(medianOf(result, figures.layerBytes)) },
  { title: 'ratio', align: 'left', cell: ({ comparisons }) => comparisons.map(describeComparison).join(', ') },
];

function renderTable(results: readonly Result[]): string {
  const rows = [columns.map(({ title }) => title), ...results.map((result) => columns.map(({ cell }) => cell(result)))];
  const widths = columns.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const pad = (text: string, column: number): string => {
    const width = widths[column] ?? 0;
    return columns[column]?.align === 'right' ? text.padStart(width) : text.padEnd(width);
  };
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}

function describeWorkload({ workload: { id, files, bytes } }: Subject): string {
  if (files === undefined || bytes === undefined) return id;
  return `${id}: ${files} ${files === 1 ? 'file' : 'files'}, ${megabytes(bytes)}`;
}

/** Per blob where that is what a run tells, of the whole program otherwise. */
function describeTime(result: Result, choose: (values: readonly number[]) => readonly number[]): string {
  const perBlob = valuesOf(result, figures.nanosecondsPerBlob);
  const perSecond = valuesOf(
    result,
    result.workload.id.includes('manifest') ? figures.answersPerSecond : figures.servedBytesPerSecond,
  );
  const [values, format] =
    perBlob.length > 0
      ? [perBlob, nanoseconds]
      : perSecond.length > 0
        ? [perSecond, result.workload.id.includes('manifest') ? answers : throughput]
        : [valuesOf(result, figures.wallSeconds), seconds];
  return values.length === 0 ? '' : choose(values).map(format).join(' to ');
}

function leastAndMost(values: readonly number[]): readonly number[] {
  return [Math.min(...values), Math.max(...values)];
}

function describeComparison({ figure, value, goal, atMost, atLeast, reached }: Comparison): string {
  const measured = `${figure} ${value.toFixed(value < 10 ? 3 : 1)}`;
  return goal === undefined
    ? measured
    : `${measured} (${goal} ${atMost === undefined ? `>= ${atLeast}` : `<= ${atMost}`}: ${reached ? 'reached' : 'missed'})`;
}

const seconds = (value: number): string => known(value, `${value.toFixed(2)} s`);
const megabytes = (value: number): string => known(value, `${(value / 1e6).toFixed(1)} MB`);
const answers = (value: number): string => known(value, `${value.toFixed(0)}/s`);
const throughput = (value: number): string => known(value, `${(value / 1e6).toFixed(0)} MB/s`);
const nanoseconds = (value: number): string => known(value, `${value.toFixed(0)} ns/blob`);

function known(value: number, formatted: string): string {
  return Number.isNaN(value) ? '' : formatted;
}
