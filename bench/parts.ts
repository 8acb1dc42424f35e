import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { emptyRun, idleRun, imageRun, newTargetRun, prepareNxWorkspace } from './executor';
import {
  type Comparison,
  compareBuilds,
  compareLayoutCost,
  compareMemory,
  compareRebuild,
  compareServing,
  compareTargetRuns,
  compareTransferMemory,
  compareTransfers,
  compareVerification,
  judgeIndex,
} from './goals';
import { prepareLayerLayout } from './layer-layout';
import { type Contender, inRoom, type OnSample, runMeasured, type Series, takeTurns } from './measure';
import { cli, ours, oursWithZstd, type Program } from './peers';
import { coldBuild, newRebuild, type Rebuild } from './rebuilds';
import { dockerRegistry, ourRegistry } from './registries';
import { blobLoad, manifestLoad, newServing } from './serving';
import { copiedBytes, prepareSources } from './sources';
import { newPull, newPush, ourTransfer, type Transferrer } from './transfers';
import { newVerification, type Verifier } from './verifying';
import { type Payload, type PayloadId, preparePayload, removePayload } from './workloads';

export interface Circumstances {
  /** Where payloads and outputs go: one file system for all programs. */
  readonly scratch: string;
  readonly rounds: number;
  readonly onSample: OnSample;
}

/** One line of the table. */
export interface Result extends Series {
  readonly part:
    | 'image'
    | 'rebuild'
    | 'memory'
    | 'createLayout'
    | 'index'
    | 'verify'
    | 'pull'
    | 'push'
    | 'serve'
    | 'executor';
  /** Ours against this peer; in the parts of several workloads, this line against the smallest. */
  readonly comparisons: readonly Comparison[];
}

/** P1 to P3: our builds of one payload against those of the peers. */
export async function measureBuilds(
  id: PayloadId,
  programs: readonly Program[],
  { scratch, rounds, onSample }: Circumstances,
): Promise<readonly Result[]> {
  const payload = await preparePayload(id, scratch);
  const builds = programs.map((program) => newBuild(program, payload, scratch));
  const all = await takeTurns(builds, rounds, onSample);
  await removePayload(payload);
  const own = [ours, oursWithZstd].flatMap(({ id }) => all.find(({ program }) => program.id === id) ?? []);
  return all.map((series) => ({
    ...series,
    part: 'image',
    comparisons: own.includes(series) ? [] : own.flatMap((one) => compareBuilds(one, series)),
  }));
}

/** P4 and P5: builds that find in a store what did not change, against one that finds nothing. */
export async function measureRebuilds(
  id: PayloadId,
  rebuilds: readonly Rebuild[],
  { scratch, rounds, onSample }: Circumstances,
): Promise<readonly Result[]> {
  const payload = await preparePayload(id, scratch);
  const builds = [coldBuild, ...rebuilds].map((rebuild) => newRebuild(rebuild, payload, scratch));
  const all = await takeTurns(builds, rounds, onSample);
  await removePayload(payload);
  return againstFirst('rebuild', all, compareRebuild);
}

/** P6: what our build keeps in memory must not grow with the payload. */
export async function measureMemory({ scratch, rounds, onSample }: Circumstances): Promise<readonly Result[]> {
  const payloads = [await preparePayload('W3', scratch), await preparePayload('W3-4GiB', scratch)];
  const builds = payloads.map((payload) => newBuild(ours, payload, scratch));
  const all = await takeTurns(builds, rounds, onSample);
  await Promise.all(payloads.map(removePayload));
  return againstFirst('memory', all, compareMemory);
}

const layoutSizes = [1_000, 10_000, 100_000];

/** P7: what one blob costs must not grow with the layout. */
export async function measureLayoutCost({ scratch, rounds, onSample }: Circumstances): Promise<readonly Result[]> {
  const sizes = layoutSizes.map((blobs) => newLayoutCost(blobs, scratch));
  return againstFirst('createLayout', await takeTurns(sizes, rounds, onSample), compareLayoutCost);
}

/** P8: an index over the images of layouts on the same file system must copy none of their blobs. */
export async function measureIndex({ scratch, rounds, onSample }: Circumstances): Promise<readonly Result[]> {
  const { layouts, ...workload } = await prepareSources(scratch);
  const command = [process.execPath, cli, 'index', 'create', 'layout:latest', ...layouts, '--all'];
  const run = () =>
    inRoom(scratch, async (room) => {
      const { stdout: _, ...usage } = await runMeasured(command, room);
      return { ...usage, copiedBytes: await copiedBytes(join(room, 'layout'), layouts) };
    });
  const program = { id: 'index', name: 'nx-oci index create --all' };
  const all = await takeTurns([{ program, workload, run }], rounds, onSample);
  return all.map((series) => ({ ...series, part: 'index', comparisons: judgeIndex(series) }));
}

/** P9: reading and comparing all blobs of a layout, against hashing them. */
export async function measureVerification(
  verifiers: readonly Verifier[],
  { scratch, rounds, onSample }: Circumstances,
): Promise<readonly Result[]> {
  const layout = await prepareLayerLayout('W5-2GB', scratch);
  const all = await takeTurns(
    verifiers.map((verifier) => newVerification(verifier, layout, scratch)),
    rounds,
    onSample,
  );
  await rm(dirname(layout.path), { recursive: true });
  return againstFirst('verify', all, compareVerification);
}

/** P10 and P11: the same image to docker-registry and back, by us and by others; and ours with a larger one, for memory. */
export async function measureTransfers(
  part: 'push' | 'pull',
  programs: readonly Transferrer[],
  { scratch, rounds, onSample }: Circumstances,
): Promise<readonly Result[]> {
  const newTransfer = part === 'push' ? newPush : newPull;
  const { path, ...workload } = await prepareLayerLayout('W5', scratch);
  const all = await takeTurns(
    programs.map((program) => newTransfer(program, path, workload, scratch)),
    rounds,
    onSample,
  );
  const { path: largePath, ...large } = await prepareLayerLayout('W5-1GB', scratch);
  const [ofLarge] = await takeTurns([newTransfer(ourTransfer, largePath, large, scratch)], 1, onSample);
  const [own] = all;
  const goal = part === 'push' ? 'P11' : 'P10';
  return [
    ...all.map((series) => ({
      ...series,
      part,
      comparisons: own === undefined || series === own ? [] : compareTransfers(goal, own, series),
    })),
    ...(ofLarge && own ? [{ ...ofLarge, part, comparisons: compareTransferMemory(own, ofLarge) }] : []),
  ];
}

/** P12: manifests and bytes a second of our registry, against docker-registry. */
export async function measureServing({ scratch, rounds, onSample }: Circumstances): Promise<readonly Result[]> {
  const { path, layer, ...workload } = await prepareLayerLayout('W5', scratch);
  const results: Result[] = [];
  for (const load of [manifestLoad, blobLoad]) {
    const contenders = [ourRegistry, dockerRegistry].map((program) =>
      newServing(program, load, path, layer, { ...workload, id: `${workload.id} ${load.name}` }, scratch),
    );
    const [own, peer] = await takeTurns(contenders, rounds, onSample);
    if (own) results.push({ ...own, part: 'serve', comparisons: [] });
    if (own && peer) results.push({ ...peer, part: 'serve', comparisons: compareServing(own, peer) });
  }
  return results;
}

/** P13: what our executor takes when all is built, above what Nx takes to run anything. */
export async function measureExecutor({ scratch, rounds, onSample }: Circumstances): Promise<readonly Result[]> {
  const workspace = await prepareNxWorkspace(scratch);
  const runs = [imageRun, emptyRun, idleRun].map((target) => newTargetRun(target, workspace));
  const all = await takeTurns(runs, rounds, onSample);
  await rm(workspace.directory, { recursive: true });
  return againstFirst('executor', all, compareTargetRuns);
}

function newBuild(program: Program, payload: Payload, scratch: string): Contender {
  const { id, name } = program;
  const { directory: _, ...workload } = payload;
  const run = () =>
    inRoom(scratch, async (room) => {
      await program.prepare?.(payload, room);
      const { stdout: _, ...usage } = await runMeasured(program.command(payload, room), room);
      return { ...usage, layerBytes: await program.layerBytes?.(room) };
    });
  return { program: { id, name }, workload, run };
}

/** Each size gets a fresh process, so that none finds the heap or the compiled code of another. */
function newLayoutCost(blobs: number, scratch: string): Contender {
  const command = [process.execPath, '--expose-gc', join(__dirname, 'create-layout.js'), String(blobs)];
  const run = () =>
    inRoom(scratch, async (room) => {
      const { stdout, ...usage } = await runMeasured(command, room);
      const { nanosecondsPerBlob } = JSON.parse(stdout) as { nanosecondsPerBlob: number };
      return { ...usage, nanosecondsPerBlob };
    });
  return {
    program: { id: 'createLayout', name: 'createLayout' },
    workload: { id: `${blobs} blobs`, description: 'an index of images that share nothing' },
    run,
  };
}

function againstFirst(
  part: Result['part'],
  all: readonly Series[],
  compare: (first: Series, series: Series) => readonly Comparison[],
): readonly Result[] {
  const [first, ...others] = all;
  if (first === undefined) return [];
  return [
    { ...first, part, comparisons: [] },
    ...others.map((series) => ({ ...series, part, comparisons: compare(first, series) })),
  ];
}
