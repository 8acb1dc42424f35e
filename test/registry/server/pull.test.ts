import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { digestOf, mediaTypes } from '../../../src';
import { type Registry, startRegistry } from '../../../src/registry/server/start-registry';
import { blobOf, indexOf, manifestOf, pushBlob, putManifest, send } from './send';

const image = manifestOf('layer');
const index = indexOf([image]);
const docker = manifestOf('docker', { mediaType: mediaTypes.dockerManifest });
const dockerList = indexOf([docker], { mediaType: mediaTypes.dockerManifestList });
const absent = digestOf(Buffer.from('absent'));

let registry: Registry;
beforeAll(async () => {
  registry = await startRegistry();
  await pushBlob(registry.url, 'app', 'layer');
  await pushBlob(registry.url, 'app', '');
  await putManifest(registry.url, 'app', 'v1', image);
  await putManifest(registry.url, 'app', 'index', index);
  await putManifest(registry.url, 'app', 'docker', { ...docker, mediaType: mediaTypes.dockerManifest });
  await putManifest(registry.url, 'app', 'list', { ...dockerList, mediaType: mediaTypes.dockerManifestList });
});
afterAll(() => registry.close());

describe('Determining support (end-1)', () => {
  test.each(['/v2/', '/v2'])('GET %s says that this is a registry', async (path) => {
    const { status, headers, body } = await send(registry.url, 'GET', path);
    expect({ status, body: body.toString() }).toEqual({ status: 200, body: '{}' });
    expect(headers['docker-distribution-api-version']).toBe('registry/2.0');
  });
});

describe('M14, ACCEPTANCE 40: pulling manifests (end-3)', () => {
  test.each([
    ['an image by tag', 'v1', image, mediaTypes.imageManifest],
    ['an image by digest', image.digest, image, mediaTypes.imageManifest],
    ['an index', 'index', index, mediaTypes.imageIndex],
    ["Docker's manifest", 'docker', docker, mediaTypes.dockerManifest],
    ["Docker's manifest list", 'list', dockerList, mediaTypes.dockerManifestList],
  ] as const)(
    'GET and HEAD of %s give its own bytes and what they are',
    async (_, name, { bytes, digest }, mediaType) => {
      const expected = {
        'content-type': mediaType,
        'content-length': String(bytes.length),
        'docker-content-digest': digest,
        etag: `"${digest}"`,
      };
      const got = await send(registry.url, 'GET', `/v2/app/manifests/${name}`);
      expect(got.status).toBe(200);
      expect(got.headers).toMatchObject(expected);
      expect(got.body).toEqual(bytes);
      const head = await send(registry.url, 'HEAD', `/v2/app/manifests/${name}`);
      expect(head).toMatchObject({ status: 200, headers: expected, body: Buffer.of() });
    },
  );

  test.each([
    ['a tag that is not there', '/v2/app/manifests/v2', 'MANIFEST_UNKNOWN', 'v2'],
    ['a tag that none can have', '/v2/app/manifests/.hidden', 'MANIFEST_UNKNOWN', '.hidden'],
    ['a tag that is too long', `/v2/app/manifests/${'a'.repeat(129)}`, 'MANIFEST_UNKNOWN', 'aaa'],
    ['a digest that is not there', `/v2/app/manifests/${absent}`, 'MANIFEST_UNKNOWN', absent],
    ['a repository that is not there', '/v2/other/manifests/v1', 'NAME_UNKNOWN', 'other'],
    ['a blob', `/v2/app/manifests/${blobOf('layer').digest}`, 'MANIFEST_UNKNOWN', blobOf('layer').digest],
  ])('of %s: 404', async (_, path, code, thing) => {
    const answer = await send(registry.url, 'GET', path);
    expect(answer).toMatchObject({ status: 404, errors: [{ code, message: expect.stringContaining(thing) }] });
    expect(await send(registry.url, 'HEAD', path)).toMatchObject({ status: 404, body: Buffer.of() });
  });

  test.each([
    ['a malformed digest', 'sha256:bad', 'DIGEST_INVALID'],
    ['a digest in upper case', `sha256:${'A'.repeat(64)}`, 'DIGEST_INVALID'],
    ['a digest of another algorithm', 'md5:d41d8cd98f00b204e9800998ecf8427e', 'DIGEST_INVALID'],
  ])('under %s: 400', async (_, name, code) => {
    const answer = await send(registry.url, 'GET', `/v2/app/manifests/${name}`);
    expect(answer).toMatchObject({ status: 400, errors: [{ code }] });
  });
});

describe('M14, ACCEPTANCE 40: pulling blobs (end-2)', () => {
  test.each(['layer', ''])('GET and HEAD of a blob: %j', async (content) => {
    const { bytes, digest } = blobOf(content);
    const expected = {
      'content-type': 'application/octet-stream',
      'content-length': String(bytes.length),
      'docker-content-digest': digest,
      'accept-ranges': 'bytes',
      etag: `"${digest}"`,
    };
    const got = await send(registry.url, 'GET', `/v2/app/blobs/${digest}`);
    expect(got).toMatchObject({ status: 200, headers: expected, body: bytes });
    const head = await send(registry.url, 'HEAD', `/v2/app/blobs/${digest}`);
    expect(head).toMatchObject({ status: 200, headers: expected, body: Buffer.of() });
  });

  test.each([
    ['a blob that is not there', `/v2/app/blobs/${absent}`, 'BLOB_UNKNOWN', absent],
    ['a repository that is not there', `/v2/other/blobs/${absent}`, 'NAME_UNKNOWN', 'other'],
    ['a manifest', `/v2/app/blobs/${image.digest}`, 'BLOB_UNKNOWN', image.digest],
  ])('of %s: 404', async (_, path, code, thing) => {
    const answer = await send(registry.url, 'GET', path);
    expect(answer).toMatchObject({ status: 404, errors: [{ code, message: expect.stringContaining(thing) }] });
  });
});

describe('M14, ACCEPTANCE 40: parts of content (RFC 9110, section 14)', () => {
  const { bytes, digest } = blobOf('layer');

  test.each([
    ['bytes=1-3', 'aye', 'bytes 1-3/5'],
    ['bytes=2-', 'yer', 'bytes 2-4/5'],
    ['bytes=-2', 'er', 'bytes 3-4/5'],
    ['bytes=-9', 'layer', 'bytes 0-4/5'],
    ['bytes=3-99', 'er', 'bytes 3-4/5'],
    ['bytes=4-4', 'r', 'bytes 4-4/5'],
  ])('%s: 206', async (range, expected, contentRange) => {
    const { status, headers, body } = await send(registry.url, 'GET', `/v2/app/blobs/${digest}`, {
      headers: { range },
    });
    expect({ status, body: body.toString() }).toEqual({ status: 206, body: expected });
    expect(headers).toMatchObject({
      'content-range': contentRange,
      'content-length': String(expected.length),
      'docker-content-digest': digest,
    });
  });

  test.each(['bytes=5-', 'bytes=9-12', 'bytes=3-1', 'bytes=-0'])('%s: 416', async (range) => {
    const answer = await send(registry.url, 'GET', `/v2/app/blobs/${digest}`, { headers: { range } });
    expect(answer).toMatchObject({ status: 416, headers: { 'content-range': 'bytes */5' } });
  });

  test.each(['bytes=0-1,3-4', 'lines=1-2', 'bytes=', 'bytes=-', 'bytes=a-b'])('%s is not heeded', async (range) => {
    const answer = await send(registry.url, 'GET', `/v2/app/blobs/${digest}`, { headers: { range } });
    expect(answer).toMatchObject({ status: 200, body: bytes });
  });

  test('a HEAD request knows no range', async () => {
    const answer = await send(registry.url, 'HEAD', `/v2/app/blobs/${digest}`, { headers: { range: 'bytes=1-2' } });
    expect(answer).toMatchObject({ status: 200, headers: { 'content-length': '5' } });
  });

  test('a range of content that the client no longer has the start of is not heeded (If-Range)', async () => {
    const ask = (condition: string) =>
      send(registry.url, 'GET', `/v2/app/blobs/${digest}`, { headers: { range: 'bytes=1-2', 'if-range': condition } });
    expect((await ask(`"${digest}"`)).status).toBe(206);
    expect((await ask(`"${absent}"`)).status).toBe(200);
  });

  test('manifests have parts too', async () => {
    const answer = await send(registry.url, 'GET', '/v2/app/manifests/v1', { headers: { range: 'bytes=1-4' } });
    expect(answer).toMatchObject({ status: 206, body: image.bytes.subarray(1, 5) });
  });
});

describe('M14: content that the client has (RFC 9110, section 13.1.2)', () => {
  const etag = `"${image.digest}"`;

  test.each([[etag], [`W/${etag}`], [`"x", ${etag}`], ['*']])('If-None-Match %s: 304', async (condition) => {
    const headers = { 'if-none-match': condition };
    const answer = await send(registry.url, 'GET', '/v2/app/manifests/v1', { headers });
    expect(answer).toMatchObject({ status: 304, headers: { etag }, body: Buffer.of() });
  });

  test.each([[`"${absent}"`], [image.digest]])('If-None-Match %s: 200', async (condition) => {
    const headers = { 'if-none-match': condition };
    const answer = await send(registry.url, 'GET', '/v2/app/manifests/v1', { headers });
    expect(answer).toMatchObject({ status: 200, body: image.bytes });
  });
});

describe('requests that no registry answers', () => {
  test.each([
    ['PUT', '/v2/', 'GET'],
    ['POST', '/v2/app/manifests/v1', 'GET, PUT, DELETE'],
    ['PATCH', `/v2/app/blobs/${absent}`, 'GET, DELETE'],
    ['GET', '/v2/app/blobs/uploads/', 'POST'],
    ['DELETE', '/v2/app/tags/list', 'GET'],
    ['OPTIONS', '/v2/_catalog', 'GET'],
  ])('%s %s: 405', async (method, path, allow) => {
    const answer = await send(registry.url, method, path);
    expect(answer).toMatchObject({ status: 405, headers: { allow }, errors: [{ code: 'UNSUPPORTED' }] });
  });

  test.each(['/', '/v1/', '/v2/app', '/v2/app/manifests/', '/token'])('GET %s: 404', async (path) => {
    expect(await send(registry.url, 'GET', path)).toMatchObject({ status: 404, errors: [{ code: 'UNSUPPORTED' }] });
  });
});
