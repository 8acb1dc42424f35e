#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { buildImage } from './actions/build-image';
import { sourceDateEpoch } from './actions/created';
import { imageOptionsSchema } from './actions/image-options';
import { inspectLayout } from './actions/inspect-layout';
import { FileSystemError, fileSystemStep } from './errors';
import { parseLayoutReference } from './layout/reference';
import { verifyLayout } from './layout/verify';
import { parseDocument } from './spec/json';
import { failureReport } from './terminal/failure';
import { progressOn } from './terminal/progress';
import { imageReport, inspectReport, verifyReport } from './terminal/reports';

// Compression runs on libuv's threads, of which there are four whatever the machine has. This must stand before the first
// asynchronous call, which starts them.
process.env.UV_THREADPOOL_SIZE ??= String(Math.max(4, availableParallelism() + 2));

const print = (text: string) => process.stdout.write(`${text}\n`);

function program(): Command {
  const nxOci = new Command('nx-oci')
    .description('Builds and checks OCI image layouts without a container daemon.')
    .version(packageVersion(), '-v, --version', 'Prints the version.')
    .helpOption('-h, --help', 'Prints what can be done, or how.')
    .showHelpAfterError('Run with --help for how it is used.');

  nxOci
    .command('image')
    .description('Builds an image for one or more platforms and writes it as an OCI image layout.')
    .requiredOption(
      '--options <file>',
      'JSON file with the options of the image executor; its paths are relative to it',
    )
    .requiredOption('--output <directory>', 'the layout to write: a new or empty directory, or an earlier layout')
    .option(
      '--platforms <list>',
      'platforms to build for, instead of those of the options, such as linux/amd64,linux/arm64',
    )
    .option('--json', 'print what was built as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci image --options image.json --output out --platforms linux/amd64,linux/arm64',
    )
    .action(image);

  nxOci
    .command('verify')
    .description(
      'Checks all that index.json leads to: digests, sizes, media types, diffIDs. Exit code 1 if something is wrong.',
    )
    .argument('<layout>', 'directory of an OCI image layout')
    .option('--json', 'print what was found as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci verify dist/examples/os/image')
    .action(verify);

  nxOci
    .command('inspect')
    .description('Prints the tree of indexes, manifests, configs and layers with sizes and platforms.')
    .argument('<layout>', 'directory of an OCI image layout')
    .option('--json', 'print the tree as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci inspect dist/examples/os/image')
    .action(inspect);

  return nxOci;
}

async function image(flags: { options: string; output: string; platforms?: string; json?: true }): Promise<void> {
  const file = resolve(flags.options);
  const fromFile = parseDocument(await fileSystemStep('read', file, () => readFile(file)), imageOptionsSchema, file);
  const platforms = flags.platforms?.split(',').map((platform) => platform.trim());
  const options = { ...fromFile, ...(platforms && { platforms }) };
  const root = dirname(file);
  const progress = progressOn(process.stderr, process.env);
  try {
    const base = options.base === undefined ? undefined : parseLayoutReference(options.base);
    const built = await buildImage({
      options,
      root,
      output: resolve(flags.output),
      base: base && { ...base, path: resolve(root, base.path) },
      epoch: sourceDateEpoch(process.env),
      onProgress: progress.layer,
    });
    progress.stop();
    print(flags.json ? JSON.stringify(built, null, 2) : imageReport(built, flags.output));
  } finally {
    progress.stop();
  }
}

async function verify(layout: string, { json }: { json?: true }): Promise<void> {
  const verification = await verifyLayout(resolve(layout));
  print(json ? JSON.stringify(verification, null, 2) : verifyReport(verification, layout));
  if (verification.problems.length > 0) process.exitCode = 1;
}

async function inspect(layout: string, { json }: { json?: true }): Promise<void> {
  const inspected = await inspectLayout(resolve(layout));
  print(json ? JSON.stringify(inspected, null, 2) : inspectReport({ ...inspected, path: layout }));
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
