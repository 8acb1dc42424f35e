import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { validateOptsAgainstSchema } from 'nx/src/utils/params';
import { asImage, asIndex, parsePlatform, readLayout, readOsImage, verifyLayout } from '../../src';
import { schemaText } from '../../src/nx/schemas';
import { collect, type Finished, snapshot } from '../fixtures';
import { nxWorkspace, projectFile, runNx } from './workspace';

const inputs = ['{workspaceRoot}/files/**/*', { dependentTasksOutputFiles: '**/index.json' }];
const target = (executor: string, options: object, more: object = {}) => ({
  executor: `nx-oci:${executor}`,
  cache: true,
  inputs,
  outputs: ['{options.outputPath}'],
  options,
  ...more,
});

const productInfo = { id: 'os', name: 'OS', version: '1.0' };
const payloads = [{ from: 'files/{os}-{arch}/kernel.efi' }, { from: 'files/system' }];

const workspace = nxWorkspace({
  'files/linux-amd64/kernel.efi': 'amd64',
  'files/linux-arm64/kernel.efi': 'arm64',
  'files/system': 'system '.repeat(100_000),
  ...projectFile('os', {
    'os-image': target('os-image', {
      outputPath: 'dist/os/os-image',
      platforms: ['linux/amd64', 'linux/arm64'],
      payloads,
      productInfo,
    }),
    index: target('index', { outputPath: 'dist/os/index', images: ['os:os-image'] }, { dependsOn: ['os-image'] }),
  }),
  ...projectFile('lonely', {
    index: target('os-image', {
      outputPath: 'dist/lonely/index',
      payloads: [{ from: 'files/gone' }],
      productInfo,
      platforms: ['linux/arm64'],
    }),
  }),
});

const dist = (path: string) => join(workspace, 'dist', path);
const nx = (...args: string[]) => runNx(workspace, [...args, '--output-style=static']);

// One story: what a run leaves is what the next one finds.
describe('M17: the os-image executor in a workspace', () => {
  let first: Finished;
  beforeAll(async () => {
    first = await nx('run-many', '--target=index', '--projects=os,lonely');
  }, 60_000);

  test('builds an image for each platform, and an index lists them', async () => {
    const index = asIndex(await readLayout(dist('os/index')));
    expect(index.children().map(({ platform, artifactType }) => [platform?.architecture, artifactType])).toEqual(
      ['amd64', 'arm64'].map((architecture) => [architecture, 'application/vnd.monogon.os.image.v1']),
    );
    for (const [architecture, variant] of [
      ['amd64', 'x86_64'],
      ['arm64', 'aarch64'],
    ]) {
      const platform = parsePlatform(`linux/${architecture}`);
      const { config, payload } = await readOsImage(asImage(await readLayout(dist('os/index'), { platform })));
      expect((await collect(payload('kernel.efi').open())).toString()).toBe(architecture);
      expect(config.product_info).toMatchObject({ ...productInfo, variant });
    }
    expect(await verifyLayout(dist('os/index'))).toMatchObject({ problems: [], manifests: 3 });
  });

  test('says what it built', () => {
    const digest = readFileSync(dist('os/os-image/digest'), 'utf8');
    for (const words of [
      `dist/os/os-image\n  digest ${digest}\n  linux/amd64  latest-linux-amd64  `,
      'kernel.efi       5 B',
    ]) {
      expect(first.stdout).toContain(words);
    }
  });

  test('ACCEPTANCE 49: fails, says why in words, and writes nothing', () => {
    expect(first.code).not.toBe(0);
    expect(first.stdout).toContain('files/gone: expected a file for the payload, found none');
    expect(first.stdout).not.toMatch(/^ {4}at /m);
    expect(existsSync(dist('lonely'))).toBe(false);
  });

  test('comes from the cache the next time, byte for byte', async () => {
    const before = snapshot(dist('os'));
    rmSync(dist('os'), { recursive: true });
    const second = await nx('run', 'os:index');
    expect(second.code).toBe(0);
    expect(second.stdout).toMatch(/^> nx run os:os-image +\[(local cache|existing outputs match the cache)/m);
    expect(snapshot(dist('os'))).toEqual(before);
  }, 60_000);
});

describe("Nx's own validation of the options of os-image", () => {
  const schema = JSON.parse(schemaText('os-image')) as Parameters<typeof validateOptsAgainstSchema>[1];
  const right = { outputPath: 'dist', payloads, productInfo };

  test.each([
    [right],
    [
      {
        ...right,
        productInfo: 'info.json',
        compressionLevel: 0,
        tag: 'v1',
        platforms: ['linux/amd64'],
        annotations: {},
      },
    ],
    [
      {
        ...right,
        productInfo: { ...productInfo, variant: '{machine}-debug', components: [{ id: 'a', version: '1' }] },
      },
    ],
  ])('accepts %j', (given) => {
    expect(() => validateOptsAgainstSchema(given, schema)).not.toThrow();
  });

  test.each([
    [{ payloads, productInfo }, 'outputPath'],
    [{ outputPath: 'dist', productInfo }, 'payloads'],
    [{ outputPath: 'dist', payloads }, 'productInfo'],
    [{ ...right, payloads: [{ name: 'a' }] }, 'from'],
    [{ ...right, payloads: [{ from: 'a', to: 'b' }] }, "'to' is not found in schema"],
    [{ ...right, compressionLevel: 'best' }, 'compressionLevel'],
  ])('refuses %j', (given, message) => {
    expect(() => validateOptsAgainstSchema(given, schema)).toThrow(message);
  });
});
