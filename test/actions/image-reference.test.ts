import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { InvalidDigestError, InvalidReferenceError, UnknownTagError } from '../../src';
import { isInRegistry, namesRegistry, parseImageReference, sourceAt } from '../../src/actions/image-reference';
import { failureOf, sampleImage, taggedLayout, temporaryDirectory, writeFiles } from '../fixtures';
import { clientOf, openRegistry } from '../registry/clients';

const digest = `sha256:${'a'.repeat(64)}` as const;

describe('what an image is named by', () => {
  const root = writeFiles(temporaryDirectory(), { 'dist/app/index.json': '', 'files.example/app/index.json': '' });
  const layout = (path: string, more: object = {}) => ({ path: join(root, path), ...more });
  const remote = (registry: string, repository: string, more: object = {}) => ({ registry, repository, ...more });

  test.each<[string, object]>([
    ['dist/app', layout('dist/app')],
    ['dist/app:v1', layout('dist/app', { tag: 'v1' })],
    [`dist/app@${digest}`, layout('dist/app', { digest })],
    ['dist/none:v1', layout('dist/none', { tag: 'v1' })],
    ['../app', layout('../app')],
    ['./registry.example/app', layout('registry.example/app')],
    ['app.tar', layout('app.tar')],
    ['docker://dist/app:v1', remote('docker.io', 'dist/app', { tag: 'v1' })],
    ['docker://alpine', remote('docker.io', 'library/alpine')],
    ['registry.example/app:v1', remote('registry.example', 'app', { tag: 'v1' })],
    [`registry.example/app@${digest}`, remote('registry.example', 'app', { digest })],
    ['localhost:5000/app', remote('localhost:5000', 'app')],
    ['[::1]:5000/app:v1', remote('[::1]:5000', 'app', { tag: 'v1' })],
    // A file or directory of that name is what is meant, unless one says that it is not.
    ['files.example/app:v1', layout('files.example/app', { tag: 'v1' })],
    ['docker://files.example/app:v1', remote('files.example', 'app', { tag: 'v1' })],
    ['files.example/other:v1', remote('files.example', 'other', { tag: 'v1' })],
  ])('%s', (text, expected) => {
    const reference = parseImageReference(text, root);
    expect(reference).toEqual(expected);
    expect(isInRegistry(reference)).toBe('registry' in expected);
    expect(namesRegistry(text, root)).toBe('registry' in expected);
  });

  test.each(['C:/x', 'C:\\x', 'C:/x:v1'])('%s is a path', (text) => {
    expect(isInRegistry(parseImageReference(text, root))).toBe(false);
  });

  test.each([
    'https://registry.example/app',
    'docker://https://user:pass word@registry.example/app',
    'docker://user:pass word@registry.example/app',
    'user:pass word@registry.example/app:v1',
    'http://user:pass word@registry.example/app',
  ])('%s is refused without a word of it, because it may hold a password', async (text) => {
    const { message } = await failureOf(InvalidReferenceError, () => parseImageReference(text, root));
    expect(message).toMatch(/^reference: expected registry\/repository:tag, .* found a (?:URL|user before "@")/);
    expect(message).not.toContain('pass');
    expect(message).not.toContain('registry.example');
  });

  test.each(['docker://registry.example/app:v1\n', 'localhost:5000/app:v1\n'])('ACCEPTANCE 50: %j', async (text) => {
    const { message } = await failureOf(InvalidReferenceError, () => parseImageReference(text, root));
    expect(message).toContain('as tag, found "v1\\n"');
  });

  test.each(['docker://app@sha256:ab', 'registry.example/app@sha256:ab', 'dist/app@sha256:ab'])('%s', async (text) => {
    const { found } = await failureOf(InvalidDigestError, () => parseImageReference(text, root));
    expect(found).toBe('sha256:ab');
  });
});

describe('the manifests that a reference names', () => {
  test('of a layout and of a registry are the same', async () => {
    const image = await sampleImage();
    const layout = await taggedLayout({ v1: image, v2: await sampleImage(['other']) });
    const registry = await openRegistry({ layouts: [{ path: layout, repository: 'os' }] });
    const client = clientOf();
    const named = (text: string) => sourceAt(parseImageReference(text, '/'), client);
    const sources = [named(`${layout}:v1`), named(`${registry.host}/os:v1`)];
    const [local, remote] = await Promise.all(sources.map((source) => source.read()));
    expect(remote?.map(({ descriptor }) => descriptor)).toEqual([
      expect.objectContaining({
        digest: image.digest,
        mediaType: image.mediaType,
        size: image.rawManifest.length,
        annotations: { 'org.opencontainers.image.ref.name': 'v1' },
      }),
    ]);
    expect(remote?.[0]?.ref.rawManifest).toEqual(local?.[0]?.ref.rawManifest);
    expect(sources.map(({ name }) => name)).toEqual([layout, `${registry.host}/os`]);
    await failureOf(UnknownTagError, () => named(`${layout}:v3`).read());
  });

  test('of a registry is latest, without a tag', async () => {
    const image = await sampleImage();
    const registry = await openRegistry();
    await registry.addRef('os', 'latest', image);
    const [found] = await sourceAt(parseImageReference(`${registry.host}/os`, '/'), clientOf()).read();
    expect(found?.descriptor.annotations).toEqual({ 'org.opencontainers.image.ref.name': 'latest' });
    expect(registry.requests.at(-1)?.path).toBe('/v2/os/manifests/latest');
  });

  test('with a digest is that of the digest, wherever the tag beside it is now', async () => {
    const [pinned, moved] = [await sampleImage(['pinned']), await sampleImage(['moved'])];
    const registry = await openRegistry();
    await registry.addRef('os', 'v1', pinned);
    await registry.addRef('os', 'v1', moved);
    for (const [text, tag] of [
      [`${registry.host}/os:v1@${pinned.digest}`, 'v1'],
      [`${registry.host}/os@${pinned.digest}`, undefined],
    ] as const) {
      const [found] = await sourceAt(parseImageReference(text, '/'), clientOf()).read();
      expect(found?.ref.digest).toBe(pinned.digest);
      expect(found?.descriptor.annotations?.['org.opencontainers.image.ref.name']).toBe(tag);
    }
  });
});
