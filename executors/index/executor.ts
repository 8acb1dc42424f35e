import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { reported, runIndex } from '../../src/nx/executors';

/** See docs/index.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runIndex(options, context));

export default executor;
