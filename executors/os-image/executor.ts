import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { reported, runOsImage } from '../../src/nx/executors';

/** See docs/os-image.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runOsImage(options, context));

export default executor;
