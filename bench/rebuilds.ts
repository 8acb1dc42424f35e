import { appendFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Contender, inRoom, run, runMeasured } from './measure';
import { ours } from './peers';
import { type Payload, settle } from './workloads';

/** What happens to a payload that was built before, until it is built again; nothing was built before a cold build. */
export interface Rebuild {
  readonly id: string;
  readonly name: string;
  change?(payload: Payload): Promise<void>;
}

export const coldBuild: Rebuild = { id: 'cold', name: 'nx-oci image, cold' };

export const oneFileChanged: Rebuild = { id: 'changed', name: 'nx-oci image, one file changed', change: changeFile };

export const nothingChanged: Rebuild = {
  id: 'unchanged',
  name: 'nx-oci image, nothing changed',
  change: async () => {},
};

/** A build with a store of its own, which an earlier one of the same output has filled. */
export function newRebuild({ id, name, change }: Rebuild, payload: Payload, scratch: string): Contender {
  const { directory: _, ...workload } = payload;
  return {
    program: { id, name },
    workload,
    run: () =>
      inRoom(scratch, async (room) => {
        const environment = { NX_OCI_STORE: join(room, 'store') };
        await ours.prepare?.(payload, room);
        const [program = '', ...args] = ours.command(payload, room);
        if (change) {
          await settle();
          await run(program, args, room, environment);
          await change(payload);
        }
        const { stdout: _, ...usage } = await runMeasured([program, ...args], room, environment);
        return { ...usage, layerBytes: await ours.layerBytes?.(room) };
      }),
  };
}

/** Another line each time, in the file in the middle of the tar file. */
async function changeFile({ directory }: Payload): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const middle = files.sort()[Math.floor(files.length / 2)];
  if (middle === undefined) throw new Error(`${directory}: no file to change`);
  await appendFile(middle, `// changed at ${process.hrtime.bigint()}\n`);
}
