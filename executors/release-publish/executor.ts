import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { runReleasePublish } from '../../src/nx/release-publish';
import { reported } from '../../src/nx/reported';

/** See docs/release-publish.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runReleasePublish(options, context));

export default executor;
