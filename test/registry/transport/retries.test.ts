import { describe, expect, test } from '@jest/globals';
import { type Blob, ConnectionError, InvalidOptionError, RegistryError } from '../../../src';
import {
  isTemporary,
  type Retry,
  type RetryPolicy,
  retrying,
  withRetries,
} from '../../../src/registry/transport/retries';
import { retryAfterOf } from '../../../src/registry/transport/retry-after';
import type { HttpMethod } from '../../../src/registry/transport/transport';
import { failureOf } from '../../fixtures';
import { type Answer, get, http, impatient, read, serve, unusedPort } from './servers';

/** Fails as often as it is told, and then says how often it was asked. */
const stumbling = (status: number, times: number, headers: Readonly<Record<string, string>> = {}): Answer => {
  let asked = 0;
  return (_received, response) => {
    asked++;
    if (asked <= times) response.writeHead(status, headers).end('{"errors":[{"code":"BUSY"}]}');
    else response.end(`asked ${asked}`);
  };
};

/** A transport with retries, and what it told of them. */
function persistent(policy: Partial<RetryPolicy> = {}) {
  const retries: Retry[] = [];
  const transport = withRetries(http(), { ...impatient, ...policy }, (retry) => retries.push(retry));
  return { transport, retries };
}

describe('M10: what is temporary is tried again', () => {
  test.each([408, 429, 500, 502, 503, 504])('status %d', async (status) => {
    const { origin } = await serve(stumbling(status, 2));
    const { transport, retries } = persistent();
    expect(await read(await transport(get(origin, '/v2/?key=signed')))).toEqual({ status: 200, text: 'asked 3' });
    const reason = expect.stringContaining(`GET ${origin}/v2/?key=…: expected success, found ${status} (BUSY)`);
    const common = { reason, url: `${origin}/v2/?key=…`, delayMs: expect.any(Number) };
    expect(retries).toEqual([
      { attempt: 1, ...common },
      { attempt: 2, ...common },
    ]);
  });

  test.each([400, 401, 403, 404, 405, 413, 416, 425, 501, 505])('status %d is not', async (status) => {
    const { origin, received } = await serve(stumbling(status, 1));
    const { transport, retries } = persistent();
    expect((await transport(get(origin))).status).toBe(status);
    expect([received.length, retries]).toEqual([1, []]);
  });

  test('a broken connection', async () => {
    let asked = 0;
    const { origin } = await serve((_received, response) => (++asked < 3 ? response.destroy() : response.end('there')));
    const { transport, retries } = persistent();
    expect(await read(await transport(get(origin)))).toEqual({ status: 200, text: 'there' });
    expect(retries.map(({ reason }) => reason)).toEqual(Array(2).fill(expect.stringContaining('a broken connection')));
  });

  test('a registry that starts late', async () => {
    const port = await unusedPort();
    const started: Promise<unknown>[] = [];
    const start = () => started.push(serve((_received, response) => response.end('there'), { port }));
    const transport = withRetries(http(), { ...impatient, attempts: 100 }, ({ attempt }) => attempt === 2 && start());
    expect(await read(await transport(get(`http://127.0.0.1:${port}`)))).toEqual({ status: 200, text: 'there' });
    expect(started).toHaveLength(1);
  });

  test('a certificate that is not trusted is not', async () => {
    const { origin } = await serve(() => undefined, { tls: true });
    const { transport, retries } = persistent();
    await failureOf(ConnectionError, () => transport(get(origin)));
    expect(retries).toEqual([]);
  });

  test.each<[HttpMethod, boolean | undefined, number, boolean]>([
    ['HEAD', undefined, 503, true],
    ['GET', false, 503, false],
    ['PUT', undefined, 503, false],
    ['PUT', true, 503, true],
    ['POST', undefined, 503, false],
    ['POST', undefined, 429, true],
    ['PATCH', undefined, 429, true],
    ['DELETE', undefined, 500, false],
  ])('%s, idempotent: %s, status %d: %s', async (method, idempotent, status, isRepeated) => {
    const { origin, received } = await serve(stumbling(status, 1));
    const { transport } = persistent();
    const response = await transport({ method, url: new URL(origin), ...(idempotent !== undefined && { idempotent }) });
    expect(response.status).toBe(isRepeated ? 200 : status);
    expect(received).toHaveLength(isRepeated ? 2 : 1);
  });

  test.each<[string, boolean]>([
    ['breaks', false],
    ['is refused', true],
  ])('a request that must not be made twice, whose connection %s: %s', async (how, isRepeated) => {
    const port = await unusedPort();
    if (how === 'breaks') await serve((_received, response) => response.destroy(), { port });
    const { transport, retries } = persistent();
    const url = new URL(`http://127.0.0.1:${port}`);
    await failureOf(ConnectionError, () => transport({ method: 'POST', url }));
    expect(retries).toHaveLength(isRepeated ? impatient.attempts - 1 : 0);
  });

  test('a body is opened anew for each try', async () => {
    const { origin, received } = await serve(stumbling(503, 2));
    let opened = 0;
    const body: Blob = {
      size: 1,
      async *open() {
        yield Buffer.from(String(++opened));
      },
    };
    await persistent().transport({ method: 'PUT', url: new URL(origin), body, idempotent: true });
    expect(received.map((request) => request.body)).toEqual(['1', '2', '3']);
  });
});

describe('M10: it ends', () => {
  test('after as many tries as the policy allows, with the last failure', async () => {
    const { origin, received } = await serve(stumbling(503, 99));
    const { transport, retries } = persistent({ attempts: 4 });
    const error = await failureOf(RegistryError, () => transport(get(origin)));
    expect(error).toMatchObject({ status: 503, codes: ['BUSY'] });
    expect(error.message).toContain('try again later');
    expect([received.length, retries.length]).toEqual([4, 3]);
  });

  test('before the deadline would be over', async () => {
    const { origin, received } = await serve(stumbling(503, 99, { 'retry-after': '2' }));
    const { transport, retries } = persistent({ longestDelay: 60_000, deadline: 1000 });
    await failureOf(RegistryError, () => transport(get(origin)));
    expect([received.length, retries.length]).toEqual([1, 0]);
  });

  test('the delays double at most, and none is longer than the longest', async () => {
    const { origin } = await serve(stumbling(503, 99));
    const { transport, retries } = persistent({ attempts: 8, firstDelay: 1, longestDelay: 4 });
    await failureOf(RegistryError, () => transport(get(origin)));
    for (const [position, { delayMs }] of retries.entries())
      expect(delayMs).toBeLessThanOrEqual(2 ** Math.min(position, 2));
  });

  test('delays differ, so that many clients do not come back all at once', async () => {
    const { origin } = await serve(stumbling(503, 99));
    const { transport, retries } = persistent({ attempts: 8, firstDelay: 16, longestDelay: 16 });
    await failureOf(RegistryError, () => transport(get(origin)));
    expect(new Set(retries.map(({ delayMs }) => delayMs)).size).toBeGreaterThan(1);
  });

  test('who tries again around it does not multiply the tries', async () => {
    const { origin, received } = await serve(stumbling(503, 99));
    const { transport } = persistent();
    const url = new URL(origin);
    await failureOf(RegistryError, () => retrying(() => transport(get(origin)), { policy: impatient, url }));
    expect(received).toHaveLength(impatient.attempts);
  });
});

describe('ACCEPTANCE 36: a registry can not make one wait for long', () => {
  const longestDelay = 3;

  test.each([
    '1000000000',
    '999999999999999',
    '1e9',
    '-5',
    'Infinity',
    'garbage',
    '',
    '0',
    '1.5',
    'Fri, 31 Dec 9999 23:59:59 GMT',
    'Mon, 01 Jan 1990 00:00:00 GMT',
    'Xyz, 99 Abc 2030 99:99:99 GMT',
  ])('Retry-After: %s', async (retryAfter) => {
    const { origin } = await serve(stumbling(429, 1, { 'retry-after': retryAfter }));
    const { transport, retries } = persistent({ longestDelay });
    expect(await read(await transport(get(origin)))).toEqual({ status: 200, text: 'asked 2' });
    expect(retries).toEqual([expect.objectContaining({ delayMs: expect.any(Number) })]);
    expect(retries[0]?.delayMs).toBeGreaterThanOrEqual(0);
    expect(retries[0]?.delayMs).toBeLessThanOrEqual(longestDelay);
  });

  test('but it is heard, up to that', async () => {
    const { origin } = await serve(stumbling(503, 1, { 'retry-after': '1000' }));
    const { transport, retries } = persistent({ firstDelay: 0, longestDelay });
    await read(await transport(get(origin)));
    expect(retries).toMatchObject([{ delayMs: longestDelay }]);
  });

  test('an abort works at once, while it waits too', async () => {
    const { origin, received } = await serve(stumbling(503, 99, { 'retry-after': '1000' }));
    const abort = new AbortController();
    const reason = new Error('enough');
    const policy = { ...impatient, longestDelay: 1e6, deadline: 1e7 };
    const transport = withRetries(http(), policy, ({ delayMs }) => {
      expect(delayMs).toBe(1e6);
      setImmediate(() => abort.abort(reason));
    });
    await expect(transport(get(origin, '/', { signal: abort.signal }))).rejects.toBe(reason);
    expect(received).toHaveLength(1);
  });

  test('an abort during a try is the last one', async () => {
    const abort = new AbortController();
    const reason = new Error('enough');
    const { origin } = await serve(() => abort.abort(reason));
    const { transport, retries } = persistent();
    await expect(transport(get(origin, '/', { signal: abort.signal }))).rejects.toBe(reason);
    expect(retries).toEqual([]);
  });
});

describe('Retry-After', () => {
  const soon = new Date(Date.now() + 60_000);

  test.each([
    ['0', 0],
    [' 7 ', 7000],
    ['1000000000', 1e12],
    ['1e9', undefined],
    ['-5', undefined],
    ['5.0', undefined],
    ['0x10', undefined],
    [`1${'0'.repeat(400)}`, undefined],
    ['tomorrow', undefined],
    [undefined, undefined],
    ['Mon, 01 Jan 1990 00:00:00 GMT', undefined],
    ['2999-01-01T00:00:00Z', undefined],
  ])('%s is %p ms', (header, expected) => expect(retryAfterOf(header)).toBe(expected));

  test.each([soon.toUTCString(), soon.toUTCString().replace(/ (\w{3}) \d\d(\d\d) /, '-$1-$2 ')])('%s', (date) => {
    const delay = retryAfterOf(date) ?? 0;
    expect(delay).toBeGreaterThan(50_000);
    expect(delay).toBeLessThanOrEqual(60_000);
  });
});

describe('trying again something larger than a request', () => {
  const url = new URL('https://registry.test/v2/');
  const broken = () => new ConnectionError('GET x: expected a response', 'ECONNRESET');

  test('progress counts as a start', async () => {
    let tries = 0;
    const attempt = async (progressed: () => void) => {
      tries++;
      if (tries % 2 === 0) progressed();
      if (tries < 9) throw broken();
      return tries;
    };
    const retries: number[] = [];
    const onRetry = ({ attempt }: Retry) => retries.push(attempt);
    expect(await retrying(attempt, { policy: impatient, url, onRetry })).toBe(9);
    expect(retries).toEqual([1, 1, 2, 1, 2, 1, 2, 1]);
  });

  test.each([
    [new ConnectionError('x', 'ECONNRESET'), true],
    [new ConnectionError('x', 'ENOTFOUND'), false],
    [new RegistryError('x', { status: 502 }), true],
    [new RegistryError('x', { status: 404 }), false],
    [new RegistryError('x'), false],
    [new Error('x'), false],
    ['x', false],
  ])('%p: %s', (error, expected) => expect(isTemporary(error)).toBe(expected));

  test('who asks says what is temporary', async () => {
    let tries = 0;
    const attempt = async () => {
      tries++;
      throw new InvalidOptionError('odd');
    };
    const odd = { policy: impatient, url, temporary: (error: unknown) => error instanceof InvalidOptionError };
    await failureOf(InvalidOptionError, () => retrying(attempt, odd));
    await failureOf(InvalidOptionError, () => retrying(attempt, { policy: impatient, url }));
    expect(tries).toBe(impatient.attempts + 1);
  });
});
