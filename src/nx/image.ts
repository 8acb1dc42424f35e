import type { ExecutorContext } from '@nx/devkit';
import { buildImage } from '../actions/build-image';
import { sourceDateEpoch } from '../actions/created';
import { imageOptionsSchema } from '../actions/image-options';
import { imageMemory } from '../actions/lock-images';
import { progressOn } from '../terminal/progress';
import { imageReport } from '../terminal/reports';
import { sourceFor } from './images';
import { outputPathOption, readTarget } from './target';

/** The options of the `image` executor. */
export const imageExecutorSchema = imageOptionsSchema.extend(outputPathOption);

/** Builds the images of a target and says what it built; throws what the options or the build do wrong. */
export async function runImage(rawOptions: unknown, context: ExecutorContext): Promise<string> {
  const { options, output, shownOutput } = readTarget(rawOptions, imageExecutorSchema, context);
  const progress = progressOn(process.stderr, process.env);
  try {
    const built = await buildImage({
      options,
      root: context.root,
      output,
      base: options.base === undefined ? undefined : sourceFor(options.base, 'base', context, options.store),
      epoch: sourceDateEpoch(process.env),
      store: imageMemory(context.root, process.env, options.store).store,
      onProgress: progress.layer,
    });
    return imageReport(built, shownOutput);
  } finally {
    progress.stop();
  }
}
