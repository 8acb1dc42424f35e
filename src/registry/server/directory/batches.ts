/** Work that is done in batches: what comes while one is under way waits, and goes together then. */
export interface Batches<T> {
  add(item: T): void;
  /** Ends when nothing waits or is under way. */
  settled(): Promise<void>;
}

/** @param run never fails: it tells each item what became of it. */
export function inBatches<T>(run: (batch: readonly T[]) => Promise<void>): Batches<T> {
  let waiting: T[] = [];
  let running: Promise<void> | undefined;
  const runAll = async () => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      await run(batch);
    }
    running = undefined;
  };
  return {
    add(item) {
      waiting.push(item);
      running ??= runAll();
    },
    settled: async () => running,
  };
}
