import { linkSync, mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { digestOf, LayerSourceError, listFiles, tarOf } from '../../src';
import type { FileSources } from '../../src/layer/files';
import { type NodeLayer, splitNode } from '../../src/layer/split-node';
import { collect, failureOf, temporaryDirectory, writeFiles } from '../fixtures';

/** Files by path, and links as `path -> text`. `{from}` in a text is the directory itself. */
type Tree = readonly string[];

function written(tree: Tree, directory = temporaryDirectory()): string {
  for (const line of tree) {
    const [path = '', text] = line.split(' -> ');
    if (text === undefined) writeFiles(directory, { [path]: path });
    else {
      mkdirSync(dirname(join(directory, path)), { recursive: true });
      symlinkSync(text.replace('{from}', directory), join(directory, path));
    }
  }
  return directory;
}

async function split(from: string | readonly string[], more: Partial<FileSources> = {}): Promise<NodeLayer[]> {
  const sources = { to: '/app', ...more, from: [from].flat() };
  return splitNode(await listFiles(sources), sources);
}

/** What each layer has but for directories with something in them, relative to `/app`. */
function leavesOf(layers: readonly NodeLayer[]): Record<string, string[]> {
  return Object.fromEntries(
    layers.map(({ group, entries }) => {
      const parents = new Set(entries.map(({ name }) => dirname(name)));
      const leaves = entries.filter(({ name }) => !parents.has(name));
      const shown = leaves.map(({ name, type, linkname }) => {
        const path = name.replace(/^app\//, '');
        return type === 'directory' ? `${path}/` : linkname === undefined ? path : `${path} -> ${linkname}`;
      });
      return [group, shown];
    }),
  );
}

const pnpm = [
  'main.js',
  'node_modules/.bin/express',
  'node_modules/.modules.yaml',
  'node_modules/.pnpm/@types+express@5.0.0/node_modules/@types/express/index.d.ts',
  'node_modules/.pnpm/@types+express@5.0.0/node_modules/express -> ../../express@4.1.0/node_modules/express',
  'node_modules/.pnpm/accepts@1.3.8/node_modules/accepts/index.js',
  'node_modules/.pnpm/accepts@2.0.0/node_modules/accepts/index.js',
  'node_modules/.pnpm/express@4.1.0/node_modules/accepts -> ../../accepts@1.3.8/node_modules/accepts',
  'node_modules/.pnpm/express@4.1.0/node_modules/express/index.js',
  'node_modules/.pnpm/express@4.1.0/node_modules/express/node_modules/.bin/accepts',
  'node_modules/.pnpm/lock.yaml',
  'node_modules/.pnpm/node_modules/accepts -> ../accepts@2.0.0/node_modules/accepts',
  'node_modules/.pnpm/node_modules/greeting -> ../../../packages/greeting',
  'node_modules/@acme/greeting -> ../../packages/greeting',
  'node_modules/@types/express -> ../.pnpm/@types+express@5.0.0/node_modules/@types/express',
  'node_modules/express -> .pnpm/express@4.1.0/node_modules/express',
  'package.json',
  'packages/greeting/index.js',
  'packages/greeting/node_modules/accepts -> ../../../node_modules/.pnpm/accepts@2.0.0/node_modules/accepts',
  'packages/greeting/package.json',
];

/** What goes into each layer; all of it together is the tree, and no link changes. */
const trees: [what: string, groups: Readonly<Record<string, Tree>>][] = [
  [
    "npm's tree, with scopes, nested versions and commands",
    {
      'third-party': [
        'node_modules/.bin/semver -> ../semver/bin/semver.js',
        'node_modules/@scope/name/index.js',
        'node_modules/semver/bin/semver.js',
        'node_modules/send/index.js',
        'node_modules/send/node_modules/.bin/mime -> ../mime/cli.js',
        'node_modules/send/node_modules/@scope/name/index.js',
        'node_modules/send/node_modules/mime/cli.js',
      ],
      app: ['main.js', 'my_node_modules/x.js', 'node_modules/.package-lock.json', 'node_modules.txt', 'package.json'],
    },
  ],
  [
    "pnpm's store",
    {
      'third-party': pnpm.filter((line) => /\.pnpm\/.*(@[1-9]|index|bin)|\.bin\/express/.test(line)),
      workspace: pnpm.filter((line) => /^packages\/\w+\/[ip]|packages\/greeting$/.test(line)),
      app: ['main.js', 'node_modules/.modules.yaml', 'node_modules/.pnpm/lock.yaml', 'package.json'],
    },
  ],
  [
    "pnpm's injected packages",
    {
      'third-party': [
        'node_modules/.pnpm/@acme+greeting@file+packages+greeting_zod@4.0.0/node_modules/@acme/greeting/node_modules/.bin/zod',
        'node_modules/.pnpm/@acme+greeting@file+packages+greeting_zod@4.0.0/node_modules/zod -> ../../zod@4.0.0/node_modules/zod',
        'node_modules/.pnpm/peer@1.0.0_greeting@file+packages+greeting/node_modules/peer/index.js',
        'node_modules/.pnpm/zod@4.0.0/node_modules/zod/index.js',
        'node_modules/peer -> .pnpm/peer@1.0.0_greeting@file+packages+greeting/node_modules/peer',
      ],
      workspace: [
        'node_modules/.pnpm/@acme+greeting@file+packages+greeting_zod@4.0.0/node_modules/@acme/greeting/index.js',
        'node_modules/.pnpm/file+packages+older/node_modules/older/index.js',
        'node_modules/.pnpm/linked@link+packages+linked/node_modules/linked/index.js',
        'node_modules/.pnpm/peer@1.0.0_greeting@file+packages+greeting/node_modules/greeting -> ../../@acme+greeting@file+packages+greeting_zod@4.0.0/node_modules/@acme/greeting',
        'node_modules/@acme/greeting -> ../.pnpm/@acme+greeting@file+packages+greeting_zod@4.0.0/node_modules/@acme/greeting',
      ],
      app: ['main.js'],
    },
  ],
  [
    "npm's workspaces, and a package of the workspace with packages of its own",
    {
      'third-party': [
        'node_modules/zod/index.js',
        'packages/greeting/node_modules/.bin/zod -> ../zod/cli.js',
        'packages/greeting/node_modules/zod/cli.js',
      ],
      workspace: [
        'node_modules/.bin/greet -> ../@acme/greeting/cli.js',
        'node_modules/.bin/not-built -> ../@acme/greeting/not-built.js',
        'node_modules/@acme/greeting -> ./../../packages//greeting/',
        'packages/greeting/cli.js',
        'packages/greeting/lib/index.js',
        'packages/greeting/package.json',
      ],
      app: ['main.js', 'packages/README.md', 'packages/greeting-old/index.js'],
    },
  ],
  [
    'what nx prunes, whether or not a link leads there',
    {
      workspace: [
        'node_modules/@acme/greeting -> ../../workspace_modules/@acme/greeting',
        'workspace_modules/@acme/greeting/index.js',
        'workspace_modules/@acme/unlinked/index.js',
      ],
      app: ['lib/workspace_modules/x.js', 'main.js'],
    },
  ],
  [
    'links of packages to themselves and to the application',
    {
      'third-party': ['node_modules/zod/index.js'],
      workspace: [
        'node_modules/greeting -> ../packages/greeting',
        'packages/greeting/index.js',
        'packages/greeting/node_modules/greeting -> ..',
      ],
      app: ['main.js', 'node_modules/api -> ..', 'node_modules/helper -> ../helper.js', 'helper.js'],
    },
  ],
  [
    'links to links',
    {
      workspace: [
        'node_modules/greeting -> greeting-v2',
        'node_modules/greeting-v2 -> ../current/greeting',
        'packages/greeting/index.js',
      ],
      app: ['current -> packages', 'main.js'],
    },
  ],
  [
    'links that lead nowhere, or where a package wants to have them',
    {
      'third-party': [
        'node_modules/.bin/excluded -> ../excluded/cli.js',
        'node_modules/circle -> circle',
        'node_modules/excluded -> .pnpm/excluded@1.0.0/node_modules/excluded',
        'node_modules/native/build/node_gyp_bins/python3 -> /usr/bin/python3',
        'node_modules/native/shared -> ../../../outside',
      ],
      app: ['data -> /var/data', 'main.js', 'up -> ../outside'],
    },
  ],
  ['an application without packages', { app: ['main.js'] }],
  ['packages alone', { 'third-party': ['node_modules/zod/index.js'] }],
];

describe('what goes into which layer', () => {
  test.each(trees)('%s', async (_, groups) => {
    const layers = await split(written(Object.values(groups).flat()));
    expect(layers.map(({ group }) => group)).toEqual(Object.keys(groups));
    const sorted = (leaves: Readonly<Record<string, Tree>>) =>
      Object.fromEntries(Object.entries(leaves).map(([group, lines]) => [group, [...lines].sort()]));
    expect(sorted(leavesOf(layers))).toEqual(sorted(groups));
  });

  test('empty directories are in the layer of what they would hold', async () => {
    const from = written(['main.js', 'node_modules/greeting -> ../packages/greeting', 'packages/greeting/index.js']);
    for (const path of ['logs', 'node_modules/zod/empty', 'packages/greeting/empty'])
      mkdirSync(join(from, path), { recursive: true });
    expect(leavesOf(await split(from))).toMatchObject({
      'third-party': ['node_modules/zod/empty/'],
      workspace: expect.arrayContaining(['packages/greeting/empty/']),
      app: ['logs/', 'main.js'],
    });
  });

  test('is the same at the root of the image, and deep in it', async () => {
    const from = written([...pnpm, 'node_modules/api -> ..', 'node_modules/there -> {from}/packages/greeting']);
    const expected = leavesOf(await split(from));
    const atRoot = leavesOf(await split(from, { to: '/' }));
    expect(atRoot).toEqual(expected);
    const deep = leavesOf(await split(from, { to: '/srv/app/' }));
    expect(Object.values(deep).flat()).toEqual(
      Object.values(expected)
        .flat()
        .map((line) => `srv/app/${line}`),
    );
  });

  test('node_modules alone may be the source', async () => {
    const from = join(written(['node_modules/zod/index.js', 'node_modules/.package-lock.json']), 'node_modules');
    expect(leavesOf(await split(from, { to: '/app/node_modules' }))).toEqual({
      'third-party': ['node_modules/zod/index.js'],
      app: ['node_modules/.package-lock.json'],
    });
  });
});

test('each layer is sorted, and names the directories above its entries once, as they are in the source', async () => {
  const from = written(pnpm);
  const all = await listFiles({ from: [from], to: '/app', owner: { uid: 7, gid: 8 } });
  const layers = splitNode(all, { from: [from], to: '/app' });
  expect(layers).toHaveLength(3);
  for (const { entries } of layers) {
    const names = entries.map(({ name }) => name);
    expect(names).toEqual(all.map(({ name }) => name).filter((name) => names.includes(name)));
    for (const name of names.filter((name) => name !== 'app')) expect(names).toContain(dirname(name));
    for (const entry of entries.filter(({ type }) => type === 'directory')) expect(all).toContain(entry);
  }
  const notDirectories = layers.flatMap(({ entries }) => entries.filter(({ type }) => type !== 'directory'));
  expect(notDirectories).toHaveLength(all.filter(({ type }) => type !== 'directory').length);
});

describe('absolute links into the source become relative', () => {
  const tree = ['main.js', 'packages/greeting/index.js', 'node_modules/zod/index.js'];

  test.each([
    ['node_modules/greeting -> {from}/packages/greeting', 'workspace', '../packages/greeting'],
    ['node_modules/@acme/greeting -> {from}/packages/greeting/', 'workspace', '../../packages/greeting'],
    ['node_modules/.bin/greet -> {from}/packages/greeting/index.js', 'app', '../../packages/greeting/index.js'],
    ['packages/greeting/node_modules/zod -> {from}/node_modules/zod', 'third-party', '../../../node_modules/zod'],
    ['node_modules/zod/cjs -> {from}/node_modules/zod', 'third-party', '.'],
    ['node_modules/api -> {from}', 'app', '..'],
    ['current -> {from}/main.js', 'app', 'main.js'],
    ['missing -> {from}/gone/x', 'app', 'gone/x'],
  ])('%s', async (line, group, text) => {
    const layers = leavesOf(await split(written([...tree, line])));
    expect(layers[group]).toContain(`${line.split(' -> ')[0]} -> ${text}`);
  });

  test('also those that leave the source and come back', async () => {
    const from = join(temporaryDirectory(), 'source');
    written([...tree, 'node_modules/greeting -> ../../source/packages/greeting'], from);
    expect(leavesOf(await split(from)).workspace).toContain('node_modules/greeting -> ../packages/greeting');
  });

  test('and those from one of several sources to another', async () => {
    const [one, other] = [written(['main.js']), written(['packages/greeting/index.js'])];
    written([`node_modules/greeting -> ${other}/packages/greeting`], one);
    expect(leavesOf(await split([one, other])).workspace).toEqual([
      'node_modules/greeting -> ../packages/greeting',
      'packages/greeting/index.js',
    ]);
  });
});

test('of several sources, the one that has what a link leads to is meant', async () => {
  const from = written(['main.js', 'packages/greeting/index.js', 'node_modules/greeting -> {from}/packages/greeting']);
  const include = ['main.js', 'node_modules/**', 'greeting/**'];
  expect(leavesOf(await split([from, join(from, 'packages')], { include })).workspace).toEqual([
    'greeting/index.js',
    'node_modules/greeting -> ../greeting',
  ]);
});

describe('links that would break in the image are refused', () => {
  test.each<[line: string, link: string, target: string]>([
    ['node_modules/greeting -> ../../packages/greeting', 'node_modules/greeting', '{parent}/packages/greeting'],
    ['node_modules/@acme/x -> ../../../packages/x', 'node_modules/@acme/x', '{parent}/packages/x'],
    ['node_modules/greeting -> /packages/greeting', 'node_modules/greeting', '/packages/greeting'],
    ['node_modules/greeting -> /app/packages/greeting', 'node_modules/greeting', '/app/packages/greeting'],
    ['node_modules/greeting -> {from}-old', 'node_modules/greeting', '{from}-old'],
    ['node_modules/.bin/tsc -> /usr/bin/tsc', 'node_modules/.bin/tsc', '/usr/bin/tsc'],
    ['node_modules/.pnpm -> /store', 'node_modules/.pnpm', '/store'],
    ['node_modules/.pnpm/a@1/node_modules/b -> /b', 'node_modules/.pnpm/a@1/node_modules/b', '/b'],
    ['packages/x/node_modules/y -> ../../../../y', 'packages/x/node_modules/y', '{parent}/y'],
  ])('%s', async (line, link, target) => {
    const from = written(['main.js', line]);
    const { message } = await failureOf(LayerSourceError, () => split(from));
    expect(message).toMatch(new RegExp(`^app/${link}: expected .* inside of ${from}, found one to `));
    expect(message).toContain(target.replace('{parent}', dirname(from)).replace('{from}', from));
    expect(message).toMatch(/lay out .* "from", exclude the link, or set "followSymlinks": true/);
  });

  test('a command of a package that leads out: the package is named', async () => {
    const from = written(['node_modules/.bin/greet -> ../greeting/cli.js', 'node_modules/greeting -> ../../greeting']);
    await expect(split(from)).rejects.toThrow('app/node_modules/greeting: expected');
  });

  test('a package of the workspace that is not taken', async () => {
    const from = written(['main.js', 'node_modules/greeting -> ../packages/greeting', 'packages/greeting/index.js']);
    const { message } = await failureOf(LayerSourceError, () => split(from, { exclude: ['packages'] }));
    expect(message).toMatch(
      /^app\/node_modules\/greeting: .*\(\.\.\/packages\/greeting\).*found no app\/packages\/greeting/,
    );
    expect(message).toContain('let "from", "include" and "exclude" take it, or exclude the link');
    expect(leavesOf(await split(from, { exclude: ['packages', 'node_modules/greeting'] }))).toEqual({
      app: ['main.js', 'node_modules/'],
    });
  });

  test('with followSymlinks there are none', async () => {
    const outside = written(['greeting/index.js']);
    const from = written(['main.js', `node_modules/greeting -> ${outside}/greeting`]);
    expect(leavesOf(await split(from, { followSymlinks: true }))).toEqual({
      'third-party': ['node_modules/greeting/index.js'],
      app: ['main.js'],
    });
  });
});

test('a hard link over the border of layers carries the content', async () => {
  const from = written(['main.js', 'node_modules/zod/a.js', 'node_modules/zod/z.js', 'z.js']);
  for (const copy of ['assets/1.js', 'assets/2.js', 'node_modules/zod/b.js']) written([copy, `${copy}.unlinked`], from);
  for (const copy of ['assets/1.js', 'assets/2.js', 'node_modules/zod/b.js']) {
    rmSync(join(from, copy));
    linkSync(join(from, 'node_modules/zod/a.js'), join(from, copy));
  }
  const layers = await split(from, { mode: 'preserve' });
  const found = layers.flatMap(({ group, entries }) =>
    entries.flatMap(({ name, type, size, linkname }) =>
      /(a|b|1|2)\.js$/.test(name) ? [[group, name, type, linkname ?? size]] : [],
    ),
  );
  const { length } = 'node_modules/zod/a.js';
  expect(found).toEqual([
    ['third-party', 'app/node_modules/zod/a.js', 'file', length],
    ['third-party', 'app/node_modules/zod/b.js', 'link', 'app/node_modules/zod/a.js'],
    ['app', 'app/assets/1.js', 'file', length],
    ['app', 'app/assets/2.js', 'link', 'app/assets/1.js'],
  ]);
});

describe('a change of one layer leaves the others as they were', () => {
  const digests = async (from: string) => {
    const layers = await split(from);
    const entries = layers.map(async ({ group, entries }) => [group, digestOf(await collect(tarOf(entries)))]);
    return Object.fromEntries(await Promise.all(entries)) as Record<string, string>;
  };
  const add = (line: string) => (from: string) => void written([line], from);
  const change = (path: string) => (from: string) => void writeFiles(from, { [path]: 'changed' });
  const remove = (path: string) => (from: string) => rmSync(join(from, path), { recursive: true });
  const store = 'node_modules/.pnpm/express@4.1.0/node_modules';

  test.each<[what: string, edit: (from: string) => void, changed: string[]]>([
    ['nothing', () => undefined, []],
    ['code of the application', change('main.js'), ['app']],
    ['its package.json', change('package.json'), ['app']],
    ['a new file of the application', add('lib/new.js'), ['app']],
    ['a new file beside the packages', add('packages/README.md'), ['app']],
    ['a file of the application goes', remove('main.js'), ['app']],
    ["the package manager's notes", change('node_modules/.modules.yaml'), ['app']],
    ["the store's notes", change('node_modules/.pnpm/lock.yaml'), ['app']],
    ['code of a package of the workspace', change('packages/greeting/index.js'), ['workspace']],
    ['a new file of it', add('packages/greeting/lib/new.js'), ['workspace']],
    ['another link to it', add('node_modules/hello -> ../packages/greeting'), ['workspace']],
    ['a new package of the workspace', add('packages/other/index.js'), ['app']],
    [
      'a new package of the workspace, with its link',
      (from) => void written(['packages/other/index.js', 'node_modules/other -> ../packages/other'], from),
      ['workspace'],
    ],
    ['code of a third-party package', change(`${store}/express/index.js`), ['third-party']],
    ['a link between them', remove(`${store}/accepts`), ['third-party']],
    ['a link from the workspace to one', remove('packages/greeting/node_modules'), ['third-party']],
    ['a new third-party package', add('node_modules/zod/index.js'), ['third-party']],
    [
      'a file moves',
      (from) => renameSync(join(from, 'main.js'), join(from, 'packages/greeting/main.js')),
      ['workspace', 'app'],
    ],
  ])('%s', async (_, edit, changed) => {
    const from = written(pnpm);
    const before = await digests(from);
    expect(Object.keys(before)).toEqual(['third-party', 'workspace', 'app']);
    edit(from);
    const after = await digests(from);
    expect(Object.keys(after).filter((group) => after[group] !== before[group])).toEqual(changed);
  });
});
