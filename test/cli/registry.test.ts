import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { hashSync } from 'bcryptjs';
import { Command, CommanderError } from 'commander';
import {
  annotate,
  asImage,
  type Descriptor,
  descriptorOf,
  emptyImage,
  formatPlatform,
  type Image,
  type Index,
  mediaTypes,
  newIndex,
  OciError,
  parsePlatform,
  readLayout,
  readLayoutIndex,
  sealImage,
  tagOf,
  thisPlatform,
  verifyLayout,
} from '../../src';
import { newArtifact } from '../../src/artifact';
import { addLayoutCommands } from '../../src/cli/layout';
import { addRegistryCommands } from '../../src/cli/registry';
import { type Registry, startRegistry } from '../../src/registry/server/start-registry';
import {
  commandFile,
  expectFailure,
  expectSuccess,
  type Finished,
  nxOci,
  repository,
  runAll,
  sampleImage,
  snapshot,
  taggedLayout,
  temporaryDirectory,
  writeFiles,
} from '../fixtures';

const sbomType = 'application/spdx+json';
const here = formatPlatform(thisPlatform());
const platforms = [...new Set([here, 'linux/arm64', 'linux/riscv64', 'linux/s390x'])];
const certificates = join(repository, 'test/registry/certificates');
const secret = 'correct-horse-battery';
const zeros = `sha256:${'0'.repeat(64)}`;

let images: Readonly<Record<string, Image>>;
let index: Index;
let single: Image;
let sbom: Image;
/** Where commands run: a directory with `layout`, of an index (`latest`), an image (`single`) and an artifact (`sbom`). */
let place: string;
let registry: Registry;

beforeAll(async () => {
  const built = await Promise.all(platforms.map((platform) => sampleImage([platform], platform)));
  images = Object.fromEntries(platforms.map((platform, position) => [platform, built[position] as Image]));
  index = newIndex(platforms.map((name) => ({ ref: images[name] as Image, platform: parsePlatform(name) })));
  single = sealImage(annotate(emptyImage(parsePlatform('linux/arm/v6')), { note: 'n' }));
  sbom = newArtifact([], { artifactType: sbomType, subject: descriptorOf(index), annotations: { made: 'here' } });
  place = join(await taggedLayout({ latest: index, single, sbom }), '..');
});

beforeEach(async () => {
  registry = await startRegistry();
});
afterEach(() => registry.close());

/** Variables that would change what is tested, wherever that runs. */
const quiet = { CI: undefined, GITHUB_SHA: undefined, NX_OCI_VERSION: undefined, SOURCE_DATE_EPOCH: undefined };
const command = (args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = place) =>
  nxOci(args, { cwd, env: { ...quiet, ...env } });

async function succeed(args: readonly string[], env?: NodeJS.ProcessEnv, cwd?: string): Promise<string> {
  const finished = await command(args, env, cwd);
  expectSuccess(finished);
  return finished.stdout;
}

/** Runs commands side by side that do not depend on one another. */
async function succeedAll(...commands: readonly (readonly string[])[]): Promise<string[]> {
  const finished = await runAll(commands.map((args) => () => command(args)));
  for (const each of finished) expectSuccess(each);
  return finished.map(({ stdout }) => stdout);
}

const pushed = async (name: string, tag: string) => {
  const manifest = await registry.storage.manifest(name, tag);
  if (manifest === undefined) throw new Error(`${name}:${tag} was not pushed`);
  return { ...manifest, document: JSON.parse(Buffer.from(manifest.bytes).toString('utf8')) };
};
const tagsIn = async (path: string) =>
  Object.fromEntries((await readLayoutIndex(path)).children().map((child) => [tagOf(child), child.digest]));

describe('push', () => {
  test('to several references, with tokens; says what was sent, and what was there', async () => {
    const { host } = registry;
    const file = join(temporaryDirectory(), 'made/digest');
    const names = [`${host}/os:{sha}`, `docker://${host}/os:{version}-{date}`, `${host}/os`];
    const report = await succeed(['push', 'layout:latest', ...names, '--digest-file', file], {
      GITHUB_SHA: 'c0ffee',
      NX_OCI_VERSION: '1.0+b',
      SOURCE_DATE_EPOCH: '86400',
    });
    const tags = ['1.0-b-19700102', 'c0ffee', 'latest'];
    expect(await registry.storage.tags('os')).toEqual(tags);
    for (const tag of tags) {
      expect((await pushed('os', tag)).digest).toBe(index.digest);
      expect(report).toContain(`${host}/os:${tag}@${index.digest}\n  digest ${index.digest}\n`);
    }
    const count = platforms.length;
    expect(report).toMatch(new RegExp(`${count + 1} manifests, ${2 * count} blobs sent \\(\\S+ k?B\\)\n`));
    expect(report).toContain(`0 blobs sent (0 B), ${2 * count} there already`);
    expect(readFileSync(file, 'utf8')).toBe(index.digest);
  });

  test('all of a layout, each under its own tag; one tag for all is refused; --dry-run asks nobody', async () => {
    const name = `${registry.host}/all`;
    const file = join(temporaryDirectory(), 'digests');
    const [dry, ambiguous] = (await runAll([
      () => command(['push', 'layout', name, '--dry-run', '--digest-file', file]),
      () => command(['push', 'layout', `${name}:v1`]),
    ])) as [Finished, Finished];
    expectSuccess(dry);
    expect(dry.stdout).toMatch(/\d+ blobs? \(\S+ k?B\) at most would be sent/);
    expectFailure(ambiguous, `found 3 (latest, single, sbom); pick one by tag, digest or platform, or name ${name}`);
    expect([registry.requests, existsSync(file)]).toEqual([[], false]);

    const report = JSON.parse(await succeed(['push', 'layout', name, '--digest-file', file, '--json']));
    const digests = { latest: index.digest, sbom: sbom.digest, single: single.digest };
    expect(await registry.storage.tags('all')).toEqual(Object.keys(digests));
    expect(report).toMatchObject(
      ['latest', 'single', 'sbom'].map((tag) => ({ reference: expect.stringContaining(`${name}:${tag}@sha256:`) })),
    );
    expect(readFileSync(file, 'utf8').split('\n').sort()).toEqual(Object.values(digests).sort());
  });

  test('L11: all, chosen instances, that of this system, and in the other format', async () => {
    const { host } = registry;
    await succeedAll(
      ['push', 'layout:latest', `${host}/os:all`],
      ['push', 'layout:latest', `${host}/os:one`, '--platform', 'linux/riscv64'],
      ['push', 'layout:latest', `${host}/os:two`, '--platform', 'linux/s390x, linux/riscv64'],
      ['push', 'layout:latest', `${host}/os:every`, '--platform', platforms.join(',')],
      ['push', 'layout:latest', `${host}/os:local`, '--platform', 'local'],
      ['push', 'layout:latest', `${host}/os:docker`, '--format', 'docker'],
    );
    for (const tag of ['all', 'every']) expect((await pushed('os', tag)).digest).toBe(index.digest);
    expect((await pushed('os', 'one')).digest).toBe(images['linux/riscv64']?.digest);
    expect((await pushed('os', 'local')).digest).toBe(images[here]?.digest);
    const two = (await pushed('os', 'two')).document.manifests as Descriptor[];
    expect(two.map(({ platform }) => platform && formatPlatform(platform))).toEqual(['linux/riscv64', 'linux/s390x']);
    const { mediaType, document } = await pushed('os', 'docker');
    expect(mediaType).toBe(mediaTypes.dockerManifestList);
    for (const child of document.manifests as Descriptor[]) {
      const manifest = (await pushed('os', child.digest)).document;
      expect(manifest).toMatchObject({ mediaType: mediaTypes.dockerManifest, config: { size: expect.any(Number) } });
    }
  });

  test('M10: says what is tried again, and --insecure reaches a registry whose certificate nobody vouches for', async () => {
    const pem = (name: string) => readFileSync(join(certificates, name));
    const secure = await startRegistry({ tls: { cert: pem('server.pem'), key: pem('server-key.pem') } });
    try {
      const name = `${secure.host}/os:v1`;
      const [refused, trusted] = (await runAll([
        () => command(['push', 'layout:single', name]),
        () => command(['ls', `docker://${secure.host}/none`], { NX_OCI_CA: join(certificates, 'ca.pem') }),
      ])) as [Finished, Finished];
      expectFailure(refused, 'a certificate that is not trusted');
      expectFailure(trusted, 'list of tags: expected 200, found 404');
      secure.misbehave({ method: 'PUT', status: 503, times: 1 });
      const finished = await command(['push', 'layout:single', name, '--insecure']);
      expect(finished).toMatchObject({ code: 0, stdout: expect.stringContaining(single.digest) });
      expect(finished.stderr).toMatch(/^\S+\/os: .* found 503.*; trying again in \d+\.\d s\n$/);
    } finally {
      await secure.close();
    }
  });
});

describe('pull and copy', () => {
  test('pull: all, one platform, several, by digest; verified', async () => {
    const { host } = registry;
    await registry.addRef('os', 'v1', index);
    const to = temporaryDirectory();
    const path = (name: string) => join(to, name);
    const [said] = await succeedAll(
      ['pull', `${host}/os:v1`, path('all')],
      ['pull', `docker://${host}/os:v1`, `${path('one')}:mine`, '--platform', 'linux/riscv64'],
      ['pull', `${host}/os:v1`, path('two'), '--platform', 'linux/riscv64,linux/s390x'],
      ['pull', `${host}/os@${index.digest}`, path('digest'), '--json'],
      ['pull', `${host}/os:v1`, path('docker'), '--format', 'docker'],
    );
    expect(said).toMatch(new RegExp(`^v1 {2}index +\\S+ k?B {2}${index.digest}\n$`));
    expect(await tagsIn(path('all'))).toEqual({ v1: index.digest });
    expect(await tagsIn(path('one'))).toEqual({ mine: images['linux/riscv64']?.digest });
    expect(((await readLayout(path('two'), { tag: 'v1' })) as Index).children()).toHaveLength(2);
    expect((await readLayout(path('digest'))).digest).toBe(index.digest);
    expect((await readLayout(path('docker'))).mediaType).toBe(mediaTypes.dockerManifestList);
    for (const name of readdirSync(to)) expect(await verifyLayout(path(name))).toMatchObject({ problems: [] });
  });

  test('copy: from and to registries; within one, blobs are mounted', async () => {
    const { host } = registry;
    const to = temporaryDirectory();
    await succeed(['copy', 'layout:latest', `docker://${host}/os:{sha}`], { GITHUB_SHA: 'c0ffee' });
    const [mounted] = await succeedAll(
      ['copy', `docker://${host}/os:c0ffee`, `docker://${host}/team/os`],
      ['copy', `${host}/os:c0ffee`, join(to, 'copy')],
    );
    expect(mounted).toContain(`${host}/team/os:c0ffee@${index.digest}`);
    expect(mounted).toContain(`0 blobs sent (0 B), ${2 * platforms.length} mounted`);
    expect((await pushed('team/os', 'c0ffee')).digest).toBe(index.digest);
    expect(await tagsIn(join(to, 'copy'))).toEqual({ c0ffee: index.digest });
  });

  test('copy: from layout to layout, one, one platform, or all; and says what', async () => {
    const to = temporaryDirectory();
    const [text, json] = (await succeedAll(
      ['copy', 'layout:latest', `${to}/one:v1`],
      ['copy', 'layout:latest', `${to}/arm:arm`, '--platform', 'linux/arm64', '--json'],
      ['copy', 'layout', `${to}/all`],
    )) as [string, string];
    expect(text).toMatch(new RegExp(`^v1 {2}index +\\S+ k?B {2}${index.digest}\n$`));
    expect(JSON.parse(json)).toMatchObject([{ digest: images['linux/arm64']?.digest }]);
    expect(await tagsIn(`${to}/one`)).toEqual({ v1: index.digest });
    expect(await tagsIn(`${to}/all`)).toEqual(await tagsIn(join(place, 'layout')));
    for (const name of readdirSync(to)) expect(await verifyLayout(join(to, name))).toMatchObject({ problems: [] });
  });

  test('L13: copy --format docker keeps layers', async () => {
    const to = join(temporaryDirectory(), 'docker');
    await succeed(['copy', 'layout:latest', to, '--format', 'docker']);
    const list = (await readLayout(to)) as Index;
    expect(list.mediaType).toBe(mediaTypes.dockerManifestList);
    const layersOf = async (root: Index) => {
      const refs = await Promise.all(root.children().map((child) => root.ref(child)));
      return refs.map((ref) => ref.descriptors().map(({ digest }) => digest));
    };
    expect(await layersOf(list)).toEqual(await layersOf(index));
  });
});

describe('what a layout is asked, a registry is asked by the same words', () => {
  test('inspect, ls, referrers, untag', async () => {
    const { host } = registry;
    await registry.addRef('os', 'v1', index);
    await registry.addRef('os', 'v2', index);
    await registry.addRef('os', 'sbom', sbom);
    const [tree, inspected, tags, listed, speaking, none, artifact] = (await succeedAll(
      ['inspect', `docker://${host}/os:v1`],
      ['index', 'inspect', `docker://${host}/os:v1`, '--json'],
      ['ls', `docker://${host}/os`],
      ['ls', `${host}/os`, '--json'],
      ['referrers', `docker://${host}/os`, 'v1'],
      ['referrers', `docker://${host}/os`, index.digest, '--artifact-type', 'a/b'],
      ['referrers', `docker://${host}/os`, zeros, '--json'],
    )) as [string, string, string, string, string, string, string];
    expect(tree).toContain(`docker://${host}/os:v1\n└─ index  v1\n`);
    for (const { digest } of [index, ...Object.values(images)]) expect(tree).toContain(digest);
    expect(JSON.parse(inspected)).toMatchObject({ digest: index.digest });
    expect([tags, JSON.parse(listed)]).toEqual(['sbom\nv1\nv2\n', ['sbom', 'v1', 'v2']]);
    expect(speaking).toMatch(new RegExp(`^- {2}${sbomType.replace('+', '\\+')} +\\d+ B {2}${sbom.digest}\n$`));
    expect([none, JSON.parse(artifact)]).toEqual(['', []]);

    expect(await succeed(['untag', `docker://${host}/os`, 'v1'])).toBe('');
    expect(await registry.storage.tags('os')).toEqual(['sbom', 'v2']);
    expect(await succeed(['untag', `docker://${host}/os`, index.digest])).toBe('');
    expect(await registry.storage.tags('os')).toEqual(['sbom']);
  });

  test('L6: index create and add take from registries, one platform or --all', async () => {
    const { host } = registry;
    const out = join(temporaryDirectory(), 'out');
    await registry.addRef('os', 'v1', index);
    await registry.addRef('tools', 'v1', single);
    await succeed(['index', 'create', `${out}:latest`, `docker://${host}/os:v1`]);
    const listed = async () => ((await readLayout(out)) as Index).children().map(({ digest }) => digest);
    expect(await listed()).toEqual([images[here]?.digest]);
    await succeed(['index', 'add', `${out}:latest`, `docker://${host}/os:v1`, '--all']);
    await succeed(['index', 'add', `${out}:latest`, `docker://${host}/tools:v1`]);
    expect(await listed()).toEqual([...platforms.map((platform) => images[platform]?.digest), single.digest]);
    expect(await verifyLayout(out)).toMatchObject({ problems: [] });
  });
});

describe('lock', () => {
  test('writes down what tags stand for, looks again with --update, and builds are on what is locked', async () => {
    const name = `${registry.host}/team/base:v1`;
    const there = writeFiles(temporaryDirectory(), {
      'image.json': JSON.stringify({ base: `docker://${name}`, platforms: ['linux/arm64'], layers: [{ from: 'app' }] }),
      'app/file': 'file',
    });
    const locked = () => JSON.parse(readFileSync(join(there, 'oci.lock.json'), 'utf8')).images;
    const base = images['linux/arm64'] as Image;
    await registry.addRef('team/base', 'v1', base);
    expect(await succeed(['lock', name], {}, there)).toBe(`${name}@${base.digest}\n`);
    await registry.addRef('team/base', 'v1', index);
    expect(JSON.parse(await succeed(['lock', name, '--json'], {}, there))).toEqual({ [name]: base.digest });

    await succeed(['image', '--options', 'image.json', '--output', 'out'], { CI: 'true' }, there);
    const { annotations } = asImage(await readLayout(join(there, 'out'))).manifest;
    expect(annotations).toEqual({
      'org.opencontainers.image.base.name': name,
      'org.opencontainers.image.base.digest': base.digest,
    });

    expect(await succeed(['lock', '--update'], {}, there)).toBe(`${name}@${index.digest}\n`);
    expect(locked()).toEqual({ [name]: { digest: index.digest } });
    const store = join(there, 'elsewhere');
    await succeed(['image', '--options', 'image.json', '--output', 'out'], { NX_OCI_STORE: store }, there);
    expect(asImage(await readLayout(join(there, 'out'))).manifest.layers[0]).toEqual(base.manifest.layers[0]);
    expect(readdirSync(store).sort()).toEqual(['.gitignore', 'blobs', 'layers']);
  });
});

describe('serve', () => {
  interface Served {
    readonly url: string;
    readonly host: string;
    readonly printed: string;
    end(signal: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }>;
  }
  const running: (() => void)[] = [];
  afterEach(() => {
    for (const kill of running.splice(0)) kill();
  });

  /** Starts `nx-oci serve`, and waits until it has said all that it serves. */
  async function serve(args: readonly string[], last: string): Promise<Served> {
    const child = spawn(process.execPath, [commandFile, 'serve', ...args], { cwd: place });
    running.push(() => child.kill('SIGKILL'));
    const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
    let [printed, stderr] = ['', ''];
    child.stderr.on('data', (text) => (stderr += text));
    for await (const text of child.stdout.iterator({ destroyOnReturn: false })) {
      printed += text;
      if (printed.endsWith(`${last}\n`)) break;
    }
    const url = /^registry (\S+)$/m.exec(printed)?.[1] ?? `none: ${stderr}`;
    const end = async (signal: NodeJS.Signals) => {
      child.kill(signal);
      const [code, by] = await closed;
      return { code, signal: by, stderr };
    };
    return { url, host: url.replace(/^https?:\/\//, ''), printed, end };
  }

  test.each(['SIGINT', 'SIGTERM'] as const)('M18: serves, takes, and ends on %s with all intact', async (signal) => {
    const storage = join(temporaryDirectory(), 'storage');
    const served = await serve(
      ['layout=team/os', 'layout:single=tools:v1', 'layout:latest', '--storage', storage],
      'tools:v1',
    );
    const { host } = served;
    expect(served.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const names = ['layout:latest', 'team/os:latest', 'team/os:sbom', 'team/os:single', 'tools:v1'];
    expect(served.printed).toBe(`registry ${served.url}\n${names.map((name) => `  ${host}/${name}\n`).join('')}`);
    const pulled = join(temporaryDirectory(), 'pulled');
    await succeedAll(['pull', `${host}/team/os:latest`, pulled], ['push', 'layout:latest', `${host}/new/os:v1`]);
    expect((await readLayout(pulled)).digest).toBe(index.digest);
    expect(await served.end(signal)).toEqual({ code: 0, signal: null, stderr: '' });
    for (const name of ['team+os', 'new+os']) {
      expect(await verifyLayout(join(storage, name))).toMatchObject({ problems: [] });
    }
    expect(await tagsIn(join(storage, 'new+os'))).toMatchObject({ v1: index.digest });
  });

  test('over TLS, to those whom an htpasswd file names', async () => {
    const htpasswd = join(writeFiles(temporaryDirectory(), { htpasswd: `user:${hashSync(secret, 4)}\n` }), 'htpasswd');
    const pem = ['--tls-cert', join(certificates, 'server.pem'), '--tls-key', join(certificates, 'server-key.pem')];
    const served = await serve(['layout:single=tools:v1', '--auth', htpasswd, ...pem], 'tools:v1');
    expect(served.url).toMatch(/^https:/);
    const NX_OCI_CA = join(certificates, 'ca.pem');
    const known = { NX_OCI_CA, NX_OCI_REGISTRY: served.host, NX_OCI_USERNAME: 'user' };
    const [none, wrong, right] = (await runAll(
      [{ NX_OCI_CA }, { ...known, NX_OCI_PASSWORD: 'wrong-horse' }, { ...known, NX_OCI_PASSWORD: secret }].map(
        (env) => () => command(['ls', `docker://${served.host}/tools`], env),
      ),
    )) as [Finished, Finished, Finished];
    expectFailure(none, `found 401`);
    expectFailure(wrong, `the credentials for ${served.host} are refused`);
    expect(wrong.stderr).not.toContain('wrong-horse');
    expectSuccess(right);
    expect(right.stdout).toBe('v1\n');
    expect(await served.end('SIGTERM')).toEqual({ code: 0, signal: null, stderr: '' });
  });
});

describe('refused, in words, and nothing is written', () => {
  const bad = 'bad.htpasswd';
  const url = `user:${secret}@HOST/os`;
  const marker = 'gone/oci-layout: expected the marker file';
  const three = 'found 3 (latest, single, sbom); pick one';
  const hasUser = 'found a user before "@"';
  const rows: readonly [name: string, args: readonly string[], message: string][] = [
    ['a port that is taken', ['serve', '--port', 'PORT'], 'choose another port'],
    ['no port', ['serve', '--port', '99999'], 'expected a whole number up to 65535'],
    ['a missing layout', ['serve', 'gone=os'], marker],
    ['a name that is none', ['serve', 'layout=OS'], 'repository "OS": expected lower-case letters'],
    ['a tag for several', ['serve', 'layout=os:v1'], three],
    ['a broken htpasswd file', ['serve', '--auth', bad], `${bad}: line 1: expected a user with a bcrypt hash`],
    ['no htpasswd file', ['serve', '--auth', 'gone'], 'gone: could not read (ENOENT'],
    ['a certificate alone', ['serve', '--tls-cert', bad], 'option "tlsKey": expected a certificate and its key'],
    [
      'no certificate',
      ['serve', '--tls-cert', bad, '--tls-key', bad],
      `${bad}, ${bad}: expected a certificate and its key in PEM`,
    ],
    ['a missing layout', ['push', 'gone', 'HOST/os:v1'], marker],
    ['another platform', ['push', 'layout:latest', 'HOST/os', '--platform', 'linux/386'], 'linux/386, found '],
    [
      'platforms of no index',
      ['push', 'layout', 'HOST/os', '--platform', 'local,linux/386'],
      'expected one index to take 2',
    ],
    ['ACCEPTANCE 50: a newline', ['push', 'layout:latest', 'HOST/os:a\nb'], 'as tag, found "a\\nb"'],
    ['ACCEPTANCE 50: a command', ['push', 'layout:latest', 'HOST/os:$(touch pwned)'], 'found "$(touch pwned)"'],
    ['ACCEPTANCE 49: a password', ['push', 'layout:latest', `${url}:{x}`], 'token {x}: expected one of'],
    ['ACCEPTANCE 49: a password', ['push', 'layout:latest', `https://${url}:v1`], 'found a URL'],
    ['ACCEPTANCE 49: a password', ['pull', `docker://${url}:v1`, 'out'], hasUser],
    ['ACCEPTANCE 49: a password', ['copy', `${url}:v1`, 'out'], hasUser],
    ['ACCEPTANCE 49: a password', ['copy', 'layout', `https://${url}`], 'found a URL'],
    ['ACCEPTANCE 49: a password', ['ls', `docker://${url}`], hasUser],
    ['ACCEPTANCE 49: a password', ['lock', `${url}:v1`], hasUser],
    ['what there is not', ['pull', 'HOST/none:v1', 'out'], 'manifest v1: expected 200, found 404'],
    ['to a digest', ['copy', 'layout:latest', `out@${zeros}`], `found the digest ${zeros}`],
    ['an unknown tag', ['copy', 'layout:v9', 'out'], 'tag "v9", found latest, single, sbom'],
    ['several to one tag', ['copy', 'layout', 'out:v1'], three],
    ['ACCEPTANCE 50: a newline', ['copy', 'layout:latest', 'out:a\nb'], 'found "a\\nb"'],
    ['ACCEPTANCE 1: a bad digest', ['copy', 'layout@sha256:../x', 'out'], 'sha256:../x'],
    ['another platform', ['copy', 'layout:latest', 'out', '--platform', 'linux/386'], 'linux/386, found '],
    ['another format', ['copy', 'layout', 'out', '--format', 'v2s1'], 'Allowed choices are oci, docker'],
    ['L13: an artifact for Docker', ['copy', 'layout:sbom', 'out', '--format', 'docker'], `found ${sbomType}`],
    ['a tag', ['ls', 'docker://HOST/os:v1'], 'os: expected a repository alone, found v1 behind it'],
    ['an unknown tag', ['referrers', 'docker://HOST/os', 'v9'], 'os:v9: expected a manifest in the registry'],
    ['an unknown tag', ['untag', 'docker://HOST/os', 'v9'], 'tag v9: expected '],
    ['nothing', ['lock'], 'oci.lock.json: expected images, found none; name one to lock'],
    ['a digest', ['lock', `HOST/os:v1@${zeros}`], 'expected a tag to lock, found a digest'],
    ['an unknown tag', ['lock', 'HOST/os:v9'], 'os:v9: expected an image in the registry, found none'],
  ];
  const cwd = process.cwd();
  let before: Record<string, string>;
  beforeAll(() => {
    writeFiles(place, { [bad]: 'user:plain\n' });
    before = snapshot(place);
    process.chdir(place);
  });
  afterAll(() => process.chdir(cwd));

  const inPlace = (args: readonly string[]) =>
    args.map((arg) => arg.replace('HOST', registry.host).replace('PORT', registry.host.replace(/.*:/, '')));

  test.each(rows.map(([name, args, message]) => ({ command: args[0], name, args, message })))(
    '$command: $name',
    async ({ args, message }) => {
      const program = new Command('nx-oci').exitOverride().configureOutput({ writeErr: () => undefined });
      addLayoutCommands(program);
      addRegistryCommands(program);
      const failure = await program.parseAsync(inPlace(args), { from: 'user' }).catch((error: unknown) => error);
      expect([OciError, CommanderError].some((type) => failure instanceof type)).toBe(true);
      expect((failure as Error).message).toContain(message);
      expect((failure as Error).message).not.toContain(secret);
    },
  );

  test('the command says the same on standard error, without a trace', async () => {
    const chosen = ['choose another port', marker, 'found a URL'];
    const some = chosen.map((message) => rows.find((row) => row[2] === message) as (typeof rows)[number]);
    const finished = await runAll(
      some.map(
        ([, args]) =>
          () =>
            command(inPlace(args)),
      ),
    );
    for (const [position, message] of chosen.entries()) {
      expectFailure(finished[position] as Finished, message);
      expect(finished[position]?.stderr).not.toContain(secret);
    }
  });

  test('and nothing was written', () => {
    expect(snapshot(place)).toEqual(before);
    expect(readdirSync(place).sort()).toEqual([bad, 'layout']);
  });
});
