import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  annotate,
  descriptorOf,
  emptyImage,
  type Image,
  type Index,
  newIndex,
  parsePlatform,
  readLayout,
  readLayoutIndex,
  sealImage,
  tagOf,
} from '../../src';
import { newArtifact } from '../../src/artifact';
import {
  archiveOf,
  expectFailure,
  expectSuccess,
  type Finished,
  nxOci,
  runAll,
  sampleImage,
  snapshot,
  taggedLayout,
} from '../fixtures';

const sbomType = 'application/spdx+json';

interface Workspace {
  /** Where commands run; the layout is at `layout` in it. */
  readonly here: string;
  readonly index: Index;
  readonly images: readonly Image[];
  readonly single: Image;
  readonly sbom: Image;
}

/** A layout of an index of two platforms, an image, and an artifact that speaks of the index. */
async function workspace(): Promise<Workspace> {
  const platforms = ['linux/amd64', 'linux/arm64'];
  const images = await Promise.all(platforms.map((platform) => sampleImage([platform], platform)));
  const single = sealImage(annotate(emptyImage(parsePlatform('linux/arm/v6')), { note: 'n' }));
  const index = newIndex(images.map((ref, position) => ({ ref, platform: parsePlatform(platforms[position] ?? '') })));
  const subject = descriptorOf(index);
  const sbom = newArtifact([], { artifactType: sbomType, subject, annotations: { made: 'here' } });
  const layout = await taggedLayout({ latest: index, single, sbom });
  return { here: join(layout, '..'), index, images, single, sbom };
}

async function succeed(here: string, ...args: string[]): Promise<string> {
  const finished = await nxOci(args, { cwd: here });
  expectSuccess(finished);
  return finished.stdout;
}

const tagsIn = async (path: string) =>
  Object.fromEntries((await readLayoutIndex(path)).children().map((child) => [tagOf(child), child.digest]));

describe('--help', () => {
  const rows: readonly [command: string, terms: readonly string[]][] = [
    ['ls', ['layout', '--json']],
    ['tag', ['layout', 'digest or tag', 'new tag', '--json']],
    ['untag', ['layout', 'tag']],
    ['referrers', ['layout', 'digest or tag', '--artifact-type <type>', '--json']],
    ['clone', ['layout', 'directory', '--json']],
    ['gc', ['layout', '--dry-run', '--json']],
  ];
  let helps: Finished[];
  beforeAll(async () => {
    helps = await runAll(
      rows.map(
        ([name]) =>
          () =>
            nxOci([name, '--help']),
      ),
    );
  });

  test.each(rows.map(([name, terms], position) => ({ name, terms, position })))(
    'of "$name" names all there is',
    ({ name, terms, position }) => {
      const { stdout } = helps[position] as Finished;
      expect(stdout).toMatch(new RegExp(`^Usage: nx-oci ${name} `));
      for (const term of [...terms, '-h, --help']) expect(stdout).toContain(`  ${term}  `);
    },
  );
});

describe('ls', () => {
  test('lists tags, platforms or kinds, sizes and digests, of an archive too', async () => {
    const { here, index, single, sbom } = await workspace();
    const archive = await archiveOf(join(here, 'layout'));
    const [text, json, ofArchive] = (await runAll(
      [['layout'], ['layout', '--json'], [archive]].map((args) => () => nxOci(['ls', ...args], { cwd: here })),
    )) as [Finished, Finished, Finished];
    for (const finished of [text, json, ofArchive]) expectSuccess(finished);
    expect(text.stdout.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['latest', 'index', `${index.rawManifest.length} B`, index.digest],
      ['single', expect.any(String), `${single.rawManifest.length} B`, single.digest],
      ['sbom', sbomType, `${sbom.rawManifest.length} B`, sbom.digest],
      [''],
    ]);
    expect(ofArchive.stdout).toBe(text.stdout);
    expect(JSON.parse(json.stdout)).toEqual((await readLayoutIndex(join(here, 'layout'))).manifest.manifests);
  });
});

describe('tag and untag', () => {
  test('give a manifest another tag, move one, and take one away', async () => {
    const { here, index, images, single, sbom } = await workspace();
    const said = await succeed(here, 'tag', 'layout', 'latest', 'v1');
    expect(said).toMatch(new RegExp(`^v1 {2}index +\\d+ B {2}${index.digest}\n$`));
    const nested = images[1]?.digest as string;
    const json = await succeed(here, 'tag', 'layout', nested, 'single', '--json');
    expect(JSON.parse(json)).toMatchObject({ digest: nested, platform: parsePlatform('linux/arm64') });
    expect(await succeed(here, 'untag', 'layout', 'latest')).toBe('');
    const tags = await tagsIn(join(here, 'layout'));
    expect(tags).toMatchObject({ v1: index.digest, single: nested, sbom: sbom.digest });
    expect(tags).not.toHaveProperty('latest');
    expect(Object.values(tags)).not.toContain(single.digest);
  });
});

describe('referrers', () => {
  test('lists what speaks of a manifest, by tag or digest, and of one kind', async () => {
    const { here, index, sbom } = await workspace();
    const commands = [
      ['latest'],
      [index.digest, '--json'],
      ['latest', '--artifact-type', 'a/b', '--json'],
      ['latest', '--artifact-type', sbomType],
    ];
    const finished = await runAll(commands.map((args) => () => nxOci(['referrers', 'layout', ...args], { cwd: here })));
    for (const each of finished) expectSuccess(each);
    const [text, json, none, some] = finished.map(({ stdout }) => stdout) as [string, string, string, string];
    expect(text).toMatch(new RegExp(`^- {2}${sbomType.replace('+', '\\+')} +\\d+ B {2}${sbom.digest}\n$`));
    expect(some).toBe(text);
    expect(JSON.parse(json)).toMatchObject([
      { digest: sbom.digest, artifactType: sbomType, annotations: { made: 'here' } },
    ]);
    expect(JSON.parse(none)).toEqual([]);
  });
});

test('clone copies the layout to the byte', async () => {
  const { here } = await workspace();
  const blobs = readdirSync(join(here, 'layout/blobs/sha256')).length;
  expect(await succeed(here, 'clone', 'layout', 'copy')).toBe(`copy: ${blobs} blobs\n`);
  expect(JSON.parse(await succeed(here, 'clone', 'layout', 'again', '--json'))).toEqual({ blobs });
  for (const copy of ['copy', 'again']) expect(snapshot(join(here, copy))).toEqual(snapshot(join(here, 'layout')));
});

test('gc removes what nothing leads to, and with --dry-run nothing', async () => {
  const { here, single, index } = await workspace();
  await succeed(here, 'untag', 'layout', 'single');
  const before = snapshot(join(here, 'layout'));
  const dry = await succeed(here, 'gc', 'layout', '--dry-run');
  expect(snapshot(join(here, 'layout'))).toEqual(before);
  const gone = [single.digest, single.manifest.config.digest].sort();
  const size = single.rawManifest.length + single.manifest.config.size;
  expect(dry).toBe(`${gone.join('\n')}\n2 blobs (${size} B) would be removed\n`);
  expect(JSON.parse(await succeed(here, 'gc', 'layout', '--json'))).toEqual({ digests: gone, size });
  const left = readdirSync(join(here, 'layout/blobs/sha256')).map((name) => `sha256:${name}`);
  expect(left).toHaveLength(Object.keys(before).length - 2 - gone.length);
  for (const digest of gone) expect(left).not.toContain(digest);
  expect(await succeed(here, 'gc', 'layout')).toBe('0 blobs (0 B) removed\n');
  expect((await readLayout(join(here, 'layout'), { tag: 'latest' })).digest).toBe(index.digest);
});

describe('inspect', () => {
  test('shows one manifest by its tag, with its annotations', async () => {
    const { here, single } = await workspace();
    const [text, json] = (await runAll(
      [[], ['--json']].map((args) => () => nxOci(['inspect', 'layout:single', ...args], { cwd: here })),
    )) as [Finished, Finished];
    expect(text.stdout.split('\n').slice(0, 4)).toEqual([
      'layout:single',
      '└─ image  single  linux/arm/v6',
      expect.stringContaining(single.digest),
      '      note=n',
    ]);
    expect(JSON.parse(json.stdout).manifests).toMatchObject([{ tag: 'single', annotations: { note: 'n' } }]);
  });
});

describe('refused, with the layout as it was', () => {
  const rows: readonly [name: string, args: readonly string[], message: string][] = [
    ['tag: an unknown tag', ['tag', 'layout', 'v9', 'v1'], 'tag "v9", found latest, single, sbom'],
    ['ACCEPTANCE 50: tag: a newline', ['tag', 'layout', 'latest', 'a\nb'], 'found "a\\nb"'],
    ['untag: an unknown tag', ['untag', 'layout', 'v9'], 'tag "v9", found latest, single, sbom'],
    ['referrers: an unknown tag', ['referrers', 'layout', 'v9'], 'tag "v9", found latest, single, sbom'],
    ['clone: to a layout', ['clone', 'layout', 'layout'], 'expected no directory or an empty one'],
    ['gc: of nothing', ['gc', 'gone'], 'gone/oci-layout: expected the marker file'],
    ['inspect: an unknown tag', ['inspect', 'layout:v9'], 'tag "v9", found latest, single, sbom'],
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
            nxOci(args, { cwd: here }),
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
    expect(existsSync(join(here, 'gone'))).toBe(false);
  });
});
