import { describe, expect, test } from '@jest/globals';
import {
  artifactTypeOf,
  bytesBlob,
  createLayout,
  descriptorOf,
  digestOf,
  emptyDescriptor,
  InvalidDocumentError,
  InvalidOptionError,
  mediaTypes,
} from '../src';
import { type ArtifactFile, newArtifact } from '../src/artifact';
import { emptyBlob } from '../src/ref';
import { collect, failureOf, sampleImage } from './fixtures';

function file(text: string, mediaType = 'text/plain'): ArtifactFile {
  const bytes = Buffer.from(text);
  return { descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length }, blob: bytesBlob(bytes) };
}

describe('an artifact', () => {
  test('L7: is a manifest over files, with its type, config, annotations and subject', async () => {
    const subject = descriptorOf(await sampleImage());
    const files = [file('b'), file('a', 'application/json')];
    const content = Buffer.from('{"a":1}');
    const artifact = newArtifact(files, {
      artifactType: 'application/x',
      config: { mediaType: 'application/x.config+json', content },
      annotations: { note: 'n' },
      subject,
    });
    expect(artifact.manifest).toEqual({
      schemaVersion: 2,
      mediaType: mediaTypes.imageManifest,
      artifactType: 'application/x',
      config: { mediaType: 'application/x.config+json', digest: digestOf(content), size: content.length },
      layers: files.map(({ descriptor }) => descriptor),
      subject,
      annotations: { note: 'n' },
    });
    const contents = [];
    for (const descriptor of artifact.descriptors()) contents.push(await collect(artifact.blob(descriptor).open()));
    expect(contents.map(String)).toEqual(['{"a":1}', 'b', 'a']);
  });

  test('has the empty config unless one is given, and without files the empty layer', async () => {
    const artifact = newArtifact([], { artifactType: 'application/x' });
    expect(artifact.manifest).toMatchObject({ config: emptyDescriptor, layers: [emptyDescriptor] });
    const tree = await createLayout(artifact);
    const { size } = tree.get(`blobs/${emptyDescriptor.digest.replace(':', '/')}`) ?? {};
    expect(size).toBe(emptyBlob.size);
  });

  test('is of the type of its config where it has none of its own', () => {
    const artifact = newArtifact([file('a')], { config: { mediaType: 'a/b', content: Buffer.from('{}') } });
    expect('artifactType' in artifact.manifest).toBe(false);
    expect(artifactTypeOf(artifact)).toBe('a/b');
  });

  test('keeps the same content under two descriptors', () => {
    const [one, two] = [file('same', 'a/b'), file('same', 'c/d')];
    const { layers } = newArtifact([one, two], { artifactType: 'a/b' }).manifest;
    expect(layers).toEqual([one.descriptor, two.descriptor]);
  });

  test.each([
    ['nothing', {}],
    ['the empty config', { config: { mediaType: mediaTypes.empty, content: Buffer.from('{}') } }],
  ])('of a kind that only %s says is refused', async (_, options) => {
    const { message } = await failureOf(InvalidOptionError, () => newArtifact([file('a')], options));
    expect(message).toBe('artifact: expected an artifactType, or a config whose media type says it, found neither');
  });

  test.each([
    ['its type', () => newArtifact([], { artifactType: 'no media type' }), '$.artifactType'],
    ['the type of its config', () => newArtifact([], { config: { mediaType: 'x', content: Buffer.of() } }), '$.config'],
    ['the type of a layer', () => newArtifact([file('a', 'x')], { artifactType: 'a/b' }), '$.layers[0].mediaType'],
  ])('is refused if %s is no media type', async (_, make, place) => {
    expect((await failureOf(InvalidDocumentError, make)).message).toContain(place);
  });
});
