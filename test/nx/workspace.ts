import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { type Finished, repository, run, temporaryDirectory, writeFiles } from '../fixtures';

/** A workspace of Nx with these files, in which the plugin is installed. */
export function nxWorkspace(files: Readonly<Record<string, string>>, nxJson: object = {}): string {
  const workspace = writeFiles(temporaryDirectory(), {
    'package.json': JSON.stringify({ name: 'workspace', private: true }),
    'nx.json': JSON.stringify({
      analytics: false,
      neverConnectToCloud: true,
      cacheDirectory: '.nx/cache',
      ...nxJson,
    }),
    '.gitignore': '.nx\nnode_modules\ndist\n',
    ...files,
  });
  symlinkSync(join(repository, 'node_modules'), join(workspace, 'node_modules'));
  return workspace;
}

/** A project of a workspace, by its targets. */
export function projectFile(name: string, targets: object): Record<string, string> {
  return { [`${name}/project.json`]: JSON.stringify({ name, targets }) };
}

/** Where CI systems and people leave what `nx` would find in this process. */
const unset = { CI: '', GITHUB_SHA: '', SOURCE_DATE_EPOCH: '', NX_OCI_STORE: '' };

/** Runs `nx` in a workspace. Variables that are empty are not set. */
export function runNx(
  workspace: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<Finished> {
  const set = { ...unset, NX_DAEMON: 'false', NX_NO_CLOUD: 'true', NO_COLOR: '1', FORCE_COLOR: '0', ...environment };
  const env = Object.fromEntries(Object.entries(set).map(([name, value]) => [name, value || undefined]));
  const command = join(repository, 'node_modules/nx/dist/bin/nx.js');
  return run(process.execPath, [command, ...args], { cwd: workspace, env });
}
