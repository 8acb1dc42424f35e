import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { digestOf, mediaTypes } from '../../../src';
import { type Registry, startRegistry } from '../../../src/registry/server/start-registry';
import { indexOf, manifestOf, pushBlob, putManifest, send } from './send';

let registry: Registry;
beforeEach(async () => {
  registry = await startRegistry();
});
afterEach(() => registry.close());

const get = (path: string) => send(registry.url, 'GET', path);
const jsonOf = async (path: string) => JSON.parse((await get(path)).body.toString());

/** Follows `Link` headers, and gives the body of each page. */
async function pagesOf(path: string) {
  const pages = [];
  for (let next: string | undefined = path; next !== undefined; ) {
    const { headers, body } = await get(next);
    pages.push(JSON.parse(body.toString()));
    next = /^<([^>]+)>; rel="next"$/.exec(String(headers.link ?? ''))?.[1];
  }
  return pages;
}

describe('ACCEPTANCE 40: tags (end-8a, end-8b)', () => {
  const tagged = ['b', 'a', 'B', 'v1.10', 'v1.9'];
  beforeEach(async () => {
    for (const tag of tagged) await putManifest(registry.url, 'app', tag, manifestOf('layer'));
  });

  test.each([
    ['', ['B', 'a', 'b', 'v1.10', 'v1.9']],
    ['?n=2', ['B', 'a']],
    ['?n=9', ['B', 'a', 'b', 'v1.10', 'v1.9']],
    ['?n=0', []],
    ['?last=b', ['v1.10', 'v1.9']],
    ['?last=aa', ['b', 'v1.10', 'v1.9']],
    ['?n=1&last=a', ['b']],
    ['?last=v1.9', []],
  ])('%j gives %j', async (query, tags) => {
    expect(await jsonOf(`/v2/app/tags/list${query}`)).toEqual({ name: 'app', tags });
  });

  test.each([
    ['?n=2', '</v2/app/tags/list?n=2&last=a>; rel="next"'],
    ['?n=2&last=b', undefined],
    ['?n=5', undefined],
    ['?n=0', undefined],
    ['', undefined],
  ])('%j goes on at %s', async (query, link) => {
    expect((await get(`/v2/app/tags/list${query}`)).headers.link).toBe(link);
  });

  test('following the links gives each tag once', async () => {
    const pages = await pagesOf('/v2/app/tags/list?n=2');
    expect(pages.map(({ tags }) => tags)).toEqual([['B', 'a'], ['b', 'v1.10'], ['v1.9']]);
  });

  test.each(['-1', 'x', '1.5', ''])('n=%s: 400', async (n) => {
    expect(await get(`/v2/app/tags/list?n=${n}`)).toMatchObject({ status: 400, errors: [{ code: 'UNSUPPORTED' }] });
  });

  test('of a repository without tags: none; of none: 404', async () => {
    await pushBlob(registry.url, 'blobs', 'x');
    expect(await jsonOf('/v2/blobs/tags/list')).toEqual({ name: 'blobs', tags: [] });
    expect(await get('/v2/other/tags/list')).toMatchObject({ status: 404, errors: [{ code: 'NAME_UNKNOWN' }] });
  });
});

describe('the catalog', () => {
  test('lists repositories in pages', async () => {
    expect(await jsonOf('/v2/_catalog')).toEqual({ repositories: [] });
    for (const name of ['os/base', 'app', 'os']) await pushBlob(registry.url, name, 'x');
    expect(await jsonOf('/v2/_catalog')).toEqual({ repositories: ['app', 'os', 'os/base'] });
    const pages = await pagesOf('/v2/_catalog?n=2');
    expect(pages.map(({ repositories }) => repositories)).toEqual([['app', 'os'], ['os/base']]);
  });
});

describe('ACCEPTANCE 40: referrers (end-12a, end-12b)', () => {
  const image = manifestOf('layer');
  const subject = { mediaType: image.mediaType, digest: image.digest, size: image.bytes.length };
  const annotations = { 'org.example': 'yes', ['__proto__']: 'kept' };
  const sbom = manifestOf('sbom', { subject, artifactType: 'application/sbom', annotations });
  const signature = manifestOf('signature', { subject, artifactType: 'application/signature' });
  const plain = manifestOf('plain', { subject });
  const index = indexOf([image], { subject, annotations });
  const typedIndex = indexOf([image], { subject, artifactType: 'application/sbom' });
  const path = `/v2/app/referrers/${image.digest}`;
  const descriptor = ({ bytes, digest, mediaType }: typeof index, more: object) => ({
    mediaType,
    digest,
    size: bytes.length,
    ...more,
  });

  test('list image manifests and indexes, with what they are and their annotations', async () => {
    for (const referrer of [sbom, plain, index]) await putManifest(registry.url, 'app', referrer.digest, referrer);
    await putManifest(registry.url, 'other', signature.digest, signature);
    const answer = await get(path);
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': mediaTypes.imageIndex } });
    const { manifests, ...rest } = JSON.parse(answer.body.toString());
    expect(rest).toEqual({ schemaVersion: 2, mediaType: mediaTypes.imageIndex });
    expect(manifests).toHaveLength(3);
    expect(manifests).toEqual(
      expect.arrayContaining([
        descriptor(sbom, { artifactType: 'application/sbom', annotations }),
        descriptor(plain, { artifactType: mediaTypes.imageConfig }),
        descriptor(index, { annotations }),
      ]),
    );
    expect(answer.body.toString()).toContain('"__proto__":"kept"');
  });

  test('by artifactType', async () => {
    for (const referrer of [sbom, signature, typedIndex, plain, index]) {
      await putManifest(registry.url, 'app', referrer.digest, referrer);
    }
    const answer = await get(`${path}?artifactType=application%2Fsbom`);
    expect(answer.headers['oci-filters-applied']).toBe('artifactType');
    const found = JSON.parse(answer.body.toString()).manifests.map(({ digest }: { digest: string }) => digest);
    expect(found.sort()).toEqual([sbom.digest, typedIndex.digest].sort());
    expect((await get(path)).headers['oci-filters-applied']).toBeUndefined();
    expect((await jsonOf(`${path}?artifactType=application/none`)).manifests).toEqual([]);
  });

  test.each([['/v2/app/referrers/'], ['/v2/not-there/referrers/']])(
    'of nothing below %s are an empty list',
    async (below) => {
      await putManifest(registry.url, 'app', 'v1', image);
      expect(await get(below + image.digest)).toMatchObject({
        status: 200,
        headers: { 'content-type': mediaTypes.imageIndex },
      });
      expect((await jsonOf(below + image.digest)).manifests).toEqual([]);
    },
  );

  test('of a malformed digest: 400', async () => {
    expect(await get('/v2/app/referrers/sha256:bad')).toMatchObject({
      status: 400,
      errors: [{ code: 'DIGEST_INVALID' }],
    });
  });

  test('go on by a link where there are more than a page holds', async () => {
    const paged = await startRegistry({ pageSize: 2, storage: registry.storage });
    for (const referrer of [sbom, signature, typedIndex, plain, index]) {
      await putManifest(registry.url, 'app', referrer.digest, referrer);
    }
    const found: string[] = [];
    let next: string | undefined = `${path}?artifactType=application/sbom`;
    let pages = 0;
    for (next = path; next; pages++) {
      const { headers, body } = await send(paged.url, 'GET', next);
      found.push(...JSON.parse(body.toString()).manifests.map(({ digest }: { digest: string }) => digest));
      next = /^<(.+)>; rel="next"$/.exec(String(headers.link ?? ''))?.[1];
    }
    await paged.close();
    expect(pages).toBe(3);
    expect(found).toEqual([sbom, signature, typedIndex, plain, index].map(({ digest }) => digest).sort());
  });

  test('make no list that is larger than a manifest may be', async () => {
    const long = (text: string) => manifestOf(text, { subject, annotations: { text: text.repeat(1_500_000) } });
    const referrers = ['a', 'b', 'c'].map(long);
    for (const referrer of referrers)
      expect((await putManifest(registry.url, 'app', referrer.digest, referrer)).status).toBe(201);
    const pages = await pagesOf(path);
    expect(pages.map(({ manifests }) => manifests.length)).toEqual([2, 1]);
  });
});

describe('ACCEPTANCE 40: deleting (end-9, end-10)', () => {
  const image = manifestOf('layer');
  const absent = digestOf(Buffer.from('absent'));
  const remove = (path: string) => send(registry.url, 'DELETE', path);
  const statusOf = async (path: string) => (await get(path)).status;
  beforeEach(async () => {
    await pushBlob(registry.url, 'app', 'layer');
    await putManifest(registry.url, 'app', 'v1', image);
    await putManifest(registry.url, 'app', 'v2', image);
  });

  test('a tag leaves the manifest', async () => {
    expect((await remove('/v2/app/manifests/v1')).status).toBe(202);
    expect(await statusOf('/v2/app/manifests/v1')).toBe(404);
    expect(await statusOf('/v2/app/manifests/v2')).toBe(200);
    expect(await statusOf(`/v2/app/manifests/${image.digest}`)).toBe(200);
  });

  test('a manifest takes its tags with it', async () => {
    expect((await remove(`/v2/app/manifests/${image.digest}`)).status).toBe(202);
    for (const name of ['v1', 'v2', image.digest]) expect(await statusOf(`/v2/app/manifests/${name}`)).toBe(404);
    expect((await jsonOf('/v2/app/tags/list')).tags).toEqual([]);
  });

  test('a blob', async () => {
    const path = `/v2/app/blobs/${image.content.digest}`;
    expect((await remove(path)).status).toBe(202);
    expect(await statusOf(path)).toBe(404);
  });

  test.each([
    ['/v2/app/manifests/v3', 'MANIFEST_UNKNOWN'],
    ['/v2/app/manifests/.hidden', 'MANIFEST_UNKNOWN'],
    [`/v2/app/manifests/${absent}`, 'MANIFEST_UNKNOWN'],
    [`/v2/app/blobs/${absent}`, 'BLOB_UNKNOWN'],
    ['/v2/other/manifests/v1', 'NAME_UNKNOWN'],
    [`/v2/other/blobs/${absent}`, 'NAME_UNKNOWN'],
  ])('%s, which is not there: 404', async (path, code) => {
    expect(await remove(path)).toMatchObject({ status: 404, errors: [{ code }] });
  });
});
