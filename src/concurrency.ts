/**
 * Runs a job for each item, at most `lanes` at a time, and ends with the first failure, after the jobs under way have
 * ended: nothing goes on behind the caller's back.
 */
export async function inLanes<T>(items: Iterable<T>, lanes: number, job: (item: T) => Promise<void>): Promise<void> {
  const queue = items[Symbol.iterator]();
  let failure: { error: unknown } | undefined;
  const lane = async () => {
    try {
      for (let next = queue.next(); !next.done && failure === undefined; next = queue.next()) await job(next.value);
    } catch (error) {
      failure ??= { error };
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  if (failure) throw failure.error;
}

/**
 * Runs a job for each item, up to `lanes` ahead of the reader, and gives the results in the order of the items. A reader
 * that stops early leaves the jobs under way to themselves.
 */
export async function* inOrder<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  lanes: number,
  job: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const underWay: Promise<R>[] = [];
  for await (const item of items) {
    const result = job(item);
    // The failure is met where the result is awaited; until then it must not count as unhandled.
    result.catch(() => undefined);
    underWay.push(result);
    if (underWay.length >= lanes) yield (await underWay.shift()) as R;
  }
  for (const result of underWay) yield await result;
}
