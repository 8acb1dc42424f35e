import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type DigestAlgorithm, digestOf, mediaTypes } from '../../../src';
import { type Registry, startRegistry } from '../../../src/registry/server/start-registry';
import { type Answer, blobOf, indexOf, manifestOf, pushBlob, putManifest, send, startUpload } from './send';

let registry: Registry;
let url: string;
beforeEach(async () => {
  registry = await startRegistry();
  url = registry.url;
});
afterEach(() => registry.close());

const { bytes: hello, digest } = blobOf('hello');
const absent = digestOf(Buffer.from('absent'));
const blobStatus = async (repository: string, of: string = digest) =>
  (await send(url, 'HEAD', `/v2/${repository}/blobs/${of}`)).status;
const chunk = (location: string, range: string, text: string, method = 'PATCH') =>
  send(url, method, location, { headers: { 'content-range': range }, body: text });

async function* streamOf(...parts: readonly string[]) {
  for (const part of parts) yield Buffer.from(part);
}

function expectCreated({ status, headers }: Answer, repository: string, of: string = digest): void {
  expect({ status, location: headers.location, digest: headers['docker-content-digest'] }).toEqual({
    status: 201,
    location: `/v2/${repository}/blobs/${of}`,
    digest: of,
  });
}

describe('ACCEPTANCE 40: pushing a blob as a whole (end-4a, end-6, end-4b)', () => {
  test('POST gives a place of its own, PUT there makes the blob', async () => {
    const { status, headers } = await send(url, 'POST', '/v2/a/b/blobs/uploads/');
    expect(status).toBe(202);
    expect(headers.location).toMatch(/^\/v2\/a\/b\/blobs\/uploads\/[0-9a-f]{8}-[0-9a-f-]{27}$/);
    expectCreated(await send(url, 'PUT', `${headers.location}?digest=${digest}`, { body: hello }), 'a/b');
    expect((await send(url, 'GET', `/v2/a/b/blobs/${digest}`)).body).toEqual(hello);
  });

  test('a POST with a digest is enough', async () => {
    expectCreated(await send(url, 'POST', `/v2/app/blobs/uploads/?digest=${digest}`, { body: hello }), 'app');
    expect((await send(url, 'GET', `/v2/app/blobs/${digest}`)).body).toEqual(hello);
  });

  test('the slash at the end may be missing', async () => {
    expect((await send(url, 'POST', '/v2/app/blobs/uploads')).status).toBe(202);
  });

  test.each<DigestAlgorithm>(['sha512', 'blake3'])('by a %s digest', async (algorithm) => {
    const other = digestOf(hello, algorithm);
    const { headers } = await send(url, 'POST', `/v2/app/blobs/uploads/?digest-algorithm=${algorithm}`);
    expectCreated(await send(url, 'PUT', `${headers.location}?digest=${other}`, { body: hello }), 'app', other);
    expect(await blobStatus('app', other)).toBe(200);
    expect(await blobStatus('app', digest)).toBe(404);
  });

  test('an empty blob', async () => {
    const empty = digestOf(Buffer.of());
    expectCreated(await send(url, 'PUT', `${await startUpload(url, 'app')}?digest=${empty}`), 'app', empty);
    expect(await blobStatus('app', empty)).toBe(200);
  });

  test.each(['POST', 'PUT'])('%s of other bytes than the digest says: 400, and there is nothing', async (method) => {
    const path = method === 'POST' ? '/v2/app/blobs/uploads/' : await startUpload(url, 'app');
    const answer = await send(url, method, `${path}?digest=${digest}`, { body: 'hullo' });
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 'DIGEST_INVALID' }] });
    expect(answer.errors[0]?.message).toContain(digest);
    expect(await blobStatus('app')).toBe(404);
    if (method === 'PUT') expect((await send(url, 'GET', path)).status).toBe(404);
  });

  test.each([
    ['no digest', ''],
    ['a malformed one', '?digest=sha256:bad'],
    ['one of an unknown algorithm', '?digest=md5:d41d8cd98f00b204e9800998ecf8427e'],
  ])('PUT with %s: 400, and the upload goes on', async (_, query) => {
    const location = await startUpload(url, 'app');
    const answer = await send(url, 'PUT', location + query, { body: hello });
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 'DIGEST_INVALID' }] });
    expectCreated(await send(url, 'PUT', `${location}?digest=${digest}`, { body: hello }), 'app');
  });

  test('POST with an algorithm that is unknown: 400', async () => {
    const answer = await send(url, 'POST', '/v2/app/blobs/uploads/?digest-algorithm=md5');
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 'DIGEST_INVALID' }] });
  });
});

describe('ACCEPTANCE 40: pushing a blob in chunks (end-5, end-6, end-13)', () => {
  test('chunks one after the other, the last one in the closing PUT', async () => {
    const location = await startUpload(url, 'app');
    const first = await chunk(location, '0-1', 'he');
    expect(first).toMatchObject({ status: 202, headers: { location, range: '0-1' } });
    expect(await chunk(location, '2-2', 'l')).toMatchObject({ status: 202, headers: { range: '0-2' } });
    expectCreated(await chunk(`${location}?digest=${digest}`, '3-4', 'lo', 'PUT'), 'app');
    expect((await send(url, 'GET', `/v2/app/blobs/${digest}`)).body).toEqual(hello);
  });

  test('chunks alone, and a PUT without a body', async () => {
    const location = await startUpload(url, 'app');
    await chunk(location, '0-4', 'hello');
    expectCreated(await send(url, 'PUT', `${location}?digest=${digest}`), 'app');
  });

  test('a stream, without a length and without a range', async () => {
    const location = await startUpload(url, 'app');
    const streamed = await send(url, 'PATCH', location, { body: streamOf('he', 'l') });
    expect(streamed).toMatchObject({ status: 202, headers: { range: '0-2' } });
    expectCreated(await send(url, 'PUT', `${location}?digest=${digest}`, { body: streamOf('l', 'o') }), 'app');
    expect((await send(url, 'GET', `/v2/app/blobs/${digest}`)).body).toEqual(hello);
  });

  test('the status says how much is there and where to go on', async () => {
    const location = await startUpload(url, 'app');
    expect(await send(url, 'GET', location)).toMatchObject({ status: 204, headers: { location, range: '0-0' } });
    await chunk(location, '0-2', 'hel');
    const status = await send(url, 'GET', location);
    expect(status).toMatchObject({ status: 204, headers: { location, range: '0-2' } });
    expect(status.headers['content-length']).toBeUndefined();
  });

  test.each([
    ['PATCH ahead of what is there', 'PATCH', '4-4', 'o'],
    ['PATCH of what is there already', 'PATCH', '0-1', 'he'],
    ['PUT ahead of what is there', 'PUT', '4-4', 'o'],
  ])('ACCEPTANCE 42: %s: 416, and the upload completes after all', async (_, method, range, text) => {
    const location = await startUpload(url, 'app');
    await chunk(location, '0-1', 'he');
    const answer = await chunk(method === 'PUT' ? `${location}?digest=${digest}` : location, range, text, method);
    expect(answer).toMatchObject({ status: 416, headers: { location, range: '0-1' } });
    expect(answer.errors[0]).toMatchObject({ code: 'BLOB_UPLOAD_INVALID', message: expect.stringContaining('byte 2') });
    await chunk(location, '2-4', 'llo');
    expectCreated(await send(url, 'PUT', `${location}?digest=${digest}`), 'app');
  });

  test.each(['GET', 'PATCH', 'PUT', 'DELETE'])(
    'ACCEPTANCE 42: %s of an upload by way of another repository: 404, and the upload completes after all',
    async (method) => {
      const location = await startUpload(url, 'app');
      await chunk(location, '0-1', 'he');
      const answer = await send(url, method, `${location.replace('/app/', '/other/')}?digest=${digest}`);
      expect(answer).toMatchObject({ status: 404, errors: [{ code: 'BLOB_UPLOAD_UNKNOWN' }] });
      await chunk(location, '2-4', 'llo');
      expectCreated(await send(url, 'PUT', `${location}?digest=${digest}`), 'app');
      expect(await blobStatus('other')).toBe(404);
    },
  );

  test.each(['bytes 0-4/5', '0-', '-4', '4-0', '0-1,2-4', 'x'])('Content-Range %j: 400', async (range) => {
    const answer = await chunk(await startUpload(url, 'app'), range, 'hello');
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 'BLOB_UPLOAD_INVALID' }] });
  });

  test('a length other than that of the range: 400, and nothing was taken', async () => {
    const location = await startUpload(url, 'app');
    const answer = await chunk(location, '0-3', 'hello');
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 'SIZE_INVALID' }] });
    expectCreated(await send(url, 'PUT', `${location}?digest=${digest}`, { body: hello }), 'app');
  });

  test.each([
    ['more', '0-2', ['hel', 'lo']],
    ['less', '0-7', ['hel']],
  ])('a stream of %s than the range: 400, and what was of the range is there', async (_, range, parts) => {
    const location = await startUpload(url, 'app');
    const sent = { headers: { 'content-range': range }, body: streamOf(...parts) };
    expect(await send(url, 'PATCH', location, sent)).toMatchObject({ status: 400, errors: [{ code: 'SIZE_INVALID' }] });
    expect((await send(url, 'GET', location)).headers.range).toBe('0-2');
  });

  test('an upload that is cancelled is gone (end-14)', async () => {
    const location = await startUpload(url, 'app');
    await chunk(location, '0-4', 'hello');
    expect(await send(url, 'DELETE', location)).toMatchObject({ status: 204 });
    for (const method of ['GET', 'PATCH', 'PUT', 'DELETE']) {
      const answer = await send(url, method, `${location}?digest=${digest}`);
      expect(answer).toMatchObject({ status: 404, errors: [{ code: 'BLOB_UPLOAD_UNKNOWN' }] });
    }
    expect(await blobStatus('app')).toBe(404);
  });

  test('an upload that is complete is gone', async () => {
    const location = await startUpload(url, 'app');
    await send(url, 'PUT', `${location}?digest=${digest}`, { body: hello });
    expect((await send(url, 'GET', location)).status).toBe(404);
  });
});

describe('ACCEPTANCE 40: mounting (end-11)', () => {
  beforeEach(() => pushBlob(url, 'from', hello));

  test.each([
    ['from the repository that is named', `?mount=${digest}&from=from`],
    ['from whichever repository has it', `?mount=${digest}`],
  ])('%s: 201', async (_, query) => {
    expectCreated(await send(url, 'POST', `/v2/app/blobs/uploads/${query}`), 'app');
    expect((await send(url, 'GET', `/v2/app/blobs/${digest}`)).body).toEqual(hello);
  });

  test.each([
    ['a repository that lacks it', `?mount=${digest}&from=other`],
    ['a repository, when no repository has it', `?mount=${absent}&from=from`],
    ['anywhere, when no repository has it', `?mount=${absent}`],
  ])('ACCEPTANCE 47: from %s: 202 and an upload', async (_, query) => {
    const { status, headers } = await send(url, 'POST', `/v2/app/blobs/uploads/${query}`);
    expect(status).toBe(202);
    expect(await blobStatus('app')).toBe(404);
    expectCreated(await send(url, 'PUT', `${headers.location}?digest=${digest}`, { body: hello }), 'app');
  });

  test.each([
    ['?mount=sha256:bad&from=from', 'DIGEST_INVALID'],
    [`?mount=${digest}&from=../from`, 'NAME_INVALID'],
  ])('with %s: 400', async (query, code) => {
    const answer = await send(url, 'POST', `/v2/app/blobs/uploads/${query}`);
    expect(answer).toMatchObject({ status: 400, errors: [{ code }] });
  });
});

describe('ACCEPTANCE 40: pushing manifests (end-7a, end-7b)', () => {
  const image = manifestOf('layer');

  test('by tag, before what it refers to', async () => {
    const { status, headers } = await putManifest(url, 'app', 'v1', image);
    expect(status).toBe(201);
    expect(headers).toMatchObject({
      location: `/v2/app/manifests/${image.digest}`,
      'docker-content-digest': image.digest,
    });
    expect(headers['oci-subject']).toBeUndefined();
    for (const name of ['v1', image.digest]) {
      expect((await send(url, 'GET', `/v2/app/manifests/${name}`)).body).toEqual(image.bytes);
    }
  });

  test.each<DigestAlgorithm>(['sha256', 'sha512', 'blake3'])('by a %s digest', async (algorithm) => {
    const other = digestOf(image.bytes, algorithm);
    const { status, headers } = await putManifest(url, 'app', other, image);
    expect({ status, digest: headers['docker-content-digest'] }).toEqual({ status: 201, digest: other });
    expect((await send(url, 'GET', `/v2/app/manifests/${other}`)).body).toEqual(image.bytes);
  });

  test.each<DigestAlgorithm>(['sha256', 'sha512'])('by a %s digest with tags', async (algorithm) => {
    const other = digestOf(image.bytes, algorithm);
    const tags = Array.from({ length: 12 }, (_, position) => `v${position}`);
    const query = tags.map((tag) => `tag=${tag}`).join('&');
    const { status, headers } = await putManifest(url, 'app', `${other}?${query}`, image);
    expect({ status, tags: headers['oci-tag'] }).toEqual({ status: 201, tags: tags.join(', ') });
    const byTag = await send(url, 'GET', '/v2/app/manifests/v11');
    expect({ digest: byTag.headers['docker-content-digest'], body: byTag.body }).toEqual({
      digest: other,
      body: image.bytes,
    });
  });

  test.each([
    ['as its name', '-bad'],
    ['beside others', `${image.digest}?tag=good&tag=-bad`],
  ])('with a tag that none can have %s: 400, and there is nothing', async (_, name) => {
    const answer = await putManifest(url, 'app', name, image);
    expect(answer).toMatchObject({ status: 400, errors: [{ message: expect.stringContaining('"-bad"') }] });
    expect((await send(url, 'GET', '/v2/app/tags/list')).status).toBe(404);
  });

  test('a subject is confirmed, there or not', async () => {
    const subject = { mediaType: mediaTypes.imageManifest, digest: absent, size: 6 };
    const { status, headers } = await putManifest(url, 'app', 'v1', manifestOf('layer', { subject }));
    expect({ status, subject: headers['oci-subject'] }).toEqual({ status: 201, subject: absent });
  });

  test.each([
    ['parameters of the Content-Type are dropped', `${mediaTypes.imageManifest}; charset=utf-8`],
    ['without a Content-Type the body says what it is', undefined],
  ])('%s', async (_, mediaType) => {
    const headers = mediaType === undefined ? {} : { 'content-type': mediaType };
    const put = await send(url, 'PUT', '/v2/app/manifests/v1', { headers, body: image.bytes });
    expect(put.status).toBe(201);
    const got = await send(url, 'GET', '/v2/app/manifests/v1');
    expect(got.headers['content-type']).toBe(mediaTypes.imageManifest);
  });

  test.each([
    ['no JSON', mediaTypes.imageManifest, '{'],
    ['an empty body', mediaTypes.imageManifest, ''],
    ['another mediaType than the Content-Type', mediaTypes.imageIndex, image.bytes.toString()],
    ['a media type that is none of a manifest', 'text/plain', image.bytes.toString()],
    ['no media type at all', '', '{"schemaVersion":2}'],
    ['no config', mediaTypes.imageManifest, '{"schemaVersion":2,"layers":[]}'],
    [
      'a descriptor of negative size',
      mediaTypes.imageManifest,
      image.bytes.toString().replace('"size":2', '"size":-2'),
    ],
    ['manifests beside layers', mediaTypes.imageManifest, `${image.bytes.toString().slice(0, -1)},"manifests":[]}`],
    ['a key twice', mediaTypes.imageManifest, `${image.bytes.toString().slice(0, -1)},"layers":[]}`],
  ])('%s: 400, and there is nothing', async (_, mediaType, body) => {
    const headers = mediaType === '' ? {} : { 'content-type': mediaType };
    const answer = await send(url, 'PUT', '/v2/app/manifests/v1', { headers, body });
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 'MANIFEST_INVALID' }] });
    expect((await send(url, 'GET', '/v2/app/manifests/v1')).status).toBe(404);
  });

  test('ACCEPTANCE 43: under a digest that is not its own: 400; a GET of it then: 404', async () => {
    const answer = await putManifest(url, 'app', absent, image);
    expect(answer).toMatchObject({ status: 400, errors: [{ code: 'DIGEST_INVALID' }] });
    expect(answer.errors[0]?.message).toContain(image.digest);
    for (const name of [absent, image.digest]) {
      expect((await send(url, 'GET', `/v2/app/manifests/${name}`)).status).toBe(404);
    }
  });
});

describe('a registry that takes nothing before what it refers to', () => {
  let strict: Registry;
  beforeEach(async () => {
    strict = await startRegistry({ sparse: false });
  });
  afterEach(() => strict.close());
  const image = manifestOf('layer');

  test('refuses an image until its config and layers are there', async () => {
    for (const missing of [image.config, image.content]) {
      const answer = await putManifest(strict.url, 'app', 'v1', image);
      expect(answer).toMatchObject({ status: 400, errors: [{ code: 'MANIFEST_BLOB_UNKNOWN' }] });
      expect(answer.errors[0]?.message).toContain(missing.digest);
      await pushBlob(strict.url, 'app', missing.bytes);
    }
    expect((await putManifest(strict.url, 'app', 'v1', image)).status).toBe(201);
  });

  test('refuses an index until its images are there', async () => {
    const index = indexOf([image]);
    const answer = await putManifest(strict.url, 'app', 'v1', index);
    expect(answer.errors).toMatchObject([
      { code: 'MANIFEST_BLOB_UNKNOWN', message: expect.stringContaining(image.digest) },
    ]);
    for (const { bytes } of [image.config, image.content]) await pushBlob(strict.url, 'app', bytes);
    await putManifest(strict.url, 'app', image.digest, image);
    expect((await putManifest(strict.url, 'app', 'v1', index)).status).toBe(201);
  });

  test('takes a subject that is not there, and a layer that is to be had elsewhere', async () => {
    await pushBlob(strict.url, 'app', '{}');
    const layers = [{ mediaType: mediaTypes.layer, digest: absent, size: 6, urls: ['https://example.com/layer'] }];
    const subject = { mediaType: mediaTypes.imageManifest, digest: absent, size: 6 };
    const foreign = manifestOf('', { layers, subject });
    expect((await putManifest(strict.url, 'app', 'v1', foreign)).status).toBe(201);
  });
});
