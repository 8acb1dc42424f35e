import { basename, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import type { ManifestChanges } from '../actions/change-manifests';
import { type CopyOptions, copyManifests } from '../actions/copy-manifests';
import { expandTokens } from '../actions/expand-tokens';
import { hasScheme, isInRegistry, parseImageReference, parseReference, sourceAt } from '../actions/image-reference';
import { lockImages } from '../actions/lock-images';
import { type PushImages, pushImages } from '../actions/push-images';
import type { RegistryServerOptions } from '../actions/registry-options';
import { servedReferences, serveImages } from '../actions/serve-images';
import { compressions, largestLevel } from '../compression';
import { parseLayoutReference } from '../layout/reference';
import type { ImageSource } from '../layout/source';
import type { RegistryReference } from '../registry/reference';
import type { ServedLayout } from '../registry/server/layouts';
import { chosenPlatform } from '../spec/platform';
import { failureReport } from '../terminal/failure';
import { progressOn } from '../terminal/progress';
import { listReport, lockReport, pushReport, registryReport } from '../terminal/reports';
import {
  imageSource,
  imageWords,
  layoutReference,
  list,
  type Reach,
  reached,
  wholeNumber,
  withInsecure,
} from './arguments';
import { print } from './print';

/** `nx-oci push`, `pull`, `copy`, `lock` and `serve`: what has to do with registries. */
export function addRegistryCommands(nxOci: Command): void {
  withTransfer(nxOci.command('push'))
    .description('Pushes an image or index with all that it leads to. What the registry has is not sent again.')
    .argument('<layout>', imageWords)
    .argument(
      '<references...>',
      'where to: registry/repository:tag; {sha}, {version} and {date} are replaced; without a tag each image keeps its own',
    )
    .option('--chunk-size <bytes>', 'send blobs in pieces of this many bytes', (text) => wholeNumber(text))
    .option('--digest-file <file>', 'write the digest to a file, or those of several images, each on a line')
    .option('--dry-run', 'only print what would be pushed')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci push dist/examples/os/index registry.example/os:v1 registry.example/os:{sha}',
    )
    .action(async (layout: string, references: string[], flags: PushFlags) => {
      await push(imageSource(layout, flags), await Promise.all(references.map(expanded)), flags);
    });

  withTransfer(nxOci.command('pull'))
    .description('Pulls an image or index with all that it leads to into a layout, verified.')
    .argument('<reference>', 'registry/repository:tag, or registry/repository@digest')
    .argument('<layout>', 'where to: path, or path:tag; the layout is made if it is missing')
    .addHelpText('after', '\nExample:\n  $ nx-oci pull registry.example/os:v1 out --platform linux/arm64')
    .action(async (text: string, layout: string, flags: TransferFlags) => {
      const reference = parseReference(text);
      await copy(sourceAt(reference, reached([reference], flags)), layout, flags);
    });

  withTransfer(nxOci.command('copy'))
    .description(
      'Copies a manifest with all that it leads to, or all of a layout or archive, to a layout or a registry.',
    )
    .argument('<from>', imageWords)
    .argument('<to>', 'layout, which is made if it is missing (path, or path:tag), or docker://registry/repository:tag')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci copy dist/examples/os/index:latest out:v1 --platform linux/arm64\n  $ nx-oci copy docker://registry.example/os:v1 docker://other.example/os',
    )
    .action(async (from: string, to: string, flags: TransferFlags) => {
      const source = imageSource(from, flags);
      if (!hasScheme(to)) return copy(source, to, flags);
      const target = await expanded(to);
      return push(source, [target], flags, mountableFrom(from, target));
    });

  withInsecure(nxOci.command('lock'))
    .description('Writes down in oci.lock.json which digests tags stand for, so that builds on them stay the same.')
    .argument('[references...]', 'registry/repository:tag; without any, all that are locked')
    .option('--update', 'look again for what is locked already')
    .option('--json', 'print what is locked as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci lock docker.io/library/alpine:3.20\n  $ nx-oci lock --update')
    .action(async (texts: string[], { update = false, json, ...reach }: LockFlags) => {
      const references = texts.map(parseReference);
      const locked = await lockImages(references, reached(references, reach), process.cwd(), { update });
      print(json, locked, () => lockReport(locked));
    });

  nxOci
    .command('serve')
    .description('Runs a registry that serves layouts, and takes what is pushed to it, until it is interrupted.')
    .argument(
      '[layouts...]',
      'layouts or archives, each with what it is served as: path=repository, or path:tag=repository:tag; by default it is called as the directory or file is',
      served,
    )
    .option('--port <port>', 'the port; any free one by default', (text) => wholeNumber(text, 65535))
    .option('--host <address>', 'the address to listen at; 127.0.0.1 by default, which this machine alone can reach')
    .option('--storage <directory>', 'keep what is pushed, in a layout for each repository; in memory by default')
    .option('--tls-cert <file>', 'certificate in PEM: then it is https')
    .option('--tls-key <file>', 'key of the certificate in PEM')
    .option('--auth <htpasswd>', 'file of those who may come in, as htpasswd -B writes it; everybody by default')
    .addHelpText('after', '\nExample:\n  $ nx-oci serve dist/examples/os/index=os --port 5000')
    .action(async (layouts: ServedLayout[], flags: RegistryServerOptions) => {
      const registry = await serveImages(layouts, flags, process.cwd());
      const close = () => registry.close().catch(fail);
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, close);
      const references = await servedReferences(registry);
      print(false, undefined, () => registryReport(registry.url, references));
    });
}

function fail(error: unknown): void {
  process.stderr.write(`${failureReport(error)}\n`);
  process.exitCode = 1;
}

interface TransferFlags extends Reach, Pick<ManifestChanges, 'format' | 'forceCompression' | 'compressionLevel'> {
  readonly platform?: readonly string[];
  readonly addCompression?: 'zstd';
  readonly json?: true;
}

interface PushFlags extends TransferFlags {
  readonly chunkSize?: number;
  readonly digestFile?: string;
  readonly dryRun?: true;
}

interface LockFlags extends Reach {
  readonly update?: boolean;
  readonly json?: true;
}

function withTransfer(command: Command): Command {
  return withInsecure(command)
    .option(
      '--platform <list>',
      "only the images for these platforms: one as an image, several as an index; local is this machine's",
      list,
    )
    .addOption(new Option('--format <format>', 'convert manifests to these media types').choices(['oci', 'docker']))
    .addOption(new Option('--force-compression <compression>', 'compress all layers like this').choices(compressions))
    .addOption(
      new Option(
        '--add-compression <compression>',
        'add an instance with this compression for each image of an index',
      ).choices(['zstd']),
    )
    .option('--compression-level <level>', 'of what is compressed: 1 to 9 for gzip, to 19 for zstd', (text) =>
      wholeNumber(text, largestLevel),
    )
    .option('--json', 'print what was done as JSON');
}

/** What a transfer takes of what it finds, and how it changes that. */
function chosenBy(flags: TransferFlags): Pick<CopyOptions, 'platforms' | keyof ManifestChanges> {
  const { platform, format, forceCompression, addCompression, compressionLevel } = flags;
  return {
    ...(platform && { platforms: platform.map(chosenPlatform) }),
    ...(format && { format }),
    ...(forceCompression && { forceCompression }),
    ...(addCompression && { addCompression: [addCompression] }),
    ...(compressionLevel !== undefined && { compressionLevel }),
  };
}

async function expanded(reference: string): Promise<RegistryReference> {
  return parseReference(await expandTokens(reference, { environment: process.env, project: process.cwd() }));
}

/** In one registry, blobs need not be sent from one repository to another. */
function mountableFrom(from: string, { registry }: RegistryReference): Pick<PushImages, 'mountFrom'> {
  const source = parseImageReference(from, process.cwd());
  return isInRegistry(source) && source.registry === registry ? { mountFrom: source.repository } : {};
}

async function push(
  source: ImageSource,
  references: readonly RegistryReference[],
  flags: PushFlags,
  mountable: Pick<PushImages, 'mountFrom'> = {},
): Promise<void> {
  const { chunkSize, digestFile, dryRun = false, json } = flags;
  const progress = progressOn(process.stderr, process.env);
  const pushed = await pushImages({
    source,
    references,
    repository: reached(references, flags).repository,
    dryRun,
    onProgress: progress.transfer,
    ...chosenBy(flags),
    ...mountable,
    ...(chunkSize !== undefined && { chunkSize }),
    ...(digestFile !== undefined && { digestFile: resolve(digestFile) }),
  }).finally(progress.stop);
  print(json, pushed, () => pushReport(pushed, dryRun));
}

async function copy(source: ImageSource, to: string, flags: TransferFlags): Promise<void> {
  const progress = progressOn(process.stderr, process.env);
  const options: CopyOptions = {
    ...chosenBy(flags),
    onProgress: (done) => progress.transfer(to, done),
  };
  const copied = await copyManifests(source, layoutReference(to), options).finally(progress.stop);
  print(flags.json, copied, () => listReport(copied));
}

/** `path=repository:tag`; the repository is called as the directory or file is, unless it is said. */
function served(text: string, before: ServedLayout[] = []): ServedLayout[] {
  const equals = text.lastIndexOf('=');
  const path = resolve(equals < 0 ? text : text.slice(0, equals));
  if (equals < 0) return [...before, { path, repository: basename(parseLayoutReference(path).path).toLowerCase() }];
  const [repository = '', ...tag] = text.slice(equals + 1).split(':');
  return [...before, { path, repository, ...(tag.length > 0 && { tag: tag.join(':') }) }];
}
