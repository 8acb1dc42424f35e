import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { buildOsImage } from '../actions/build-os-image';
import { osImageOptionsSchema } from '../actions/os-image-options';
import { fileSystemStep } from '../errors';
import { parseDocument } from '../spec/json';
import { osImageReport } from '../terminal/os-image-report';
import { progressOn } from '../terminal/progress';
import { list } from './arguments';
import { print } from './print';

/** `nx-oci os-image`. */
export function addOsImageCommand(nxOci: Command): void {
  nxOci
    .command('os-image')
    .description('Builds an OS image for one or more platforms and writes it as an OCI image layout.')
    .requiredOption(
      '--options <file>',
      'JSON file with the options of the os-image executor; its paths are relative to it',
    )
    .requiredOption('--output <directory>', 'the layout to write: a new or empty directory, or an earlier layout')
    .option(
      '--platforms <list>',
      'platforms to build for, instead of those of the options, such as linux/amd64,linux/arm64',
      list,
    )
    .option('--json', 'print what was built as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci os-image --options os-image.json --output out --platforms linux/arm64',
    )
    .action(osImage);
}

async function osImage(flags: { options: string; output: string; platforms?: string[]; json?: true }): Promise<void> {
  const file = resolve(flags.options);
  const fromFile = parseDocument(await fileSystemStep('read', file, () => readFile(file)), osImageOptionsSchema, file);
  const { platforms } = flags;
  const progress = progressOn(process.stderr, process.env);
  const built = await buildOsImage({
    options: { ...fromFile, ...(platforms && { platforms }) },
    root: dirname(file),
    output: resolve(flags.output),
    onProgress: progress.transfer,
  }).finally(progress.stop);
  print(flags.json, built, () => osImageReport(built, flags.output));
}
