import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { runArtifact } from '../../src/nx/artifact';
import { reported } from '../../src/nx/reported';

/** See docs/artifact.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runArtifact(options, context));

export default executor;
