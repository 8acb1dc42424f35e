import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Contender, run, runMeasured } from './measure';
import { type Payload, preparePayload, settle } from './workloads';

/** A workspace of Nx with a project `os`, whose image was built before. */
export interface NxWorkspace {
  readonly directory: string;
  /** What another target would have built, and the image is made of. */
  readonly payload: Payload;
}

/** A run of one target, whose result is not taken from the cache of Nx. */
export interface TargetRun {
  readonly id: string;
  readonly name: string;
  readonly target: string;
}

export const imageRun: TargetRun = { id: 'image', name: 'nx run of an image that was built', target: 'os:image' };
export const emptyRun: TargetRun = { id: 'empty', name: 'nx run of an empty command', target: 'os:empty' };
/** Nx runs a command itself, and starts a process for an executor of a plugin. */
export const idleRun: TargetRun = { id: 'idle', name: 'nx run of an executor that does nothing', target: 'os:idle' };

const targets = {
  image: {
    executor: 'nx-oci:image',
    cache: true,
    outputs: ['{options.outputPath}'],
    options: { outputPath: 'dist/image', layers: [{ name: 'app', from: 'dist/W1/app', to: '/app' }] },
  },
  empty: { executor: 'nx:run-commands', cache: false, options: { command: 'true' } },
  idle: { executor: './idle:idle', cache: false },
};

const files: Readonly<Record<string, string>> = {
  '.gitignore': '.nx\nnode_modules\ndist\n',
  'package.json': JSON.stringify({ name: 'workspace', private: true }),
  'nx.json': JSON.stringify({ analytics: false, neverConnectToCloud: true, cacheDirectory: '.nx/cache' }),
  'os/project.json': JSON.stringify({ name: 'os', targets }),
  'idle/package.json': JSON.stringify({ name: 'idle', executors: './executors.json' }),
  'idle/executors.json': JSON.stringify({
    executors: { idle: { implementation: './idle.js', schema: './schema.json' } },
  }),
  'idle/schema.json': JSON.stringify({ type: 'object', properties: {} }),
  'idle/idle.js': 'exports.default = async () => ({ success: true });\n',
};

/** No process that stays behind, and the workspace's own store. */
const environment = { NX_DAEMON: 'false', NX_NO_CLOUD: 'true', CI: undefined };

/** A workspace with the plugin as it is installed in this repository. */
export async function prepareNxWorkspace(scratch: string): Promise<NxWorkspace> {
  const directory = join(scratch, 'workspace');
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), content);
  }
  await symlink(dirname(dirname(require.resolve('nx/package.json'))), join(directory, 'node_modules'));
  const payload = await preparePayload('W1', join(directory, 'dist'));
  await settle();
  const [program = '', ...args] = commandOf(imageRun);
  await run(program, args, directory, environment);
  return { directory, payload };
}

export function newTargetRun(target: TargetRun, { directory, payload }: NxWorkspace): Contender {
  const { id, name } = target;
  const { directory: _, ...workload } = payload;
  return {
    program: { id, name },
    workload,
    run: async () => {
      const { stdout: _, ...usage } = await runMeasured(commandOf(target), directory, environment);
      return usage;
    },
  };
}

function commandOf({ target }: TargetRun): readonly string[] {
  return [process.execPath, join('node_modules', '.bin', 'nx'), 'run', target, '--skip-nx-cache'];
}
