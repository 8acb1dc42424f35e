import { SingleBar } from 'cli-progress';
import type { LayerProgress } from '../actions/build-layer';
import { formatSize } from './size';

/** Shows how far long work is; must be stopped before anything else is printed. */
export interface Progress {
  layer(progress: LayerProgress): void;
  /** Of what goes to a registry or comes from one, in bytes. */
  transfer(name: string, progress: { readonly done: number; readonly total: number }): void;
  stop(): void;
}

/** Work below this many bytes is over before anyone could read a bar. */
const worthShowing = 64 * 1000 * 1000;

/** A bar on a terminal; nothing in CI, in a file or in a pipe. */
export function progressOn(stream: NodeJS.WriteStream, environment: NodeJS.ProcessEnv): Progress {
  if (!stream.isTTY || (environment.CI && environment.CI !== 'false')) {
    return { layer: () => undefined, transfer: () => undefined, stop: () => undefined };
  }
  let bar: SingleBar | undefined;
  let shown = '';
  const stop = () => {
    bar?.stop();
    bar = undefined;
  };
  const show = (name: string, done: number, total: number) => {
    if (total < worthShowing) return;
    if (bar === undefined || name !== shown) {
      stop();
      bar = new SingleBar({
        stream,
        format: '{name} [{bar}] {percentage}% of {size}',
        clearOnComplete: true,
        hideCursor: true,
      });
      bar.start(total, 0, { name, size: formatSize(total) });
      shown = name;
    }
    bar.update(done);
  };
  return {
    stop,
    layer: ({ platform, layer, done, total }) => show(`${platform} ${layer}`, done, total),
    transfer: (name, { done, total }) => show(name, done, total),
  };
}
