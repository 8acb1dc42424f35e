import { describe, expect, test } from '@jest/globals';
import {
  type Digest,
  descriptorOf,
  digestOf,
  type Image,
  newArtifact,
  newIndex,
  newRef,
  noBlobs,
  type Ref,
  RegistryError,
  UnexpectedMediaTypeError,
} from '../../src';
import { pushRef } from '../../src/registry/push';
import type { Registry } from '../../src/registry/server/start-registry';
import { encodeJson } from '../../src/spec/json';
import { mediaTypes } from '../../src/spec/media-types';
import { failureOf, sampleImage } from '../fixtures';
import { askedOf, openRegistry, repositoryAt } from './clients';

const signature = 'application/vnd.example.signature';
const sbom = 'application/vnd.example.sbom';

/** Something that is said of a manifest. */
const about = (subject: Ref, artifactType: string, id: string): Image =>
  newArtifact([], { artifactType, subject: descriptorOf(subject), annotations: { id } });

/** A registry that knows nothing of subjects. */
async function oldRegistry(): Promise<Registry> {
  return openRegistry({
    faults: [
      { path: /\/referrers\//, status: 404 },
      { method: 'PUT', headers: { 'oci-subject': null } },
    ],
  });
}

const tagFor = (digest: Digest) => digest.replace(':', '-').slice(0, 'sha256-'.length + 64);
const idsOf = (listed: readonly { annotations?: Record<string, string> | null | undefined }[]) =>
  listed.map(({ annotations }) => annotations?.id).sort();

describe.each([
  ['a registry that lists referrers', () => openRegistry({ pageSize: 2 })],
  ['a registry that does not', oldRegistry],
])('%s', (_what, open) => {
  test('gives what is said of a manifest, by kind if it is wanted', async () => {
    const image = await sampleImage();
    const repository = repositoryAt(await open());
    const said = [about(image, signature, '1'), about(image, sbom, '2'), about(image, signature, '3')];
    for (const ref of [image, ...said]) await pushRef(ref, repository);

    const all = await repository.referrers(image.digest);
    expect(idsOf(all)).toEqual(['1', '2', '3']);
    expect(all.find(({ annotations }) => annotations?.id === '2')).toEqual({
      ...descriptorOf(said[1] as Image),
      annotations: { id: '2' },
    });
    expect(idsOf(await repository.referrers(image.digest, signature))).toEqual(['1', '3']);
    expect(await repository.referrers(image.digest, 'application/vnd.example.other')).toEqual([]);
  });

  test('gives nothing where nothing is said', async () => {
    const image = await sampleImage();
    const repository = repositoryAt(await open());
    await pushRef(image, repository);
    expect(await repository.referrers(image.digest)).toEqual([]);
  });

  test('gives an index that has a subject, and what has a config of its own kind', async () => {
    const image = await sampleImage();
    const repository = repositoryAt(await open());
    const index = newIndex([], { artifactType: sbom, subject: descriptorOf(image) });
    const config = { mediaType: signature, content: Buffer.from('{"a":1}') };
    const artifact = newArtifact([], { config, subject: descriptorOf(image) });
    for (const ref of [image, index, artifact]) await pushRef(ref, repository);
    expect((await repository.referrers(image.digest, sbom)).map(({ digest }) => digest)).toEqual([index.digest]);
    expect((await repository.referrers(image.digest, signature)).map(({ digest }) => digest)).toEqual([
      artifact.digest,
    ]);
  });

  test('forgets what is deleted', async () => {
    const image = await sampleImage();
    const repository = repositoryAt(await open());
    const said = [about(image, signature, '1'), about(image, sbom, '2')] as const;
    for (const ref of [image, ...said]) await pushRef(ref, repository);
    await repository.deleteManifest(said[0].digest);
    expect(idsOf(await repository.referrers(image.digest))).toEqual(['2']);
    await repository.deleteManifest(said[1].digest);
    expect(await repository.referrers(image.digest)).toEqual([]);
  });

  test('loses none of many that are pushed at once', async () => {
    const image = await sampleImage();
    const repository = repositoryAt(await open());
    const said = Array.from({ length: 8 }, (_, id) => about(image, signature, String(id)));
    await pushRef(newIndex([image, ...said].map((ref) => ({ ref }))), repository, { tags: ['v1'] });
    expect(idsOf(await repository.referrers(image.digest))).toEqual(['0', '1', '2', '3', '4', '5', '6', '7']);
  });
});

describe('the tag that stands in for the list', () => {
  test('is written where the registry says nothing of the subject, and not where it does', async () => {
    const image = await sampleImage();
    const [old, new_] = [await oldRegistry(), await openRegistry()];
    for (const registry of [old, new_]) await pushRef(about(image, signature, '1'), repositoryAt(registry));
    expect(await repositoryAt(old).tags()).toEqual([tagFor(image.digest)]);
    expect(await repositoryAt(new_).tags()).toEqual([]);
  });

  test('has at most the length that a tag can have', async () => {
    const raw = encodeJson({ schemaVersion: 2, manifests: [] });
    const subject = newRef(raw, mediaTypes.imageIndex, digestOf(raw, 'sha512'), noBlobs);
    const registry = await oldRegistry();
    await pushRef(about(subject, signature, '1'), repositoryAt(registry));
    const [tag] = await repositoryAt(registry).tags();
    expect(tag).toBe(`sha512-${subject.digest.slice('sha512:'.length, 'sha512:'.length + 64)}`);
    expect(idsOf(await repositoryAt(registry).referrers(subject.digest))).toEqual(['1']);
  });

  test('is not written again for what it lists', async () => {
    const image = await sampleImage();
    const registry = await oldRegistry();
    for (const _ of [1, 2]) await repositoryAt(registry).putManifest(about(image, signature, '1'), 'v1');
    expect(
      askedOf(registry).filter((asked) => asked.startsWith(`PUT 201 manifests/${tagFor(image.digest)}`)),
    ).toHaveLength(1);
  });

  test('keeps what others wrote into it, but for a subject, which would have no end', async () => {
    const [image, other] = [await sampleImage(), await sampleImage(['other'])];
    const registry = await oldRegistry();
    const repository = repositoryAt(registry);
    const theirs = encodeJson({
      schemaVersion: 2,
      mediaType: mediaTypes.imageIndex,
      manifests: [{ ...descriptorOf(about(image, sbom, '1')), annotations: { id: '1' }, unknown: 'kept' }],
      subject: descriptorOf(other),
      annotations: { written: 'by others' },
    });
    const stored = { mediaType: mediaTypes.imageIndex, digest: digestOf(theirs), bytes: theirs };
    await registry.storage.putManifest('os', stored, [tagFor(image.digest)]);
    await pushRef(about(image, signature, '2'), repository);
    const { manifest } = await repository.read({ tag: tagFor(image.digest) });
    expect(manifest).toMatchObject({
      manifests: [{ unknown: 'kept' }, { artifactType: signature }],
      annotations: { written: 'by others' },
    });
    expect(manifest.subject).toBeUndefined();
    expect(await repository.tags()).toEqual([tagFor(image.digest)]);
  });

  test('that is an image is not touched', async () => {
    const image = await sampleImage();
    const registry = await oldRegistry();
    await registry.addRef('os', tagFor(image.digest), image);
    const push = () => pushRef(about(image, signature, '1'), repositoryAt(registry));
    await failureOf(UnexpectedMediaTypeError, push);
    expect((await repositoryAt(registry).read({ tag: tagFor(image.digest) })).digest).toBe(image.digest);
  });

  test('stays as it is when a manifest can not be deleted', async () => {
    const image = await sampleImage();
    const registry = await oldRegistry();
    const said = about(image, signature, '1');
    await pushRef(said, repositoryAt(registry));
    registry.misbehave({ method: 'DELETE', status: 405 });
    await failureOf(RegistryError, () => repositoryAt(registry).deleteManifest(said.digest));
    expect(idsOf(await repositoryAt(registry).referrers(image.digest))).toEqual(['1']);
  });
});

test('a list of referrers that is refused is not one that is missing', async () => {
  const image = await sampleImage();
  const registry = await openRegistry({ faults: [{ path: /\/referrers\//, status: 403 }] });
  const { message } = await failureOf(RegistryError, () => repositoryAt(registry).referrers(image.digest));
  expect(message).toContain(`referrers of ${image.digest}: expected 200 or 404, found 403`);
});
