import { describe, expect, test } from '@jest/globals';
import {
  addToIndex,
  annotate,
  annotateInIndex,
  asImage,
  bytesBlob,
  type Compression,
  convertRef,
  DepthError,
  type Descriptor,
  type Digest,
  DigestMismatchError,
  describeIndex,
  descriptorOf,
  diffImages,
  digestOf,
  EmptyIndexError,
  type Execution,
  emptyImage,
  encodeJson,
  type History,
  type Image,
  type ImageDraft,
  type Index,
  LimitError,
  layerEncoder,
  type ManifestDifference,
  mediaTypes,
  NoMatchingPlatformError,
  newArtifact,
  newIndex,
  newRef,
  OciError,
  parsePlatform,
  type Ref,
  recompressRef,
  removeFromIndex,
  sealImage,
  titleAnnotation,
  withCreated,
  withExecution,
  writeLayer,
} from '../../src';
import type { Blobs } from '../../src/blob';
import { diffSources } from '../../src/diff/images';
import { appendLayer } from '../../src/image';
import {
  archiveOf,
  failureOf,
  memorySink,
  sampleImage,
  sourceOf,
  type TarHeader,
  taggedLayout,
  tarWith,
  writtenLayout,
} from '../fixtures';
import { type Random, seededRandom } from '../soak/random';

/** An entry of a tar file with its text, if it is a file. */
type Entry = readonly [header: TarHeader, text?: string];

/** What an image is made of; rows of the table change one thing. */
interface Sample {
  readonly layers: readonly SampleLayer[];
  readonly platform?: string;
  readonly change?: (draft: ImageDraft) => ImageDraft;
  readonly config?: (config: ImageDraft['config']) => ImageDraft['config'];
}

interface SampleLayer {
  readonly name: string;
  readonly entries: readonly Entry[];
  readonly compression?: Compression;
  readonly level?: number;
  /** Of the tar file, for what no entry says. */
  readonly tar?: (tar: Buffer) => Buffer;
  readonly describe?: (descriptor: Descriptor) => Descriptor;
}

const file = (name: string, text: string, header: Partial<TarHeader> = {}): Entry => [
  { name, mode: 0o644, ...header },
  text,
];
const other = (name: string, type: TarHeader['type'], header: Partial<TarHeader> = {}): Entry => [
  { name, type, mode: 0o755, ...header },
];

const etc = [other('etc/', 'directory'), file('etc/passwd', 'root'), file('etc/hosts', 'localhost')];
const bin = [
  file('bin/sh', 'shell', { mode: 0o755 }),
  other('bin/ash', 'link', { linkname: 'bin/sh' }),
  other('lib', 'symlink', { linkname: 'usr/lib' }),
];
const base: SampleLayer = { name: 'base', entries: [...etc, ...bin] };
const app: SampleLayer = {
  name: 'app',
  entries: [other('app/', 'directory'), file('app/main', 'main'), file('app/empty', '')],
};
const execution: Execution = {
  Env: ['PATH=/bin', 'HOME=/'],
  Entrypoint: ['/app/main'],
  Cmd: ['-v'],
  Labels: { v: '1' },
  User: '1',
};
const sample: Sample = { layers: [base, app] };

async function imageOf({
  layers,
  platform = 'linux/amd64',
  change = (draft) => draft,
  config = (value) => value,
}: Sample): Promise<Image> {
  let draft = withExecution(emptyImage(parsePlatform(platform)), () => execution);
  for (const {
    name,
    entries,
    compression = 'gzip',
    level,
    tar = (bytes: Buffer) => bytes,
    describe = (value: Descriptor) => value,
  } of layers) {
    const bytes = tar(await tarWith(entries));
    const layer = await writeLayer(bytesBlob(bytes).open(), memorySink, layerEncoder(compression, { level }));
    draft = appendLayer(draft, { ...layer, descriptor: describe(layer.descriptor) }, { created_by: name });
  }
  const changed = change(draft);
  return sealImage({ ...changed, config: config(changed.config) });
}

const shown = (value: unknown) => (value === undefined ? 'none' : JSON.stringify(value));

/** Everything that is said to differ, a line for each thing, and nothing of what is the same. */
function summary(difference: ManifestDifference): string[] {
  const values = (name: string, changes: ManifestDifference['config']) =>
    changes.map(({ path, from, to }) => `${name} ${path.join('.')}: ${shown(from)} to ${shown(to)}`);
  return [
    ...difference.rewritten.map((name) => `${name} rewritten`),
    ...values('manifest', difference.manifest),
    ...values('config', difference.config),
    ...difference.layers.flatMap(({ kind, a, b, moved, descriptor, entries = [], reordered = [] }) => [
      ...(kind === 'same' ? [] : [`${a?.name ?? '-'} to ${b?.name ?? '-'} ${kind}`]),
      ...(moved ? [`${b?.name} moved from ${a?.position} to ${b?.position}`] : []),
      ...values(`${b?.name}`, descriptor),
      ...entries.map(({ kind, name, occurrence, layer, a, changes = [] }) =>
        [
          `  ${kind} ${name}`,
          ...(occurrence === undefined ? [] : [`#${occurrence}`]),
          ...(kind === 'renamed' ? [`from ${a?.name}`] : []),
          ...(layer === undefined ? [] : [`layer ${layer}`]),
          ...changes.map(({ what, from, to }) => (what === 'content' ? what : `${what} ${from} to ${to}`)),
        ].join(' '),
      ),
      ...reordered.map((name) => `  reordered ${name}`),
    ]),
    ...difference.manifests.flatMap(({ kind, a, b, moved, descriptor, difference }) => {
      const name = (b ?? a)?.platform ?? (b ?? a)?.artifactType ?? (b ?? a)?.mediaType;
      return [
        ...(kind === 'same' ? [] : [`${name} ${kind}`]),
        ...(moved ? [`${name} moved`] : []),
        ...values(`${name}`, descriptor),
        ...(difference ? summary(difference).map((line) => `  ${line}`) : []),
      ];
    }),
  ];
}

const diffOf = async (a: Ref, b: Ref) => summary(await diffImages(a, b));

/** The sample with other entries in its layer `app`. */
const withApp = (change: Partial<SampleLayer> | ((entries: readonly Entry[]) => readonly Entry[])): Sample => ({
  ...sample,
  layers: [base, { ...app, ...(typeof change === 'function' ? { entries: change(app.entries) } : change) }],
});

/** The sample with another header, and perhaps another text, of one of its entries. */
const withEntry = (name: string, header: Partial<TarHeader>, text?: string): Sample => ({
  ...sample,
  layers: sample.layers.map((layer) => ({
    ...layer,
    entries: layer.entries.map(
      (entry): Entry => (entry[0].name === name ? [{ ...entry[0], ...header }, text ?? entry[1]] : entry),
    ),
  })),
});

const withExecutionOf = (change: Partial<Execution>): Sample => ({
  ...sample,
  change: (draft) => withExecution(draft, (value) => ({ ...value, ...change })),
});

const withHistory = (change: (history: readonly History[]) => History[]): Sample => ({
  ...sample,
  config: (config) => ({ ...config, history: change(config.history ?? []) }),
});

const inBase = 'base to base changed';
const inApp = 'app to app changed';

describe('B7: an edit of an image is found, and nothing else', () => {
  const rows: readonly [edit: string, edited: Sample, found: readonly string[]][] = [
    ['one byte of a file', withEntry('app/main', {}, 'maim'), [inApp, '  changed app/main content']],
    ['a longer file', withEntry('app/main', {}, 'main.'), [inApp, '  changed app/main content size 4 to 5']],
    ['a mode', withEntry('bin/sh', { mode: 0o4755 }), [inBase, '  changed bin/sh mode 0755 to 4755']],
    ['an owner', withEntry('app/main', { uid: 5, gid: 6 }), [inApp, '  changed app/main owner 0:0 to 5:6']],
    [
      'the name of an owner',
      withEntry('app/main', { uname: 'u', gname: 'g' }),
      [inApp, '  changed app/main owner 0:0 to 0:0 (u:g)'],
    ],
    [
      'a time',
      withEntry('app/main', { mtime: new Date(1000) }),
      [inApp, '  changed app/main mtime 1970-01-01T00:00:00Z to 1970-01-01T00:00:01Z'],
    ],
    [
      'a time by a nanosecond',
      withEntry('app/main', { pax: { mtime: '0.000000001' } }),
      [inApp, '  changed app/main mtime 1970-01-01T00:00:00Z to 1970-01-01T00:00:00.000000001Z'],
    ],
    ['a symbolic link', withEntry('lib', { linkname: 'lib64' }), [inBase, '  changed lib link usr/lib to lib64']],
    [
      'a hard link',
      withEntry('bin/ash', { linkname: 'bin/bash' }),
      [inBase, '  changed bin/ash link bin/sh to bin/bash'],
    ],
    [
      'a link that becomes a file',
      withEntry('lib', { type: 'file', linkname: '' }, 'x'),
      [inBase, '  changed lib type symlink to file'],
    ],
    [
      'an extended attribute',
      withEntry('app/main', { pax: { 'SCHILY.xattr.a': 'b' } }),
      [inApp, '  changed app/main pax SCHILY.xattr.a undefined to b'],
    ],
    [
      'a name in another spelling',
      withEntry('app/main', { name: './app/main' }),
      [inApp, '  changed ./app/main name app/main to ./app/main'],
    ],
    ['an added file', withApp((entries) => [...entries, file('app/new', 'new')]), [inApp, '  added app/new']],
    ['a removed file', withApp((entries) => entries.slice(0, -1)), [inApp, '  removed app/empty']],
    ['a removed directory entry', withApp((entries) => entries.slice(1)), [inApp, '  removed app']],
    ['a renamed file', withEntry('app/main', { name: 'app/other' }), [inApp, '  renamed app/other from app/main']],
    [
      'a file renamed and changed',
      withEntry('app/main', { name: 'app/other', mode: 0o600 }),
      [inApp, '  renamed app/other from app/main mode 0644 to 0600'],
    ],
    [
      'an empty file renamed',
      withEntry('app/empty', { name: 'app/void' }),
      [inApp, '  removed app/empty', '  added app/void'],
    ],
    ['a whiteout', withApp((entries) => [...entries, file('app/.wh.x', '')]), [inApp, '  added app/.wh.x']],
    [
      'the order in the tar file',
      withApp((entries) => [...entries.slice(1), entries[0] as Entry]),
      [inApp, '  reordered app'],
    ],
    [
      'an entry that stands there twice',
      withApp((entries) => [...entries, file('app/main', 'again')]),
      [inApp, '  added app/main #2'],
    ],
    [
      'padding of the tar file',
      withApp({ tar: (tar) => Buffer.concat([tar, Buffer.alloc(10240)]) }),
      ['app to app rewritten'],
    ],
    ['the format of a header', withEntry('app/main', { pax: { size: '4' } }), ['app to app rewritten']],
    [
      'no compression',
      withApp({ compression: 'none' }),
      ['app to app recompressed', `app mediaType: ${shown(mediaTypes.layerGzip)} to ${shown(mediaTypes.layer)}`],
    ],
    [
      'zstd for gzip',
      withApp({ compression: 'zstd' }),
      ['app to app recompressed', `app mediaType: ${shown(mediaTypes.layerGzip)} to ${shown(mediaTypes.layerZstd)}`],
    ],
    [
      'what is said of a layer',
      withApp({ describe: (layer) => ({ ...layer, annotations: { a: 'b' } }) }),
      ['app annotations.a: none to "b"'],
    ],
    [
      'an added layer',
      { layers: [base, { name: 'mid', entries: [file('mid', 'm')] }, app] },
      ['config history.1: none to {"created_by":"mid"}', '- to mid added', '  added mid'],
    ],
    [
      'an added layer on top',
      { layers: [base, app, { name: 'top', entries: [file('top', 't')] }] },
      ['config history.2: none to {"created_by":"top"}', '- to top added', '  added top'],
    ],
    [
      'a removed layer',
      { layers: [app] },
      [
        'config history.0: {"created_by":"base"} to none',
        'base to - removed',
        ...base.entries.map(([{ name }]) => `  removed ${name.replace(/\/$/, '')}`).sort(),
      ],
    ],
    [
      'layers in another order',
      { layers: [app, base] },
      [
        'config history.0.created_by: "base" to "app"',
        'config history.1.created_by: "app" to "base"',
        'app moved from 1 to 0',
      ],
    ],
    [
      'a layer of another name',
      { layers: [base, { ...app, name: 'lib', entries: [...app.entries, file('x', 'x')] }] },
      ['config history.1.created_by: "app" to "lib"', 'app to lib changed', '  added x'],
    ],
    [
      'another base',
      { layers: [{ name: 'b1', entries: etc }, { name: 'b2', entries: [file('n', 'n')] }, app] },
      [
        'config history.0.created_by: "base" to "b1"',
        'config history.1: none to {"created_by":"b2"}',
        'base to b1 changed',
        '  removed bin/ash',
        '  removed bin/sh',
        '  removed lib',
        '- to b2 added',
        '  added n',
      ],
    ],
    [
      'a file in another layer',
      {
        layers: [
          { ...base, entries: [...etc, ...bin, file('app/main', 'main')] },
          { ...app, entries: app.entries.filter(([{ name }]) => name !== 'app/main') },
        ],
      },
      [inBase, '  movedFrom app/main layer 1', inApp, '  movedTo app/main layer 0'],
    ],
    [
      'a file in another layer, with another mode',
      {
        layers: [
          { ...base, entries: [...etc, ...bin, file('app/main', 'main', { mode: 0o600 })] },
          { ...app, entries: app.entries.filter(([{ name }]) => name !== 'app/main') },
        ],
      },
      [inBase, '  movedFrom app/main layer 1 mode 0644 to 0600', inApp, '  movedTo app/main layer 0 mode 0644 to 0600'],
    ],
    [
      'a variable',
      withExecutionOf({ Env: ['PATH=/bin:/x=y', 'HOME=/'] }),
      ['config config.Env.PATH: "/bin" to "/bin:/x=y"'],
    ],
    [
      'variables that come and go',
      withExecutionOf({ Env: ['HOME=/', 'A='] }),
      ['config config.Env.PATH: "/bin" to none', 'config config.Env.A: none to ""'],
    ],
    [
      'the order of variables',
      withExecutionOf({ Env: ['HOME=/', 'PATH=/bin'] }),
      ['config config.Env: ["PATH=/bin","HOME=/"] to ["HOME=/","PATH=/bin"]'],
    ],
    [
      'a variable that is there twice',
      withExecutionOf({ Env: ['PATH=/bin', 'PATH=/'] }),
      ['config config.Env: ["PATH=/bin","HOME=/"] to ["PATH=/bin","PATH=/"]'],
    ],
    [
      'no environment',
      withExecutionOf({ Env: undefined }),
      ['config config.Env.PATH: "/bin" to none', 'config config.Env.HOME: "/" to none'],
    ],
    [
      'a label',
      withExecutionOf({ Labels: { v: '2', 'a.b': 'c' } }),
      ['config config.Labels.v: "1" to "2"', 'config config.Labels.a.b: none to "c"'],
    ],
    [
      'an entrypoint',
      withExecutionOf({ Entrypoint: ['/app/main', '-d'] }),
      ['config config.Entrypoint: ["/app/main"] to ["/app/main","-d"]'],
    ],
    ['a cmd', withExecutionOf({ Cmd: null }), ['config config.Cmd: ["-v"] to null']],
    ['a user', withExecutionOf({ User: '0' }), ['config config.User: "1" to "0"']],
    [
      'a port and a volume',
      withExecutionOf({ ExposedPorts: { '80/tcp': {} }, Volumes: { '/data': {} } }),
      ['config config.ExposedPorts.80/tcp: none to {}', 'config config.Volumes./data: none to {}'],
    ],
    [
      'a field that nobody knows',
      withExecutionOf({ Healthcheck: { Test: ['x'] } }),
      ['config config.Healthcheck: none to {"Test":["x"]}'],
    ],
    [
      'when it was created',
      { ...sample, change: (draft) => withCreated(draft, '2000-01-01T00:00:00Z') },
      ['config created: "1970-01-01T00:00:00Z" to "2000-01-01T00:00:00Z"'],
    ],
    [
      'the history alone',
      withHistory(([first, ...more]) => [{ ...first, comment: 'c' }, ...more]),
      ['config history.0.comment: none to "c"'],
    ],
    [
      'an entry of the history',
      withHistory((all) => [{ created_by: 'ENV', empty_layer: true }, ...all]),
      ['config history.0: none to {"created_by":"ENV","empty_layer":true}'],
    ],
    [
      'the order of keys in the config',
      { ...sample, config: ({ created, ...config }) => ({ ...config, created }) },
      ['config rewritten'],
    ],
    [
      'an annotation',
      { ...sample, change: (draft) => annotate(draft, { 'a.b': 'c' }) },
      ['manifest annotations.a.b: none to "c"'],
    ],
    [
      'an annotation named __proto__',
      { ...sample, change: (draft) => annotate(draft, JSON.parse('{"__proto__":"c"}')) },
      ['manifest annotations.__proto__: none to "c"'],
    ],
    [
      'another platform',
      { ...sample, platform: 'linux/arm/v7' },
      ['config architecture: "amd64" to "arm"', 'config variant: none to "v7"'],
    ],
  ];
  test.each(rows)('%s', async (_, edited, found) => {
    const [a, b] = [await imageOf(sample), await imageOf(edited)];
    expect(await diffOf(a, b)).toEqual(found);
    expect(await diffOf(b, b)).toEqual([]);
  });

  test('nothing, where there is no difference', async () => {
    const difference = await diffImages(await imageOf(sample), await imageOf(sample));
    expect(difference).toMatchObject({
      identical: true,
      manifest: [],
      config: [],
      layers: [],
      manifests: [],
      rewritten: [],
    });
  });
});

/** The image with blobs that are read through `blob`. */
function through(image: Image, blob: (descriptor: Descriptor) => ReturnType<Blobs['blob']> | undefined): Image {
  const blobs: Blobs = { ...image.blobs, blob: (descriptor) => blob(descriptor) ?? image.blobs.blob(descriptor) };
  return asImage(newRef(image.rawManifest, image.mediaType, undefined, blobs));
}

const layerAt = (image: Image, position: number) => image.manifest.layers[position] as Descriptor;

describe('layers', () => {
  test('that both images have are not read; those that are compressed otherwise are read and verified', async () => {
    const read = new Set<string>();
    const watched = (image: Image) =>
      through(image, ({ digest }) => {
        read.add(digest);
        return undefined;
      });
    const a = await imageOf(sample);
    const b = await imageOf(withApp({ compression: 'zstd' }));
    await diffImages(watched(a), watched(b));
    const configs = [a.manifest.config.digest, b.manifest.config.digest];
    expect(read).toEqual(new Set([...configs, layerAt(a, 1).digest, layerAt(b, 1).digest]));
  });

  test('of an index that several images share are read once', async () => {
    const opened: string[] = [];
    const platforms = ['linux/amd64', 'linux/arm64'];
    const indexOf = async (app: Sample) => {
      const refs = await Promise.all(platforms.map((platform) => imageOf({ ...app, platform })));
      const counted = refs.map((image) =>
        through(image, (descriptor) => {
          if (descriptor.digest === layerAt(image, 1).digest) opened.push(descriptor.digest);
          return undefined;
        }),
      );
      return newIndex(counted.map((ref, at) => ({ ref, platform: parsePlatform(platforms[at] as string) })));
    };
    const found = await diffOf(await indexOf(sample), await indexOf(withEntry('app/main', {}, 'maim')));
    expect(found).toEqual(
      platforms.flatMap((platform) => [`${platform} changed`, `  ${inApp}`, '    changed app/main content']),
    );
    expect(opened).toHaveLength(2);
  });

  test.each<Compression>(['gzip', 'zstd'])(
    'compressed at another level (%s) are the same content',
    async (compression) => {
      const entries = [...app.entries, file('text', 'a few words, a few words more, '.repeat(200))];
      const [a, b] = await Promise.all([1, 9].map((level) => imageOf(withApp({ entries, compression, level }))));
      expect(layerAt(a as Image, 1).digest).not.toBe(layerAt(b as Image, 1).digest);
      expect(await diffOf(a as Image, b as Image)).toEqual(['app to app recompressed']);
    },
  );

  test('recompressed by recompressRef, and converted to Docker schema 2, keep their content', async () => {
    const image = await imageOf(sample);
    const types = (from: string, to: string) => `mediaType: ${shown(from)} to ${shown(to)}`;
    expect(await diffOf(image, await recompressRef(image, 'zstd', memorySink))).toEqual(
      ['base', 'app'].flatMap((name) => [
        `${name} to ${name} recompressed`,
        `${name} ${types(mediaTypes.layerGzip, mediaTypes.layerZstd)}`,
      ]),
    );
    expect(await diffOf(image, await convertRef(image, 'docker'))).toEqual([
      `manifest ${types(mediaTypes.imageManifest, mediaTypes.dockerManifest)}`,
      `manifest config.${types(mediaTypes.imageConfig, mediaTypes.dockerConfig)}`,
      ...['base', 'app'].map((name) => `${name} ${types(mediaTypes.layerGzip, mediaTypes.dockerLayerGzip)}`),
    ]);
  });

  test('that are not for distribution, or of an unknown media type, are known by their digests', async () => {
    const foreign = (mediaType: string) => (layer: Descriptor) => ({ ...layer, mediaType });
    for (const mediaType of ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'application/x.lz4']) {
      const [a, b] = await Promise.all(
        ['one', 'two'].map(async (text) => {
          const image = await imageOf(withApp({ entries: [file('f', text)], describe: foreign(mediaType) }));
          return through(image, ({ digest }) => {
            if (digest === layerAt(image, 1).digest) throw new Error('must not be read');
            return undefined;
          });
        }),
      );
      const { layers } = await diffImages(a as Image, b as Image);
      expect(layers.map(({ kind, entries }) => [kind, entries])).toEqual([
        ['same', undefined],
        ['changed', undefined],
      ]);
    }
  });

  test('without names are paired by their places, and by digest wherever they are', async () => {
    const layerOf = (text: string): SampleLayer => ({ name: '', entries: [file('f', text)] });
    const ofTexts = (texts: string[]) =>
      imageOf({ layers: texts.map(layerOf), config: ({ history: _, ...config }) => config });
    const kinds = async (a: string[], b: string[]) =>
      (await diffImages(await ofTexts(a), await ofTexts(b))).layers.map(
        ({ kind, a, b }) => `${a?.position ?? '-'}${b?.position ?? '-'} ${kind}`,
      );
    expect(await kinds(['a', 'b', 'c'], ['a', 'x', 'c'])).toEqual(['00 same', '11 changed', '22 same']);
    expect(await kinds(['a', 'b', 'c'], ['a', 'c'])).toEqual(['00 same', '1- removed', '21 same']);
    expect(await kinds(['a', 'c'], ['x', 'a', 'y', 'z', 'c'])).toEqual([
      '-0 added',
      '01 same',
      '-2 added',
      '-3 added',
      '14 same',
    ]);
    expect(await kinds(['a', 'b', 'c'], ['x', 'y', 'c'])).toEqual(['00 changed', '11 changed', '22 same']);
    expect(await kinds(['a', 'a'], ['a'])).toEqual(['00 same', '1- removed']);
    expect(await kinds([], ['a', 'a'])).toEqual(['-0 added', '-1 added']);
  });

  test('whose names are long, and no two alike, are compared in no time', async () => {
    const [a, b] = await Promise.all(
      ['a', 'b'].map((letter) => imageOf({ layers: [{ name: 'l', entries: [file(letter.repeat(1_000_000), 'x')] }] })),
    );
    const { layers } = await diffImages(a as Image, b as Image);
    expect(layers[0]?.entries?.map(({ kind }) => kind)).toEqual(['renamed']);
  });

  test('of 10,000 files are compared', async () => {
    const files = (text: string) =>
      Array.from({ length: 10_000 }, (_, at) => file(`d/${at}`, at === 5000 ? text : String(at)));
    const [a, b] = await Promise.all(
      ['one', 'two'].map((text) => imageOf({ layers: [{ name: 'l', entries: files(text), compression: 'none' }] })),
    );
    expect(await diffOf(a as Image, b as Image)).toEqual(['l to l changed', '  changed d/5000 content']);
  });
});

describe('what is wrong with a layer is said by its digest', () => {
  const corrupted = (image: Image, change: (bytes: Buffer) => Uint8Array): Image => {
    const layer = layerAt(image, 1);
    async function* open(): AsyncGenerator<Uint8Array> {
      const chunks: Uint8Array[] = [];
      for await (const chunk of image.blob(layer).open()) chunks.push(chunk);
      yield change(Buffer.concat(chunks));
    }
    return through(image, ({ digest, size }) => (digest === layer.digest ? { size, open } : undefined));
  };
  const flipped = (bytes: Buffer) => {
    bytes[40] = (bytes[40] as number) ^ 1;
    return bytes;
  };

  test.each<[string, Sample]>([
    ['changed', withEntry('app/main', {}, 'maim')],
    ['compressed otherwise', withApp({ compression: 'zstd' })],
    ['added', { layers: [base] }],
  ])('corrupt, where it is %s', async (_, edited) => {
    const image = corrupted(await imageOf(sample), flipped);
    const edit = await imageOf(edited);
    for (const [a, b] of [
      [image, edit],
      [edit, image],
    ] as const) {
      const failure = await failureOf(DigestMismatchError, () => diffImages(a, b));
      expect(failure.expected).toBe(layerAt(image, 1).digest);
      expect(failure.message).toContain(`blob ${failure.expected}`);
    }
  });

  test('no tar file', async () => {
    const image = await imageOf(withApp({ tar: () => Buffer.alloc(2048, 'no tar ') }));
    const failure = await failureOf(OciError, async () => diffImages(await imageOf(sample), image));
    expect(failure.message).toContain(`layer ${layerAt(image, 1).digest}: expected a tar file, found`);
  });

  test('not what the config says', async () => {
    const image = await imageOf(sample);
    const lie = digestOf(Buffer.from('lie'));
    const liar = await imageOf({
      ...sample,
      config: (config) => ({
        ...config,
        rootfs: { ...config.rootfs, diff_ids: [config.rootfs.diff_ids[0] as Digest, lie] },
      }),
    });
    const failure = await failureOf(DigestMismatchError, () => diffImages(image, liar));
    expect(failure.message).toContain(
      `layer ${layerAt(image, 1).digest}: its diffID in the config: expected digest ${lie}`,
    );
  });

  test('a bomb', async () => {
    const bomb = await imageOf(withApp({ entries: [file('zeros', '\0'.repeat(5_000_000))] }));
    const digest = layerAt(bomb, 1).digest;
    const image = await imageOf(sample);
    const unpacked = await failureOf(LimitError, () => diffImages(image, bomb, { maxUnpackedSize: 1_000_000 }));
    expect(unpacked.message).toContain(`layer ${digest}, unpacked: expected at most 1000000 bytes`);
    const listed = await failureOf(LimitError, () => diffImages(image, bomb, { maxListingSize: 100 }));
    expect(listed.message).toContain('list of the files in layer sha256:');
  });

  test('what differs in one layer leaves less room to the next', async () => {
    const entries = (name: string) => Array.from({ length: 50 }, (_, at) => file(`${name}${at}`, ''));
    const big = await imageOf({
      layers: [base, { name: 'x', entries: entries('x') }, { name: 'y', entries: entries('y') }, app],
    });
    const small = await imageOf(sample);
    expect((await diffImages(small, big, { maxListingSize: 50_000 })).layers).toHaveLength(4);
    const failure = await failureOf(LimitError, () => diffImages(small, big, { maxListingSize: 25_000 }));
    expect(failure.message).toContain(layerAt(big, 2).digest);
  });
});

describe('indexes', () => {
  const platforms = ['linux/amd64', 'linux/arm64', 'linux/riscv64'];
  const instances = async (names: readonly string[], edited = sample) =>
    Promise.all(
      names.map(async (name) => ({ ref: await imageOf({ ...edited, platform: name }), platform: parsePlatform(name) })),
    );
  const indexOf = async (names: readonly string[]) => newIndex(await instances(names));
  const arm = ({ platform }: Descriptor) => platform?.architecture === 'arm64';

  test('an added, a removed and a changed instance', async () => {
    const [a, b] = [await indexOf(platforms.slice(0, 2)), await indexOf(platforms.slice(1))];
    expect(await diffOf(a, b)).toEqual(['linux/riscv64 added', 'linux/amd64 removed']);
    const edited = addToIndex(
      removeFromIndex(a, arm),
      await instances(['linux/arm64'], withEntry('app/main', {}, 'maim')),
    );
    expect(await diffOf(a, edited)).toEqual(['linux/arm64 changed', `  ${inApp}`, '    changed app/main content']);
  });

  test('what an index says of itself and of an instance, and the order', async () => {
    const index = await indexOf(platforms);
    expect(await diffOf(index, describeIndex(index, { annotations: { a: 'b' } }))).toEqual([
      'manifest annotations.a: none to "b"',
    ]);
    const annotated = annotateInIndex(index, arm, (child) => ({ ...child, annotations: { a: 'b' } }));
    expect(await diffOf(index, annotated)).toEqual(['linux/arm64 annotations.a: none to "b"']);
    const versioned = annotateInIndex(index, arm, (child) => ({
      ...child,
      platform: { ...parsePlatform('linux/arm64'), 'os.version': '1' },
    }));
    expect(await diffOf(index, versioned)).toEqual(['linux/arm64 platform.os.version: none to "1"']);
    expect(await diffOf(index, await indexOf([...platforms].reverse()))).toEqual([
      'linux/riscv64 moved',
      'linux/arm64 moved',
    ]);
  });

  test('a variant is another platform, or the same by another name', async () => {
    expect(await diffOf(await indexOf(['linux/arm/v6']), await indexOf(['linux/arm/v7']))).toEqual([
      'linux/arm/v7 added',
      'linux/arm/v6 removed',
    ]);
    const index = await indexOf(['linux/arm64']);
    const named = annotateInIndex(index, arm, (child) => ({
      ...child,
      platform: { os: 'linux', architecture: 'arm64', variant: 'v8' },
    }));
    expect(await diffOf(index, named)).toEqual(['linux/arm64 platform.variant: none to "v8"']);
  });

  test('an index over images in the other format', async () => {
    const index = await indexOf(['linux/amd64']);
    expect((await diffOf(index, await convertRef(index, 'docker'))).slice(0, 4)).toEqual([
      `manifest mediaType: ${shown(mediaTypes.imageIndex)} to ${shown(mediaTypes.dockerManifestList)}`,
      'linux/amd64 changed',
      `linux/amd64 mediaType: ${shown(mediaTypes.imageManifest)} to ${shown(mediaTypes.dockerManifest)}`,
      expect.stringMatching(/^ {2}manifest mediaType: /),
    ]);
  });

  test('an index beside an image of it', async () => {
    const index = await indexOf(platforms.slice(0, 2));
    const image = asImage(await index.ref(index.children()[1] as Descriptor));
    const found = await diffOf(index, image);
    expect(found).toEqual([
      `manifest mediaType: ${shown(mediaTypes.imageIndex)} to ${shown(mediaTypes.imageManifest)}`,
      'linux/amd64 removed',
    ]);
    const edited = await imageOf({ ...withEntry('app/main', {}, 'maim'), platform: 'linux/arm64' });
    expect(await diffOf(index, edited)).toEqual([
      found[0],
      'linux/arm64 changed',
      `  ${inApp}`,
      '    changed app/main content',
      found[1],
    ]);
  });

  test('the same values in other bytes', async () => {
    const index = await indexOf(['linux/amd64']);
    const pretty = newRef(
      Buffer.from(JSON.stringify(index.manifest, null, 2)),
      index.mediaType,
      undefined,
      index.blobs,
    );
    expect(await diffOf(index, pretty)).toEqual(['manifest rewritten']);
    const image = await imageOf(sample);
    const spaced = newRef(
      Buffer.from(JSON.stringify(image.manifest, null, 1)),
      image.mediaType,
      undefined,
      image.blobs,
    );
    expect(await diffOf(image, spaced)).toEqual(['manifest rewritten']);
  });

  test('nested indexes are followed; those in a diamond once, and not without end', async () => {
    const nest = (index: Index, depth: number): Index =>
      depth === 0 ? index : nest(newIndex([{ ref: index }, { ref: index, annotations: { again: '1' } }]), depth - 1);
    const [a, b] = [
      await indexOf(['linux/amd64']),
      newIndex(await instances(['linux/amd64'], withEntry('app/main', {}, 'maim'))),
    ];
    const found = await diffOf(nest(a, 20), nest(b, 20));
    expect(found.filter((line) => line.includes('app/main'))).toEqual([
      expect.stringContaining('changed app/main content'),
    ]);
    const depth = await failureOf(DepthError, () => diffImages(nest(a, 40), nest(b, 40)));
    expect(depth.message).toContain('expected at most 32 nested indexes');
  });

  test('plain blobs that an index lists', async () => {
    const blob = (text: string): Descriptor => ({
      mediaType: 'application/x.plain',
      digest: digestOf(Buffer.from(text)),
      size: text.length,
    });
    const listing = (manifests: Descriptor[]) =>
      newRef(
        encodeJson({ schemaVersion: 2, mediaType: mediaTypes.imageIndex, manifests }),
        mediaTypes.imageIndex,
        undefined,
        {} as Blobs,
      );
    expect(await diffOf(listing([blob('a')]), listing([blob('b')]))).toEqual(['application/x.plain changed']);
    expect(await diffOf(listing([blob('a')]), listing([blob('a'), blob('b')]))).toEqual(['application/x.plain added']);
  });
});

describe('artifacts', () => {
  const artifactOf = (
    files: Readonly<Record<string, string>>,
    options: Partial<Parameters<typeof newArtifact>[1]> = {},
  ) =>
    newArtifact(
      Object.entries(files).map(([title, text]) => {
        const bytes = Buffer.from(text);
        const descriptor = {
          mediaType: 'text/plain',
          digest: digestOf(bytes),
          size: bytes.length,
          annotations: { [titleAnnotation]: title },
        };
        return { descriptor, blob: bytesBlob(bytes) };
      }),
      { artifactType: 'application/x.thing', ...options },
    );
  const one = artifactOf({ a: '1', b: '2' });
  const config = (text: string, mediaType = 'application/x.config+json') => ({ mediaType, content: Buffer.from(text) });
  const title = titleAnnotation;

  test.each<[string, Image, Image, readonly string[]]>([
    ['a changed file', one, artifactOf({ a: '1', b: '3' }), ['b to b changed']],
    ['an added file', one, artifactOf({ a: '1', b: '2', c: '3' }), ['- to c added']],
    ['a file instead of another', one, artifactOf({ a: '1', c: '3' }), ['b to - removed', '- to c added']],
    ['a renamed file', one, artifactOf({ a: '1', c: '2' }), [`c annotations.${title}: "b" to "c"`]],
    ['the order of files', one, artifactOf({ b: '2', a: '1' }), ['b moved from 1 to 0']],
    [
      'the type',
      one,
      artifactOf({ a: '1', b: '2' }, { artifactType: 'application/x.other' }),
      ['manifest artifactType: "application/x.thing" to "application/x.other"'],
    ],
    [
      'an annotation',
      one,
      artifactOf({ a: '1', b: '2' }, { annotations: { x: 'y' } }),
      ['manifest annotations.x: none to "y"'],
    ],
    [
      'a subject',
      one,
      artifactOf({ a: '1', b: '2' }, { subject: descriptorOf(one) }),
      [`manifest subject: none to ${shown(descriptorOf(one))}`],
    ],
    [
      'a value of the config',
      artifactOf({}, { config: config('{"v":1,"w":[1]}') }),
      artifactOf({}, { config: config('{"v":2,"w":[1]}') }),
      ['config v: 1 to 2'],
    ],
    [
      'white space of the config',
      artifactOf({}, { config: config('{"v":1}') }),
      artifactOf({}, { config: config('{ "v": 1 }') }),
      ['config rewritten'],
    ],
    [
      'a config that is no JSON',
      artifactOf({}, { config: config('a', 'text/plain') }),
      artifactOf({}, { config: config('b', 'text/plain') }),
      [`config : ${shown(digestOf(Buffer.from('a')))} to ${shown(digestOf(Buffer.from('b')))}`],
    ],
  ])('%s', async (_, a, b, found) => {
    expect(await diffOf(a, b)).toEqual(found);
  });

  test('a layer that is a tar file is compared by its files', async () => {
    const artifact = async (text: string) => {
      const { descriptor, blob } = await writeLayer(
        bytesBlob(await tarWith([file('f', text)])).open(),
        memorySink,
        layerEncoder('gzip'),
      );
      return newArtifact([{ descriptor, blob }], { artifactType: 'application/x.thing' });
    };
    expect(await diffOf(await artifact('a'), await artifact('b'))).toEqual(['- to - changed', '  changed f content']);
  });

  test('an image beside an artifact', async () => {
    const found = await diffOf(await imageOf({ layers: [] }), artifactOf({ a: '1' }));
    expect(found).toEqual(
      expect.arrayContaining(['manifest artifactType: none to "application/x.thing"', '- to a added']),
    );
  });
});

describe('what two references name', () => {
  test('by tag, digest or platform, in layouts and archives, and whole layouts', async () => {
    const [a, b] = [await sampleImage(['one']), await sampleImage(['two'])];
    const arm = await sampleImage(['one'], 'linux/arm64');
    const first = await taggedLayout({ v1: a, arm });
    const second = await archiveOf(await taggedLayout({ v1: b, arm }));
    const changed = ['test to test changed', '  changed file-0 content'];
    const between = async (from: string, to: string, platform?: string) =>
      summary(
        await diffSources(
          sourceOf(from),
          sourceOf(to),
          platform === undefined ? {} : { platform: parsePlatform(platform) },
        ),
      );
    expect(await between(`${first}:v1`, `${second}:v1`)).toEqual(changed);
    expect(await between(`${first}@${a.digest}`, `${second}:v1`)).toEqual(changed);
    expect(await between(first, second, 'linux/amd64')).toEqual(changed);
    expect(await between(first, second, 'linux/arm64')).toEqual([]);
    expect(await between(first, second)).toEqual(['linux/amd64 changed', ...changed.map((line) => `  ${line}`)]);
    expect(await between(first, first)).toEqual([]);
    const none = await failureOf(NoMatchingPlatformError, () => between(first, second, 'linux/s390x'));
    expect(none.message).toContain('expected an image for linux/s390x');
  });

  test('are refused where there is nothing', async () => {
    const empty = await writtenLayout([]);
    const failure = await failureOf(EmptyIndexError, () => diffSources(sourceOf(empty), sourceOf(empty)));
    expect(failure.message).toBe(`${empty}: expected an image, an index or an artifact to compare, found none`);
  });
});

describe('B7: for random edits of a file tree, what is found is exactly what was done', () => {
  interface Node {
    readonly layer: number;
    readonly header: Partial<TarHeader>;
    readonly text: string;
  }

  /** Edits some of the files, each in one way, and says what must be found. */
  function edited(tree: ReadonlyMap<string, Node>, random: Random): { tree: Map<string, Node>; found: string[] } {
    const result = new Map(tree);
    const found: string[] = [];
    for (const [name, node] of tree) {
      if (random.below(3) > 0) continue;
      const change = (next: Partial<Node>, line: string) => {
        result.set(name, { ...node, ...next });
        found.push(line);
      };
      const { header } = node;
      switch (random.below(8)) {
        case 0:
          change({ text: `${node.text.slice(0, -1)}!` }, `${node.layer} changed ${name} content`);
          break;
        case 1:
          change({ header: { ...header, mode: 0o600 } }, `${node.layer} changed ${name} mode 0644 to 0600`);
          break;
        case 2:
          change({ header: { ...header, uid: 9 } }, `${node.layer} changed ${name} owner 0:0 to 9:0`);
          break;
        case 3:
          change(
            { header: { ...header, mtime: new Date(5000) } },
            `${node.layer} changed ${name} mtime 1970-01-01T00:00:00Z to 1970-01-01T00:00:05Z`,
          );
          break;
        case 4:
          result.delete(name);
          found.push(`${node.layer} removed ${name}`);
          break;
        case 5:
          result.delete(name);
          result.set(`${name}~`, node);
          found.push(`${node.layer} renamed ${name}~ from ${name}`);
          break;
        case 6:
          result.set(`${name}+`, { ...node, text: `new ${name}` });
          found.push(`${node.layer} added ${name}+`);
          break;
        case 7:
          result.delete(name);
          result.set(name, { ...node, layer: 1 - node.layer });
          found.push(
            `${node.layer} movedTo ${name} layer ${1 - node.layer}`,
            `${1 - node.layer} movedFrom ${name} layer ${node.layer}`,
          );
          break;
      }
    }
    return { tree: result, found };
  }

  const imageOfTree = (tree: ReadonlyMap<string, Node>) =>
    imageOf({
      layers: [0, 1].map((layer) => ({
        name: `layer ${layer}`,
        entries: [...tree]
          .filter(([, node]) => node.layer === layer)
          .sort(([one], [other]) => (one < other ? -1 : 1))
          .map(([name, { header, text }]) => file(name, text, header)),
      })),
    });

  test.each(Array.from({ length: 40 }, (_, seed) => seed))('seed %i', async (seed) => {
    const random = seededRandom(seed);
    const tree = new Map<string, Node>();
    for (let at = 0; at < 30; at++) {
      const name = `d${random.below(4)}/f${at}`;
      tree.set(name, {
        layer: random.below(2),
        header: { mode: 0o644 },
        text: `${name} ${random.bytes(random.below(40)).toString('hex')}`,
      });
    }
    const { tree: next, found } = edited(tree, random);
    const difference = await diffImages(await imageOfTree(tree), await imageOfTree(next));
    const lines = difference.layers.flatMap((layer) =>
      summary({ ...difference, layers: [layer] }).flatMap((line) =>
        line.startsWith('  ') ? [`${layer.b?.position} ${line.trim()}`] : [],
      ),
    );
    expect(lines.sort()).toEqual(found.sort());
    expect(summary({ ...difference, layers: [] })).toEqual([]);
    expect(difference.identical).toBe(found.length === 0);
  });
});
