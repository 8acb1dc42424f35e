import { describe, expect, test } from '@jest/globals';
import { bytesBlob, InvalidDocumentError, LimitError, NotInRegistryError, UntrustedResponseError } from '../../src';
import { exchange } from '../../src/registry/exchange';
import { listTags } from '../../src/registry/tags';
import type { Transport } from '../../src/registry/transport/transport';
import { maxDocumentSize } from '../../src/spec/json';
import { failureOf, sampleImage } from '../fixtures';
import { askedOf, hostileRegistry, openRegistry, repositoryAt } from './clients';
import { serve } from './transport/servers';

/** A registry whose list of tags is these pages, each with its `Link` header. */
const pagesOf = (...pages: readonly { readonly tags: readonly string[] | null; readonly link?: string }[]) => {
  let next = 0;
  return hostileRegistry((_received, response) => {
    const { tags, link } = pages[next++ % pages.length] as (typeof pages)[0];
    response.writeHead(200, link === undefined ? {} : { link }).end(JSON.stringify({ name: 'os', tags }));
  });
};

const start = '/v2/os/tags/list';

describe('all tags', () => {
  test('of a registry that gives them in pages', async () => {
    const registry = await openRegistry({ pageSize: 2 });
    const image = await sampleImage();
    for (const tag of ['a', 'b', 'c', 'd', 'e']) await registry.addRef('os', tag, image);
    expect(await repositoryAt(registry).tags()).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(askedOf(registry)).toEqual(Array(3).fill('GET 200 tags/list'));
  });

  test('of a page, and of one without any', async () => {
    expect(await repositoryAt(await pagesOf({ tags: ['b', 'a'] })).tags()).toEqual(['b', 'a']);
    expect(await repositoryAt(await pagesOf({ tags: null })).tags()).toEqual([]);
  });

  test('of a page with more than fit on a stack', async () => {
    const tags = Array.from({ length: 300_000 }, (_, at) => `t${at}`);
    expect((await repositoryAt(await pagesOf({ tags })).tags()).length).toBe(tags.length);
  });

  test('of a repository that there is not', async () => {
    const { codes } = await failureOf(NotInRegistryError, async () => repositoryAt(await openRegistry()).tags());
    expect(codes).toEqual(['NAME_UNKNOWN']);
  });

  test.each(['{"tags":["a"],"tags":[]}', '{"tags":[1]}', '{}', '<html>'])('not those of %s', async (body) => {
    const registry = await hostileRegistry((_received, response) => response.end(body));
    const { message } = await failureOf(InvalidDocumentError, () => repositoryAt(registry).tags());
    expect(message).toContain('list of tags: ');
  });
});

describe('the next page', () => {
  test.each([
    ['</v2/os/tags/list?last=a>; rel="next"', `${start}?last=a`],
    ['<?last=a>;rel=next', `${start}?last=a`],
    ['<list?last=a> ; title="x" ; REL="last next"', `${start}?last=a`],
    ['</first>; rel="first", </v2/second>; rel="next"', '/v2/second'],
  ])('of %s', async (link, expected) => {
    const registry = await pagesOf({ tags: ['a'], link }, { tags: ['b'] });
    expect(await repositoryAt(registry).tags()).toEqual(['a', 'b']);
    expect(registry.asked()).toEqual([`GET ${start}`, `GET ${expected}`]);
  });

  test.each(['', 'nonsense', '</x>', '</x>; rel="prev"', '</x>; rel="nextish"', '; rel="next"', '</x; rel="next"'])(
    'of %j is none',
    async (link) => {
      expect(await repositoryAt(await pagesOf({ tags: ['a'], link })).tags()).toEqual(['a']);
    },
  );
});

describe('ACCEPTANCE 38: a Link header', () => {
  test('to another origin is not followed', async () => {
    const elsewhere = await serve((_received, response) => response.end('{"tags":["evil"]}'));
    const link = `<${elsewhere.origin}/v2/os/tags/list?token=secret>; rel="next"`;
    const registry = await pagesOf({ tags: ['a'], link });
    const { message } = await failureOf(UntrustedResponseError, () => repositoryAt(registry).tags());
    expect(message).toContain(`list of tags: expected the next page in the Link header at ${registry.origin}, found `);
    expect(message).toContain(`${elsewhere.origin}/v2/os/tags/list?token=…`);
    expect(elsewhere.received).toEqual([]);
  });

  test.each(['https://127.0.0.1/x', 'file:///etc/passwd', 'javascript:alert(1)', '//evil.example/x'])(
    'to %s is not followed',
    async (target) => {
      const registry = await pagesOf({ tags: ['a'], link: `<${target}>; rel="next"` });
      await failureOf(UntrustedResponseError, () => repositoryAt(registry).tags());
      expect(registry.asked()).toHaveLength(1);
    },
  );

  test.each([
    ['to itself', [{ tags: ['a'], link: `<${start}>; rel="next"` }], 1],
    [
      'back',
      [
        { tags: ['a'], link: `<${start}?page=2>; rel="next"` },
        { tags: ['b'], link: `<${start}>; rel="next"` },
      ],
      2,
    ],
  ])('%s is not followed', async (_where, pages, asked) => {
    const registry = await pagesOf(...pages);
    const { message } = await failureOf(UntrustedResponseError, () => repositoryAt(registry).tags());
    expect(message).toContain(`to be another page, found ${registry.origin}${start} again`);
    expect(registry.asked()).toHaveLength(asked);
  });

  test('with no URL is refused', async () => {
    const registry = await pagesOf({ tags: ['a'], link: '<http://[>; rel="next"' });
    const { message } = await failureOf(UntrustedResponseError, () => repositoryAt(registry).tags());
    expect(message).toContain('as a URL, found other text');
  });

  test('to ever more pages ends with the memory that a list may take', async () => {
    const page = JSON.stringify({ tags: ['x'.repeat(8 * 1024 * 1024)] });
    let asked = 0;
    const registry = await hostileRegistry((_received, response) => {
      response.writeHead(200, { link: `<${start}?page=${asked++}>; rel="next"` }).end(page);
    });
    const { message } = await failureOf(LimitError, () => repositoryAt(registry).tags());
    expect(message).toContain('list of tags: expected at most ');
    expect(asked).toBe(Math.ceil(maxDocumentSize / page.length));
  });

  test('to ever more pages ends with their number', async () => {
    let asked = 0;
    const endless: Transport = async ({ url }) => ({
      status: 200,
      headers: { link: `<?page=${asked++}>; rel="next"` },
      url,
      body: bytesBlob(Buffer.from('{"tags":[]}')).open(),
      discard: async () => undefined,
    });
    const name = { registry: 'registry.example', repository: 'os' };
    const list = () => listTags(exchange(name, async () => new URL('https://registry.example'), endless));
    const { message } = await failureOf(UntrustedResponseError, list);
    expect(message).toContain('to end after 10000 pages');
    expect(asked).toBe(10_000);
  });
});
