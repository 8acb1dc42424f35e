import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import {
  appendLayer,
  bytesBlob,
  emptyImage,
  type Image,
  layerEncoder,
  newIndex,
  parsePlatform,
  sealImage,
  startRegistry,
  withExecution,
  writeLayer,
} from '../../src';
import { blobFile } from '../../src/layout/paths';
import { archiveOf, type Finished, memorySink, nxOci, runAll, taggedLayout, tarWith } from '../fixtures';

/** An image of two layers, of which the upper one holds the files. */
async function imageOf(
  files: Readonly<Record<string, string>>,
  path: string,
  platform = 'linux/amd64',
): Promise<Image> {
  let draft = withExecution(emptyImage(parsePlatform(platform)), () => ({ Env: [`PATH=${path}`] }));
  for (const [name, content] of Object.entries({ base: { etc: 'etc' }, app: files })) {
    const tar = await tarWith(Object.entries(content).map(([name, text]) => [{ name, mode: 0o644 }, text]));
    const layer = await writeLayer(bytesBlob(tar).open(), memorySink, layerEncoder('gzip'));
    draft = appendLayer(draft, layer, { created_by: `nx-oci image: layer ${name}` });
  }
  return sealImage(draft);
}

const short = (digest: string | undefined) => `${digest?.slice(0, 19)}…`;
const hostile = 'evil\u001b[2J\u202e';
const many = Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`many/${100 + at}`, 'x']));

describe('B7: nx-oci diff', () => {
  let here: string;
  let a: Image;
  let b: Image;
  let arm: Image;
  const results = new Map<string, Finished>();
  const commands: readonly string[][] = [
    ['old:v1', 'new:v1'],
    ['old:v1', 'new:v1', '--json'],
    ['old:v1', 'old:v1'],
    ['old:v1', 'old:v1', '--json'],
    ['old:v1', 'new.tar:many'],
    ['old:v1', 'new.tar:many', '--all'],
    ['old:v1', 'new:hostile'],
    ['old:index', 'new:v1'],
    ['old:index', 'new:v1', '--platform', 'linux/amd64'],
    ['old:v1', 'new:corrupt'],
    ['old:v1', 'new:none'],
    ['old:v1', 'nowhere'],
    ['old:v1', 'new:v1', '--platform', 'not a platform'],
    ['old:v1', 'new:v1', '--bogus'],
    ['old:v1'],
    ['--help'],
  ];
  const result = (...args: string[]) => results.get(args.join(' ')) as Finished;

  beforeAll(async () => {
    a = await imageOf({ 'app/main': 'main' }, '/bin');
    b = await imageOf({ 'app/main': 'changed', 'app/new': '' }, '/usr/bin');
    arm = await imageOf({ 'app/main': 'main' }, '/bin', 'linux/arm64');
    const entries = [a, arm].map((ref, at) => ({
      ref,
      platform: parsePlatform(at === 0 ? 'linux/amd64' : 'linux/arm64'),
    }));
    const corrupt = await imageOf({ corrupt: 'x' }, '/bin');
    const old = await taggedLayout({ v1: a, index: newIndex(entries) });
    const next = await taggedLayout({
      v1: b,
      hostile: await imageOf({ 'app/main': 'main', [`../${hostile}`]: '' }, '/bin'),
      corrupt,
      many: await imageOf(many, '/bin'),
    });
    here = join(old, '..');
    const { size } = corrupt.manifest.layers[1] ?? { size: 0 };
    const archive = await archiveOf(next);
    writeFileSync(blobFile(next, corrupt.manifest.layers[1]?.digest as never), Buffer.alloc(size));
    const places: Readonly<Record<string, string>> = { old, new: next, 'new.tar': archive };
    const finished = await runAll(
      commands.map((args) => () => {
        const placed = args.map((arg) => arg.replace(/^(old|new\.tar|new)(?=:)/, (name) => places[name] as string));
        return nxOci(['diff', ...placed], { cwd: here });
      }),
    );
    for (const [at, args] of commands.entries()) {
      const { stdout, ...rest } = finished[at] as Finished;
      const named = Object.entries(places).reduce((text, [name, path]) => text.replaceAll(path, name), stdout);
      results.set(args.join(' '), { ...rest, stdout: named });
    }
  }, 60_000);

  test('says on the first line why two digests differ, then what, and ends with 1', () => {
    expect(result('old:v1', 'new:v1')).toEqual({
      code: 1,
      signal: null,
      stderr: '',
      stdout: `${[
        `${short(a.digest)} and ${short(b.digest)} differ: layer app (1 file changed, 1 added), env PATH`,
        `  a  ${a.digest}  old:v1`,
        `  b  ${b.digest}  new:v1`,
        'config',
        '  ~ env PATH: /bin → /usr/bin',
        `layer app: ${short(a.manifest.layers[1]?.digest)} → ${short(b.manifest.layers[1]?.digest)}, ${a.manifest.layers[1]?.size} B → ${b.manifest.layers[1]?.size} B`,
        '  ~ app/main: content, size 4 B → 7 B',
        '  + app/new  0 B',
        '1 layer is the same',
      ].join('\n')}\n`,
    });
  });

  test('says that there is no difference, and ends with 0', () => {
    const stdout = `identical: ${a.digest}\n`;
    expect(result('old:v1', 'old:v1')).toEqual({ code: 0, signal: null, stderr: '', stdout });
  });

  test('--json prints all of it', () => {
    const { code, stdout } = result('old:v1', 'new:v1', '--json');
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      a: { digest: a.digest, mediaType: a.mediaType, size: a.rawManifest.length },
      b: { digest: b.digest },
      identical: false,
      config: [{ path: ['config', 'Env', 'PATH'], from: '/bin', to: '/usr/bin' }],
      layers: [
        { kind: 'same', a: { position: 0 }, b: { position: 0 }, moved: false, descriptor: [] },
        {
          kind: 'changed',
          entries: [
            {
              kind: 'changed',
              name: 'app/main',
              a: { size: 4 },
              changes: [{ what: 'content' }, { what: 'size', from: '4', to: '7' }],
            },
            { kind: 'added', name: 'app/new', b: { type: 'file', mode: 0o644, owner: '0:0', size: 0 } },
          ],
          reordered: [],
        },
      ],
      manifests: [],
      rewritten: [],
    });
    const same = result('old:v1', 'old:v1', '--json');
    expect(same.code).toBe(0);
    expect(JSON.parse(same.stdout)).toMatchObject({ identical: true, layers: [] });
  });

  test('long lists are cut, and --all shows them, of an archive too', () => {
    const cut = result('old:v1', 'new.tar:many').stdout;
    expect(cut).toContain('  ... and 11 more (--all shows them)\n');
    expect(cut.match(/many\/\d+/g)).toHaveLength(19);
    const all = result('old:v1', 'new.tar:many', '--all').stdout;
    expect(all.match(/many\/\d+/g)).toHaveLength(30);
    expect(all).not.toContain('--all');
  });

  test('hostile names are escaped', () => {
    const { code, stdout } = result('old:v1', 'new:hostile');
    expect(code).toBe(1);
    expect(stdout).toContain('  + "../evil\\u001b[2J\\u202e"  0 B\n');
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });

  test('compares an index with an image, or the image of one platform', () => {
    const { code, stdout } = result('old:index', 'new:v1');
    expect(code).toBe(1);
    expect(stdout).toContain(`\n~ linux/amd64: ${short(a.digest)} → ${short(b.digest)}, `);
    expect(stdout).toContain(`\n- linux/arm64  ${arm.digest}\n`);
    const one = result('old:index', 'new:v1', '--platform', 'linux/amd64').stdout;
    expect(one).toBe(result('old:v1', 'new:v1').stdout.replace('old:v1', 'old:index'));
  });

  const failures: readonly [args: string[], message: string | RegExp][] = [
    [['old:v1', 'new:corrupt'], /^blob sha256:[0-9a-f]{64}: expected digest sha256:/],
    [['old:v1', 'new:none'], 'expected a manifest with the tag "none", found v1, hostile, corrupt, many'],
    [['old:v1', 'nowhere'], 'expected the marker file of an OCI image layout'],
    [['old:v1', 'new:v1', '--platform', 'not a platform'], 'invalid platform "not a platform"'],
    [['old:v1', 'new:v1', '--bogus'], "error: unknown option '--bogus'"],
    [['old:v1'], "error: missing required argument 'b'"],
  ];
  test.each(failures)('%j fails with 2, which no difference does', (args, message) => {
    const { code, stdout, stderr } = result(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  test('--help names all there is', () => {
    const { code, stdout } = result('--help');
    expect(code).toBe(0);
    for (const term of ['a', 'b', '--platform <platform>', '--all', '--json', '--insecure', '-h, --help']) {
      expect(stdout).toContain(`  ${term}  `);
    }
  });

  test('compares a layout with a registry, and reads of the layers only those that differ', async () => {
    const registry = await startRegistry();
    try {
      await registry.addRef('app', 'v1', a);
      const [same] = a.manifest.layers;
      registry.misbehave({ ...(same && { digest: same.digest }), status: 500 });
      const layout = await taggedLayout({ v1: b });
      const finished = await nxOci(['diff', `docker://${registry.host}/app:v1`, `${layout}:v1`], { cwd: here });
      expect(finished).toMatchObject({ code: 1, stderr: '' });
      const named = finished.stdout.replace(`docker://${registry.host}/app:v1`, 'old:v1').replace(layout, 'new');
      expect(named).toBe(result('old:v1', 'new:v1').stdout);
    } finally {
      await registry.close();
    }
  });

  test('a missing layer that both have is not missed', async () => {
    const [old, next] = [await taggedLayout({ v1: a }), await taggedLayout({ v1: b })];
    for (const layout of [old, next]) rmSync(blobFile(layout, a.manifest.layers[0]?.digest as never));
    const { code, stdout } = await nxOci(['diff', `${old}:v1`, `${next}:v1`], { cwd: here });
    expect(code).toBe(1);
    expect(stdout).toContain('1 layer is the same');
  });
});
