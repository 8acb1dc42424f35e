import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  asImage,
  type Descriptor,
  descriptorOf,
  formatPlatform,
  type Image,
  type Index,
  mediaTypes,
  newIndex,
  parsePlatform,
  readLayout,
  verifyLayout,
} from '../../src';
import {
  expectFailure,
  expectSuccess,
  type Finished,
  nxOci,
  runAll,
  sampleImage,
  snapshot,
  taggedLayout,
  writeFiles,
} from '../fixtures';

const indexIn = async (path: string, tag = 'latest') => (await readLayout(path, { tag })) as Index;

/** What an index lists, by platform or else artifact type. */
const listOf = (index: Index) =>
  index.children().map(({ platform, artifactType }) => (platform ? formatPlatform(platform) : artifactType));

/** A directory with a layout `in` of an index of two platforms (`latest`) and an image (`single`), to run commands in. */
async function workspace(): Promise<{ here: string; index: Index; single: Image }> {
  const platforms = ['linux/amd64', 'linux/arm64'];
  const images = await Promise.all(platforms.map((platform) => sampleImage([platform], platform)));
  const single = await sampleImage(['single'], 'linux/arm/v6');
  const index = newIndex(images.map((ref, position) => ({ ref, platform: parsePlatform(platforms[position] ?? '') })));
  const layout = await taggedLayout({ latest: index, single });
  const here = join(layout, '..');
  writeFiles(here, { 'sbom.json': '{}', 'notes/a.txt': 'a', 'config.json': '{"c":1}' });
  return { here, index, single };
}

/** Runs one command after the other; each must succeed. */
async function succeed(here: string, ...commands: readonly string[][]): Promise<Finished[]> {
  const finished: Finished[] = [];
  for (const args of commands) {
    const result = await nxOci(['index', ...args], { cwd: here });
    expectSuccess(result);
    finished.push(result);
  }
  return finished;
}

describe('--help', () => {
  const rows: readonly [command: string, terms: readonly string[]][] = [
    ['', ['create [options] <index> [images...]', 'add [options] <index> <image>', 'inspect [options] <index>']],
    [
      'create',
      [
        'index',
        'images',
        '--annotation <key=value>',
        '--artifact-type <type>',
        '--all',
        '--platform <platform>',
        '--json',
      ],
    ],
    [
      'add',
      [
        'index',
        'image',
        '--all',
        '--platform <platform>',
        '--os <os>',
        '--arch <architecture>',
        '--variant <variant>',
        '--os-version <version>',
        '--os-features <list>',
        '--features <list>',
        '--annotation <key=value>',
        '--json',
      ],
    ],
    [
      'add-artifact',
      [
        'index',
        'files',
        '--type <type>',
        '--config <file>',
        '--config-type <type>',
        '--layer-type <type>',
        '--exclude-titles',
        '--artifact-annotation <key=value>',
        '--subject <manifest>',
        '--annotation <key=value>',
        '--json',
      ],
    ],
    [
      'annotate',
      ['index', 'manifest', '--index', '--subject <manifest>', '--os <os>', '--annotation <key=value>', '--json'],
    ],
    ['remove', ['index', 'manifest', '--json']],
    ['inspect', ['index', '--json']],
  ];
  let helps: Finished[];
  beforeAll(async () => {
    helps = await runAll(
      rows.map(
        ([name]) =>
          () =>
            nxOci(['index', ...(name ? [name] : []), '--help']),
      ),
    );
  });

  test.each(rows.map(([name, terms], position) => ({ name, terms, position })))(
    'of "index $name" describes all there is, with an example',
    ({ name, terms, position }) => {
      const help = helps[position] as Finished;
      expectSuccess(help);
      expect(help.stdout).toMatch(new RegExp(`^Usage: nx-oci index ${name}`));
      for (const term of terms) expect(help.stdout).toContain(`  ${term}  `);
      const lines = [...help.stdout.matchAll(/^ {2}(?!\$)(\S.*)$/gm)].map(([, line]) => line);
      for (const line of lines) expect(line).toMatch(/\S {2,}\w/);
      expect(help.stdout).toContain(`Example:\n  $ nx-oci index ${name}`);
    },
  );

  test('lists no command that is not described here', () => {
    const commands = [...(helps[0]?.stdout ?? '').matchAll(/^ {2}([a-z-]+) \[options\]/gm)].map(([, name]) => name);
    expect(commands).toEqual(rows.flatMap(([name]) => (name ? [name] : [])));
  });
});

describe('the life of an index', () => {
  test('L1, L6: create, add, add --all', async () => {
    const { here } = await workspace();
    const [created] = await succeed(
      here,
      ['create', 'out:v1', '--annotation', 'a=b=c', '--annotation', 'd=', '--artifact-type', 'application/x'],
      ['add', 'out:v1', 'layout:single'],
      ['add', 'out', 'layout:latest', '--platform', 'aarch64'],
    );
    expect(created?.stdout).toMatch(/^v1 {2}application\/x +\d+ B {2}sha256:[0-9a-f]{64}\n$/);
    const index = await indexIn(join(here, 'out'), 'v1');
    expect(index.manifest).toMatchObject({ annotations: { a: 'b=c', d: '' }, artifactType: 'application/x' });
    expect(listOf(index)).toEqual(['linux/arm/v6', 'linux/arm64']);
    const [added] = await succeed(here, ['add', 'out:v1', 'layout:latest', '--all', '--json']);
    const grown = await indexIn(join(here, 'out'), 'v1');
    expect(JSON.parse(added?.stdout ?? '')).toMatchObject({ digest: grown.digest, mediaType: mediaTypes.imageIndex });
    expect(listOf(grown)).toEqual(['linux/arm/v6', 'linux/arm64', 'linux/amd64']);
    expect(await verifyLayout(join(here, 'out'))).toMatchObject({ problems: [] });
  });

  test('L3: an index of images at once, of the same layout too', async () => {
    const { here } = await workspace();
    await succeed(here, ['create', 'layout:both', 'layout:single', 'layout:latest', '--all']);
    expect(listOf(await indexIn(join(here, 'layout'), 'both'))).toEqual(['linux/arm/v6', 'linux/amd64', 'linux/arm64']);
  });

  test('L7: add-artifact', async () => {
    const { here, single } = await workspace();
    const words = ['--type', 'application/x', '--layer-type', 'text/plain', '--artifact-annotation', 'of=artifact'];
    const config = ['--config', 'config.json', '--config-type', 'application/x.config'];
    await succeed(
      here,
      [
        'add-artifact',
        'layout:latest',
        'sbom.json',
        'notes',
        ...words,
        ...config,
        '--annotation',
        'of=index',
        '--subject',
        'layout:single',
      ],
      ['add-artifact', 'layout:latest', 'sbom.json', '--type', 'application/y', '--exclude-titles'],
    );
    const index = await indexIn(join(here, 'layout'));
    expect(listOf(index)).toEqual(['linux/amd64', 'linux/arm64', 'application/x', 'application/y']);
    const [, , first, second] = index.children() as Descriptor[];
    expect(first?.annotations).toEqual({ of: 'index' });
    const title = (name: string) => ({ 'org.opencontainers.image.title': name });
    expect(asImage(await index.ref(first as Descriptor)).manifest).toMatchObject({
      config: { mediaType: 'application/x.config' },
      layers: [
        { mediaType: 'text/plain', annotations: title('sbom.json') },
        { mediaType: 'text/plain', annotations: title('a.txt') },
      ],
      subject: descriptorOf(single),
      annotations: { of: 'artifact' },
    });
    expect(asImage(await index.ref(second as Descriptor)).manifest.layers[0]).not.toHaveProperty('annotations');
  });

  test('L8, L9, L10: annotate an instance, annotate the index, remove', async () => {
    const { here, index, single } = await workspace();
    const platform = ['--os', 'windows', '--arch', 'arm64', '--variant', 'v9', '--os-version', '10.0.1'];
    const lists = ['--os-features', 'win32k, other', '--features', 'sve'];
    await succeed(
      here,
      ['annotate', 'layout:latest', 'linux/arm64', ...platform, ...lists, '--annotation', 'note=fast'],
      ['annotate', 'layout:latest', '--index', '--annotation', 'a=b', '--subject', 'layout:single'],
      ['remove', 'layout:latest', 'linux/amd64'],
    );
    const changed = await indexIn(join(here, 'layout'));
    expect(changed.manifest).toEqual({
      ...index.manifest,
      manifests: [
        {
          ...index.children()[1],
          platform: {
            architecture: 'arm64',
            os: 'windows',
            'os.version': '10.0.1',
            'os.features': ['win32k', 'other'],
            variant: 'v9',
            features: ['sve'],
          },
          annotations: { note: 'fast' },
        },
      ],
      subject: descriptorOf(single),
      annotations: { a: 'b' },
    });
  });

  test('L5: inspect, as text and as JSON', async () => {
    const { here, index } = await workspace();
    const [text, json] = await succeed(
      here,
      ['inspect', 'layout:latest'],
      ['inspect', `layout@${index.digest}`, '--json'],
    );
    expect(text?.stdout.split('\n').slice(0, 3)).toEqual([
      'layout:latest',
      `  ${index.digest}  ${mediaTypes.imageIndex}`,
      '├─ image  linux/amd64',
    ]);
    expect(JSON.parse(json?.stdout ?? '')).toMatchObject({
      mediaType: index.mediaType,
      digest: index.digest,
      manifest: index.manifest,
      instances: index.children().map(({ digest }) => ({ digest })),
    });
  });
});

describe('refused, with the layout as it was', () => {
  const rows: readonly [name: string, args: readonly string[], message: string][] = [
    ['L2: no index', ['add', 'layout:single', 'layout:latest'], `expected media type ${mediaTypes.imageIndex} or`],
    ['an unknown tag', ['remove', 'layout:v9', 'linux/amd64'], 'a manifest with the tag "v9", found latest, single'],
    ['no tag among several', ['remove', 'layout', 'linux/amd64'], 'expected the tag of an index'],
    ['a tag that is taken', ['create', 'layout:latest'], 'expected a tag that is not taken, found latest'],
    ['ACCEPTANCE 50: a newline in a tag', ['create', 'layout:a\nb'], 'found "a\\nb"'],
    [
      'another platform',
      ['add', 'layout:latest', 'layout:latest', '--platform', 'linux/s390x'],
      'expected an image for linux/s390x, found linux/amd64, linux/arm64',
    ],
    [
      'a platform and all',
      ['add', 'layout:latest', 'layout:single', '--all', '--platform', 'linux/amd64'],
      "option '--all' cannot be used with option '--platform <platform>'",
    ],
    ['a manifest and --index', ['annotate', 'layout:latest', 'linux/amd64', '--index'], 'found both or neither'],
    ['neither manifest nor --index', ['annotate', 'layout:latest', '--annotation', 'a=b'], 'found both or neither'],
    [
      'a platform for the index',
      ['annotate', 'layout:latest', '--index', '--os-version', '1'],
      'expected --os-version for a manifest of the index',
    ],
    [
      'a subject for a manifest',
      ['annotate', 'layout:latest', 'linux/amd64', '--subject', 'layout:single'],
      'expected --subject with --index',
    ],
    [
      'a malformed annotation',
      ['annotate', 'layout:latest', '--index', '--annotation', 'novalue'],
      'expected key=value',
    ],
    ['a manifest that is not listed', ['remove', 'layout:latest', 'linux/s390x'], 'found 0 among linux/amd64 (sha256:'],
    ['ACCEPTANCE 1: a bad digest', ['remove', 'layout:latest', 'sha256:../../x'], 'sha256:../../x'],
    ['an artifact without type', ['add-artifact', 'layout:latest', 'sbom.json'], 'expected an artifactType'],
    [
      'a config without its type',
      ['add-artifact', 'layout:latest', 'sbom.json', '--config', 'config.json'],
      'expected --config and --config-type together',
    ],
    ['a file that is not there', ['add-artifact', 'layout:latest', 'gone', '--type', 'a/b'], 'gone: expected a file'],
    ['an image that is not there', ['create', 'out:v1', 'gone'], 'gone/oci-layout: expected the marker file'],
  ];
  let here: string;
  let before: Record<string, string>;
  let finished: Finished[];
  beforeAll(async () => {
    ({ here } = await workspace());
    before = snapshot(here);
    finished = await runAll(
      rows.map(
        ([, args]) =>
          () =>
            nxOci(['index', ...args], { cwd: here }),
      ),
    );
  }, 60_000);

  test.each(rows.map(([name, , message], position) => ({ name, message, position })))(
    '$name',
    ({ message, position }) => expectFailure(finished[position] as Finished, message),
  );

  test('and nothing else was written', () => {
    expect(snapshot(here)).toEqual(before);
    expect(readdirSync(join(here, 'layout')).sort()).toEqual(['blobs', 'index.json', 'oci-layout']);
    expect(existsSync(join(here, 'out'))).toBe(false);
  });
});

test('L12: commands at the same time lose nothing', async () => {
  const { here } = await workspace();
  const platforms = ['linux/cpu0', 'linux/cpu1', 'linux/cpu2', 'linux/cpu3'];
  const sources = await Promise.all(
    platforms.map(async (platform) => taggedLayout({ image: await sampleImage([platform], platform) })),
  );
  const added = await Promise.all(
    sources.map((source) => nxOci(['index', 'add', 'layout:latest', source], { cwd: here })),
  );
  for (const command of added) expectSuccess(command);
  expect(listOf(await indexIn(join(here, 'layout'))).sort()).toEqual(['linux/amd64', 'linux/arm64', ...platforms]);
});
