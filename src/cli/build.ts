import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import type * as z from 'zod';
import { buildImage } from '../actions/build-image';
import { buildOsImage } from '../actions/build-os-image';
import { sourceDateEpoch } from '../actions/created';
import { imageOptionsSchema } from '../actions/image-options';
import { isInRegistry, parseImageReference } from '../actions/image-reference';
import { imageMemory, lockedSource } from '../actions/lock-images';
import { osImageOptionsSchema } from '../actions/os-image-options';
import { fileSystemStep } from '../errors';
import { type ImageSource, layoutSource } from '../layout/source';
import { parseDocument } from '../spec/json';
import { osImageReport } from '../terminal/os-image-report';
import { progressOn } from '../terminal/progress';
import { registries } from '../terminal/registries';
import { imageReport } from '../terminal/reports';
import { list } from './arguments';
import { print } from './print';

/** `nx-oci image` and `nx-oci os-image`: what is built as a file of options says. */
export function addBuildCommands(nxOci: Command): void {
  buildCommand(nxOci, 'image', 'an image')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci image --options image.json --output out --platforms linux/amd64,linux/arm64',
    )
    .action(image);
  buildCommand(nxOci, 'os-image', 'an OS image')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci os-image --options os-image.json --output out --platforms linux/arm64',
    )
    .action(osImage);
}

interface BuildFlags {
  readonly options: string;
  readonly output: string;
  readonly platforms?: readonly string[];
  readonly json?: true;
}

/** A command that takes the options of the executor of its name. */
function buildCommand(nxOci: Command, name: string, what: string): Command {
  return nxOci
    .command(name)
    .description(`Builds ${what} for one or more platforms and writes it as an OCI image layout.`)
    .requiredOption(
      '--options <file>',
      `JSON file with the options of the ${name} executor; its paths are relative to it`,
    )
    .requiredOption('--output <directory>', 'the layout to write: a new or empty directory, or an earlier layout')
    .option(
      '--platforms <list>',
      'platforms to build for, instead of those of the options, such as linux/amd64,linux/arm64',
      list,
    )
    .option('--json', 'print what was built as JSON');
}

/** The options of a build, and the directory that their paths are relative to. */
async function readOptions<T>(flags: BuildFlags, schema: z.ZodType<T>): Promise<{ options: T; root: string }> {
  const file = resolve(flags.options);
  const fromFile = parseDocument(await fileSystemStep('read', file, () => readFile(file)), schema, file);
  const { platforms } = flags;
  return { options: { ...fromFile, ...(platforms && { platforms }) }, root: dirname(file) };
}

async function image(flags: BuildFlags): Promise<void> {
  const { options, root } = await readOptions(flags, imageOptionsSchema);
  const store = storeFor(options.store, root);
  const progress = progressOn(process.stderr, process.env);
  const built = await buildImage({
    options,
    root,
    output: resolve(flags.output),
    base: options.base === undefined ? undefined : baseSource(options.base, root, store),
    epoch: sourceDateEpoch(process.env),
    store,
    onProgress: progress.layer,
  }).finally(progress.stop);
  print(flags.json, built, () => imageReport(built, flags.output));
}

async function osImage(flags: BuildFlags): Promise<void> {
  const { options, root } = await readOptions(flags, osImageOptionsSchema);
  const progress = progressOn(process.stderr, process.env);
  const built = await buildOsImage({
    options,
    root,
    output: resolve(flags.output),
    onProgress: progress.transfer,
  }).finally(progress.stop);
  print(flags.json, built, () => osImageReport(built, flags.output));
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
