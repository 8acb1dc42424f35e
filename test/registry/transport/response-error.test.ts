import { describe, expect, test } from '@jest/globals';
import { NotInRegistryError, RegistryError, UnauthorizedError } from '../../../src';
import { responseError, withoutEchoes } from '../../../src/registry/transport/response-error';
import { type Answer, get, http, read, serve } from './servers';

const words = { expected: '200' };
const what = 'manifest registry.test/os:v1';

async function errorFrom(answer: Answer, path = '/'): Promise<RegistryError> {
  const { origin } = await serve(answer);
  return responseError(await http()(get(origin, path)), what, words);
}

const saying =
  (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_received, response) =>
    response.writeHead(status, headers).end(typeof body === 'string' ? body : JSON.stringify(body));

describe('O18: a response that is none of those expected becomes an error', () => {
  test.each<[number, typeof RegistryError, string]>([
    [404, NotInRegistryError, 'check the name'],
    [401, UnauthorizedError, 'log in'],
    [403, UnauthorizedError, 'what the credentials in use may do'],
    [400, RegistryError, 'does not take this request'],
    [413, RegistryError, 'nothing that large'],
    [429, RegistryError, 'try again later'],
    [503, RegistryError, 'try again later'],
    [302, RegistryError, 'does not take this request'],
  ])('%d', async (status, type, advice) => {
    const error = await errorFrom(
      saying(status, { errors: [{ code: 'SOME_CODE', message: 'some words', detail: {} }] }),
    );
    expect(error.constructor).toBe(type);
    expect(error).toMatchObject({ status, codes: ['SOME_CODE'], expected: '200' });
    expect(error.message).toMatch(`${what}: expected 200, found ${status} (SOME_CODE: some words); `);
    expect(error.message).toContain(advice);
  });

  test.each([
    ['several errors', { errors: [{ code: 'A', message: 'a' }, { code: 'B' }] }, '404 (A: a; B);', ['A', 'B']],
    ['another message', { errors: [{ code: 'A', message: 5 }] }, '404 (A);', ['A']],
    ['more than fit', { errors: Array(50).fill({ code: 'A' }) }, '404 (A; A; A; A; A);', Array(5).fill('A')],
    ['a page', '<html>secret page</html>', 'found 404;', []],
    ['half a document', '{"errors":[{"code":"A"', 'found 404;', []],
    ['another document', { error: 'secret' }, 'found 404;', []],
    ['no errors', { errors: [] }, 'found 404;', []],
    ['codes that are none', { errors: [{ code: 5 }, { code: '' }] }, 'found 404;', []],
    ['nothing', '', 'found 404;', []],
    ['more than is read', { errors: [{ code: 'A', message: 'x'.repeat(70_000) }] }, 'found 404;', []],
    ['other types', '[[[]]]', 'found 404;', []],
  ])('%s', async (_title, body, found, codes) => {
    const error = await errorFrom(saying(404, body));
    expect(error.message).toContain(found);
    expect(error.codes).toEqual(codes);
    expect(error.message).not.toContain('secret');
  });

  test('what a hostile registry says is short, on one line and without control characters', async () => {
    const hostile = `\u001b[2J\r\nrm -rf /\u202e${'x'.repeat(5000)}`;
    const error = await errorFrom(saying(404, { errors: [{ code: hostile, message: hostile }] }));
    expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(error.message.length).toBeLessThan(600);
    expect(error.codes[0]).toMatch(/^\[2J rm -rf/);
    expect(error.codes[0]?.length).toBeLessThan(100);
  });

  test('a body that breaks off, stops or never ends leaves the status', async () => {
    const cut = await errorFrom((_received, response) => {
      response.writeHead(404, { 'content-length': 100 }).write('half', () => response.destroy());
    });
    expect(cut).toMatchObject({ status: 404, codes: [] });
    let sent = 0;
    const endless = await errorFrom((_received, response) => {
      const more = () => {
        do sent += 10_000;
        while (response.write('x'.repeat(10_000)));
      };
      response.writeHead(404).on('drain', more);
      more();
    });
    expect(endless).toMatchObject({ status: 404, codes: [] });
    // It is left as soon as it is too long, not when it takes too long; the rest is in the system's buffers.
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    const stopped = await errorFrom((_received, response) => response.writeHead(404).write('half'));
    expect(stopped).toMatchObject({ status: 404, codes: [] });
  });

  test.each([
    ['7', 7000],
    ['-7', undefined],
  ])('Retry-After: %s', async (header, retryAfter) => {
    expect((await errorFrom(saying(429, '', { 'retry-after': header }))).retryAfter).toBe(retryAfter);
  });

  test('ACCEPTANCE 35: what a place says of its own signed query is left out', async () => {
    const body = { errors: [{ code: 'DENIED', message: 'signature abcdefgh/1= of /x?sig=abcdefgh%2F1= is bad' }] };
    const error = await errorFrom(saying(403, body), '/x?sig=abcdefgh%2F1=');
    expect(error.message).toContain('403 (DENIED: signature … of');
    expect(error.message).not.toContain('abcdefgh');
  });
});

test('ACCEPTANCE 35: a body that repeats a secret is read without it', async () => {
  const { origin } = await serve(saying(403, 'bad token t0ken'));
  const response = await withoutEchoes(await http()(get(origin)), ['t0ken']);
  expect(await read(response)).toEqual({ status: 403, text: 'bad token …' });
});
