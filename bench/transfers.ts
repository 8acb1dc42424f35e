import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Contender, isInstalled, run, runMeasured } from './measure';
import { cli } from './peers';
import { dockerRegistry, startRegistryProgram } from './registries';
import type { Workload } from './workloads';

/** A program that pushes to registries and pulls from them. */
export interface Transferrer {
  readonly id: string;
  readonly name: string;
  missing(): string | undefined;
  readonly version: string;
  /** @param layout with one image, tagged `latest`. */
  push(layout: string, reference: string): readonly string[];
  /** @param layout to be made. */
  pull(reference: string, layout: string): readonly string[];
}

const needs = (program: string) => () =>
  isInstalled(program) ? undefined : `${program} not on the PATH nor among the Go programs`;

export const ourTransfer: Transferrer = {
  id: 'nx-oci',
  name: 'nx-oci',
  missing: () => undefined,
  version: `echo nx-oci $("${process.execPath}" "${cli}" --version)`,
  push: (layout, reference) => [process.execPath, cli, 'push', `${layout}:latest`, reference],
  pull: (reference, layout) => [process.execPath, cli, 'pull', reference, layout],
};

export const transferPeers: readonly Transferrer[] = [
  {
    id: 'crane',
    name: 'crane',
    missing: needs('crane'),
    version: 'echo crane $(crane version)',
    push: (layout, reference) => ['crane', 'push', layout, reference],
    pull: (reference, layout) => ['crane', 'pull', '--format=oci', reference, layout],
  },
  {
    id: 'oras',
    name: 'oras cp',
    missing: needs('oras'),
    version: 'echo oras $(oras version | head -1)',
    push: (layout, reference) => ['oras', 'cp', '--from-oci-layout', '--to-plain-http', `${layout}:latest`, reference],
    pull: (reference, layout) => ['oras', 'cp', '--from-plain-http', '--to-oci-layout', reference, `${layout}:latest`],
  },
  {
    id: 'skopeo',
    name: 'skopeo copy',
    missing: needs('skopeo'),
    version: 'skopeo --version',
    push: (layout, reference) => skopeo('--dest-tls-verify=false', `oci:${layout}:latest`, `docker://${reference}`),
    pull: (reference, layout) => skopeo('--src-tls-verify=false', `docker://${reference}`, `oci:${layout}:latest`),
  },
];

function skopeo(...args: readonly string[]): readonly string[] {
  return ['skopeo', '--insecure-policy', 'copy', '--quiet', ...args];
}

/** Pushes to an empty docker-registry each time, because one that has the blobs is not sent them. */
export function newPush(program: Transferrer, layout: string, workload: Workload, scratch: string): Contender {
  return {
    program: { id: program.id, name: `${program.name}, push` },
    workload,
    run: () =>
      inRegistry(scratch, async (host, room) => {
        const { stdout: _, ...usage } = await runMeasured(program.push(layout, `${host}/os:v1`), room);
        return usage;
      }),
  };
}

/** Pulls from a docker-registry that was started and filled for it. */
export function newPull(program: Transferrer, layout: string, workload: Workload, scratch: string): Contender {
  return {
    program: { id: program.id, name: `${program.name}, pull` },
    workload,
    run: () =>
      inRegistry(scratch, async (host, room) => {
        const [command = '', ...args] = ourTransfer.push(layout, `${host}/os:v1`);
        await run(command, args, room);
        const { stdout: _, ...usage } = await runMeasured(program.pull(`${host}/os:v1`, join(room, 'pulled')), room);
        return usage;
      }),
  };
}

async function inRegistry<T>(scratch: string, work: (host: string, room: string) => Promise<T>): Promise<T> {
  const room = join(scratch, 'transfer');
  await mkdir(room);
  try {
    await using registry = await startRegistryProgram(dockerRegistry, room);
    return await work(registry.host, room);
  } finally {
    await rm(room, { recursive: true, force: true });
  }
}
