import { existsSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { Command, Option } from 'commander';
import {
  asImage,
  type Digest,
  type Index,
  newIndex,
  parsePlatform,
  readConfig,
  readLayout,
  readLayoutIndex,
  tagOf,
} from '../src';
import { addBuildCommands } from '../src/cli/build';
import { addDiffCommand } from '../src/cli/diff';
import { addIndexCommands } from '../src/cli/image-index';
import { addLayoutCommands } from '../src/cli/layout';
import { addPayloadCommands } from '../src/cli/payload';
import { addRegistryCommands } from '../src/cli/registry';
import { blobFile } from '../src/layout/paths';
import {
  commandFile,
  expectFailure,
  expectSuccess,
  type Finished,
  nxOci,
  repository,
  run,
  runAll,
  sampleImage,
  temporaryDirectory,
  writeFiles,
  writtenLayout,
} from './fixtures';

describe('--help', () => {
  const program = new Command('nx-oci');
  addBuildCommands(program);
  addIndexCommands(program);
  addLayoutCommands(program);
  addDiffCommand(program);
  addRegistryCommands(program);
  addPayloadCommands(program);

  /** All commands, with those below them, by the words that one types. */
  function allBelow(command: Command, words: string): [words: string, command: Command][] {
    return command.commands.flatMap((child) => {
      const path = `${words} ${child.name()}`;
      return [[path, child], ...allBelow(child, path)] as [string, Command][];
    });
  }

  test.each(allBelow(program, 'nx-oci'))('of %s describes it, its arguments and its options', (words, command) => {
    expect(command.description()).toMatch(/^[A-Z].{10,}\.$/);
    for (const term of [...command.registeredArguments, ...command.options]) {
      const name = term instanceof Option ? term.flags : term.name();
      expect({ name, description: term.description }).toEqual({ name, description: expect.stringMatching(/\w{3}/) });
    }
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
    if (command.commands.length === 0) expect(help).toContain(`Example:\n  $ ${words} `);
  });

  test('of nx-oci names each command, and of a command all there is', async () => {
    const [root, image] = (await runAll([() => nxOci(['--help']), () => nxOci(['image', '--help'])])) as [
      Finished,
      Finished,
    ];
    expectSuccess(root);
    const names = [...root.stdout.matchAll(/^ {2}(\w[\w-]*).*/gm)].map(([, name]) => name);
    expect(names).toEqual([...program.commands.map((command) => command.name()), 'help']);
    expectSuccess(image);
    for (const term of ['--options <file>', '--output <directory>', '--platforms <list>', '--json', '-h, --help']) {
      expect(image.stdout).toContain(`  ${term}  `);
    }
  });
});

test('--version is that of package.json', async () => {
  const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { version: string };
  expect(await nxOci(['--version'])).toEqual({ code: 0, signal: null, stdout: `${version}\n`, stderr: '' });
});

describe('wrong usage', () => {
  const rows: readonly [args: readonly string[], message: string][] = [
    [[], 'Usage: nx-oci [options] [command]'],
    [['bogus'], "error: unknown command 'bogus'"],
    [['image'], "error: required option '--options <file>' not specified"],
    [['image', '--options', 'a.json'], "error: required option '--output <directory>' not specified"],
    [['verify'], "error: missing required argument 'layout'"],
    [['inspect', '--bogus', 'a'], "error: unknown option '--bogus'"],
  ];
  let finished: Finished[];
  beforeAll(async () => {
    finished = await runAll(
      rows.map(
        ([args]) =>
          () =>
            nxOci(args),
      ),
    );
  });

  test.each(rows.map(([args, message], position) => ({ command: args.join(' '), message, position })))(
    'nx-oci $command',
    ({ command, message, position }) => {
      expectFailure(finished[position] as Finished, message);
      if (command !== '') expect(finished[position]?.stderr).toContain('Run with --help for how it is used.');
    },
  );
});

/** A directory with an options file and what it names, and one beside it to run commands in. */
function workspaceWith(options: object | string): { here: string; elsewhere: string } {
  const root = writeFiles(temporaryDirectory(), {
    'here/image.json': typeof options === 'string' ? options : JSON.stringify(options),
    'here/app/linux-amd64/hello': 'hello amd64',
    'here/app/linux-arm64/hello': 'hello arm64',
    'elsewhere/file': '',
  });
  return { here: join(root, 'here'), elsewhere: join(root, 'elsewhere') };
}

const forPlatforms = { layers: [{ name: 'app', from: 'app/{os}-{arch}' }], platforms: ['linux/amd64'] };

describe('image', () => {
  test('builds what the options file says, with paths relative to it', async () => {
    const { elsewhere } = workspaceWith({ ...forPlatforms, cmd: ['/hello'], tag: 'v1' });
    const finished = await nxOci(['image', '--options', '../here/image.json', '--output', 'out'], { cwd: elsewhere });
    expectSuccess(finished);
    const image = asImage(await readLayout(join(elsewhere, 'out'), { tag: 'v1' }));
    expect((await readConfig(image)).config).toEqual({ Cmd: ['/hello'] });
    expect(finished.stdout).toMatch(/^out\n {2}digest /);
    for (const word of [image.digest, 'linux/amd64', 'v1', 'app', image.manifest.layers[0]?.digest]) {
      expect(finished.stdout).toContain(word);
    }
    expect(readFileSync(join(elsewhere, 'out/digest'), 'utf8')).toBe(image.digest);
  });

  test('--platforms instead of those of the options file, and --json', async () => {
    const { here } = workspaceWith(forPlatforms);
    const args = ['image', '--options', 'image.json', '--output', 'out', '--json'];
    const finished = await nxOci([...args, '--platforms', 'linux/amd64, linux/arm64'], { cwd: here });
    expectSuccess(finished);
    const built = JSON.parse(finished.stdout);
    const index = await readLayoutIndex(join(here, 'out'));
    expect(built).toMatchObject({
      digest: index.digest,
      path: join(here, 'out'),
      images: index.children().map((descriptor) => ({ digest: descriptor.digest, tag: tagOf(descriptor) })),
    });
    expect(built.images.map(({ platform }: { platform: string }) => platform)).toEqual(['linux/amd64', 'linux/arm64']);
  });

  test('builds on a base by its path and tag, relative to the options file', async () => {
    const { here, elsewhere } = workspaceWith({ ...forPlatforms, base: '../elsewhere/base:old' });
    const base = await sampleImage(['base']);
    const annotations = { 'org.opencontainers.image.ref.name': 'old' };
    const layout = await writtenLayout([{ ref: base, annotations }, { ref: await sampleImage(['other']) }]);
    symlinkSync(layout, join(elsewhere, 'base'));
    expectSuccess(await nxOci(['image', '--options', join(here, 'image.json'), '--output', join(here, 'out')]));
    const { layers } = asImage(await readLayout(join(here, 'out'))).manifest;
    expect(layers.map(({ digest }) => digest)).toEqual([base.manifest.layers[0]?.digest, expect.any(String)]);
  });

  test('takes an options file that is a symbolic link, as a build system may give it', async () => {
    const { here, elsewhere } = workspaceWith(forPlatforms);
    renameSync(join(here, 'image.json'), join(elsewhere, 'image.json'));
    symlinkSync('../elsewhere/image.json', join(here, 'image.json'));
    expectSuccess(await nxOci(['image', '--options', 'image.json', '--output', 'out'], { cwd: here }));
    expect(asImage(await readLayout(join(here, 'out'))).manifest.layers).toHaveLength(1);
  });

  test.each<
    [
      where: string,
      options: object,
      environment: NodeJS.ProcessEnv,
      files: Record<string, string>,
      store: string | undefined,
    ]
  >([
    ['nowhere outside of a workspace', {}, {}, {}, undefined],
    ['in a workspace', {}, {}, { 'elsewhere/nx.json': '{}' }, 'elsewhere/.nx/oci'],
    ['where NX_OCI_STORE says', {}, { NX_OCI_STORE: 'named' }, {}, 'elsewhere/named'],
    ['where the option says, first of all', { store: 'own' }, { NX_OCI_STORE: 'named' }, {}, 'here/own'],
  ])('B4: what later builds can use again is kept %s', async (_, options, env, files, store) => {
    const { here, elsewhere } = workspaceWith({ ...forPlatforms, ...options });
    writeFiles(join(here, '..'), files);
    const args = ['image', '--options', '../here/image.json', '--output', 'out'];
    expectSuccess(await nxOci(args, { cwd: elsewhere, env }));
    const stores = ['elsewhere/.nx/oci', 'elsewhere/named', 'here/own', 'here/.nx/oci'];
    expect(stores.filter((path) => existsSync(join(here, '..', path, 'layers')))).toEqual(store ? [store] : []);
  });

  test.each(['out', 'out/store', '.'])('a store in %s, which the output is or lies in, is refused', async (store) => {
    const { here } = workspaceWith({ ...forPlatforms, store });
    const { code, stderr } = await nxOci(['image', '--options', 'image.json', '--output', 'out'], { cwd: here });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining(`store: expected a directory apart from the output ${join(here, 'out')}, found`),
    });
    expect(existsSync(join(here, 'out'))).toBe(false);
  });

  const failures: readonly [name: string, options: object | string, args: readonly string[], message: string][] = [
    ['no JSON', 'layers: []', [], 'here/image.json: expected JSON'],
    ['an unknown option', { layer: [] }, [], 'found "layer"'],
    ['a value of the wrong kind', { layers: [{ from: 1 }] }, [], '$.layers[0].from'],
    ['a source that is not there', { layers: [{ from: 'nowhere' }] }, [], 'here/nowhere: expected a file or directory'],
    ['a platform that is none', forPlatforms, ['--platforms', 'linux/'], 'invalid platform "linux/"'],
    ['a base that is no layout', { base: 'app' }, [], 'here/app/oci-layout: expected the marker file'],
    ['ACCEPTANCE 50: a newline in a tag', { tag: 'v1\nv2' }, [], 'option "tag": expected up to 128 letters'],
    ['ACCEPTANCE 50: a command in a tag', { tag: '$(touch pwned)' }, [], 'found "$(touch pwned)"'],
  ];
  let failed: { here: string; finished: Finished }[];
  beforeAll(async () => {
    const workspaces = failures.map(([, options]) => workspaceWith(options).here);
    const commands = failures.map(([, , args], position) => () => {
      return nxOci(['image', '--options', 'image.json', '--output', 'out', ...args], { cwd: workspaces[position] });
    });
    const finished = await runAll(commands);
    failed = workspaces.map((here, position) => ({ here, finished: finished[position] as Finished }));
  });

  test.each(failures.map(([name, , , message], position) => ({ name, message, position })))(
    'refuses $name',
    ({ message, position }) => {
      const { here, finished } = failed[position] as (typeof failed)[number];
      expectFailure(finished, message);
      expect(finished.stderr.trimEnd().split('\n')).toHaveLength(1);
      expect(readdirSync(here).sort()).toEqual(['app', 'image.json']);
    },
  );

  test('an options file that is not there', async () => {
    const missing = join(temporaryDirectory(), 'image.json');
    expectFailure(
      await nxOci(['image', '--options', missing, '--output', 'out']),
      `${missing}: could not read (ENOENT`,
    );
  });

  test('SOURCE_DATE_EPOCH is the time of the image, and refused where it is none', async () => {
    const { here } = workspaceWith(forPlatforms);
    const build = (epoch: string) => () =>
      nxOci(['image', '--options', 'image.json', '--output', `out${epoch}`], {
        cwd: here,
        env: { SOURCE_DATE_EPOCH: epoch },
      });
    const [good, bad] = (await runAll([build('86400'), build('today')])) as [Finished, Finished];
    expectSuccess(good);
    expect(await readConfig(asImage(await readLayout(join(here, 'out86400'))))).toMatchObject({
      created: '1970-01-02T00:00:00Z',
    });
    expectFailure(bad, 'SOURCE_DATE_EPOCH: expected seconds since 1970');
    expect(existsSync(join(here, 'outtoday'))).toBe(false);
  });

  test('ACCEPTANCE 50: what a shell would take for a command is a name like others', async () => {
    const name = '$(touch pwned) `touch pwned`; touch pwned #"\'';
    const { here } = workspaceWith({
      layers: [{ name, from: name }],
      labels: { [name]: name },
      env: { NAME: '$(touch pwned)' },
    });
    writeFiles(here, { [`${name}/file`]: 'content' });
    const output = `${name} out`;
    expectSuccess(await nxOci(['image', '--options', 'image.json', '--output', output], { cwd: here }));
    expect(readdirSync(here).sort()).toEqual([name, output, 'app', 'image.json'].sort());
    const { config } = await readConfig(asImage(await readLayout(join(here, output))));
    expect(config).toMatchObject({ Labels: { [name]: name }, Env: ['NAME=$(touch pwned)'] });
  });
});

describe('verify', () => {
  test('says that all is as it should be', async () => {
    const path = await writtenLayout(await sampleImage());
    const [text, json] = (await runAll([
      () => nxOci(['verify', 'layout'], { cwd: join(path, '..') }),
      () => nxOci(['verify', path, '--json']),
    ])) as [Finished, Finished];
    expectSuccess(text);
    expect(text.stdout).toMatch(/^✓ layout: 1 manifest and 2 blobs \(\d+ B\) read, all as they should be\n$/);
    expectSuccess(json);
    expect(JSON.parse(json.stdout)).toMatchObject({ problems: [], manifests: 1, blobs: 2, uncheckedDiffIds: [] });
  });

  test('lists all that is wrong, and its exit code says so', async () => {
    const image = await sampleImage(['a', 'b']);
    const path = await writtenLayout(image);
    const [missing, damaged] = image.manifest.layers.map(({ digest }) => digest) as [Digest, Digest];
    const bytes = readFileSync(blobFile(path, damaged));
    for (const digest of [missing, damaged]) rmSync(blobFile(path, digest));
    writeFileSync(blobFile(path, damaged), Buffer.alloc(bytes.length));
    const [text, json] = (await runAll([() => nxOci(['verify', path]), () => nxOci(['verify', path, '--json'])])) as [
      Finished,
      Finished,
    ];
    expect([text.code, text.stderr, json.code, json.stderr]).toEqual([1, '', 1, '']);
    for (const message of [`✗ blob ${missing}: expected it because manifest ${image.digest}`, `✗ blob ${damaged}: `]) {
      expect(text.stdout).toContain(message);
    }
    expect(text.stdout).toContain(`referred to by ${image.digest}`);
    expect(text.stdout).toContain(`✗ ${path}: 2 problems; 1 manifest and 3 blobs`);
    const { problems } = JSON.parse(json.stdout);
    expect(problems).toHaveLength(2);
    expect(problems).toContainEqual({
      digest: damaged,
      referrer: image.digest,
      message: expect.stringContaining(`expected digest ${damaged}`),
    });
  });
});

describe('inspect', () => {
  test('prints the tree, as text and as JSON', async () => {
    const image = await sampleImage(['hello'], 'linux/arm64');
    const path = await writtenLayout([{ ref: newIndex([{ ref: image, platform: parsePlatform('linux/arm64') }]) }]);
    const index = (await readLayout(path)) as Index;
    const [text, json] = (await runAll([() => nxOci(['inspect', path]), () => nxOci(['inspect', path, '--json'])])) as [
      Finished,
      Finished,
    ];
    expectSuccess(text);
    expect(text.stdout.split('\n').map((line) => line.trim().split(/ {2,}/)[0])).toEqual([
      path,
      '└─ index',
      `${index.rawManifest.length} B`,
      '└─ image',
      `${image.rawManifest.length} B`,
      '├─ config',
      '└─ layer',
      '',
    ]);
    for (const { digest } of [index, image, ...image.descriptors()]) expect(text.stdout).toContain(digest);
    expect(text.stdout).toContain('└─ image  linux/arm64');
    expectSuccess(json);
    const { mediaType, digest } = image;
    const { config, layers } = image.manifest;
    expect(JSON.parse(json.stdout)).toEqual({
      path,
      manifests: [
        {
          mediaType: index.mediaType,
          digest: index.digest,
          size: index.rawManifest.length,
          manifests: [
            {
              mediaType,
              digest,
              size: image.rawManifest.length,
              platform: 'linux/arm64',
              config,
              layers: layers.map((layer) => ({ ...layer, createdBy: 'test' })),
            },
          ],
        },
      ],
    });
  });
});

test('a directory that is no layout is named', async () => {
  const path = temporaryDirectory();
  const [empty, missing] = (await runAll([
    () => nxOci(['verify', path]),
    () => nxOci(['inspect', join(path, 'missing')]),
  ])) as [Finished, Finished];
  expectFailure(empty, `${join(path, 'oci-layout')}: expected the marker file of an OCI image layout, found none`);
  expectFailure(missing, `${join(path, 'missing/oci-layout')}: expected the marker file`);
});

(process.platform === 'linux' ? test : test.skip)(
  'a reader that has seen enough is no failure, a full disk is',
  async () => {
    const path = await writtenLayout(await sampleImage());
    const shell = (script: string) => () => run('sh', ['-c', script, process.execPath, commandFile, path]);
    const [closed, full] = (await runAll([
      shell('"$0" "$1" inspect "$2" --json | true'),
      shell('"$0" "$1" inspect "$2" > /dev/full'),
    ])) as [Finished, Finished];
    expectSuccess(closed);
    expectFailure(full, 'standard output: could not write (ENOSPC');
  },
);
