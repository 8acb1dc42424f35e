import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  AmbiguousManifestError,
  type Digest,
  DigestMismatchError,
  digestOf,
  EmptyIndexError,
  FileSystemError,
  type Image,
  InvalidOptionError,
  NoMatchingPlatformError,
  newIndex,
  parsePlatform,
  UnexpectedMediaTypeError,
  UnknownPayloadError,
} from '../../src';
import { extractPayload, listOsImages, openOsImage, verifyPayloads } from '../../src/actions/read-payloads';
import { blobFile } from '../../src/layout/paths';
import { failureOf, noise, sampleImage, sampleOsImage, sourceOf, temporaryDirectory, writtenLayout } from '../fixtures';

const mebibyte = 1024 * 1024;
const system = noise(2 * mebibyte + 1);
const arm64 = parsePlatform('linux/arm64');

let plain: Image;
let packed: Image;
let container: Image;
beforeAll(async () => {
  plain = await sampleOsImage({ system, kernel: Buffer.from('kernel') }, 0);
  packed = await sampleOsImage({ system, kernel: Buffer.from('arm') }, 1);
  container = await sampleImage();
});

/** An index over OS images for two platforms. */
const index = () =>
  writtenLayout(
    newIndex([
      { ref: plain, platform: parsePlatform('linux/amd64') },
      { ref: packed, platform: arm64 },
    ]),
  );

/** Turns over a byte of a blob in a layout. */
function damage(layout: string, digest: Digest | undefined, at: number): void {
  const path = blobFile(layout, digest as Digest);
  const bytes = readFileSync(path);
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  chmodSync(path, 0o644);
  writeFileSync(path, bytes);
}

describe('M16: the OS images of a layout', () => {
  test('are listed with their platforms and payloads', async () => {
    const source = sourceOf(await index());
    const payload = (image: Image, position: number, name: string, size: number) => {
      const layer = image.manifest.layers[position];
      return { name, size, storedSize: layer?.size, mediaType: layer?.mediaType, digest: layer?.digest };
    };
    const all = await listOsImages(source);
    expect(all).toMatchObject([
      {
        digest: plain.digest,
        platform: 'linux/amd64',
        productInfo: { id: 'os', version: '1.0' },
        payloads: [payload(plain, 0, 'system', system.length), payload(plain, 1, 'kernel', 6)],
      },
      {
        digest: packed.digest,
        platform: 'linux/arm64',
        payloads: [payload(packed, 0, 'system', system.length), payload(packed, 1, 'kernel', 3)],
      },
    ]);
    expect(await listOsImages(source, arm64)).toEqual(all.slice(1));
  });

  test('are found beside other images', async () => {
    const mixed = sourceOf(await writtenLayout([{ ref: container }, { ref: plain }]));
    expect((await openOsImage(mixed)).image.digest).toBe(plain.digest);
  });

  test('are one, under two tags', async () => {
    const annotations = (tag: string) => ({ 'org.opencontainers.image.ref.name': tag });
    const twice = ['a', 'b'].map((tag) => ({ ref: plain, annotations: annotations(tag) }));
    expect((await openOsImage(sourceOf(await writtenLayout(twice)))).image.digest).toBe(plain.digest);
  });

  test('are several, of which one must be picked', async () => {
    const source = sourceOf(await index());
    const { message } = await failureOf(AmbiguousManifestError, () => openOsImage(source));
    expect(message).toContain('expected one OS image, found 2 (linux/amd64, linux/arm64); pick one by platform or tag');
    expect((await openOsImage(source, arm64)).image.digest).toBe(packed.digest);
    await failureOf(NoMatchingPlatformError, () => openOsImage(source, parsePlatform('linux/riscv64')));
  });

  test('are none', async () => {
    await failureOf(UnexpectedMediaTypeError, async () => openOsImage(sourceOf(await writtenLayout(container))));
    await failureOf(EmptyIndexError, async () => openOsImage(sourceOf(await writtenLayout([]))));
  });
});

describe('M16: payloads are verified', () => {
  test('all of them, or those of a name or a platform', async () => {
    const source = sourceOf(await index());
    const seen: string[] = [];
    const all = await verifyPayloads(source, {
      onProgress: (name, { done, total }) => void (done === total && seen.push(name)),
    });
    expect(all.map(({ platform, name, size }) => [platform, name, size])).toEqual([
      ['linux/amd64', 'system', system.length],
      ['linux/amd64', 'kernel', 6],
      ['linux/arm64', 'system', system.length],
      ['linux/arm64', 'kernel', 3],
    ]);
    expect(all.flatMap(({ problem }) => problem ?? [])).toEqual([]);
    expect(seen).toEqual(['system', 'kernel', 'system', 'kernel']);
    expect(await verifyPayloads(source, { name: 'kernel', platform: arm64 })).toEqual(all.slice(3));
    await failureOf(UnknownPayloadError, () => verifyPayloads(source, { name: 'initrd' }));
  });

  test('and all that is wrong is found', async () => {
    const layout = await index();
    damage(layout, plain.manifest.layers[0]?.digest, mebibyte);
    damage(layout, plain.manifest.layers[1]?.digest, 0);
    const problems = (await verifyPayloads(sourceOf(layout))).map(({ problem }) => problem);
    expect(problems).toEqual([
      expect.stringContaining('payload system (blob '),
      expect.stringContaining('payload kernel (blob '),
      undefined,
      undefined,
    ]);
    expect(problems[0]).toContain('chunk 2 of 3');
  });
});

describe('M16: a payload is extracted', () => {
  test.each([
    ['plain', () => plain],
    ['compressed', () => packed],
  ])('that is stored %s, over what was there', async (_, image) => {
    const directory = temporaryDirectory();
    const osImage = await openOsImage(sourceOf(await writtenLayout(image())));
    for (const _ of [1, 2]) {
      await extractPayload(osImage, 'system', join(directory, 'system'));
      expect(digestOf(readFileSync(join(directory, 'system')))).toBe(digestOf(system));
    }
    expect(readdirSync(directory)).toEqual(['system']);
    expect(statSync(join(directory, 'system')).mode & 0o200).toBe(0o200);
  });

  test.each([
    ['plain', () => plain],
    ['compressed', () => packed],
  ])('or not at all, stored %s', async (_, image) => {
    const layout = await writtenLayout(image());
    const layer = image().manifest.layers[0];
    damage(layout, layer?.digest, (layer?.size ?? 0) - 9);
    const osImage = await openOsImage(sourceOf(layout));
    const directory = temporaryDirectory();
    for (const before of [undefined, 'before']) {
      if (before !== undefined) writeFileSync(join(directory, 'system'), before);
      await expect(extractPayload(osImage, 'system', join(directory, 'system'))).rejects.toThrow('payload system');
      expect(readdirSync(directory)).toEqual(before === undefined ? [] : ['system']);
    }
    expect(readFileSync(join(directory, 'system'), 'utf8')).toBe('before');
  });

  test('not to what is no file', async () => {
    const osImage = await openOsImage(sourceOf(await writtenLayout(plain)));
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'here'));
    const { message } = await failureOf(InvalidOptionError, () =>
      extractPayload(osImage, 'kernel', join(directory, 'here')),
    );
    expect(message).toContain(`${join(directory, 'here')}: expected a file, or nothing yet, found a directory`);
    const server = createServer().listen(join(directory, 'socket'));
    await once(server, 'listening');
    await failureOf(InvalidOptionError, () => extractPayload(osImage, 'kernel', join(directory, 'socket')));
    expect(statSync(join(directory, 'socket')).isSocket()).toBe(true);
    server.close();
    await once(server, 'close');
    await failureOf(FileSystemError, () => extractPayload(osImage, 'kernel', join(directory, 'gone/kernel')));
    await failureOf(UnknownPayloadError, () => extractPayload(osImage, 'initrd', join(directory, 'initrd')));
    expect(readdirSync(directory)).toEqual(['here']);
  });

  test('in the place of a symbolic link, not where it leads', async () => {
    const osImage = await openOsImage(sourceOf(await writtenLayout(plain)));
    const directory = temporaryDirectory();
    writeFileSync(join(directory, 'other'), 'other');
    symlinkSync('other', join(directory, 'kernel'));
    await extractPayload(osImage, 'kernel', join(directory, 'kernel'));
    expect(readFileSync(join(directory, 'other'), 'utf8')).toBe('other');
    expect(readFileSync(join(directory, 'kernel'), 'utf8')).toBe('kernel');
  });

  test('not of a config that was changed', async () => {
    const layout = await writtenLayout(plain);
    damage(layout, plain.manifest.config.digest, 20);
    await failureOf(DigestMismatchError, () => openOsImage(sourceOf(layout)));
    expect(existsSync(join(layout, 'system'))).toBe(false);
  });
});
