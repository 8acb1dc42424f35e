import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { runPush } from '../../src/nx/push';
import { reported } from '../../src/nx/reported';

/** See docs/push.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runPush(options, context));

export default executor;
