import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { InvalidDocumentError } from '../../../src';
import type { Fault } from '../../../src/registry/server/faults';
import { type Registry, startRegistry } from '../../../src/registry/server/start-registry';
import { collect, failureOf } from '../../fixtures';
import { blobOf, manifestOf, open, pushBlob, putManifest, send, startUpload } from './send';

let registry: Registry;
let url: string;
const image = manifestOf('layer');
const { bytes: layer, digest } = image.content;
const blobPath = `/v2/app/blobs/${digest}`;
beforeEach(async () => {
  registry = await startRegistry();
  url = registry.url;
  await pushBlob(url, 'app', 'layer');
  await putManifest(url, 'app', 'v1', image);
});
afterEach(() => registry.close());

const get = (path = blobPath, headers = {}) => send(url, 'GET', path, { headers });
const statuses = async (times: number, path?: string) => {
  const found = [];
  for (let time = 0; time < times; time++) found.push((await get(path)).status);
  return found;
};

describe('B5: whom a fault befalls', () => {
  test.each<[string, Fault, readonly [string, string][]]>([
    [
      'everybody',
      {},
      [
        ['GET', '/v2/'],
        ['GET', blobPath],
        ['POST', '/v2/app/blobs/uploads/'],
      ],
    ],
    ['a method', { method: 'POST' }, [['POST', '/v2/app/blobs/uploads/']]],
    ['a path', { path: '/v2/' }, [['GET', '/v2/']]],
    [
      'paths',
      { path: /\/blobs\// },
      [
        ['GET', blobPath],
        ['POST', '/v2/app/blobs/uploads/'],
      ],
    ],
    [
      'paths, by an expression that keeps its place',
      { path: /\/blobs\//g },
      [
        ['GET', blobPath],
        ['GET', blobPath],
      ],
    ],
    [
      'a repository',
      { repository: 'app' },
      [
        ['GET', blobPath],
        ['GET', '/v2/app/manifests/v1'],
        ['GET', '/v2/app/tags/list'],
      ],
    ],
    [
      'a digest in the path',
      { digest },
      [
        ['GET', blobPath],
        ['HEAD', blobPath],
      ],
    ],
    ['a digest in the query', { digest }, [['POST', `/v2/b/blobs/uploads/?mount=${encodeURIComponent(digest)}`]]],
    ['what has everything', { method: 'GET', digest, repository: 'app' }, [['GET', blobPath]]],
  ])('%s', async (_, match, befallen) => {
    const fault = registry.misbehave({ ...match, status: 503 });
    for (const [method, path] of befallen) expect((await send(url, method, path)).status).toBe(503);
    expect(fault.hits).toBe(befallen.length);
  });

  test.each<[string, Fault, readonly [string, string][]]>([
    ['another method', { method: 'POST' }, [['GET', blobPath]]],
    [
      'another path',
      { path: '/v2' },
      [
        ['GET', '/v2/'],
        ['GET', blobPath],
      ],
    ],
    [
      'another repository',
      { repository: 'ap' },
      [
        ['GET', blobPath],
        ['GET', '/v2/'],
      ],
    ],
    ['a repository below', { repository: 'v2' }, [['GET', blobPath]]],
    ['another digest', { digest: image.digest }, [['GET', blobPath]]],
    ['one of two things', { method: 'POST', digest }, [['GET', blobPath]]],
    ['no time at all', { times: 0 }, [['GET', blobPath]]],
    ['mounts alone', { refuseMount: true }, [['GET', blobPath]]],
    ['ranges alone', { ignoreRange: true }, [['GET', blobPath]]],
    ['what has a body to cut', { cutUploadAfter: 1 }, [['GET', blobPath]]],
    ['what has an answer to cut', { cutAfter: 1 }, [['HEAD', blobPath]]],
    ['what has an answer to change', { flipByte: 0 }, [['HEAD', blobPath]]],
  ])('nobody else: %s', async (_, match, spared) => {
    const fault = registry.misbehave({ ...match, status: 503 });
    for (const [method, path] of spared) expect((await send(url, method, path)).status).toBe(200);
    expect(fault.hits).toBe(0);
  });

  test('so often and no more', async () => {
    const fault = registry.misbehave({ status: 503, times: 2 });
    expect(await statuses(4)).toEqual([503, 503, 200, 200]);
    expect(fault.hits).toBe(2);
  });

  test('until it is stopped', async () => {
    const fault = registry.misbehave({ status: 503 });
    expect(await statuses(2)).toEqual([503, 503]);
    fault.stop();
    expect(await statuses(1)).toEqual([200]);
    expect(fault.hits).toBe(2);
  });

  test('several at once, of which the later one counts', async () => {
    registry.misbehave({ status: 503, headers: { 'x-first': '1' } });
    registry.misbehave({ status: 502, times: 1 });
    expect(await get()).toMatchObject({ status: 502, headers: { 'x-first': '1' } });
    expect((await get()).status).toBe(503);
  });

  test.each<[string, object | null, string]>([
    ['a field that there is not', { stat: 503 }, 'fault: $: expected only options that there are, found "stat"'],
    [
      'a method that none sends',
      { method: 'get' },
      'fault: $.method: expected a method in capital letters, found "get"',
    ],
    ['no whole path', { path: 'v2/' }, 'fault: $.path: expected a whole path, which begins with "/", or a RegExp'],
    ['what is no path', { path: () => true }, 'fault: $.path: expected string, found function'],
    ['fewer times than none', { times: -1 }, 'fault: $.times: expected number to be >=0, found -1'],
    ['a status that none can send', { status: 99 }, 'fault: $.status: expected number to be >=200, found 99'],
    ['half a byte', { cutAfter: 1.5 }, 'fault: $.cutAfter: expected int, found 1.5'],
    ['a byte before the first', { flipByte: -1 }, 'fault: $.flipByte: expected number to be >=0, found -1'],
    ['a delay that no timer knows', { delay: 1e12 }, 'fault: $.delay: expected number to be <=2147483647'],
    ['no delay', { delay: '1s' }, 'fault: $.delay: expected number, found "1s"'],
    ['either of two', { hangUp: true }, 'fault: $.hangUp: expected one of "before"|"after", found true'],
    [
      'a redirect to nowhere',
      { redirect: 'other' },
      'fault: $.redirect: expected an origin, as in https://other.example',
    ],
    ['nothing', null, 'fault: $: expected object, found null'],
  ])('what nobody can mean is refused: %s', async (_, fault, message) => {
    const failure = await failureOf(InvalidDocumentError, async () => registry.misbehave(fault as Fault));
    expect(failure.message).toContain(message);
    expect((await get()).status).toBe(200);
  });

  test('from the start', async () => {
    await using broken = await startRegistry({ faults: [{ status: 500, times: 1 }] });
    expect((await send(broken.url, 'GET', '/v2/')).status).toBe(500);
    expect((await send(broken.url, 'GET', '/v2/')).status).toBe(200);
  });
});

describe('B5: what goes wrong', () => {
  test.each([
    [503, 'UNKNOWN'],
    [429, 'TOOMANYREQUESTS'],
    [401, 'UNAUTHORIZED'],
    [403, 'DENIED'],
    [404, 'UNSUPPORTED'],
  ])('a status: %d', async (status, code) => {
    registry.misbehave({ status, retryAfter: 7 });
    expect(await get()).toMatchObject({ status, headers: { 'retry-after': '7' }, errors: [{ code }] });
  });

  test('a status on a push, and nothing is pushed', async () => {
    registry.misbehave({ method: 'PUT', status: 500, times: 1 });
    const location = await startUpload(url, 'app');
    const { bytes, digest } = blobOf('new');
    expect((await send(url, 'PUT', `${location}?digest=${digest}`, { body: bytes })).status).toBe(500);
    expect((await get(`/v2/app/blobs/${digest}`)).status).toBe(404);
    expect((await send(url, 'PUT', `${location}?digest=${digest}`, { body: bytes })).status).toBe(201);
  });

  test('an answer that waits for an event', async () => {
    let release = (_: unknown): void => undefined;
    const event = new Promise((resolve) => {
      release = resolve;
    });
    registry.misbehave({ delay: event, path: blobPath });
    let isAnswered = false;
    const waiting = get().then((answer) => {
      isAnswered = true;
      return answer;
    });
    expect((await get('/v2/')).status).toBe(200);
    expect(isAnswered).toBe(false);
    release(undefined);
    expect((await waiting).status).toBe(200);
  });

  test('an answer that is late', async () => {
    registry.misbehave({ delay: 50 });
    const before = performance.now();
    expect((await get()).status).toBe(200);
    expect(performance.now() - before).toBeGreaterThan(45);
  });

  test.each([[3_600_000], [new Promise(() => undefined)]])('a delay ends with the registry', async (delay) => {
    registry.misbehave({ delay, method: 'POST' });
    const waiting = send(url, 'POST', `/v2/app/blobs/uploads/?mount=${digest}`);
    const outcome = expect(waiting).rejects.toThrow('socket hang up');
    // The first one was made to push the layer.
    while (registry.requests.filter(({ method }) => method === 'POST').length < 2) await get('/v2/');
    await registry.close();
    await outcome;
  });

  test('no answer, and nothing done', async () => {
    registry.misbehave({ hangUp: 'before', method: 'PUT' });
    await expect(putManifest(url, 'app', 'v2', image)).rejects.toThrow('socket hang up');
    expect((await get('/v2/app/manifests/v2')).status).toBe(404);
  });

  test('no answer, though it was done', async () => {
    registry.misbehave({ hangUp: 'after', method: 'PUT' });
    await expect(putManifest(url, 'app', 'v2', image)).rejects.toThrow('socket hang up');
    expect((await get('/v2/app/manifests/v2')).status).toBe(200);
  });

  test.each([
    [0, blobPath],
    [3, blobPath],
    [10, '/v2/app/manifests/v1'],
  ])('a body that ends after %d bytes', async (cutAfter, path) => {
    const whole = (await get(path)).body;
    registry.misbehave({ cutAfter });
    const response = await open(url, 'GET', path);
    expect(response.headers['content-length']).toBe(String(whole.length));
    const chunks: Buffer[] = [];
    response.on('data', (chunk) => chunks.push(chunk));
    await expect(new Promise((_, reject) => response.on('error', reject))).rejects.toThrow('aborted');
    expect(Buffer.concat(chunks)).toEqual(whole.subarray(0, cutAfter));
  });

  test('a body that ends after megabytes', async () => {
    const { bytes, digest } = blobOf(Buffer.alloc(5_000_000, 7));
    await pushBlob(url, 'app', bytes);
    registry.misbehave({ cutAfter: 3_000_000 });
    const response = await open(url, 'GET', `/v2/app/blobs/${digest}`);
    let received = 0;
    response.on('data', (chunk) => {
      received += chunk.length;
    });
    await expect(new Promise((_, reject) => response.on('error', reject))).rejects.toThrow('aborted');
    expect(received).toBe(3_000_000);
  });

  test('an upload that is cut, and goes on where it was', async () => {
    const { bytes, digest } = blobOf('hello');
    const location = await startUpload(url, 'app');
    registry.misbehave({ method: 'PATCH', cutUploadAfter: 2, times: 1 });
    await expect(send(url, 'PATCH', location, { body: bytes })).rejects.toThrow(/hang up|ECONNRESET|EPIPE/);
    expect((await send(url, 'GET', location)).headers.range).toBe('0-1');
    const rest = { headers: { 'content-range': '2-4' }, body: bytes.subarray(2) };
    expect((await send(url, 'PUT', `${location}?digest=${digest}`, rest)).status).toBe(201);
  });

  test('a byte that is another one, wherever it is read from', async () => {
    registry.misbehave({ flipByte: 1, digest });
    const flipped = Buffer.from(layer);
    flipped[1] = 0xff - (layer[1] as number);
    expect((await get()).body).toEqual(flipped);
    expect((await get(blobPath, { range: 'bytes=1-2' })).body).toEqual(flipped.subarray(1, 3));
    expect((await get(blobPath, { range: 'bytes=2-3' })).body).toEqual(layer.subarray(2, 4));
    expect((await get('/v2/app/manifests/v1')).body).toEqual(image.bytes);
  });

  test('a manifest with a byte that is another one, which stays right in the registry', async () => {
    const fault = registry.misbehave({ flipByte: 0 });
    expect((await get('/v2/app/manifests/v1')).body.subarray(1)).toEqual(image.bytes.subarray(1));
    fault.stop();
    expect((await get('/v2/app/manifests/v1')).body).toEqual(image.bytes);
  });

  test('a mount that is refused', async () => {
    const fault = registry.misbehave({ refuseMount: true, times: 1 });
    const mount = () => send(url, 'POST', `/v2/other/blobs/uploads/?mount=${digest}&from=app`);
    expect((await mount()).status).toBe(202);
    expect((await mount()).status).toBe(201);
    expect(fault.hits).toBe(1);
  });

  test('a range that is ignored', async () => {
    registry.misbehave({ ignoreRange: true, times: 1 });
    const range = 'bytes=1-2';
    expect(await get(blobPath, { range })).toMatchObject({ status: 200, body: layer });
    expect(await get(blobPath, { range })).toMatchObject({ status: 206, body: layer.subarray(1, 3) });
  });

  test('headers that are wrong or missing', async () => {
    registry.misbehave({ headers: { 'content-range': 'bytes 0-1/9', 'docker-content-digest': null, 'x-more': 'x' } });
    const { status, headers, body } = await get(blobPath, { range: 'bytes=1-2' });
    expect({ status, body }).toEqual({ status: 206, body: layer.subarray(1, 3) });
    expect(headers).toMatchObject({ 'content-range': 'bytes 0-1/9', 'x-more': 'x' });
    expect(headers['docker-content-digest']).toBeUndefined();
  });

  test('a redirect to another origin, which may serve the same', async () => {
    await using other = await startRegistry({ storage: registry.storage });
    registry.misbehave({ redirect: other.url });
    const { status, headers } = await get(`${blobPath}?ns=x`);
    expect({ status, location: headers.location }).toEqual({ status: 307, location: `${other.url}${blobPath}?ns=x` });
    expect((await fetch(`${url}${blobPath}`)).status).toBe(200);
    expect(other.requests.map(({ path }) => path)).toEqual([blobPath]);
  });

  test('a redirect to a place of its own', async () => {
    registry.misbehave({ redirect: 'https://storage.example/bucket/object?signature=x' });
    expect((await get()).headers.location).toBe('https://storage.example/bucket/object?signature=x');
  });

  test.each([
    ['Bearer let-me-in', 'Bearer realm="registry"'],
    ['Basic dXNlcjpwYXNz', 'Basic realm="registry"'],
  ])('other credentials are demanded: %s', async (authorization, challenge) => {
    registry.misbehave({ authorization, path: blobPath });
    expect(await get()).toMatchObject({ status: 401, headers: { 'www-authenticate': challenge } });
    expect((await get(blobPath, { authorization: 'Bearer other' })).status).toBe(401);
    expect((await get(blobPath, { authorization })).status).toBe(200);
    expect((await get('/v2/')).status).toBe(200);
  });

  test('a header that none can send ends the connection, and the registry goes on', async () => {
    registry.misbehave({ headers: { 'x-bad': 'a\nb' }, times: 1 });
    await expect(get()).rejects.toThrow('socket hang up');
    expect((await get()).status).toBe(200);
  });
});

test('content that is cut is what came, for whoever collects it', async () => {
  registry.misbehave({ cutAfter: 2 });
  await expect(collect(await open(url, 'GET', blobPath))).rejects.toThrow('aborted');
});
