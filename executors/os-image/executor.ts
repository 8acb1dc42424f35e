import type { ExecutorContext, PromiseExecutor } from '@nx/devkit';
import { runOsImage } from '../../src/nx/os-image';
import { reported } from '../../src/nx/reported';

/** See docs/os-image.md. */
const executor: PromiseExecutor<unknown> = (options: unknown, context: ExecutorContext) =>
  reported(() => runOsImage(options, context));

export default executor;
