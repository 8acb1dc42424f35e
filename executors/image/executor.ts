import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { runImage } from '../../src/nx/image';
import { reported } from '../../src/nx/reported';

/** Builds one image per platform; see docs/image.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runImage(options, context));

export default executor;
