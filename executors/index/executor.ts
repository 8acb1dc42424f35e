import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { runIndex } from '../../src/nx/image-index';
import { reported } from '../../src/nx/reported';

/** See docs/index.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runIndex(options, context));

export default executor;
