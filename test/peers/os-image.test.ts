import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { asImage, type Digest, digestOf, type Image, readLayout } from '../../src';
import type { BuiltOsImage } from '../../src/actions/build-os-image';
import type { VerifiedPayload } from '../../src/actions/read-payloads';
import { blobFile } from '../../src/layout/paths';
import { noise, temporaryDirectory, writeFiles } from '../fixtures';
import { buildMonogon } from './monogon';
import { hasOras, oras, ours, skopeo, succeed, verify } from './programs';

const text = Buffer.from('word after word '.repeat(600_000));
const contents = { system: Buffer.concat([text, noise(1_000_001)]), 'kernel.efi': noise(4096), empty: Buffer.of() };
const productInfo = { id: 'os', name: 'OS <&>', version: '1.0', variant: 'x86_64-debug', build_tree_dirty: true };

const directory = writeFiles(temporaryDirectory(), { ...contents, 'info.json': JSON.stringify(productInfo) });
const names = Object.keys(contents);
const levels = [0, 1, 2, 3, 4];

async function build(compressionLevel: number): Promise<string> {
  const options = { payloads: names.map((from) => ({ from })), productInfo: 'info.json', compressionLevel };
  writeFiles(directory, { 'options.json': JSON.stringify(options) });
  const output = join(temporaryDirectory(), 'layout');
  const built: BuiltOsImage = JSON.parse(
    await ours('os-image', '--options', join(directory, 'options.json'), '--output', output, '--json'),
  );
  return built.path;
}

const imageIn = async (layout: string): Promise<Image> => asImage(await readLayout(layout));

async function configIn(layout: string): Promise<string> {
  const image = await imageIn(layout);
  return Buffer.from(await image.readBlobVerified(image.manifest.config)).toString();
}

const monogon = buildMonogon();
const found = 'missing' in monogon ? undefined : monogon;
const title =
  'missing' in monogon ? `Monogon's own programs, skipped without ${monogon.missing}` : "Monogon's own programs";

(found ? describe : describe.skip)(`M15, M16: ${title}`, () => {
  const layouts = new Map<number, { ours: string; theirs: string }>();
  beforeAll(async () => {
    for (const level of levels) layouts.set(level, { ours: await build(level), theirs: await theirs(level) });
  });
  const at = (level: number) => layouts.get(level) as { ours: string; theirs: string };

  async function theirs(level: number): Promise<string> {
    const out = join(temporaryDirectory(), 'theirs');
    const payloads = names.flatMap((name) => ['-payload_name', name, '-payload_file', join(directory, name)]);
    const flags = ['-product_info', join(directory, 'info.json'), '-compression_level', String(level), '-out', out];
    await succeed(found?.mkoci ?? '', [...flags, ...payloads]);
    // At level 0 it has symbolic links, which lead out of the layout.
    const copy = join(temporaryDirectory(), 'copy');
    cpSync(out, copy, { recursive: true, dereference: true });
    return copy;
  }

  test.each(levels)('the reader verifies every payload that we write at level %d', async (level) => {
    expect(await succeed(found?.reader ?? '', [at(level).ours])).toBe(
      Object.entries(contents)
        .map(([name, bytes]) => `${name} ${bytes.length} ${digestOf(bytes)}\n`)
        .join(''),
    );
  });

  test.each(levels)('we verify every payload that the writer writes at level %d', async (level) => {
    const verified: VerifiedPayload[] = JSON.parse(await ours('payload', 'verify', at(level).theirs, '--json'));
    expect(verified.map(({ name, size, problem }) => [name, size, problem])).toEqual(
      Object.entries(contents).map(([name, bytes]) => [name, bytes.length, undefined]),
    );
    const output = join(temporaryDirectory(), 'system');
    await ours('payload', 'extract', at(level).theirs, 'system', '--output', output);
    expect(digestOf(readFileSync(output))).toBe(digestOf(contents.system));
    await verify(at(level).theirs);
  });

  test.each(levels)('both write the same config at level %d, but for white space and the null of Go', async (level) => {
    const [our, their] = await Promise.all([at(level).ours, at(level).theirs].map(configIn));
    expect(our).toBe(
      JSON.stringify(JSON.parse(their ?? '')).replace('"chunk_hashes_sha256":null', '"chunk_hashes_sha256":[]'),
    );
  });

  test('both name the same blobs at level 0', async () => {
    const [our, their] = await Promise.all([at(0).ours, at(0).theirs].map(imageIn));
    expect(our?.manifest.layers).toEqual(their?.manifest.layers);
  });
});

describe('M15: other programs', () => {
  let layout: string;
  let image: Image;
  beforeAll(async () => {
    layout = await build(2);
    image = await imageIn(layout);
  });

  test('zstd unpacks the payloads', async () => {
    for (const [position, bytes] of Object.values(contents).entries()) {
      const unpacked = join(temporaryDirectory(), 'payload');
      const digest = image.manifest.layers[position]?.digest as Digest;
      await succeed('zstd', ['-d', '-q', '-o', unpacked, blobFile(layout, digest)]);
      expect(digestOf(readFileSync(unpacked))).toBe(digestOf(bytes));
    }
  });

  test('skopeo copies the image, and every payload is verified in the copy', async () => {
    const copy = join(temporaryDirectory(), 'copy');
    await skopeo('copy', '--preserve-digests', `oci:${layout}:latest`, `oci:${copy}:latest`);
    expect((await imageIn(copy)).digest).toBe(image.digest);
    await ours('payload', 'verify', copy);
  });

  (hasOras ? test : test.skip)('oras copies the image, and every payload is verified in the copy', async () => {
    const copy = join(temporaryDirectory(), 'copy');
    await oras('cp', '--from-oci-layout', `${layout}:latest`, '--to-oci-layout', `${copy}:latest`);
    expect((await imageIn(copy)).digest).toBe(image.digest);
    await ours('payload', 'verify', copy);
  });
});
