import { once } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import {
  annotate,
  asImage,
  type Digest,
  DigestMismatchError,
  digestOf,
  emptyImage,
  InvalidDigestError,
  InvalidDocumentError,
  InvalidReferenceError,
  LimitError,
  NotInRegistryError,
  newIndex,
  newRef,
  type Ref,
  RegistryError,
  sealImage,
  UnexpectedMediaTypeError,
} from '../../src';
import { noBlobs } from '../../src/blob';
import { encodeJson, maxDocumentSize } from '../../src/spec/json';
import { mediaTypes } from '../../src/spec/media-types';
import { failureOf, sampleImage } from '../fixtures';
import { askedOf, content, hostileRegistry, openRegistry, repositoryAt } from './clients';

const { imageIndex, imageManifest, dockerManifest, dockerManifestList } = mediaTypes;

/** A registry that has one manifest, whatever it is asked for. */
const manifestRegistry = (body: Uint8Array, headers: Readonly<Record<string, string>>) =>
  hostileRegistry(({ method }, response) => {
    response.writeHead(200, { 'content-length': body.length, ...headers });
    response.end(method === 'HEAD' ? undefined : body);
  });

const descriptor = { mediaType: mediaTypes.layer, digest: digestOf(Buffer.from('x')), size: 1 };
const imageBody = (mediaType?: string) =>
  encodeJson({ schemaVersion: 2, ...(mediaType && { mediaType }), config: descriptor, layers: [] });
const indexBody = (mediaType?: string) =>
  encodeJson({ schemaVersion: 2, ...(mediaType && { mediaType }), manifests: [] });

describe('M9: a manifest is read', () => {
  test.each<[string, (digest: Digest) => { tag?: string; digest?: Digest }, (digest: Digest) => string]>([
    ['by its tag', () => ({ tag: 'v1' }), () => 'v1'],
    ['by its digest', (digest) => ({ digest }), (digest) => digest],
    ['by its tag, which must name its digest', (digest) => ({ tag: 'v1', digest }), () => 'v1'],
    ['as latest, without either', () => ({}), () => 'latest'],
  ])('%s', async (_how, nameOf, path) => {
    const image = await sampleImage();
    const registry = await openRegistry();
    for (const tag of ['v1', 'latest']) await registry.addRef('os', tag, image);
    const ref = await repositoryAt(registry).read(nameOf(image.digest));
    expect([ref.digest, ref.mediaType, ref.rawManifest]).toEqual([image.digest, image.mediaType, image.rawManifest]);
    expect(await asImage(ref).readBlobVerified(image.manifest.config)).toEqual(
      await image.readBlobVerified(image.manifest.config),
    );
    expect(askedOf(registry)[0]).toBe(`GET 200 manifests/${path(image.digest)}`);
  });

  test('and refused if the tag names another one by now', async () => {
    const [old, moved] = [await sampleImage(['old']), await sampleImage(['new'])];
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', moved);
    const read = () => repositoryAt(registry).read({ tag: 'v1', digest: old.digest });
    const { expected, found } = await failureOf(DigestMismatchError, read);
    expect([expected, found]).toEqual([old.digest, moved.digest]);
  });

  test('and refused if the registry says another digest than that of what it sends', async () => {
    const said = digestOf(Buffer.from('something else'));
    const registry = await manifestRegistry(imageBody(), {
      'content-type': imageManifest,
      'docker-content-digest': said,
    });
    const { message } = await failureOf(DigestMismatchError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(message).toContain(`manifest ${said}: expected digest ${said}, found ${digestOf(imageBody())}`);
  });

  test.each([
    ['none', {}, 'sha256' as const],
    ['text', { 'docker-content-digest': 'hello' }, 'sha256' as const],
    ['one of another algorithm', { 'docker-content-digest': `md5:${'a'.repeat(32)}` }, 'sha256' as const],
    ['a sha512', { 'docker-content-digest': digestOf(imageBody(), 'sha512') }, 'sha512' as const],
  ])('by tag, where the digest that the registry says is %s', async (_what, headers, algorithm) => {
    const registry = await manifestRegistry(imageBody(), { 'content-type': imageManifest, ...headers });
    expect((await repositoryAt(registry).read({ tag: 'v1' })).digest).toBe(digestOf(imageBody(), algorithm));
  });

  test('by digest, whatever digest the registry says', async () => {
    const headers = { 'content-type': imageManifest, 'docker-content-digest': digestOf(Buffer.from('else')) };
    const registry = await manifestRegistry(imageBody(), headers);
    const digest = digestOf(imageBody(), 'sha512');
    expect((await repositoryAt(registry).read({ digest })).digest).toBe(digest);
  });

  test('all four types are accepted', async () => {
    const registry = await manifestRegistry(imageBody(), { 'content-type': imageManifest });
    await repositoryAt(registry).read({ tag: 'v1' });
    await repositoryAt(registry).resolve({ tag: 'v1' });
    const accepted = [imageIndex, dockerManifestList, imageManifest, dockerManifest].join(', ');
    expect(registry.received().map(({ headers }) => headers.accept)).toEqual(Array(3).fill(accepted));
  });

  test('one that is not there', async () => {
    const registry = await openRegistry();
    const { message, codes } = await failureOf(NotInRegistryError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(message).toContain(`${registry.host}/os: manifest v1: expected 200, found 404 (`);
    expect(codes).toEqual(['NAME_UNKNOWN']);
  });
});

describe('M9: the media type', () => {
  test.each([
    [`${imageManifest}; charset=utf-8`, imageBody(), imageManifest],
    [`${imageIndex.toUpperCase()} ;q=1`, indexBody(), imageIndex],
    [dockerManifest, imageBody(dockerManifest), dockerManifest],
    [dockerManifestList, indexBody(dockerManifestList), dockerManifestList],
  ])('of the header %s', async (type, body, expected) => {
    const registry = await manifestRegistry(body, { 'content-type': type });
    const digest = digestOf(body);
    expect((await repositoryAt(registry).read({ tag: 'v1' })).mediaType).toBe(expected);
    expect(await repositoryAt(registry).resolve({ digest })).toEqual({
      mediaType: expected,
      digest,
      size: body.length,
    });
  });

  const wrong = ['text/plain; charset=utf-8', 'application/json', 'application/octet-stream', 'nonsense', undefined];
  const bodies: [Uint8Array, string][] = [
    [imageBody(imageManifest), imageManifest],
    [imageBody(dockerManifest), dockerManifest],
    [imageBody(), imageManifest],
    [indexBody(imageIndex), imageIndex],
    [indexBody(dockerManifestList), dockerManifestList],
    [indexBody(), imageIndex],
  ];
  test.each(wrong)('of the body, where the header says %s', async (type) => {
    for (const [body, expected] of bodies) {
      const registry = await manifestRegistry(body, type === undefined ? {} : { 'content-type': type });
      const repository = repositoryAt(registry);
      expect((await repository.read({ tag: 'v1' })).mediaType).toBe(expected);
      expect(await repository.resolve({ tag: 'v1' })).toMatchObject({ mediaType: expected, digest: digestOf(body) });
    }
  });

  test('ACCEPTANCE 8: of the header is not that of the body', async () => {
    const registry = await manifestRegistry(imageBody(dockerManifest), { 'content-type': imageManifest });
    const { message } = await failureOf(UnexpectedMediaTypeError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(message).toContain(`expected media type ${imageManifest}, found ${dockerManifest}`);
  });

  test.each([
    ['a page', 'text/html', '<html>Log in</html>', 'expected JSON, found'],
    ['nothing', 'text/html', '', 'expected JSON, found'],
    ['null', 'application/json', 'null', 'expected object, found null'],
  ])('ACCEPTANCE 10: of %s', async (_what, type, body, words) => {
    const registry = await manifestRegistry(Buffer.from(body), { 'content-type': type });
    const { message } = await failureOf(InvalidDocumentError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(message).toContain(words);
  });

  test('ACCEPTANCE 10: of as many brackets as fit is refused before a parser counts them all', async () => {
    const registry = await manifestRegistry(Buffer.alloc(50_000_000, '['), { 'content-type': 'text/plain' });
    const start = performance.now();
    const { message } = await failureOf(InvalidDocumentError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(message).toContain('expected at most 1000 arrays and objects');
    expect(performance.now() - start).toBeLessThan(4000);
  });

  test('of something else', async () => {
    const body = encodeJson({ mediaType: 'application/vnd.example+json' });
    const registry = await manifestRegistry(body, { 'content-type': 'application/vnd.example+json' });
    const { found } = await failureOf(UnexpectedMediaTypeError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(found).toBe('application/vnd.example+json');
  });
});

describe('M9: bodies are bounded', () => {
  const large = sealImage(
    annotate(emptyImage({ os: 'linux', architecture: 'amd64' }), { padding: 'x'.repeat(4194304) }),
  );

  test.each([true, false])('ACCEPTANCE 12: 4 MiB are accepted, with a Content-Length: %s', async (hasLength) => {
    const registry = await hostileRegistry((_received, response) => {
      response.writeHead(200, {
        'content-type': large.mediaType,
        ...(hasLength && { 'content-length': large.rawManifest.length }),
      });
      response.end(large.rawManifest);
    });
    expect((await repositoryAt(registry).read({ tag: 'v1' })).digest).toBe(large.digest);
  });

  test('ACCEPTANCE 12: one byte more than 50 MiB is not read where it is announced', async () => {
    const registry = await hostileRegistry((_received, response) => {
      response.writeHead(200, { 'content-type': imageManifest, 'content-length': maxDocumentSize + 1 });
      response.flushHeaders();
    });
    const { message } = await failureOf(LimitError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(message).toBe(`manifest v1: expected at most ${maxDocumentSize} bytes, found ${maxDocumentSize + 1}`);
  });

  test('ACCEPTANCE 12: nor is it where it comes in chunks without an end', async () => {
    const chunk = Buffer.alloc(1024 * 1024, ' ');
    let sent = 0;
    const closed: Promise<unknown>[] = [];
    const registry = await hostileRegistry((_received, response) => {
      response.writeHead(200, { 'content-type': imageManifest });
      const send = () => {
        do sent += chunk.length;
        while (response.write(chunk));
      };
      closed.push(once(response.on('drain', send), 'close'));
      send();
    });
    const { message } = await failureOf(LimitError, () => repositoryAt(registry).read({ tag: 'v1' }));
    expect(message).toBe(`manifest v1: expected at most ${maxDocumentSize} bytes, found more`);
    await closed[0];
    expect(sent).toBeLessThan(maxDocumentSize * 1.5);
  });

  test('a manifest that an index lists has at most the bytes that it says', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', image);
    const { blobs } = repositoryAt(registry);
    const size = image.rawManifest.length;
    expect(await blobs.manifest({ mediaType: image.mediaType, digest: image.digest, size })).toEqual(image.rawManifest);
    const shorter = { mediaType: image.mediaType, digest: image.digest, size: size - 1 };
    const { message } = await failureOf(LimitError, () => blobs.manifest(shorter));
    expect(message).toBe(`manifest ${image.digest}: expected at most ${size - 1} bytes, found ${size}`);
  });
});

describe('what a name stands for', () => {
  const head = { 'content-type': imageManifest, 'docker-content-digest': digestOf(imageBody()) };
  const resolved = { mediaType: imageManifest, digest: digestOf(imageBody()), size: imageBody().length };

  test('is in the head of the response', async () => {
    const registry = await manifestRegistry(imageBody(), head);
    expect(await repositoryAt(registry).resolve({ tag: 'v1' })).toEqual(resolved);
    expect(registry.asked()).toEqual(['HEAD /v2/os/manifests/v1']);
  });

  test.each<[string, Readonly<Record<string, string>>]>([
    ['no digest', { 'content-type': imageManifest }],
    ['no digest that is one', { ...head, 'docker-content-digest': 'sha256:ab' }],
    ['another media type', { ...head, 'content-type': 'text/plain' }],
    ['no media type', { 'docker-content-digest': digestOf(imageBody()) }],
    ['no size', { ...head, 'content-length': '0' }],
  ])('or is found by reading it: the head has %s', async (_what, headers) => {
    const registry = await hostileRegistry(({ method }, response) => {
      if (method === 'HEAD') response.writeHead(200, { 'content-length': imageBody().length, ...headers }).end();
      else response.writeHead(200, { 'content-type': imageManifest }).end(imageBody());
    });
    expect(await repositoryAt(registry).resolve({ tag: 'v1' })).toMatchObject(resolved);
    expect(registry.asked()).toEqual(['HEAD /v2/os/manifests/v1', 'GET /v2/os/manifests/v1']);
  });

  test('may be nothing', async () => {
    expect(await repositoryAt(await openRegistry()).resolve({ tag: 'v1' })).toBeUndefined();
  });

  test('is not another digest than the one that was asked for', async () => {
    const registry = await manifestRegistry(imageBody(), head);
    const asked = digestOf(Buffer.from('else'));
    const { expected, found } = await failureOf(DigestMismatchError, () =>
      repositoryAt(registry).resolve({ tag: 'v1', digest: asked }),
    );
    expect([expected, found]).toEqual([asked, digestOf(imageBody())]);
  });
});

describe('ACCEPTANCE 50: what is no name is refused before anything is asked', () => {
  const anything = newRef(imageBody(), imageManifest, undefined, noBlobs);

  test.each(['v1\n', 'v1/../../os2/manifests/v1', '%2e%2e', '..', ''])('the tag %j', async (tag) => {
    const registry = await openRegistry();
    const repository = repositoryAt(registry);
    const uses = [
      () => repository.read({ tag }),
      () => repository.resolve({ tag }),
      () => repository.putManifest(anything, tag),
      () => repository.deleteTag(tag),
    ];
    for (const use of uses) {
      const { message } = await failureOf(InvalidReferenceError, use);
      expect(message).toContain(`tag ${JSON.stringify(tag)}: expected up to 128 letters`);
    }
    expect(registry.requests).toEqual([]);
  });

  test.each(['sha256:../../x', `sha256:${'a'.repeat(64)}\n`])('ACCEPTANCE 1: the digest %j', async (text) => {
    const registry = await openRegistry();
    const repository = repositoryAt(registry);
    const digest = text as Digest;
    const uses = [
      () => repository.read({ digest }),
      () => repository.read({ tag: 'v1', digest }),
      () => repository.deleteManifest(digest),
      () => repository.deleteBlob(digest),
      () => repository.referrers(digest),
    ];
    for (const use of uses) await failureOf(InvalidDigestError, use);
    expect(registry.requests).toEqual([]);
  });
});

describe('a manifest is put', () => {
  test.each<[string, () => Ref | Promise<Ref>]>([
    ['an image', () => sampleImage()],
    ['an index', () => newIndex([])],
    ['a Docker image', () => newRef(imageBody(dockerManifest), dockerManifest, undefined, noBlobs)],
    ['one with a sha512', () => newRef(imageBody(), imageManifest, digestOf(imageBody(), 'sha512'), noBlobs)],
  ])('%s, by tag and by digest', async (_what, make) => {
    const ref = await make();
    const registry = await openRegistry();
    const repository = repositoryAt(registry);
    await repository.putManifest(ref);
    await repository.putManifest(ref, 'v1');
    expect(askedOf(registry)).toEqual([`PUT 201 manifests/${ref.digest}`, 'PUT 201 manifests/v1']);
    expect(registry.requests.at(-1)?.headers['content-type']).toBe(ref.mediaType);
    for (const name of [{ digest: ref.digest }, { tag: 'v1' }]) {
      const { rawManifest, mediaType } = await repository.read(name);
      expect([rawManifest, mediaType]).toEqual([ref.rawManifest, ref.mediaType]);
    }
  });

  test('a registry that keeps another one is not believed', async () => {
    const [image, other] = [await sampleImage(), digestOf(Buffer.from('else'))];
    const registry = await openRegistry({ faults: [{ method: 'PUT', headers: { 'docker-content-digest': other } }] });
    const { message } = await failureOf(RegistryError, () => repositoryAt(registry).putManifest(image, 'v1'));
    expect(message).toBe(`${registry.host}/os: expected the registry to keep manifest ${image.digest}, found ${other}`);
  });

  test('again, when nobody knows what became of it', async () => {
    const image = await sampleImage();
    const registry = await openRegistry({ faults: [{ method: 'PUT', hangUp: 'after', times: 1 }] });
    await repositoryAt(registry).putManifest(image, 'v1');
    expect(askedOf(registry)).toEqual(['PUT undefined manifests/v1', 'PUT 201 manifests/v1']);
  });

  test('not where the registry says that something is missing', async () => {
    const registry = await openRegistry({ sparse: false });
    const image = await sampleImage();
    const { codes, status } = await failureOf(RegistryError, () => repositoryAt(registry).putManifest(image, 'v1'));
    expect([status, codes]).toEqual([400, ['MANIFEST_BLOB_UNKNOWN']]);
  });
});

describe('what is taken away', () => {
  test('a tag, and not its manifest; a manifest with its tags; a blob', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    for (const tag of ['v1', 'v2']) await registry.addRef('os', tag, image);
    const repository = repositoryAt(registry);
    const { config } = image.manifest;
    await repository.deleteTag('v1');
    expect(await repository.tags()).toEqual(['v2']);
    await repository.deleteManifest(image.digest);
    expect(await repository.tags()).toEqual([]);
    expect(await repository.resolve({ digest: image.digest })).toBeUndefined();
    expect(await repository.hasBlob(config)).toBe(true);
    await repository.deleteBlob(config.digest);
    expect(await repository.hasBlob(config)).toBe(false);
  });

  test('is not there', async () => {
    const registry = await openRegistry();
    const repository = repositoryAt(registry);
    const { digest } = content(Buffer.from('nothing')).descriptor;
    await failureOf(NotInRegistryError, () => repository.deleteManifest(digest));
    await failureOf(NotInRegistryError, () => repository.deleteTag('v1'));
    const { message } = await failureOf(NotInRegistryError, () => repository.deleteBlob(digest));
    expect(message).toContain(`blob ${digest}: expected 200 or 202 or 204, found 404`);
  });

  test('and may not be', async () => {
    const image = await sampleImage();
    const registry = await openRegistry({ faults: [{ method: 'DELETE', status: 405 }] });
    await registry.addRef('os', 'v1', image);
    const { status } = await failureOf(RegistryError, () => repositoryAt(registry).deleteManifest(image.digest));
    expect(status).toBe(405);
  });
});
