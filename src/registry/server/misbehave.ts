import { codeOf, Refusal } from './errors';
import { answer, type Exchange } from './exchange';

/**
 * What befalls a request before it is looked at.
 *
 * @param closing ends all waiting.
 * @returns whether nothing is to follow.
 * @throws {Refusal}
 */
export async function misbehave(exchange: Exchange, closing: AbortSignal): Promise<boolean> {
  const { request, response, misbehaviour } = exchange;
  const { delay, hangUp, status, retryAfter, redirect, authorization } = misbehaviour;
  if (delay !== undefined) await over(delay, closing);
  if (closing.aborted) return true;
  if (hangUp === 'before') {
    response.destroy();
    return true;
  }
  if (redirect !== undefined) {
    await answer(exchange, 307, { location: elsewhere(redirect, request.url ?? '/') });
    return true;
  }
  if (status !== undefined) {
    const headers = retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) };
    throw new Refusal(status, codeOf(status), 'the registry was told to answer so', headers);
  }
  if (authorization !== undefined && request.headers.authorization !== authorization) {
    const challenge = `${authorization.split(' ', 1)[0]} realm="registry"`;
    throw new Refusal(401, 'UNAUTHORIZED', 'expected other credentials', { 'www-authenticate': challenge });
  }
  return false;
}

function elsewhere(redirect: string, path: string): string {
  const target = new URL(redirect);
  return target.pathname === '/' && target.search === '' ? `${target.origin}${path}` : target.href;
}

/** When the time is over, the event is there, or the registry closes. */
function over(delay: number | Promise<unknown>, closing: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = typeof delay === 'number' ? setTimeout(done, delay) : undefined;
    closing.addEventListener('abort', done);
    if (typeof delay !== 'number') delay.then(done, done);
    function done(): void {
      clearTimeout(timer);
      closing.removeEventListener('abort', done);
      resolve();
    }
  });
}
