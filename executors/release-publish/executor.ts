import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { reported, runReleasePublish } from '../../src/nx/executors';

/** See docs/release-publish.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runReleasePublish(options, context));

export default executor;
