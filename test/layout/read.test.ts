import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  type Descriptor,
  type Digest,
  DigestMismatchError,
  EmptyIndexError,
  hasBlob,
  hasManifest,
  type IndexEntry,
  InvalidDigestError,
  InvalidDocumentError,
  InvalidLayoutError,
  type LayoutSelection,
  MissingBlobError,
  MissingIndexError,
  NoMatchingPlatformError,
  newIndex,
  parsePlatform,
  type Ref,
  readJsonBlob,
  readLayout,
  readLayoutIndex,
  SizeMismatchError,
  UnknownTagError,
  verified,
  walkRefs,
} from '../../src';
import { blobFile } from '../../src/layout/paths';
import { configSchema, manifestSchema } from '../../src/spec/documents';
import { collect, sampleImage, snapshot, temporaryDirectory, writeFiles, writtenLayout } from '../fixtures';

const noDigest: Digest = `sha256:${'0'.repeat(64)}`;

const tagged = (ref: Ref, tag: string): IndexEntry => ({
  ref,
  annotations: { 'org.opencontainers.image.ref.name': tag },
});

/** Reads all that a layout leads to. */
async function readEverything(path: string): Promise<void> {
  await walkRefs(await readLayoutIndex(path), async (ref) => {
    for (const descriptor of ref.descriptors()) await collect(verified(ref.blob(descriptor).open(), descriptor));
  });
}

/** A layout of an image, one of whose blobs is to be damaged. */
async function imageLayout() {
  const image = await sampleImage();
  const { config, layers } = image.manifest;
  const path = await writtenLayout(image);
  const manifest = { digest: image.digest, size: image.rawManifest.length };
  return { image, path, blobs: { manifest, config, layer: layers[0] as Descriptor } };
}

const kinds = ['manifest', 'config', 'layer'] as const;

describe('M7: readLayoutIndex', () => {
  test('gives index.json as it is, and what it lists', async () => {
    const image = await sampleImage();
    const path = await writtenLayout([tagged(image, 'a'), tagged(image, 'b')]);
    const index = await readLayoutIndex(path);
    expect(Buffer.from(index.rawManifest)).toEqual(readFileSync(join(path, 'index.json')));
    expect(index.children().map(({ digest }) => digest)).toEqual([image.digest, image.digest]);
    expect(await index.ref(index.children()[0] as Descriptor)).toMatchObject({ kind: 'image', digest: image.digest });
  });

  test('names a missing index.json', async () => {
    const path = await writtenLayout(await sampleImage());
    rmSync(join(path, 'index.json'));
    const reading = readLayoutIndex(path);
    await expect(reading).rejects.toThrow(MissingIndexError);
    await expect(reading).rejects.toThrow(join(path, 'index.json'));
  });

  test.each([
    ['', 'JSON'],
    ['{"schemaVersion":2,"manifests":[', 'JSON'],
    ['[]', 'object'],
    ['{"schemaVersion":1,"manifests":[]}', '$.schemaVersion'],
    [
      '{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:../../x","size":1}]}',
      '$.manifests[0].digest',
    ],
    ['{"schemaVersion":2,"manifests":[],"layers":[]}', 'ambiguous'],
  ])('refuses the index.json %j', async (content, expected) => {
    const path = await writtenLayout(await sampleImage());
    writeFileSync(join(path, 'index.json'), content);
    const reading = readLayoutIndex(path);
    await expect(reading).rejects.toThrow(InvalidDocumentError);
    await expect(reading).rejects.toThrow(`${join(path, 'index.json')}: `);
    await expect(reading).rejects.toThrow(expected);
  });
});

describe('M7: readLayout', () => {
  const platforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v6'] as const;
  const imagesFor = () => Promise.all(platforms.map((platform) => sampleImage([platform], platform)));

  test('gives the one manifest there is', async () => {
    const image = await sampleImage();
    expect(await readLayout(await writtenLayout(image))).toMatchObject({ kind: 'image', digest: image.digest });
    const index = newIndex([{ ref: image }]);
    expect(await readLayout(await writtenLayout(index))).toMatchObject({ kind: 'index', digest: index.digest });
  });

  test.each<[string, LayoutSelection, number]>([
    ['a tag', { tag: 'b' }, 1],
    ['a platform', { platform: parsePlatform('linux/arm64') }, 1],
    ['a platform that has a lesser variant', { platform: parsePlatform('linux/arm/v7') }, 2],
    ['a tag and a platform', { tag: 'a', platform: parsePlatform('linux/amd64') }, 0],
  ])('picks by %s', async (_, selection, position) => {
    const images = await imagesFor();
    const entries = images.map((image, at) => tagged(image, 'abc'.charAt(at)));
    const ref = await readLayout(await writtenLayout(entries), selection);
    expect(ref.digest).toBe(images[position]?.digest);
  });

  test.each(platforms)('picks %s out of an index in an index', async (platform) => {
    const images = await imagesFor();
    const path = await writtenLayout(newIndex([{ ref: newIndex(images.map((ref) => ({ ref }))) }]));
    const ref = await readLayout(path, { platform: parsePlatform(platform) });
    expect(ref.digest).toBe(images[platforms.indexOf(platform)]?.digest);
  });

  test("believes the descriptor's platform before the config's", async () => {
    const [image] = (await imagesFor()) as [Ref];
    const path = await writtenLayout([{ ref: image, platform: parsePlatform('linux/s390x') }]);
    expect(await readLayout(path, { platform: parsePlatform('linux/s390x') })).toMatchObject({ digest: image.digest });
    await expect(readLayout(path, { platform: parsePlatform('linux/amd64') })).rejects.toThrow('found linux/s390x');
  });

  test.each<[string, number, LayoutSelection, new (...args: never[]) => Error, string]>([
    ['none', 0, {}, EmptyIndexError, 'expected one manifest in its index.json, found none'],
    ['several', 2, {}, AmbiguousManifestError, 'found 2 (t0, t1); pick one by tag or platform'],
    ['many', 12, {}, AmbiguousManifestError, 't8, t9 and 2 more)'],
    ['an unknown tag', 2, { tag: 'v9' }, UnknownTagError, 'with the tag "v9", found t0, t1'],
    ['a tag where there is nothing', 0, { tag: 'v9' }, UnknownTagError, 'found none'],
    [
      'an unknown platform',
      2,
      { platform: parsePlatform('linux/arm64') },
      NoMatchingPlatformError,
      'expected an image for linux/arm64, found linux/amd64',
    ],
    [
      'another platform than the tag is for',
      2,
      { tag: 't1', platform: parsePlatform('windows/amd64') },
      NoMatchingPlatformError,
      'expected an image for windows/amd64, found linux/amd64',
    ],
  ])('refuses %s', async (_, count, selection, errorClass, message) => {
    const image = await sampleImage();
    const path = await writtenLayout(Array.from({ length: count }, (_, at) => tagged(image, `t${at}`)));
    const reading = readLayout(path, selection);
    await expect(reading).rejects.toThrow(errorClass);
    await expect(reading).rejects.toThrow(`${path}: `);
    await expect(reading).rejects.toThrow(message);
  });

  test('refuses two manifests with one tag', async () => {
    const [one, other] = [await sampleImage(['one']), await sampleImage(['other'])];
    const path = await writtenLayout([tagged(one, 'same'), tagged(other, 'same')]);
    await expect(readLayout(path, { tag: 'same' })).rejects.toThrow(AmbiguousManifestError);
  });
});

describe('ACCEPTANCE 17: the marker', () => {
  test.each([
    ['missing', undefined, 'expected the marker file'],
    ['of version 2.0.0', '{"imageLayoutVersion":"2.0.0"}', 'expected imageLayoutVersion 1.0.0, found "2.0.0"'],
  ])('%s', async (_, content, message) => {
    const path = await writtenLayout(await sampleImage());
    rmSync(join(path, 'oci-layout'));
    if (content !== undefined) writeFileSync(join(path, 'oci-layout'), content);
    const reading = readLayout(path);
    await expect(reading).rejects.toThrow(InvalidLayoutError);
    await expect(reading).rejects.toThrow(`${join(path, 'oci-layout')}: ${message}`);
  });

  test.each([
    ['', 'JSON'],
    ['{', 'JSON'],
    ['"1.0.0"', 'object'],
    ['{}', '$.imageLayoutVersion: expected string, found nothing'],
    ['{"imageLayoutVersion":1}', '$.imageLayoutVersion: expected string, found 1'],
    ['{"imageLayoutVersion":"1.0.0","imageLayoutVersion":"2.0.0"}', '"imageLayoutVersion" twice'],
  ])('malformed: %j', async (content, message) => {
    const path = await writtenLayout(await sampleImage());
    writeFileSync(join(path, 'oci-layout'), content);
    const reading = readLayout(path);
    await expect(reading).rejects.toThrow(InvalidDocumentError);
    await expect(reading).rejects.toThrow(`${join(path, 'oci-layout')}: `);
    await expect(reading).rejects.toThrow(message);
  });

  test('ACCEPTANCE 16: with more in it is accepted', async () => {
    const image = await sampleImage();
    const path = await writtenLayout(image);
    writeFileSync(join(path, 'oci-layout'), '{ "imageLayoutVersion": "1.0.0", "more": [] }\n');
    expect(await readLayout(path)).toMatchObject({ digest: image.digest });
  });

  test.each(['no-such-directory', 'a-file'])('of %s', async (name) => {
    const path = join(writeFiles(temporaryDirectory(), { 'a-file': '' }), name);
    const reading = readLayout(path);
    await expect(reading).rejects.toThrow(InvalidLayoutError);
    await expect(reading).rejects.toThrow(path);
  });
});

describe('ACCEPTANCE 18: a symbolic link that leads out is not followed', () => {
  // What lies behind the link is exactly what should be there: whoever reads it would find nothing wrong.
  test.each<[string, (blobs: Record<(typeof kinds)[number], { digest: Digest }>) => string]>([
    ['blobs', () => 'blobs'],
    ['blobs/sha256', () => 'blobs/sha256'],
    ['index.json', () => 'index.json'],
    ['oci-layout', () => 'oci-layout'],
    ['a manifest', ({ manifest }) => `blobs/${manifest.digest.replace(':', '/')}`],
    ['a config', ({ config }) => `blobs/${config.digest.replace(':', '/')}`],
    ['a layer', ({ layer }) => `blobs/${layer.digest.replace(':', '/')}`],
  ])('%s', async (_, nameOf) => {
    const { path, blobs } = await imageLayout();
    const name = nameOf(blobs);
    const outside = join(temporaryDirectory(), 'outside');
    renameSync(join(path, name), outside);
    symlinkSync(outside, join(path, name));
    const reading = readEverything(path);
    await expect(reading).rejects.toThrow(InvalidLayoutError);
    await expect(reading).rejects.toThrow(join(path, name));
    await expect(reading).rejects.toThrow('symbolic link');
  });
});

describe('ACCEPTANCE 19: a missing blob is named with who refers to it', () => {
  test.each(kinds)('%s', async (kind) => {
    const { path, blobs } = await imageLayout();
    const { digest } = blobs[kind];
    const referrer = kind === 'manifest' ? (await readLayoutIndex(path)).digest : blobs.manifest.digest;
    rmSync(blobFile(path, digest));
    const reading = readEverything(path);
    await expect(reading).rejects.toThrow(MissingBlobError);
    await expect(reading).rejects.toThrow(`blob ${digest}: expected it because manifest ${referrer} refers to it`);
  });
});

describe.each(kinds)('ACCEPTANCE 20, O15: the bytes of a %s', (kind) => {
  test.each<[string, (file: string) => void, new (...args: never[]) => Error]>([
    ['one bit flipped', flipLastBit, DigestMismatchError],
    ['one byte shorter', (file) => truncateSync(file, readFileSync(file).length - 1), SizeMismatchError],
    ['one byte longer', (file) => appendFileSync(file, '\0'), SizeMismatchError],
    ['empty', (file) => truncateSync(file), SizeMismatchError],
  ])('%s', async (_, damage, errorClass) => {
    const { path, blobs } = await imageLayout();
    const { digest } = blobs[kind];
    const file = blobFile(path, digest);
    const original = readFileSync(file);
    rmSync(file);
    writeFileSync(file, original);
    damage(file);
    const reading = readEverything(path);
    await expect(reading).rejects.toThrow(errorClass);
    await expect(reading).rejects.toThrow(digest);
  });
});

describe('O15: hasBlob', () => {
  test('tells what is there', async () => {
    const { path, blobs } = await imageLayout();
    expect(await hasBlob(path, blobs.config)).toBe(true);
    expect(await hasBlob(path, { digest: noDigest })).toBe(false);
    expect(await hasBlob(path, { digest: `blake3:${'0'.repeat(64)}` })).toBe(false);
    expect(await hasBlob(join(path, 'nowhere'), blobs.config)).toBe(false);
  });

  test('neither a directory nor a symbolic link is a blob', async () => {
    const { path, blobs } = await imageLayout();
    mkdirSync(blobFile(path, noDigest));
    renameSync(blobFile(path, blobs.layer.digest), join(path, 'moved'));
    symlinkSync(join(path, 'moved'), blobFile(path, blobs.layer.digest));
    expect(await hasBlob(path, { digest: noDigest })).toBe(false);
    expect(await hasBlob(path, blobs.layer)).toBe(false);
  });

  test('ACCEPTANCE 1: a digest that is a path is refused before anything is looked at', async () => {
    const path = writeFiles(temporaryDirectory(), { 'blobs/secret': '' });
    await expect(hasBlob(path, { digest: 'sha256:../secret' })).rejects.toThrow(InvalidDigestError);
  });
});

describe('O15: hasManifest, readJsonBlob', () => {
  test('a manifest is had when index.json lists it', async () => {
    const { path, blobs } = await imageLayout();
    expect(await hasManifest(path, blobs.manifest)).toBe(true);
    expect(await hasManifest(path, blobs.config)).toBe(false);
  });

  test('a JSON blob is verified and parsed', async () => {
    const { path, blobs } = await imageLayout();
    expect(await readJsonBlob(path, blobs.config, configSchema)).toMatchObject({ os: 'linux', architecture: 'amd64' });
    await expect(readJsonBlob(path, blobs.config, manifestSchema)).rejects.toThrow(InvalidDocumentError);
    const file = blobFile(path, blobs.config.digest);
    chmodSync(file, 0o644);
    flipLastBit(file);
    await expect(readJsonBlob(path, blobs.config, configSchema)).rejects.toThrow(DigestMismatchError);
  });
});

test('reading changes nothing', async () => {
  const { path } = await imageLayout();
  const before = snapshot(path);
  await readEverything(path);
  expect(snapshot(path)).toEqual(before);
});

function flipLastBit(file: string): void {
  const bytes = readFileSync(file);
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  writeFileSync(file, bytes);
}
