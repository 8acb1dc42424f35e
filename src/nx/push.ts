import { writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import { expandTokens, type TokenSources } from '../actions/expand-tokens';
import { openRegistries } from '../actions/open-registries';
import { type PushedImage, pushImages } from '../actions/push-images';
import { type PushOptions, pushOptionsSchema } from '../actions/push-options';
import { fileSystemStep } from '../errors';
import { parseRegistryReference, type RegistryReference } from '../registry/reference';
import { checkDocument } from '../spec/json';
import { parsePlatform } from '../spec/platform';
import { progressOn } from '../terminal/progress';
import { pushReport } from '../terminal/reports';
import { sourceFor } from './images';
import { projectRoot, targetName } from './target';

/** Pushes the images of a target and says where they are. */
export async function runPush(rawOptions: unknown, context: ExecutorContext): Promise<string> {
  const options = checkDocument(rawOptions, pushOptionsSchema, `options of ${targetName(context)}`);
  return pushTarget(options, context, {});
}

/** @param change what is known of the release: its version, another registry. */
export async function pushTarget(
  options: PushOptions,
  context: ExecutorContext,
  { version, toReferences = (one) => [one] }: ReleaseChange,
): Promise<string> {
  const { image, platforms, format, chunkSize, insecure = false, dryRun = false, digestFile } = options;
  const sources: TokenSources = {
    environment: process.env,
    project: join(context.root, projectRoot(context)),
    ...(version !== undefined && { version }),
  };
  const references: RegistryReference[] = [];
  for (const text of options.references) {
    references.push(...toReferences(parseRegistryReference(await expandTokens(text, sources))));
  }
  const progress = progressOn(process.stderr, process.env);
  const client = openRegistries(process.env, { insecure: insecure ? references.map(({ registry }) => registry) : [] });
  try {
    const pushed = await pushImages({
      source: sourceFor(image, 'image', context),
      references,
      repository: client.repository,
      dryRun,
      onProgress: progress.transfer,
      ...(platforms && { platforms: platforms.map(parsePlatform) }),
      ...(format && { format }),
      ...(chunkSize !== undefined && { chunkSize }),
    });
    const { digest } = pushed[0] as PushedImage;
    if (digestFile !== undefined && !dryRun) {
      const file = resolve(context.root, digestFile);
      await fileSystemStep('write', file, () => writeFile(file, digest));
    }
    progress.stop();
    return pushReport(pushed, dryRun);
  } finally {
    progress.stop();
    await client.close();
  }
}

/** What a release says of a push beyond the target's options. */
export interface ReleaseChange {
  readonly version?: string | undefined;
  /** Where a reference of the options leads in this release. */
  readonly toReferences?: (reference: RegistryReference) => readonly RegistryReference[];
}
