import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { reported, runImage } from '../../src/nx/executors';

/** Builds one image per platform; see docs/image.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runImage(options, context));

export default executor;
