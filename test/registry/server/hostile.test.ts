import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { cpSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { digestOf, mediaTypes } from '../../../src';
import { memoryStorage } from '../../../src/registry/server/memory-storage';
import { maxManifestSize } from '../../../src/registry/server/push';
import { type Registry, startRegistry } from '../../../src/registry/server/start-registry';
import { collect, snapshot, temporaryDirectory } from '../../fixtures';
import { blobOf, manifestOf, open, pushBlob, putManifest, send, startUpload } from './send';

let registry: Registry;
let url: string;
beforeEach(async () => {
  registry = await startRegistry();
  url = registry.url;
});
afterEach(() => registry.close());

/** Goes on with a registry that has its content in a directory, which lies in the one whose path comes back. */
async function moveToDirectory(): Promise<string> {
  await registry.close();
  const around = temporaryDirectory();
  registry = await startRegistry({ storage: join(around, 'storage') });
  url = registry.url;
  return around;
}

const { bytes: hello, digest } = blobOf('hello');

/** A connection on which a request was begun. */
async function begin(text: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.write(text, resolve));
  return socket;
}

/** Until a connection has ended, in whatever way. */
function closedOf(socket: Socket): Promise<unknown> {
  return new Promise((resolve) => socket.once('close', resolve));
}

/** Waits for what will be so within a few turns of the event loop. */
async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await setImmediate();
}

describe('ACCEPTANCE 41: repositories whose names lead elsewhere', () => {
  const names = ['../x', 'a/../x', '%2e%2e', 'a%2fb', 'a//b', '/a', 'a/', 'A', 'a b', '.a', 'a\\b', 'a'.repeat(256)];

  /** Everything that could reach content by such a name. */
  async function expectRefused(name: string): Promise<void> {
    const path = `/v2/${name.replace(' ', '%20')}`;
    const requests: [method: string, path: string, body?: Uint8Array][] = [
      ['POST', `${path}/blobs/uploads/?digest=${digest}`, hello],
      ['POST', `${path}/blobs/uploads/`],
      ['PUT', `${path}/manifests/v1`, manifestOf('layer').bytes],
      ['GET', `${path}/manifests/v1`],
      ['DELETE', `${path}/blobs/${digest}`],
      ['GET', `${path}/tags/list`],
    ];
    for (const [method, path, body = Buffer.of()] of requests) {
      const { status, errors } = await send(url, method, path, { body });
      expect({ isRefused: status >= 400 && status < 500, status }).toEqual({ isRefused: true, status });
      expect(errors).toHaveLength(1);
    }
  }

  test.each(names)('%j: 4xx, and nothing is stored', async (name) => {
    await expectRefused(name);
    expect(await registry.storage.repositories()).toEqual([]);
  });

  test.each(names)('%j: 4xx, and nothing changes in a directory, nor beside it', async (name) => {
    const around = await moveToDirectory();
    await pushBlob(url, 'x', 'hello');
    // What "../x" would lead to.
    cpSync(join(around, 'storage/x'), join(around, 'x'), { recursive: true });
    const before = snapshot(around);
    await expectRefused(name);
    expect(snapshot(around)).toEqual(before);
    expect(await registry.storage.repositories()).toEqual(['x']);
  });

  test.each([
    `/v2/app/blobs/sha256:../../../etc/passwd`,
    `/v2/app/blobs/sha256%3A${'a'.repeat(64)}`,
    `/v2/app/manifests/..`,
    `/v2/app/manifests/%00`,
    `/v2/app/blobs/uploads/..%2f..`,
    '/v2/\u00e9/tags/list',
    'http://elsewhere/v2/',
    '*',
  ])('%s: 4xx', async (path) => {
    const { statusCode: status = 0 } = await open(url, 'GET', path);
    expect(status >= 400 && status < 500).toBe(true);
  });
});

describe('ACCEPTANCE 12, 44: manifests of all sizes', () => {
  const sized = (size: number) => {
    const empty = manifestOf('layer', { annotations: { text: '' } });
    return manifestOf('layer', { annotations: { text: 'x'.repeat(size - empty.bytes.length) } });
  };

  test('of 4 MiB: 201', async () => {
    const largest = sized(maxManifestSize);
    expect(largest.bytes.length).toBe(4 * 1024 * 1024);
    expect((await putManifest(url, 'app', 'v1', largest)).status).toBe(201);
    expect((await send(url, 'GET', '/v2/app/manifests/v1')).body.equals(largest.bytes)).toBe(true);
  });

  test('of a byte more: 413, before it is read', async () => {
    const answer = await putManifest(url, 'app', 'v1', sized(maxManifestSize + 1));
    expect(answer).toMatchObject({ status: 413, errors: [{ code: 'SIZE_INVALID' }] });
    expect(answer.errors[0]?.message).toContain(String(maxManifestSize));
    expect(registry.requests[0]?.bytesIn).toBe(0);
  });

  test('without a length and without an end: 413, no more than the limit is kept, and at some time nobody listens', async () => {
    const head = `PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: registry\r\nContent-Type: ${mediaTypes.imageManifest}\r\n`;
    const socket = await begin(`${head}Transfer-Encoding: chunked\r\n\r\n`);
    let answer = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answer += text;
    });
    const closed = closedOf(socket);
    const chunk = Buffer.alloc(1024 * 1024, 0x20);
    const sized = Buffer.concat([Buffer.from('100000\r\n'), chunk, Buffer.from('\r\n')]);
    let sent = 0;
    const sendOn = () => {
      sent++;
      if (sent < 200) socket.write(sized, (error) => error ?? sendOn());
    };
    sendOn();
    await closed;
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
    expect(registry.requests[0]?.bytesIn).toBeLessThan(maxManifestSize + chunk.length);
    expect(sent).toBeLessThan(200);
    expect((await send(url, 'GET', '/v2/')).status).toBe(200);
  });

  test('a blob that is larger than there is room for: 413, and the registry goes on', async () => {
    await using small = await startRegistry({ storage: memoryStorage(1000) });
    const location = await startUpload(small.url, 'app');
    const answer = await send(small.url, 'PUT', `${location}?digest=${digest}`, { body: randomBytes(200_000) });
    expect(answer).toMatchObject({ status: 413, errors: [{ code: 'SIZE_INVALID' }] });
    await send(small.url, 'DELETE', location);
    const posted = await send(small.url, 'POST', `/v2/app/blobs/uploads/?digest=${digest}`, { body: hello });
    expect(posted.status).toBe(201);
  });
});

describe('ACCEPTANCE 45: clients that stall', () => {
  const withinFiveSeconds = async (work: () => Promise<unknown>) => {
    const before = Date.now();
    await work();
    expect(Date.now() - before).toBeLessThan(5_000);
  };
  const headOf = (method: string, path: string, length: number) =>
    `${method} ${path} HTTP/1.1\r\nHost: registry\r\nContent-Length: ${length}\r\n\r\n`;

  test('others finish beside a stalled upload, and close() does not wait for it', async () => {
    const location = await startUpload(url, 'app');
    const stalled = await begin(`${headOf('PATCH', location, 1000)}hel`);
    await until(() => registry.requests.at(-1)?.bytesIn === 3);
    await pushBlob(url, 'app', 'hello');
    expect((await send(url, 'GET', `/v2/app/blobs/${digest}`)).body).toEqual(hello);
    const closed = closedOf(stalled);
    await withinFiveSeconds(() => registry.close());
    await closed;
  });

  test('close() does not wait for a stalled download, nor for an idle or a half-sent request', async () => {
    const large = randomBytes(30_000_000);
    await registry.storage.addBlob('app', digestOf(large), { size: large.length, open: () => chunksOf(large) });
    const response = await open(url, 'GET', `/v2/app/blobs/${digestOf(large)}`);
    await once(response, 'readable');
    const idle = await begin('GET /v2/ HTTP/1.1\r\nHost: registry\r\n\r\n');
    await once(idle, 'data');
    const half = await begin('GET /v2/ HTT');
    const closed = Promise.all([closedOf(idle), closedOf(half)]);
    response.on('error', () => undefined);
    await withinFiveSeconds(() => registry.close());
    await closed;
    await expect(collect(response)).rejects.toThrow('aborted');
  });

  test('close() does not wait for content that never comes', async () => {
    const opened = new EventEmitter();
    const never = async function* () {
      opened.emit('open');
      await new Promise(() => undefined);
      yield Buffer.of();
    };
    await registry.storage.addBlob('app', digest, { size: 5, open: never });
    const opening = once(opened, 'open');
    const socket = await begin(`GET /v2/app/blobs/${digest} HTTP/1.1\r\nHost: registry\r\n\r\n`);
    await opening;
    await withinFiveSeconds(() => registry.close());
    socket.destroy();
  });

  test('a client that comes back to its upload need not wait for the connection that it lost', async () => {
    const location = await startUpload(url, 'app');
    const lost = await begin(`${headOf('PATCH', location, 1000)}he`);
    const ended = closedOf(lost);
    await until(() => registry.requests.at(-1)?.bytesIn === 2);
    expect((await send(url, 'GET', location)).headers.range).toBe('0-1');
    const headers = { 'content-range': '2-4' };
    expect((await send(url, 'PATCH', location, { headers, body: 'llo' })).status).toBe(202);
    await ended;
    expect((await send(url, 'PUT', `${location}?digest=${digest}`)).status).toBe(201);
  });

  test('what came before a connection was lost is there', async () => {
    const location = await startUpload(url, 'app');
    const lost = await begin(`${headOf('PATCH', location, 1000)}hel`);
    await until(() => registry.requests.at(-1)?.bytesIn === 3);
    lost.destroy();
    expect((await send(url, 'GET', location)).headers.range).toBe('0-2');
    const headers = { 'content-range': '3-4' };
    expect((await send(url, 'PUT', `${location}?digest=${digest}`, { headers, body: 'lo' })).status).toBe(201);
  });
});

describe.each(['memory', 'a directory'])('ACCEPTANCE 46: many at once, in %s', (place) => {
  beforeEach(async () => {
    if (place === 'a directory') await moveToDirectory();
  });

  test('fifty identical pushes of a blob: 201 each', async () => {
    const content = randomBytes(100_000);
    const push = async () => {
      const location = await startUpload(url, 'app');
      return (await send(url, 'PUT', `${location}?digest=${digestOf(content)}`, { body: content })).status;
    };
    expect(await Promise.all(Array.from({ length: 50 }, push))).toEqual(Array(50).fill(201));
    expect((await send(url, 'GET', `/v2/app/blobs/${digestOf(content)}`)).body.equals(content)).toBe(true);
  });

  test('fifty identical pushes of a manifest: 201 each', async () => {
    const image = manifestOf('layer');
    const answers = await Promise.all(Array.from({ length: 50 }, () => putManifest(url, 'app', 'v1', image)));
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(201));
  });

  test('closing an upload twice at once makes it once', async () => {
    const location = await startUpload(url, 'app');
    const close = () => send(url, 'PUT', `${location}?digest=${digest}`, { body: hello }).catch(() => undefined);
    const statuses = (await Promise.all([close(), close()])).map((answer) => answer?.status);
    expect(statuses).toContain(201);
    expect(statuses.filter((status) => status === 201)).toHaveLength(1);
  });

  test('a DELETE during a GET: the full body, or a failure that the client can see', async () => {
    const content = randomBytes(20_000_000);
    await pushBlob(url, 'app', content);
    const response = await open(url, 'GET', `/v2/app/blobs/${digestOf(content)}`);
    await once(response, 'readable');
    expect((await send(url, 'DELETE', `/v2/app/blobs/${digestOf(content)}`)).status).toBe(202);
    const [outcome] = await Promise.allSettled([collect(response)]);
    if (outcome.status === 'fulfilled') expect(outcome.value.equals(content)).toBe(true);
    expect((await send(url, 'GET', `/v2/app/blobs/${digestOf(content)}`)).status).toBe(404);
  });
});

describe('content that is not what it should be', () => {
  test.each([
    [
      'is shorter',
      async function* () {
        yield hello.subarray(0, 3);
      },
    ],
    [
      'fails half-way',
      async function* () {
        yield hello.subarray(0, 3);
        throw new Error('disk on fire');
      },
    ],
  ])('content that %s ends the connection', async (_, content) => {
    await registry.storage.addBlob('app', digest, { size: 5, open: content });
    // On a connection that would go on otherwise.
    const headers = { connection: 'keep-alive' };
    const response = await open(url, 'GET', `/v2/app/blobs/${digest}`, { headers });
    await expect(collect(response)).rejects.toThrow('aborted');
  });

  test('content that is longer is cut where it should end', async () => {
    await registry.storage.addBlob('app', digest, { size: 5, open: () => chunksOf(Buffer.from('hello, world')) });
    expect((await send(url, 'GET', `/v2/app/blobs/${digest}`)).body).toEqual(hello);
  });
});

async function* chunksOf(content: Uint8Array) {
  for (let at = 0; at < content.length; at += 100_000) yield content.subarray(at, at + 100_000);
}
