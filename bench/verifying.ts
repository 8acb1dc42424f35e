import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LayerLayout } from './layer-layout';
import { type Contender, inRoom, isInstalled, runMeasured } from './measure';
import { cli } from './peers';

/** A program that reads all blobs of a layout. */
export interface Verifier {
  readonly id: string;
  readonly name: string;
  missing(): string | undefined;
  readonly version: string;
  command(layout: string): Promise<readonly string[]>;
}

export const ourVerifier: Verifier = {
  id: 'nx-oci',
  name: 'nx-oci verify',
  missing: () => undefined,
  version: `echo nx-oci $("${process.execPath}" "${cli}" --version)`,
  command: async (layout) => [process.execPath, cli, 'verify', layout],
};

export const opensslVerifier: Verifier = {
  id: 'openssl',
  name: 'openssl dgst -sha256 of the blobs',
  missing: () => (isInstalled('openssl') ? undefined : 'openssl not on the PATH'),
  version: 'openssl version',
  command: async (layout) => {
    const blobs = join(layout, 'blobs', 'sha256');
    return ['openssl', 'dgst', '-sha256', ...(await readdir(blobs)).map((name) => join(blobs, name))];
  },
};

export function newVerification({ id, name, command }: Verifier, layout: LayerLayout, scratch: string): Contender {
  const { path, layer: _, ...workload } = layout;
  return {
    program: { id, name },
    workload,
    run: () =>
      inRoom(scratch, async (room) => {
        const { stdout: _, ...usage } = await runMeasured(await command(path), room);
        return usage;
      }),
  };
}
