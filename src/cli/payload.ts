import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { extractPayload, listOsImages, openOsImage, verifyPayloads } from '../actions/read-payloads';
import type { Blob } from '../blob';
import { hasSystemCode } from '../errors';
import { chosenPlatform } from '../spec/platform';
import { payloadListReport, payloadVerifyReport } from '../terminal/os-image-report';
import { progressOn } from '../terminal/progress';
import { imageSource, imageWords, type Reach, withInsecure } from './arguments';
import { print } from './print';

interface Flags extends Reach {
  readonly platform?: string;
  readonly json?: true;
}

/** `nx-oci payload …`: what OS images are made of. */
export function addPayloadCommands(nxOci: Command): void {
  const payload = nxOci
    .command('payload')
    .description('Lists, extracts and verifies the payloads of OS images.')
    .addHelpText('after', '\nExample:\n  $ nx-oci payload list dist/examples/os/os-image');
  const imageArgument = ['<layout>', imageWords] as const;

  withPlatform(payload.command('list'))
    .description('Lists the OS images with their payloads: size, size as it is stored, digest.')
    .argument(...imageArgument)
    .option('--json', 'print what is listed as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci payload list docker://registry.example/os:v1 --platform linux/arm64')
    .action(async (layout: string, flags: Flags) => {
      const images = await listOsImages(imageSource(layout, flags), platformOf(flags));
      print(flags.json, images, () => payloadListReport(images));
    });

  withPlatform(payload.command('extract'))
    .description('Writes a payload to a file, which is there only once all of it is verified.')
    .argument(...imageArgument)
    .argument('<name>', 'the payload')
    .option(
      '--output <file>',
      'the file; by default one of the name of the payload. - is standard output, which gets each chunk when it is verified',
    )
    .addHelpText(
      'after',
      '\nExample:\n  $ nx-oci payload extract dist/examples/os/os-image kernel.efi --platform linux/amd64\n  $ nx-oci payload extract docker://registry.example/os:v1 system --output - | dd of=/dev/sdb bs=1M',
    )
    .action(async (layout: string, name: string, flags: Flags & { output?: string }) => {
      const osImage = await openOsImage(imageSource(layout, flags), platformOf(flags));
      if (flags.output === '-') return toStandardOutput(osImage.payload(name));
      const progress = progressOn(process.stderr, process.env);
      await extractPayload(osImage, name, flags.output ?? name, progress.transfer).finally(progress.stop);
    });

  withPlatform(payload.command('verify'))
    .description('Reads payloads and compares each chunk with its hash. Exit code 1 if something is wrong.')
    .argument(...imageArgument)
    .argument('[name]', 'the payload; all by default')
    .option('--json', 'print what was found as JSON')
    .addHelpText('after', '\nExample:\n  $ nx-oci payload verify dist/examples/os/os-image')
    .action(async (layout: string, name: string | undefined, flags: Flags) => {
      const progress = progressOn(process.stderr, process.env);
      const platform = platformOf(flags);
      const verified = await verifyPayloads(imageSource(layout, flags), {
        onProgress: progress.transfer,
        ...(name !== undefined && { name }),
        ...(platform && { platform }),
      }).finally(progress.stop);
      print(flags.json, verified, () => payloadVerifyReport(verified));
      if (verified.some(({ problem }) => problem !== undefined)) process.exitCode = 1;
    });
}

function withPlatform(command: Command): Command {
  return withInsecure(command).option(
    '--platform <platform>',
    "the image for this platform, where there are several; local is this machine's",
  );
}

function platformOf({ platform }: Flags) {
  return platform === undefined ? undefined : chosenPlatform(platform);
}

async function toStandardOutput(payload: Blob): Promise<void> {
  await pipeline(payload.open(), process.stdout, { end: false }).catch((error) => {
    // Whoever reads it, `head` for one, may have seen enough.
    if (!hasSystemCode(error, 'EPIPE')) throw error;
  });
}
