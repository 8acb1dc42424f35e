import type { ExecutorContext } from '@nx/devkit';
import { buildIndex } from '../actions/build-index';
import { indexOptionsSchema } from '../actions/index-options';
import { indexReport } from '../terminal/reports';
import { sourceFor } from './images';
import { outputPathOption, readTarget } from './target';

/** The options of the `index` executor. */
export const indexExecutorSchema = indexOptionsSchema.extend(outputPathOption);

/** Builds the index of a target and says what it built. */
export async function runIndex(rawOptions: unknown, context: ExecutorContext): Promise<string> {
  const { options, output, shownOutput } = readTarget(rawOptions, indexExecutorSchema, context);
  const sources = options.images.map((image) => sourceFor(image, 'images', context));
  return indexReport(await buildIndex({ options, sources, output }), shownOutput);
}
