import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { reported, runArtifact } from '../../src/nx/executors';

/** See docs/artifact.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runArtifact(options, context));

export default executor;
