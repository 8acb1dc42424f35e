import type { ExecutorContext } from '@nx/devkit';
import { buildOsImage } from '../actions/build-os-image';
import { osImageOptionsSchema } from '../actions/os-image-options';
import { osImageReport } from '../terminal/os-image-report';
import { progressOn } from '../terminal/progress';
import { outputPathOption, readTarget } from './target';

/** The options of the `os-image` executor. */
export const osImageExecutorSchema = osImageOptionsSchema.extend(outputPathOption);

/** Builds the OS images of a target and says what it built. */
export async function runOsImage(rawOptions: unknown, context: ExecutorContext): Promise<string> {
  const { options, output, shownOutput } = readTarget(rawOptions, osImageExecutorSchema, context);
  const progress = progressOn(process.stderr, process.env);
  const built = await buildOsImage({ options, root: context.root, output, onProgress: progress.transfer }).finally(
    progress.stop,
  );
  return osImageReport(built, shownOutput);
}
