import { describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  annotate,
  type Descriptor,
  descriptorOf,
  emptyImage,
  type Image,
  type Index,
  mediaTypes,
  NotAnIndexError,
  newIndex,
  parsePlatform,
  type Ref,
  readLayout,
  sealImage,
  UnknownTagError,
} from '../../src';
import { parseImageReference, sourceAt } from '../../src/actions/image-reference';
import { inspectIndex, inspectLayout } from '../../src/actions/inspect-layout';
import { newArtifact, titleAnnotation } from '../../src/artifact';
import { bytesBlob } from '../../src/blob';
import { convertRef } from '../../src/convert';
import { digestOf } from '../../src/digest';
import { indexInspectReport, inspectReport } from '../../src/terminal/reports';
import { archiveOf, failureOf, sampleImage, sourceOf, taggedLayout, writtenLayout } from '../fixtures';
import { clientOf, openRegistry } from '../registry/clients';

const inspectAt = (path: string) => inspectLayout(sourceOf(path));
const inspectIndexAt = (path: string) => inspectIndex(sourceOf(path));

const blobOf = ({ mediaType, digest, size }: Descriptor) => ({ mediaType, digest, size });
const selfOf = (ref: Ref) => blobOf(descriptorOf(ref));

const windows = { ...parsePlatform('windows/amd64'), 'os.version': '10.0.1', 'os.features': ['win32k'] };

/** An artifact of one file that speaks of an image. */
function sbomOf(image: Image): Image {
  const bytes = Buffer.from('{}');
  const annotations = { [titleAnnotation]: 'sbom.json' };
  const descriptor = { mediaType: 'application/json', digest: digestOf(bytes), size: bytes.length, annotations };
  const subject = descriptorOf(image);
  return newArtifact([{ descriptor, blob: bytesBlob(bytes) }], { artifactType: 'application/x', subject });
}

describe('inspecting a layout', () => {
  test('shows annotations of the manifest and, over them, those that index.json keeps', async () => {
    const image = sealImage(annotate(emptyImage(parsePlatform('linux/amd64')), { own: 'yes', both: 'manifest' }));
    const annotations = { both: 'index', listed: 'yes', 'org.opencontainers.image.ref.name': 'v1' };
    const path = await writtenLayout([{ ref: image, annotations }]);
    const inspected = await inspectAt(path);
    const merged = { own: 'yes', both: 'index', listed: 'yes' };
    expect(inspected.manifests).toMatchObject([{ tag: 'v1', annotations: merged }]);
    expect(inspected.manifests[0]?.annotations).toEqual(merged);
    expect(inspectReport(inspected).split('\n').slice(1, 6)).toEqual([
      '└─ image  v1  linux/amd64',
      expect.stringContaining(image.digest),
      '      own=yes',
      '      both=index',
      '      listed=yes',
    ]);
  });

  test('shows no annotations where there is only the tag', async () => {
    const path = await taggedLayout({ v1: await sampleImage() });
    expect((await inspectAt(path)).manifests[0]).not.toHaveProperty('annotations');
  });

  test('shows version and features of the operating system', async () => {
    const inspected = await inspectAt(await writtenLayout(sealImage(emptyImage(windows))));
    expect(inspected.manifests).toMatchObject([
      { platform: 'windows/amd64', 'os.version': '10.0.1', 'os.features': ['win32k'] },
    ]);
    expect(inspectReport(inspected)).toContain('└─ image  windows/amd64  10.0.1\n');
  });

  test('shows of an artifact its type, its subject and its files', async () => {
    const image = await sampleImage();
    const sbom = sbomOf(image);
    const inspected = await inspectAt(await writtenLayout(sbom));
    const [layer] = sbom.manifest.layers;
    expect(inspected.manifests).toEqual([
      {
        ...selfOf(sbom),
        artifactType: 'application/x',
        subject: image.digest,
        config: blobOf(sbom.manifest.config),
        layers: [{ ...blobOf(layer as Descriptor), annotations: { [titleAnnotation]: 'sbom.json' } }],
      },
    ]);
    const report = inspectReport(inspected);
    expect(report).toContain(`\n      subject ${image.digest}\n`);
    expect(report).toMatch(/layer .* application\/json {2}sbom\.json$/);
  });

  test('shows one manifest by tag or digest, of archives too', async () => {
    const [a, b] = [await sampleImage(['a']), await sampleImage(['b'])];
    const path = await taggedLayout({ a, b });
    for (const name of [`${path}:b`, `${path}@${b.digest}`, `${await archiveOf(path)}:b`]) {
      expect((await inspectAt(name)).manifests.map(({ digest }) => digest)).toEqual([b.digest]);
    }
    expect((await inspectAt(path)).manifests.map(({ tag }) => tag)).toEqual(['a', 'b']);
    expect((await failureOf(UnknownTagError, () => inspectAt(`${path}:c`))).message).toContain('found a, b');
  });
});

describe('L5: inspecting an index', () => {
  const images = () =>
    Promise.all(['linux/amd64', 'linux/arm/v6'].map((platform) => sampleImage([platform], platform)));

  test.each(['oci', 'docker'] as const)('shows everything of it and its instances: %s', async (format) => {
    const refs = await images();
    const index = (await convertRef(newIndex(refs.map((ref) => ({ ref }))), format)) as Index;
    const { digest, mediaType, manifest, instances } = await inspectIndexAt(await taggedLayout({ latest: index }));
    expect({ digest, mediaType, manifest }).toEqual({
      digest: index.digest,
      mediaType: index.mediaType,
      manifest: index.manifest,
    });
    expect(mediaType).toBe(format === 'oci' ? mediaTypes.imageIndex : mediaTypes.dockerManifestList);
    const converted = await Promise.all(refs.map((ref) => convertRef(ref, format)));
    expect(instances).toEqual(
      (converted as Image[]).map((image, position) => ({
        ...selfOf(image),
        platform: ['linux/amd64', 'linux/arm/v6'][position],
        config: blobOf(image.manifest.config),
        layers: image.manifest.layers.map((layer) => ({ ...blobOf(layer), createdBy: 'test' })),
      })),
    );
  });

  test('as text', async () => {
    const [image] = (await images()) as [Image];
    const subject = descriptorOf(image);
    const entry = { ref: image, platform: windows, annotations: { note: 'fast\u001b[2J' } };
    const index = newIndex([entry], { annotations: { a: 'b' }, subject, artifactType: 'application/x' });
    const inspected = await inspectIndexAt(await writtenLayout(index));
    expect(indexInspectReport(inspected, 'out:latest').split('\n').slice(0, 7)).toEqual([
      'out:latest',
      `  ${index.digest}  ${mediaTypes.imageIndex}  application/x`,
      `  subject ${image.digest}`,
      '  a=b',
      '└─ image  windows/amd64  10.0.1',
      expect.stringContaining(image.digest),
      '      note=fast [2J',
    ]);
  });

  test('must be one index', async () => {
    const [image] = (await images()) as [Image];
    const path = await taggedLayout({ image, index: newIndex([{ ref: image }]) });
    expect((await failureOf(NotAnIndexError, () => inspectIndexAt(`${path}:image`))).message).toContain(image.digest);
    const { message } = await failureOf(AmbiguousManifestError, () => inspectIndexAt(path));
    expect(message).toContain('expected one index, found 2 manifests (image, index)');
    expect((await inspectIndexAt(`${path}:index`)).digest).toBe((await readLayout(path, { tag: 'index' })).digest);
  });
});

test('an index in a registry is inspected with one request for each document', async () => {
  const images = [await sampleImage(['amd']), await sampleImage(['arm'], 'linux/arm64')];
  const registry = await openRegistry();
  await registry.addRef('os', 'v1', newIndex(images.map((ref) => ({ ref }))));
  const source = sourceAt(parseImageReference(`${registry.host}/os:v1`, '/'), clientOf());
  expect((await inspectIndex(source)).instances).toMatchObject(images.map(selfOf));
  const asked = registry.requests.map(({ method, path }) => `${method} ${path}`);
  expect(asked).toEqual([...new Set(asked)]);
});
