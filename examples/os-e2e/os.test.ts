import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  asImage,
  asIndex,
  type Bytes,
  createDigester,
  createLayout,
  findPlatform,
  formatPlatform,
  gunzip,
  type Image,
  type Index,
  instancesOf,
  parsePlatform,
  readConfig,
  readLayout,
  registryClient,
  thisPlatform,
  verified,
  verifyLayout,
  writeTree,
} from 'nx-oci';
import { obstacle, runContainer } from './container';
import { registryHost } from './registry';

const client = registryClient();
const os = client.repository({ registry: registryHost(), repository: 'os' });
const directory = mkdtempSync(join(tmpdir(), 'os-e2e-'));

let index: Index;
beforeAll(async () => {
  index = asIndex(await os.read({ tag: 'v1' }));
});
afterAll(async () => {
  await client.close();
  rmSync(directory, { recursive: true });
});

test('the tag names the index that was built', async () => {
  expect(await os.tags()).toEqual(['v1']);
  expect(index.digest).toBe((await readLayout('dist/examples/os/index')).digest);
});

test('by its digest it is the same, byte for byte', async () => {
  const { rawManifest, mediaType } = await os.read({ digest: index.digest });
  expect(Buffer.from(rawManifest)).toEqual(Buffer.from(index.rawManifest));
  expect(mediaType).toBe(index.mediaType);
});

describe.each(['linux/amd64', 'linux/arm64'])('the image for %s', (platform) => {
  let image: Image;
  beforeAll(async () => {
    image = findPlatform(await instancesOf(index), parsePlatform(platform), 'os:v1').image;
  });

  test('is there by its own digest too', async () => {
    const alone = asImage(await os.read({ digest: image.digest }));
    expect(alone.manifest).toEqual(image.manifest);
  });

  test('says what it is for and what it runs', async () => {
    const config = await readConfig(image);
    expect(formatPlatform(config)).toBe(platform);
    expect(config.config).toMatchObject({ Entrypoint: ['/usr/bin/hello'], User: '65532:65532' });
  });

  test('has the blobs that it names, and layers that unpack to their diffIDs', async () => {
    const { rootfs } = await readConfig(image);
    expect(image.manifest.layers).toHaveLength(3);
    const diffIds = image.manifest.layers.map((layer) => digestOf(gunzip(verified(image.blob(layer).open(), layer))));
    expect(await Promise.all(diffIds)).toEqual(rootfs.diff_ids);
  });
});

test('pulled into a layout, nothing is missing', async () => {
  const layout = join(directory, 'layout');
  await writeTree(await createLayout(index, { tag: 'v1' }), layout);
  expect(await verifyLayout(layout)).toMatchObject({ problems: [], manifests: 3 });
  expect((await readLayout(layout, { tag: 'v1' })).digest).toBe(index.digest);
});

(obstacle ? test.skip : test)(`runs as a container${obstacle ? `, but ${obstacle}` : ''}`, async () => {
  const { image } = findPlatform(await instancesOf(index), thisPlatform(), 'os:v1');
  expect(await runContainer(image)).toBe(`Hello from ${formatPlatform(thisPlatform())}\n`);
});

async function digestOf(content: Bytes): Promise<string> {
  const digester = createDigester();
  for await (const chunk of content) digester.update(chunk);
  return digester.digest();
}
