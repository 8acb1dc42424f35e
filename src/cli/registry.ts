import { writeFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type CopyOptions, copyManifests } from '../actions/copy-manifests';
import { expandTokens } from '../actions/expand-tokens';
import { sourceAt } from '../actions/image-reference';
import { lockImages } from '../actions/lock-images';
import { type PushedImage, pushImages } from '../actions/push-images';
import type { RegistryServerOptions } from '../actions/registry-options';
import { servedReferences, serveImages } from '../actions/serve-images';
import type { ManifestFormat } from '../convert';
import { fileSystemStep } from '../errors';
import type { ImageSource } from '../layout/source';
import { hasRegistryScheme, parseRegistryReference, type RegistryReference } from '../registry/reference';
import type { ServedLayout } from '../registry/server/layouts';
import { parsePlatform } from '../spec/platform';
import { progressOn } from '../terminal/progress';
import { listReport, lockReport, pushReport, registryReport } from '../terminal/reports';
import { imageSource, layoutReference, list } from './arguments';
import { print } from './print';
import { registries } from './registries';

/** `nx-oci push`, `pull`, `copy`, `lock` and `serve`: what has to do with registries. */
export function addRegistryCommands(nxOci: Command): void {
  withTransfer(nxOci.command('push'))
    .description('Pushes an image or index with all that it leads to. What the registry has is not sent again.')
    .argument('<layout>', 'layout or archive: path, path:tag or path@digest')
    .argument(
      '<references...>',
      'where to: registry/repository:tag; {sha}, {version} and {date} are replaced; without a tag each image keeps its own',
    )
    .option('--platform <list>', 'only the images for these platforms: one as an image, several as an index', list)
    .option('--chunk-size <bytes>', 'send blobs in pieces of this many bytes', wholeNumber)
    .option('--digest-file <file>', 'write the digest to a file')
    .option('--dry-run', 'only print what would be pushed')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci push dist/examples/os/index registry.example/os:v1 registry.example/os:{sha}',
    )
    .action(async (layout: string, references: string[], flags: PushFlags) => {
      const targets = await Promise.all(references.map((reference) => expanded(reference)));
      await push(imageSource(layout), targets, flags);
    });

  withTransfer(nxOci.command('pull'))
    .description('Pulls an image or index with all that it leads to into a layout, verified.')
    .argument('<reference>', 'registry/repository:tag, or registry/repository@digest')
    .argument('<layout>', 'where to: path, or path:tag; the layout is made if it is missing')
    .option('--platform <platform>', 'only the image for this platform')
    .addHelpText('after', '\nExample:\n  $ nx-oci pull registry.example/os:v1 out --platform linux/arm64')
    .action(async (text: string, layout: string, flags: CopyFlags) => {
      const reference = parseRegistryReference(text);
      await copy(sourceAt(reference, reached([reference], flags)), layout, flags);
    });

  withTransfer(nxOci.command('copy'))
    .description(
      'Copies a manifest with all that it leads to, or all of a layout or archive, to a layout or a registry.',
    )
    .argument('<from>', 'layout or archive (path, path:tag or path@digest), or docker://registry/repository:tag')
    .argument('<to>', 'layout, which is made if it is missing (path, or path:tag), or docker://registry/repository:tag')
    .option('--platform <platform>', 'only the image for this platform')
    .addHelpText('after', '\nExample:\n  $ nx-oci copy dist/examples/os/index:latest out:v1 --platform linux/arm64')
    .action(async (from: string, to: string, flags: CopyFlags) => {
      const ends = [from, to].filter(hasRegistryScheme).map(parseRegistryReference);
      reached(ends, flags);
      if (!hasRegistryScheme(to)) return copy(imageSource(from), to, flags);
      const { platform, ...others } = flags;
      return push(imageSource(from), [parseRegistryReference(to)], {
        ...others,
        ...(platform !== undefined && { platform: [platform] }),
      });
    });

  nxOci
    .command('lock')
    .description('Writes down in oci.lock.json which digests tags stand for, so that builds on them stay the same.')
    .argument('[references...]', 'registry/repository:tag; without any, with --update, all that are locked')
    .option('--update', 'look again for what is locked already')
    .option('--insecure', insecureWords)
    .option('--json', 'print what is locked as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci lock docker.io/library/alpine:3.20\n  $ nx-oci lock --update')
    .action(async (texts: string[], { update = false, json, ...flags }: LockFlags) => {
      const references = texts.map(parseRegistryReference);
      const locked = await lockImages(references, reached(references, flags), process.cwd(), { update });
      print(json, locked, () => lockReport(locked));
    });

  nxOci
    .command('serve')
    .description('Runs a registry that serves layouts, and takes what is pushed to it, until it is interrupted.')
    .argument(
      '[layouts...]',
      'layouts or archives, each with what it is served as: path=repository, or path:tag=repository:tag',
      served,
    )
    .option('--port <port>', 'the port; any free one by default', wholeNumber)
    .option('--host <address>', 'the address to listen at; 127.0.0.1 by default, which this machine alone can reach')
    .option('--storage <directory>', 'keep what is pushed, in a layout for each repository; in memory by default')
    .option('--tls-cert <file>', 'certificate in PEM: then it is https')
    .option('--tls-key <file>', 'key of the certificate in PEM')
    .option('--auth <htpasswd>', 'file of those who may come in, as htpasswd -B writes it; everybody by default')
    .addHelpText('after', '\nExample:\n  $ nx-oci serve dist/examples/os/index=os --port 5000')
    .action(async (layouts: ServedLayout[], flags: RegistryServerOptions) => {
      const registry = await serveImages(layouts, flags, process.cwd());
      print(false, undefined, () => registryReport(registry.url, []));
      for (const reference of await servedReferences(registry)) print(false, undefined, () => `  ${reference}`);
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void registry.close());
    });
}

interface TransferFlags {
  readonly format?: ManifestFormat;
  readonly insecure?: true;
  readonly json?: true;
}

interface CopyFlags extends TransferFlags {
  readonly platform?: string;
}

interface PushFlags extends TransferFlags {
  readonly platform?: readonly string[];
  readonly chunkSize?: number;
  readonly digestFile?: string;
  readonly dryRun?: true;
}

interface LockFlags {
  readonly update?: boolean;
  readonly insecure?: true;
  readonly json?: true;
}

const insecureWords = 'reach the registry without TLS, or with a certificate that nobody vouches for';

function withTransfer(command: Command): Command {
  return command
    .addOption(new Option('--format <format>', 'convert manifests to these media types').choices(['oci', 'docker']))
    .option('--insecure', insecureWords)
    .option('--json', 'print what was done as JSON');
}

/** The client, for which these registries are insecure if the flags say so. */
function reached(references: readonly RegistryReference[], { insecure }: Pick<TransferFlags, 'insecure'>) {
  return registries(insecure ? references.map(({ registry }) => registry) : []);
}

async function expanded(reference: string): Promise<RegistryReference> {
  return parseRegistryReference(await expandTokens(reference, { environment: process.env, project: process.cwd() }));
}

async function push(source: ImageSource, references: readonly RegistryReference[], flags: PushFlags): Promise<void> {
  const { platform, format, chunkSize, digestFile, dryRun = false, json } = flags;
  const client = reached(references, flags);
  const progress = progressOn(process.stderr, process.env);
  let pushed: PushedImage[];
  try {
    pushed = await pushImages({
      source,
      references,
      repository: client.repository,
      dryRun,
      onProgress: progress.transfer,
      ...(platform && { platforms: platform.map(parsePlatform) }),
      ...(format && { format }),
      ...(chunkSize !== undefined && { chunkSize }),
    });
  } finally {
    progress.stop();
  }
  const { digest } = pushed[0] as PushedImage;
  if (digestFile !== undefined && !dryRun) {
    await fileSystemStep('write', digestFile, () => writeFile(digestFile, digest));
  }
  print(json, pushed, () => pushReport(pushed, dryRun));
}

async function copy(source: ImageSource, to: string, { platform, format, json }: CopyFlags): Promise<void> {
  const progress = progressOn(process.stderr, process.env);
  const options: CopyOptions = {
    ...(format && { format }),
    ...(platform !== undefined && { platform: parsePlatform(platform) }),
    onProgress: (done) => progress.transfer(to, done),
  };
  const copied = await copyManifests(source, layoutReference(to), options).finally(progress.stop);
  print(json, copied, () => listReport(copied));
}

/** `path=repository:tag`; the repository is called as the directory or file is, unless it is said. */
function served(text: string, before: ServedLayout[] = []): ServedLayout[] {
  const equals = text.lastIndexOf('=');
  const path = equals < 0 ? text : text.slice(0, equals);
  const name =
    equals < 0
      ? basename(path)
          .replace(/[:@].*$/, '')
          .toLowerCase()
      : text.slice(equals + 1);
  const colon = name.indexOf(':');
  const repository = colon < 0 ? name : name.slice(0, colon);
  const layout = resolve(path);
  return [...before, { path: layout, repository, ...(colon >= 0 && { tag: name.slice(colon + 1) }) }];
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InvalidArgumentError('expected a whole number.');
}
