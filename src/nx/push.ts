import { join, resolve } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import { expandTokens, type TokenSources } from '../actions/expand-tokens';
import { parseReference } from '../actions/image-reference';
import { pushImages } from '../actions/push-images';
import { type PushOptions, pushOptionsSchema } from '../actions/push-options';
import type { RegistryReference } from '../registry/reference';
import { checkDocument } from '../spec/json';
import { chosenPlatform } from '../spec/platform';
import { progressOn } from '../terminal/progress';
import { registries } from '../terminal/registries';
import { pushReport } from '../terminal/reports';
import { sourceFor } from './images';
import { projectRoot, targetName } from './target';

/** Pushes the images of a target and says where they are. */
export async function runPush(rawOptions: unknown, context: ExecutorContext): Promise<string> {
  const options = checkDocument(rawOptions, pushOptionsSchema, `options of ${targetName(context)}`);
  return pushTarget(options, context);
}

/** What a release says of a push beyond the target's options. */
export interface ReleaseChange {
  readonly version?: string | undefined;
  /** Where a reference of the options leads in this release. */
  readonly toReferences?: (reference: RegistryReference) => readonly RegistryReference[];
}

/** Pushes as the options of a target and a release say. */
export async function pushTarget(
  options: PushOptions,
  context: ExecutorContext,
  { version, toReferences = (one) => [one] }: ReleaseChange = {},
): Promise<string> {
  const { image, platforms, format, chunkSize, insecure = false, digestFile } = options;
  const { forceCompression, addCompression, compressionLevel } = options;
  // Nx says so once for all that a release runs.
  const dryRun = options.dryRun || process.env.NX_DRY_RUN === 'true';
  const sources: TokenSources = {
    environment: process.env,
    project: join(context.root, projectRoot(context)),
    ...(version !== undefined && { version }),
  };
  const references: RegistryReference[] = [];
  for (const text of options.references) {
    references.push(...toReferences(parseReference(await expandTokens(text, sources))));
  }
  const progress = progressOn(process.stderr, process.env);
  const pushed = await pushImages({
    source: sourceFor(image, 'image', context),
    references,
    repository: registries(insecure ? references.map(({ registry }) => registry) : []).repository,
    dryRun,
    onProgress: progress.transfer,
    ...(platforms && { platforms: platforms.map(chosenPlatform) }),
    ...(format && { format }),
    ...(forceCompression && { forceCompression }),
    ...(addCompression && { addCompression }),
    ...(compressionLevel !== undefined && { compressionLevel }),
    ...(chunkSize !== undefined && { chunkSize }),
    ...(digestFile !== undefined && { digestFile: resolve(context.root, digestFile) }),
  }).finally(progress.stop);
  return pushReport(pushed, dryRun);
}
