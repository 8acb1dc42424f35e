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
