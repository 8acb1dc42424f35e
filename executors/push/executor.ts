import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { reported, runPush } from '../../src/nx/executors';

/** See docs/push.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runPush(options, context));

export default executor;
