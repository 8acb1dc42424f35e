#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { addBuildCommands } from './cli/build';
import { addDiffCommand } from './cli/diff';
import { addIndexCommands } from './cli/image-index';
import { addLayoutCommands } from './cli/layout';
import { addPayloadCommands } from './cli/payload';
import { addRegistryCommands } from './cli/registry';
import { FileSystemError } from './errors';
import { failureReport } from './terminal/failure';

// Compression runs on libuv's threads, of which there are four whatever the machine has. This must stand before the first
// asynchronous call, which starts them.
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(4, availableParallelism() + 2));

function program(): Command {
  const nxOci = new Command('nx-oci')
    .description('Builds, checks, edits, pushes and serves OCI images without a container daemon.')
    .version(packageVersion(), '-v, --version', 'Prints the version.')
    .helpOption('-h, --help', 'Prints what can be done, or how.')
    .showHelpAfterError('Run with --help for how it is used.');
  addBuildCommands(nxOci);
  addIndexCommands(nxOci);
  addLayoutCommands(nxOci);
  addDiffCommand(nxOci);
  addRegistryCommands(nxOci);
  addPayloadCommands(nxOci);
  return nxOci;
}

function packageVersion(): string {
  // From lib/src, where the compiled file lies.
  const manifest = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as { version: string };
  return manifest.version;
}

function fail(error: unknown): void {
  process.stderr.write(`${failureReport(error)}\n`);
  process.exitCode = 1;
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Whoever reads the output, `head` for one, may have seen enough.
  if (error.code !== 'EPIPE') fail(new FileSystemError('write', 'standard output', error));
});

program().parseAsync().catch(fail);
