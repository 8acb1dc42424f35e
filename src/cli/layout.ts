import { resolve } from 'node:path';
import type { Command } from 'commander';
import { cloneLayout } from '../actions/copy-manifests';
import { inspectLayout } from '../actions/inspect-layout';
import { checkTag } from '../actions/tag';
import { asDigest, type Digest, isDigest } from '../digest';
import { NotInRegistryError } from '../errors';
import { type LayoutDirectory, openLayout } from '../layout/directory';
import { readSourceIndex } from '../layout/source';
import { verifyLayout } from '../layout/verify';
import { formatRegistryReference } from '../registry/reference';
import type { Repository } from '../registry/repository';
import {
  cloneReport,
  collectReport,
  descriptorLine,
  inspectReport,
  listReport,
  tagsReport,
  verifyReport,
} from '../terminal/reports';
import { imageSource, imageWords, type Reach, repositoryAt, withInsecure } from './arguments';
import { print } from './print';

interface Json {
  readonly json?: true;
}

type Flags = Json & Reach;

/** The commands on layouts, and repositories where these can be asked the same, and on what they hold. */
export function addLayoutCommands(nxOci: Command): void {
  const layoutArgument = ['<layout>', 'directory of an OCI image layout'] as const;
  const placeWords = 'directory of an OCI image layout, or docker://registry/repository';

  nxOci
    .command('verify')
    .description(
      'Checks all that index.json leads to: digests, sizes, media types, diffIDs. Exit code 1 if something is wrong.',
    )
    .argument(...layoutArgument)
    .option('--json', 'print what was found as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci verify dist/examples/os/image')
    .action(async (layout: string, { json }: Json) => {
      const verification = await verifyLayout(resolve(layout));
      print(json, verification, () => verifyReport(verification, layout));
      if (verification.problems.length > 0) process.exitCode = 1;
    });

  withInsecure(nxOci.command('inspect'))
    .description('Prints the tree of indexes, manifests, configs and layers with sizes and platforms.')
    .argument('<layout>', imageWords)
    .option('--json', 'print the tree as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci inspect dist/examples/os/image\n  $ nx-oci inspect docker://registry.example/os:v1',
    )
    .action(async (layout: string, flags: Flags) => {
      const inspected = await inspectLayout(imageSource(layout, flags));
      print(flags.json, inspected, () => inspectReport({ ...inspected, path: layout }));
    });

  withInsecure(nxOci.command('ls'))
    .description('Lists what index.json lists: tags, platforms, digests. Of a repository in a registry, the tags.')
    .argument('<layout>', 'layout or archive, or docker://registry/repository')
    .option('--json', 'print the descriptors, or the tags, as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci ls dist/examples/os/index\n  $ nx-oci ls docker://registry.example/os',
    )
    .action(async (layout: string, { json, ...reach }: Flags) => {
      const repository = repositoryAt(layout, reach);
      if (repository) {
        const tags = await repository.tags();
        return print(json, tags, () => tagsReport(tags));
      }
      const { manifests } = (await readSourceIndex(resolve(layout))).manifest;
      print(json, manifests, () => listReport(manifests));
    });

  nxOci
    .command('tag')
    .description('Gives a manifest another tag. One that another manifest has moves.')
    .argument(...layoutArgument)
    .argument('<digest or tag>', 'the manifest; by digest also one that only a nested index lists')
    .argument('<new tag>', 'its new tag')
    .option('--json', 'print the new descriptor as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci tag dist/examples/os/index latest v1')
    .action(async (path: string, name: string, tag: string, { json }: Json) => {
      const tagged = await (await openLayout(path)).tag(name, checkTag(tag));
      print(json, tagged, () => descriptorLine(tagged));
    });

  withInsecure(nxOci.command('untag'))
    .description('Takes a tag away. What no tag or index names then goes with the next gc of the layout or registry.')
    .argument('<layout>', placeWords)
    .argument('<tag>', 'the tag; in a registry also a digest, which takes the manifest away with all its tags')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci untag dist/examples/os/index v1\n  $ nx-oci untag docker://registry.example/os v1',
    )
    .action(async (path: string, tag: string, reach: Reach) => {
      const repository = repositoryAt(path, reach);
      if (repository === undefined) return (await openLayout(path)).untag(tag);
      return tag.includes(':') ? repository.deleteManifest(asDigest(tag)) : repository.deleteTag(tag);
    });

  withInsecure(nxOci.command('referrers'))
    .description('Lists the manifests that have this one as their subject: signatures, SBOMs and the like.')
    .argument('<layout>', placeWords)
    .argument('<digest or tag>', 'the manifest that they refer to; by digest it need not be there')
    .option('--artifact-type <type>', 'only those of this kind')
    .option('--json', 'print the descriptors as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci referrers out latest --artifact-type application/spdx+json')
    .action(async (path: string, name: string, { json, artifactType, ...reach }: Flags & { artifactType?: string }) => {
      const place = repositoryAt(path, reach) ?? (await openLayout(path));
      const found = await place.referrers(await digestIn(place, name), artifactType);
      print(json, found, () => listReport(found));
    });

  nxOci
    .command('clone')
    .description('Copies a whole layout, verified, with links or reflinks where the file system has them.')
    .argument(...layoutArgument)
    .argument('<directory>', 'where to; a new or empty directory')
    .option('--json', 'print how many blobs there are as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci clone dist/examples/os/index copy')
    .action(async (from: string, to: string, { json }: Json) => {
      const cloned = await cloneLayout(resolve(from), resolve(to));
      print(json, cloned, () => cloneReport(cloned, to));
    });

  nxOci
    .command('gc')
    .description(
      'Removes the blobs that index.json does not lead to. What can not be read stops it before it removes anything.',
    )
    .argument(...layoutArgument)
    .option('--dry-run', 'only print what would be removed')
    .option('--json', 'print what was removed as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci gc out --dry-run')
    .action(async (path: string, { json, dryRun = false }: Json & { dryRun?: boolean }) => {
      const collected = await (await openLayout(path)).collect({ dryRun });
      print(json, collected, () => collectReport(collected, dryRun));
    });
}

/** @throws {UnknownTagError}, {@link NotInRegistryError} */
async function digestIn(place: LayoutDirectory | Repository, name: string): Promise<Digest> {
  if (isDigest(name)) return name;
  if ('find' in place) return (await place.find(name)).digest;
  const found = await place.resolve({ tag: name });
  if (found) return found.digest;
  const wanted = formatRegistryReference({ ...place.name, tag: name });
  throw new NotInRegistryError(
    `${wanted}: expected a manifest in the registry, found none; check the name and the tag`,
  );
}
