import type { ExecutorContext } from '@nx/devkit';
import { artifactOptionsSchema } from '../actions/artifact-options';
import { buildArtifact } from '../actions/build-artifact';
import { artifactReport } from '../terminal/reports';
import { sourceFor } from './images';
import { outputPathOption, readTarget } from './target';

/** The options of the `artifact` executor. */
export const artifactExecutorSchema = artifactOptionsSchema.extend(outputPathOption);

/** Builds the artifact of a target and says what it built. */
export async function runArtifact(rawOptions: unknown, context: ExecutorContext): Promise<string> {
  const { options, output, shownOutput } = readTarget(rawOptions, artifactExecutorSchema, context);
  const subject = options.subject === undefined ? undefined : sourceFor(options.subject, 'subject', context);
  return artifactReport(await buildArtifact({ options, root: context.root, output, subject }), shownOutput);
}
