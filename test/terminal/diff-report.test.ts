import { describe, expect, test } from '@jest/globals';
import {
  type Digest,
  digestOf,
  type LayerDifference,
  type ListedEntry,
  type ManifestDifference,
  mediaTypes,
} from '../../src';
import { diffReason } from '../../src/terminal/diff-reason';
import { diffReport } from '../../src/terminal/diff-report';
import { changedValue, escaped, pathWords } from '../../src/terminal/diff-words';

const [one, two] = ['1', '2'].map((text) => digestOf(Buffer.from(text))) as [Digest, Digest];
const short = (digest: string) => `${digest.slice(0, 19)}…`;
const sides = {
  a: { mediaType: mediaTypes.imageManifest, digest: one, size: 400 },
  b: { mediaType: mediaTypes.imageManifest, digest: two, size: 400 },
};
const nothing: ManifestDifference = {
  ...sides,
  identical: false,
  manifest: [],
  config: [],
  layers: [],
  manifests: [],
  rewritten: [],
};
const facts = { position: 0, name: 'nx-oci image: layer app', mediaType: mediaTypes.layerGzip };
const layer: LayerDifference = {
  kind: 'changed',
  a: { ...facts, digest: one, size: 100 },
  b: { ...facts, digest: two, size: 2000 },
  moved: false,
  descriptor: [],
};
const entry: ListedEntry = {
  name: 'f',
  type: 'file',
  mode: 0o644,
  owner: '0:0',
  mtime: '1970-01-01T00:00:00Z',
  size: 6,
  digest: one,
};
const report = (difference: Partial<ManifestDifference>, all = false) =>
  diffReport({ ...nothing, ...difference }, { names: ['old', 'new'], all }).split('\n');

test.each<[string, string]>([
  ['plain text, with é and 日本語', 'plain text, with é and 日本語'],
  ['\u001b[2J', '"\\u001b[2J"'],
  ['a\nb\t"c"\\', '"a\\nb\\t\\"c\\"\\\\"'],
  ['\u202Etxt.exe', '"\\u202etxt.exe"'],
  ['\u{e0001}', '"\\u{e0001}"'],
  ['\u009b1m', '"\\u009b1m"'],
  ['\ud800', '"\\ud800"'],
  [' a', '" a"'],
  ['a "b" \\ c', 'a "b" \\ c'],
])('%j is shown as %s', (text, shown) => {
  expect(escaped(text)).toBe(shown);
});

test.each<[(string | number)[], string]>([
  [['config', 'Env', 'PATH'], 'env PATH'],
  [['config', 'Env'], 'env'],
  [['config', 'Labels', 'a.b'], 'label a.b'],
  [['config', 'Entrypoint'], 'entrypoint'],
  [['config', 'ExposedPorts', '80/tcp'], 'port 80/tcp'],
  [['config', 'Healthcheck', 'Test', 0], 'config.Healthcheck.Test[0]'],
  [['config', 'mediaType'], 'config.mediaType'],
  [['annotations', '__proto__'], 'annotation __proto__'],
  [['mediaType'], 'media type'],
  [['history', 1, 'created_by'], 'history[1].created_by'],
  [['toString'], 'toString'],
  [['config', 'constructor', 'x'], 'config.constructor.x'],
  [['\u001b'], '["\\u001b"]'],
])('the path %j is called %s', (path, words) => {
  expect(pathWords(path)).toBe(words);
});

test('values that are long are cut, unless all is asked for', () => {
  const change = { path: ['x'], from: 'a'.repeat(500), to: { b: 1 } };
  expect(changedValue('x', change, false)).toBe(`~ x: ${'a'.repeat(160)}… → {"b":1}`);
  expect(changedValue('x', change, true)).toBe(`~ x: ${'a'.repeat(500)} → {"b":1}`);
});

describe('the first line says why', () => {
  const env = { path: ['config', 'Env', 'PATH'], from: '/a', to: '/b' };
  const added = { kind: 'added', name: 'n', b: entry } as const;
  const changed = { kind: 'changed', name: 'f', a: entry, b: entry, changes: [{ what: 'content' }] } as const;
  const other: LayerDifference = {
    ...layer,
    a: undefined,
    kind: 'added',
    b: { ...facts, name: '/bin/sh -c #(nop) ADD x', position: 1, digest: two, size: 1 },
  };
  const same: LayerDifference = {
    ...layer,
    kind: 'same',
    descriptor: [{ path: ['mediaType'], from: 'a/b', to: 'c/d' }],
  };
  const listed = (platform: string, difference: Partial<ManifestDifference>) => ({
    kind: 'changed' as const,
    a: { ...sides.a, platform },
    b: { ...sides.b, platform },
    moved: false,
    descriptor: [],
    difference: { ...nothing, ...difference },
  });
  const rows: readonly [string, Partial<ManifestDifference>][] = [
    ['layer app (1 file changed), env PATH', { layers: [{ ...layer, entries: [changed] }], config: [env] }],
    ['layer app (2 files added)', { layers: [{ ...layer, entries: [added, added] }] }],
    [
      'layer app (1 file changed, 1 added, order of files)',
      { layers: [{ ...layer, entries: [added, changed], reordered: ['x'] }] },
    ],
    ['layer app (content)', { layers: [layer] }],
    ['layer app compressed otherwise, layer ADD x added', { layers: [{ ...layer, kind: 'recompressed' }, other] }],
    ['layer app (tar file written otherwise)', { layers: [{ ...layer, kind: 'rewritten' }] }],
    ['layer app moved', { layers: [{ ...layer, kind: 'same', moved: true }] }],
    ['layer app (media type)', { layers: [same] }],
    ['descriptors of 2 layers', { layers: [same, same] }],
    [
      'layer 1 app (content), layer 2 app removed',
      {
        layers: [
          layer,
          { ...layer, kind: 'removed', a: { ...facts, position: 1, digest: one, size: 1 }, b: undefined },
        ],
      },
    ],
    ['layer ADD x added', { layers: [other], config: [{ path: ['history', 1], to: {} }] }],
    [
      'history',
      {
        config: [
          { path: ['history', 1, 'comment'], to: 'a' },
          { path: ['history', 2, 'comment'], to: 'a' },
        ],
      },
    ],
    ['manifest written otherwise', { rewritten: ['manifest'] }],
    [
      'k0, k1, k2, k3, k4, k5 and 4 more',
      { config: Array.from({ length: 10 }, (_, at) => ({ path: [`k${at}`], to: 1 })) },
    ],
    [
      'linux/amd64, linux/arm64: env PATH; linux/arm/v7: layer app (content)',
      {
        manifests: [
          listed('linux/amd64', { config: [env] }),
          listed('linux/arm64', { config: [env] }),
          listed('linux/arm/v7', { layers: [layer] }),
        ],
      },
    ],
    [
      'linux/amd64 added; linux/arm64 removed; annotation a',
      {
        manifest: [{ path: ['annotations', 'a'], to: 'b' }],
        manifests: [
          { ...listed('linux/amd64', {}), kind: 'added' },
          { ...listed('linux/arm64', {}), kind: 'removed' },
        ],
      },
    ],
    [
      'linux/arm64: platform.variant, order',
      {
        manifests: [
          {
            ...listed('linux/arm64', {}),
            difference: undefined,
            kind: 'same',
            moved: true,
            descriptor: [{ path: ['platform', 'variant'], to: 'v8' }],
          },
        ],
      },
    ],
  ];
  test.each(rows)('%s', (reason, difference) => {
    expect(diffReason({ ...nothing, ...difference })).toBe(`${short(one)} and ${short(two)} differ: ${reason}`);
  });

  test('or that there is no difference', () => {
    expect(report({ b: sides.a, identical: true })).toEqual([`identical: ${one}`]);
  });
});

test('the report names what differs, with everything hostile escaped', () => {
  const hostile = '\u001b]0;owned\u0007';
  const moved = { ...entry, name: 'm', mode: 0o600 };
  const entries: LayerDifference['entries'] = [
    { kind: 'added', name: hostile, b: { ...entry, name: hostile } },
    { kind: 'added', name: 'd', b: { ...entry, name: 'd', type: 'directory' } },
    { kind: 'added', name: 'l', b: { ...entry, name: 'l', type: 'symlink', linkname: `../${hostile}` } },
    { kind: 'removed', name: '../x', occurrence: 2, a: { ...entry, name: '../x' } },
    {
      kind: 'changed',
      name: 'f',
      a: entry,
      b: { ...entry, size: 1200 },
      changes: [
        { what: 'content', from: one, to: two },
        { what: 'size', from: '6', to: '1200' },
        { what: 'mode', from: '0644', to: '0600' },
        { what: `pax ${hostile}`, to: hostile },
      ],
    },
    { kind: 'changed', name: 'g', a: entry, b: entry, changes: [{ what: 'content', from: one, to: two }] },
    { kind: 'renamed', name: 'new', a: entry, b: entry, changes: [] },
    {
      kind: 'movedFrom',
      name: 'm',
      layer: 0,
      a: entry,
      b: moved,
      changes: [{ what: 'mode', from: '0644', to: '0600' }],
    },
    { kind: 'movedTo', name: 'm', layer: 0, a: entry, b: moved, changes: [] },
  ];
  const name = `RUN a\n  ${hostile}`;
  const lines = report({
    manifest: [{ path: ['annotations', hostile], to: hostile }],
    config: [
      { path: ['config', 'Env', 'A'], from: 'x', to: 'y' },
      { path: ['config', 'User'], from: '1' },
    ],
    layers: [
      { ...layer, a: layer.a && { ...layer.a, name }, b: layer.b && { ...layer.b, name }, entries, reordered: ['z'] },
      { ...layer, kind: 'same' },
    ],
    rewritten: ['config'],
  });
  const label = 'layer "RUN a\\n  \\u001b]0;owned\\u0007"';
  expect(lines).toEqual([
    expect.stringContaining(' differ: '),
    `  a  ${one}  old`,
    `  b  ${two}  new`,
    'manifest',
    '  + annotation "\\u001b]0;owned\\u0007": "\\u001b]0;owned\\u0007"',
    'config',
    '  other white space or order of keys; the values are the same',
    '  ~ env A: x → y',
    '  - user: 1',
    `${label}: ${short(one)} → ${short(two)}, 100 B → 2.0 kB`,
    '  + "\\u001b]0;owned\\u0007"  6 B',
    '  + d/',
    '  + l  symlink to "../\\u001b]0;owned\\u0007"',
    '  - ../x (entry 2 of this name)  6 B',
    '  ~ f: content, size 6 B → 1.2 kB, mode 0644 → 0600, "pax \\u001b]0;owned\\u0007" none → "\\u001b]0;owned\\u0007"',
    '  ~ g: content, of the same size',
    '  > f → new',
    `  > m from ${label}: mode 0644 → 0600`,
    `  > m to ${label}`,
    '  order in the tar file: 1 file elsewhere',
    '    z',
    '1 layer is the same',
  ]);
  expect(lines.join('')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
});

test('long lists are cut, unless all is asked for', () => {
  const entries = Array.from({ length: 1254 }, (_, at) => ({ kind: 'added' as const, name: `f${at}`, b: entry }));
  const difference = { layers: [{ ...layer, entries }] };
  const lines = report(difference);
  expect(lines).toHaveLength(3 + 1 + 20 + 1);
  expect(lines[0]).toContain('layer app (1,254 files added)');
  expect(lines.at(-1)).toBe('  ... and 1,234 more (--all shows them)');
  expect(report(difference, true)).toHaveLength(3 + 1 + 1254);
});

test('platforms that differ in the same way are described once', () => {
  const listed = (platform: string) => ({
    kind: 'changed' as const,
    a: { ...sides.a, platform },
    b: { ...sides.b, platform },
    moved: false,
    descriptor: [],
    difference: { ...nothing, layers: [{ ...layer, descriptor: [{ path: ['mediaType'], from: 'a/b', to: 'c/d' }] }] },
  });
  const same = { ...listed('linux/riscv64'), kind: 'same' as const, difference: undefined };
  expect(report({ manifests: [listed('linux/amd64'), listed('linux/arm64'), same] }).slice(3)).toEqual([
    `~ linux/amd64: ${short(one)} → ${short(two)}, 400 B`,
    `  layer app: ${short(one)} → ${short(two)}, 100 B → 2.0 kB`,
    '    ~ media type: a/b → c/d',
    `~ linux/arm64: ${short(one)} → ${short(two)}, 400 B`,
    '  as linux/amd64',
    '  linux/riscv64: the same',
  ]);
});
