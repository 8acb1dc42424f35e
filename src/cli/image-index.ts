import { type Command, Option, type OptionValues } from 'commander';
import type { ArtifactOptions } from '../actions/artifact-options';
import {
  addArtifactToIndex,
  addToListedIndex,
  annotateIndex,
  annotateInstance,
  createIndex,
  type InstanceChoice,
  type InstanceWords,
  removeInstance,
} from '../actions/edit-index';
import { inspectIndex } from '../actions/inspect-layout';
import { InvalidOptionError } from '../errors';
import type { Descriptor } from '../spec/documents';
import { chosenPlatform } from '../spec/platform';
import { descriptorLine, indexInspectReport } from '../terminal/reports';
import { imageSource, imageWords, keyValue, layoutReference, list, withInsecure } from './arguments';
import { print } from './print';

/** `nx-oci index …`: an image index as a thing that one edits. */
export function addIndexCommands(nxOci: Command): void {
  const index = nxOci
    .command('index')
    .description(
      'Makes and edits image indexes in a layout. Each edit moves the tag to the new index; gc removes the old one.',
    )
    .addHelpText('after', '\nExample:\n  $ nx-oci index create out:latest dist/examples/os/image');
  const indexArgument = ['<index>', 'the index: layout:tag, or the layout alone if it holds nothing else'] as const;

  withInsecure(withChoice(index.command('create')))
    .description('Makes an index under a new tag: empty, or of images.')
    .argument('<index>', 'layout:tag; the layout is made if it is missing')
    .argument('[images...]', `each a ${imageWords}`)
    .option('--annotation <key=value>', 'annotation of the index; may be given again', keyValue)
    .option('--artifact-type <type>', 'artifact type of the index')
    .option('--json', 'print the descriptor as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci index create out:latest dist/examples/os/image')
    .action(async (name: string, images: string[], flags) => {
      const { annotation: annotations, artifactType } = flags;
      const change = { ...(annotations && { annotations }), ...(artifactType !== undefined && { artifactType }) };
      const sources = images.map((image) => imageSource(image, flags));
      printDescriptor(flags, await createIndex(layoutReference(name), sources, choiceOf(flags), change));
    });

  withInsecure(withWords(withChoice(index.command('add'))))
    .description("Adds an image. Of an index, the image for this machine's platform or --platform, or with --all each.")
    .argument(...indexArgument)
    .argument('<image>', imageWords)
    .option('--json', 'print the new descriptor of the index as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci index add out:latest dist/examples/os/index --all\n  $ nx-oci index add out:latest docker://registry.example/os:v1 --platform linux/riscv64',
    )
    .action(async (name: string, image: string, flags) =>
      printDescriptor(
        flags,
        await addToListedIndex(layoutReference(name), imageSource(image, flags), choiceOf(flags), wordsOf(flags)),
      ),
    );

  withInsecure(withWords(index.command('add-artifact')))
    .description('Adds an artifact made of files.')
    .argument(...indexArgument)
    .argument('[files...]', 'files, or directories of which each file becomes a layer')
    .option('--type <type>', 'artifact type, as a media type')
    .option('--config <file>', 'file that is the config; an empty config by default')
    .option('--config-type <type>', 'media type of the config')
    .option('--layer-type <type>', 'media type of the layers; application/octet-stream by default')
    .option('--exclude-titles', 'leave the names of the files out')
    .option('--artifact-annotation <key=value>', 'annotation of the artifact; may be given again', keyValue)
    .option('--subject <manifest>', `manifest that the artifact speaks of: ${imageWords}`)
    .option('--json', 'print the new descriptor of the index as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci index add-artifact out:latest sbom.json --type application/spdx+json')
    .action(async (name: string, files: string[], flags) => {
      const subject = flags.subject === undefined ? undefined : imageSource(flags.subject, flags);
      const options = artifactOptions(files, flags);
      const added = await addArtifactToIndex(layoutReference(name), options, process.cwd(), subject, wordsOf(flags));
      printDescriptor(flags, added);
    });

  withInsecure(withWords(index.command('annotate')))
    .description('Changes what the index says of a manifest, or with --index of itself.')
    .argument(...indexArgument)
    .argument('[manifest]', 'digest or platform of a manifest in the index')
    .option('--index', 'annotate the index itself')
    .option('--subject <manifest>', `with --index: the subject of the index: ${imageWords}`)
    .option('--json', 'print the new descriptor of the index as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci index annotate out:latest linux/arm64 --variant v9 --annotation note=fast',
    )
    .action(async (name: string, manifest: string | undefined, flags) => {
      if ((manifest === undefined) !== (flags.index === true)) {
        throw new InvalidOptionError(
          'index annotate: expected a manifest of the index or --index, found both or neither',
        );
      }
      rejectMisplacedWords(flags);
      const subject = flags.subject === undefined ? undefined : imageSource(flags.subject, flags);
      const annotated =
        manifest === undefined
          ? await annotateIndex(layoutReference(name), flags.annotation ?? {}, subject)
          : await annotateInstance(layoutReference(name), manifest, wordsOf(flags));
      printDescriptor(flags, annotated);
    });

  index
    .command('remove')
    .description('Takes a manifest out of the index.')
    .argument(...indexArgument)
    .argument('<manifest>', 'digest or platform of a manifest in the index')
    .option('--json', 'print the new descriptor of the index as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci index remove out:latest linux/arm64')
    .action(async (name: string, manifest: string, flags) =>
      printDescriptor(flags, await removeInstance(layoutReference(name), manifest)),
    );

  withInsecure(index.command('inspect'))
    .description('Prints everything of an index and what it lists; Docker manifest lists too.')
    .argument('<index>', imageWords)
    .option('--json', 'print it as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci index inspect dist/examples/os/index:latest')
    .action(async (name: string, flags) => {
      const inspected = await inspectIndex(imageSource(name, flags));
      print(flags.json, inspected, () => indexInspectReport(inspected, name));
    });
}

function withChoice(command: Command): Command {
  return command
    .addOption(new Option('--all', 'of an index, take every image').conflicts('platform'))
    .option(
      '--platform <platform>',
      "of an index, take the image for this platform; this machine's (local) by default",
    );
}

function choiceOf({ all, platform }: OptionValues): InstanceChoice {
  return { ...(all && { all: true }), ...(platform !== undefined && { platform: chosenPlatform(platform) }) };
}

function withWords(command: Command): Command {
  return command
    .option('--os <os>', 'operating system of the manifest')
    .option('--arch <architecture>', 'architecture of the manifest')
    .option('--variant <variant>', 'variant of the architecture')
    .option('--os-version <version>', 'version of the operating system')
    .option('--os-features <list>', 'features of the operating system, with commas between', list)
    .option('--features <list>', "features of the processor, which Docker's lists know, with commas between", list)
    .option('--annotation <key=value>', 'annotation in the index; may be given again', keyValue);
}

function wordsOf(flags: OptionValues): InstanceWords {
  const { os, arch, variant, osVersion, osFeatures, features, annotation } = flags;
  return { os, architecture: arch, variant, osVersion, osFeatures, features, annotations: annotation };
}

/** An index has no platform, and nothing in it has its subject. */
function rejectMisplacedWords({
  index,
  subject,
  annotation: _,
  json: __,
  insecure: ___,
  ...platform
}: OptionValues): void {
  const misplaced = index ? Object.keys(platform)[0] : subject && 'subject';
  if (misplaced === undefined) return;
  const option = `--${misplaced.replace(/[A-Z]/g, (letter: string) => `-${letter.toLowerCase()}`)}`;
  throw new InvalidOptionError(
    `index annotate: expected ${option} ${index ? 'for a manifest of the index' : 'with --index'}, found it ${index ? 'with' : 'without'} --index`,
    { found: option },
  );
}

function artifactOptions(files: readonly string[], flags: OptionValues): ArtifactOptions {
  const { type, config, configType, layerType, excludeTitles, artifactAnnotation } = flags;
  if ((config === undefined) !== (configType === undefined)) {
    throw new InvalidOptionError('index add-artifact: expected --config and --config-type together, found one of them');
  }
  return {
    artifactType: type,
    files: files.map((from) => ({ from, mediaType: layerType, titles: !excludeTitles })),
    ...(config !== undefined && { config: { from: config, mediaType: configType } }),
    ...(artifactAnnotation && { annotations: artifactAnnotation }),
  };
}

function printDescriptor(flags: OptionValues, descriptor: Descriptor): void {
  print(flags.json, descriptor, () => descriptorLine(descriptor));
}
