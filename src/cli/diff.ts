import type { Command } from 'commander';
import { diffSources } from '../diff/images';
import type { Platform } from '../spec/documents';
import { chosenPlatform } from '../spec/platform';
import { diffReport } from '../terminal/diff-report';
import { failureReport } from '../terminal/failure';
import { imageSource, imageWords, type Reach, withInsecure } from './arguments';
import { print } from './print';

interface DiffFlags extends Reach {
  readonly platform?: string;
  readonly all?: boolean;
  readonly json?: true;
}

/** The exit codes of diff(1), so that a script can tell a difference from a failure. */
const exitCodes = { identical: 0, different: 1, failed: 2 } as const;

/** `nx-oci diff`: why two digests differ. */
export function addDiffCommand(nxOci: Command): void {
  withInsecure(nxOci.command('diff'))
    .description(
      'Says why two images, indexes or artifacts differ, down to the file. Exit code 0: identical, 1: different, 2: failed.',
    )
    .argument('<a>', imageWords)
    .argument('<b>', 'what it is compared with, named in the same way')
    .option('--platform <platform>', "only the images for this platform; local is this machine's")
    .option('--all', 'show long lists and values to their ends')
    .option('--json', 'print everything that differs as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci diff dist/examples/os/image:latest-linux-amd64 docker://registry.example/os:v1 --platform linux/amd64',
    )
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : exitCodes.failed))
    .action(async (a: string, b: string, flags: DiffFlags) => {
      process.exitCode = await diff(a, b, flags).catch((error) => {
        process.stderr.write(`${failureReport(error)}\n`);
        return exitCodes.failed;
      });
    });
}

async function diff(a: string, b: string, { platform, all = false, json, ...reach }: DiffFlags): Promise<number> {
  const wanted: Platform | undefined = platform === undefined ? undefined : chosenPlatform(platform);
  const sources = [imageSource(a, reach), imageSource(b, reach)] as const;
  const difference = await diffSources(...sources, { ...(wanted && { platform: wanted }) });
  print(json, difference, () => diffReport(difference, { names: [a, b], all }));
  return difference.identical ? exitCodes.identical : exitCodes.different;
}
