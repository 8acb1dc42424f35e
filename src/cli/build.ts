import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { buildImage } from '../actions/build-image';
import { sourceDateEpoch } from '../actions/created';
import { imageOptionsSchema } from '../actions/image-options';
import { isInRegistry, parseImageReference } from '../actions/image-reference';
import { imageMemory, lockedSource } from '../actions/lock-images';
import { fileSystemStep } from '../errors';
import { type ImageSource, layoutSource } from '../layout/source';
import { parseDocument } from '../spec/json';
import { progressOn } from '../terminal/progress';
import { registries } from '../terminal/registries';
import { imageReport } from '../terminal/reports';
import { list } from './arguments';
import { print } from './print';

/** `nx-oci image`. */
export function addBuildCommands(nxOci: Command): void {
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
      list,
    )
    .option('--json', 'print what was built as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci image --options image.json --output out --platforms linux/amd64,linux/arm64',
    )
    .action(image);
}

async function image(flags: { options: string; output: string; platforms?: string[]; json?: true }): Promise<void> {
  const file = resolve(flags.options);
  const fromFile = parseDocument(await fileSystemStep('read', file, () => readFile(file)), imageOptionsSchema, file);
  const { platforms } = flags;
  const options = { ...fromFile, ...(platforms && { platforms }) };
  const root = dirname(file);
  const store = storeFor(options.store, root);
  const progress = progressOn(process.stderr, process.env);
  try {
    const built = await buildImage({
      options,
      root,
      output: resolve(flags.output),
      base: options.base === undefined ? undefined : baseSource(options.base, root, store),
      epoch: sourceDateEpoch(process.env),
      store,
      onProgress: progress.layer,
    });
    progress.stop();
    print(flags.json, built, () => imageReport(built, flags.output));
  } finally {
    progress.stop();
  }
}

/** Outside of a workspace there is a store only where one is named: nothing is written where nobody expects it. */
function storeFor(option: string | undefined, root: string): string | undefined {
  if (option !== undefined) return resolve(root, option);
  const isNamed = Boolean(process.env.NX_OCI_STORE) || existsSync('nx.json');
  return isNamed ? imageMemory(process.cwd(), process.env).store : undefined;
}

/** A layout by its path from the options file, or an image in a registry, locked in the directory where `lock` locks it. */
function baseSource(base: string, root: string, store: string | undefined): ImageSource {
  const reference = parseImageReference(base, root);
  if (!isInRegistry(reference)) return layoutSource(reference);
  return lockedSource(reference, registries(), imageMemory(process.cwd(), process.env, store));
}
