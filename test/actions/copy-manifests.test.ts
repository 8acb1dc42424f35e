import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  asImage,
  DigestMismatchError,
  emptyManifest,
  type Image,
  type Index,
  InvalidLayoutError,
  InvalidOptionError,
  MissingBlobError,
  mediaTypes,
  NoMatchingPlatformError,
  newIndex,
  type OciError,
  parsePlatform,
  readLayout,
  readLayoutIndex,
  tagOf,
  UnexpectedMediaTypeError,
  UnknownTagError,
  verifyLayout,
} from '../../src';
import { type CopyOptions, cloneLayout, copyManifests } from '../../src/actions/copy-manifests';
import { parseImageReference, sourceAt } from '../../src/actions/image-reference';
import { blobFile } from '../../src/layout/paths';
import { parseLayoutReference } from '../../src/layout/reference';
import {
  archiveOf,
  failureOf,
  sampleImage,
  snapshot,
  sourceOf,
  taggedLayout,
  temporaryDirectory,
  writtenLayout,
} from '../fixtures';
import { clientOf, openRegistry } from '../registry/clients';

const missing = () => join(temporaryDirectory(), 'out');
const copy = (from: string, to: string, options?: CopyOptions) =>
  copyManifests(sourceOf(from), parseLayoutReference(to), options);
const platform = parsePlatform('linux/arm64');

/** A layout with an index of two platforms and an image, by tags. */
async function source(): Promise<{ path: string; index: Index; arm: Image; alone: Image }> {
  const [amd, arm] = [await sampleImage(['amd']), await sampleImage(['arm'], 'linux/arm64')];
  const index = newIndex([{ ref: amd }, { ref: arm }]);
  const alone = await sampleImage(['alone']);
  return { path: await taggedLayout({ multi: index, alone }), index, arm, alone };
}

const tagsIn = async (path: string) =>
  Object.fromEntries((await readLayoutIndex(path)).children().map((child) => [tagOf(child), child.digest]));

describe('copy', () => {
  test.each([
    ['an image', 'alone'],
    ['an index', 'multi'],
  ])('of %s from a registry asks for everything once', async (_, tag) => {
    const { path } = await source();
    const registry = await openRegistry({ layouts: [{ path, repository: 'os' }] });
    const to = missing();
    const from = sourceAt(parseImageReference(`${registry.host}/os:${tag}`, '/'), clientOf());
    await copyManifests(from, parseLayoutReference(to));
    const asked = registry.requests.map(({ method, path }) => `${method} ${path}`);
    expect(asked).toEqual([...new Set(asked)]);
    // Beside the manifests, which the tag leads to, everything that is in the layout now.
    expect(asked.filter((request) => request.includes('/blobs/')).length).toBe(tag === 'alone' ? 2 : 4);
    expect(await tagsIn(to)).toEqual({ [tag]: (await readLayout(path, { tag })).digest });
  });

  test('takes all of a layout or an archive, with its tags', async () => {
    const { path, index, alone } = await source();
    for (const from of [path, await archiveOf(path)]) {
      const to = missing();
      const copied = await copy(from, to);
      expect(await tagsIn(to)).toEqual({ multi: index.digest, alone: alone.digest });
      expect((await readLayoutIndex(to)).children()).toEqual(copied);
      expect(await verifyLayout(to)).toMatchObject({ problems: [], manifests: 4 });
    }
  });

  test('takes one by tag or digest, and gives it another tag', async () => {
    const { path, index, arm, alone } = await source();
    const to = missing();
    await copy(`${path}:multi`, `${to}:v1`);
    await copy(`${path}@${arm.digest}`, `${to}:arm`);
    await copy(`${path}:alone`, to);
    expect(await tagsIn(to)).toEqual({ v1: index.digest, arm: arm.digest, alone: alone.digest });
    expect(await verifyLayout(to)).toMatchObject({ problems: [] });
  });

  test('L11: takes several platforms as the index of these, nested ones too, and all of them as it is', async () => {
    const [amd, arm, risc] = (await Promise.all(
      ['linux/amd64', 'linux/arm64', 'linux/riscv64'].map((name) => sampleImage([name], name)),
    )) as [Image, Image, Image];
    const nested = newIndex([{ ref: risc, platform: parsePlatform('linux/riscv64') }]);
    const entries = [amd, arm].map((ref, position) => ({
      ref,
      platform: parsePlatform(['linux/amd64', 'linux/arm64'][position] ?? ''),
    }));
    const whole = newIndex([...entries, { ref: nested }]);
    const flat = newIndex(entries);
    const path = await taggedLayout({ whole, flat });
    const taken = async (tag: string, ...platforms: string[]) => {
      const to = join(temporaryDirectory(), 'to');
      await copy(`${path}:${tag}`, to, { platforms: platforms.map(parsePlatform) });
      expect(await verifyLayout(to)).toMatchObject({ problems: [] });
      return (await readLayout(to)) as Index;
    };
    const digests = (index: Index) => index.children().map(({ digest }) => digest);
    expect(digests(await taken('whole', 'linux/riscv64', 'linux/arm64'))).toEqual([arm.digest, risc.digest]);
    expect((await taken('flat', 'linux/arm64', 'linux/amd64')).digest).toBe(flat.digest);
  });

  test('takes the image for a platform out of an index, under its tag', async () => {
    const { path, arm } = await source();
    const to = missing();
    expect(await copy(`${path}:multi`, to, { platforms: [platform] })).toMatchObject([
      { digest: arm.digest, platform },
    ]);
    expect(await tagsIn(to)).toEqual({ multi: arm.digest });
  });

  test('keeps what index.json says of a manifest', async () => {
    const annotations = { note: 'n', 'org.opencontainers.image.ref.name': 'v1' };
    const path = await writtenLayout([{ ref: await sampleImage(), annotations, platform }]);
    const to = missing();
    await copy(path, to);
    expect((await readLayoutIndex(to)).children()).toEqual((await readLayoutIndex(path)).children());
  });

  test('L13: converts to Docker and back, and the layers stay', async () => {
    const { path, index } = await source();
    const [there, back] = [missing(), missing()];
    await copy(`${path}:multi`, there, { format: 'docker' });
    const list = (await readLayout(there)) as Index;
    expect(list.mediaType).toBe(mediaTypes.dockerManifestList);
    const types = list.children().map(({ mediaType }) => mediaType);
    expect(types).toEqual([mediaTypes.dockerManifest, mediaTypes.dockerManifest]);
    expect(await verifyLayout(there)).toMatchObject({ problems: [] });
    await copy(there, back, { format: 'oci' });
    expect(await tagsIn(back)).toEqual({ multi: index.digest });
    expect(await verifyLayout(back)).toMatchObject({ problems: [] });
  });

  const rows: [string, new (...facts: never[]) => OciError, string, string, CopyOptions, string][] = [
    ['ACCEPTANCE 50: a newline in the tag', InvalidOptionError, ':multi', ':a\nb', {}, 'found "a\\nb"'],
    [
      'a digest to copy to',
      InvalidOptionError,
      ':multi',
      `@sha256:${'0'.repeat(64)}`,
      {},
      `found the digest sha256:00`,
    ],
    ['several to one tag', AmbiguousManifestError, '', ':v1', {}, 'found 2 (multi, alone)'],
    ['an unknown tag', UnknownTagError, ':v9', '', {}, 'tag "v9", found multi, alone'],
    [
      'no such platform',
      NoMatchingPlatformError,
      ':alone',
      '',
      { platforms: [platform] },
      'linux/arm64, found linux/amd64',
    ],
  ];
  test.each(rows)('refuses %s, and writes nothing', async (_, type, suffix, tag, options, message) => {
    const { path } = await source();
    const to = missing();
    const { message: said } = await failureOf(type, () => copy(path + suffix, to + tag, options));
    expect(said).toContain(message);
    expect(existsSync(to)).toBe(false);
  });

  test('L13: refuses to convert what Docker has no words for, and writes nothing', async () => {
    const path = await taggedLayout({ image: await sampleImage(), artifact: emptyManifest('application/x') });
    const to = missing();
    await failureOf(UnexpectedMediaTypeError, () => copy(path, to, { format: 'docker' }));
    expect(existsSync(to)).toBe(false);
  });

  test('ACCEPTANCE 19, 20: of a damaged layer leaves the destination as it was', async () => {
    const { path: to } = await source();
    const before = snapshot(to);
    const damaged = await sampleImage(['damaged']);
    const digest = damaged.manifest.layers[0]?.digest as never;
    const path = await writtenLayout(damaged);
    const size = statSync(blobFile(path, digest)).size;
    rmSync(blobFile(path, digest));
    expect((await failureOf(MissingBlobError, () => copy(path, to))).message).toContain(digest);
    writeFileSync(blobFile(path, digest), Buffer.alloc(size));
    expect((await failureOf(DigestMismatchError, () => copy(path, to))).message).toContain(digest);
    // What was verified before the damage was met may lie there, and goes with the next collection.
    expect(snapshot(to)).toMatchObject(before);
    expect(await verifyLayout(to)).toMatchObject({ problems: [], manifests: 4 });
    expect(readdirSync(to).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
  });
});

describe('O17: clone', () => {
  test('copies index.json to the byte and all that it leads to, and nothing else', async () => {
    const { path, index } = await source();
    const raw = `${readFileSync(join(path, 'index.json'), 'utf8')}\n`;
    writeFileSync(join(path, 'index.json'), raw);
    writeFileSync(join(path, 'unrelated'), '');
    const before = snapshot(path);
    const to = missing();
    expect(await cloneLayout(path, to)).toEqual({ blobs: readdirSync(join(path, 'blobs/sha256')).length });
    const { unrelated: _, ...expected } = before;
    expect(snapshot(to)).toEqual(expected);
    expect(snapshot(path)).toEqual(before);
    expect((await readLayout(to, { tag: 'multi' })).digest).toBe(index.digest);
  });

  test('is another layout: what is done to the clone is not done to the source', async () => {
    const { path, alone } = await source();
    const to = missing();
    await cloneLayout(path, to);
    rmSync(to, { recursive: true });
    expect(asImage(await readLayout(path, { tag: 'alone' })).digest).toBe(alone.digest);
    expect(await verifyLayout(path)).toMatchObject({ problems: [] });
  });

  test('goes only where nothing is', async () => {
    const { path } = await source();
    const { path: taken } = await source();
    const before = snapshot(taken);
    const { message } = await failureOf(InvalidLayoutError, () => cloneLayout(path, taken));
    expect(message).toBe(`${taken}: expected no directory or an empty one to clone to, found "blobs"`);
    expect(snapshot(taken)).toEqual(before);
  });

  test('ACCEPTANCE 20: of a damaged layout leaves nothing', async () => {
    const { path, alone } = await source();
    const layer = blobFile(path, alone.manifest.layers[0]?.digest as never);
    const { size } = statSync(layer);
    rmSync(layer);
    writeFileSync(layer, Buffer.alloc(size));
    const to = missing();
    await failureOf(DigestMismatchError, () => cloneLayout(path, to));
    expect(existsSync(to)).toBe(false);
  });
});
