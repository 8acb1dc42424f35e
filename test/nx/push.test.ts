import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { asImage, type Image, readLayout } from '../../src';
import { type Registry, startRegistry } from '../../src/registry/server/start-registry';
import { type Finished, sampleImage, writeFiles } from '../fixtures';
import { nxWorkspace, projectFile, runNx } from './workspace';

const secret = 'correct-horse-battery';

function image(name: string, options: object = {}, inputs: readonly string[] = []): object {
  return {
    executor: 'nx-oci:image',
    cache: true,
    inputs: ['{projectRoot}/files/**/*', ...inputs],
    outputs: ['{options.outputPath}'],
    options: { outputPath: `dist/${name}`, layers: [{ from: `${name}/files` }], ...options },
  };
}

function push(image: string, references: readonly string[], options: object = {}): object {
  return { executor: 'nx-oci:push', options: { image, references, ...options } };
}

let registry: Registry;
let guarded: Registry;
let workspace: string;
let bases: readonly Image[];
beforeAll(async () => {
  registry = await startRegistry();
  guarded = await startRegistry({ auth: { scheme: 'basic', users: { username: 'user', password: 'other' } } });
  bases = [await sampleImage(['base']), await sampleImage(['newer base'])];
  for (const base of bases) await registry.addRef('team/base', 'v1', base);
  await registry.addRef('team/base', 'v1', bases[0] as Image);
  const os = `${registry.host}/os`;
  const base = `${registry.host}/team/base`;
  workspace = nxWorkspace({
    ...projectFile('os', {
      image: image('os', { tag: 'v1' }),
      push: {
        ...push('os:image', [`${os}:{sha}`, `${os}:{version}`, os], { digestFile: 'dist/pushed/digest' }),
        dependsOn: ['image'],
      },
      missing: push('never:image', [`${os}:v1`]),
      token: push('os:image', [`${os}:{branch}`]),
      newline: push('os:image', [`${os}:a\nb`]),
      command: push('os:image', [`${os}:$(touch pwned)`]),
      url: push('os:image', [`docker://user:${secret}@${os}:v1`]),
      guarded: push('os:image', [`${guarded.host}/os:v1`]),
    }),
    'os/package.json': JSON.stringify({ name: 'os', version: '1.2.3+build' }),
    'os/files/hello': 'hello',
    ...projectFile('never', { image: image('never') }),
    ...projectFile('app', {
      image: image('app', { base: `${base}:v1` }, ['{workspaceRoot}/oci.lock.json']),
      push: { ...push('app:image', [`${registry.host}/team/app`]), dependsOn: ['image'] },
    }),
    'app/files/app': 'app',
    ...projectFile('pinned', { image: image('pinned', { base: `${base}:v1@${bases[1]?.digest}` }) }),
    'pinned/files/app': 'app',
    ...projectFile('unlocked', { image: image('unlocked', { base: `${base}:later` }) }),
    'unlocked/files/app': 'app',
  });
});
afterAll(async () => {
  await registry.close();
  await guarded.close();
});

const nx = (args: readonly string[], environment?: NodeJS.ProcessEnv) => runNx(workspace, args, environment);
const built = (project: string) => readLayout(join(workspace, 'dist', project)).then(asImage);

/** What was printed of one target: behind its name the cache it came from, if so, then its output. */
function printedOf({ stdout, stderr }: Finished, target: string): string {
  expect(stdout + stderr).not.toContain(secret);
  expect(stdout + stderr).not.toMatch(/^ {4}at /m);
  const block = stdout.split(/^> nx run /m).find((text) => text.startsWith(target));
  expect({ target, block }).toEqual({ target, block: expect.any(String) });
  return block ?? '';
}

const fromCache = /^\S+.*\[(?:local cache|existing outputs match)/;

// One story, because each run of Nx takes seconds: what one leaves is what the next one finds.
describe('push and bases in a workspace', () => {
  let first: Finished;
  beforeAll(async () => {
    const targets = 'push,missing,token,newline,command,url,guarded';
    first = await nx(['run-many', `--targets=${targets}`, '--output-style=static'], {
      GITHUB_SHA: 'c0ffee',
      NX_OCI_REGISTRY: guarded.host,
      NX_OCI_USERNAME: 'user',
      NX_OCI_PASSWORD: secret,
    });
  }, 60_000);

  test('L11: pushes what a target built to each reference, with tokens and with its own tag', async () => {
    const { digest } = await built('os');
    const printed = printedOf(first, 'os:push');
    for (const tag of ['c0ffee', '1.2.3-build', 'v1']) {
      expect(printed).toContain(`${registry.host}/os:${tag}@${digest}\n  digest ${digest}\n  1 manifest, `);
      expect((await registry.storage.manifest('os', tag))?.digest).toBe(digest);
    }
    expect(printed).toContain('2 blobs sent');
    expect(readFileSync(join(workspace, 'dist/pushed/digest'), 'utf8')).toBe(digest);
  });

  test.each([
    ['a layout that was not built', 'missing', 'run "nx run never:image", or add it to this target\'s dependsOn'],
    ['a token that there is not', 'token', 'token {branch}: expected one of {sha}, {version}, {date}'],
    ['ACCEPTANCE 50: a newline in a tag', 'newline', 'as tag, found "a\\nb"'],
    ['ACCEPTANCE 50: a command in a tag', 'command', 'as tag, found "$(touch pwned)"'],
    ['ACCEPTANCE 49: a password in a reference', 'url', 'found a user before "@"'],
    ['ACCEPTANCE 49: a password that is wrong', 'guarded', 'expected access, found 401; the credentials for 127.0.0.1'],
  ])('%s fails, and says why in words', (_, target, message) => {
    expect(first.code).not.toBe(0);
    expect(printedOf(first, `os:${target}`)).toContain(message);
    expect(readdirSync(workspace)).not.toContain('pwned');
  });

  test('a base in a registry is locked, named in the image, and its layers are mounted by a push', async () => {
    const [base] = bases as [Image];
    const name = `${registry.host}/team/base:v1`;
    const lock = JSON.parse(readFileSync(join(workspace, 'oci.lock.json'), 'utf8'));
    expect(lock.images).toMatchObject({ [name]: { digest: base.digest } });
    const { annotations, layers } = (await built('app')).manifest;
    expect(annotations).toEqual({
      'org.opencontainers.image.base.name': name,
      'org.opencontainers.image.base.digest': base.digest,
    });
    expect(layers[0]).toEqual(base.manifest.layers[0]);
    expect(printedOf(first, 'app:push')).toContain('2 blobs sent');
    expect(printedOf(first, 'app:push')).toContain('1 mounted');
    const mounts = registry.requests.filter(({ method, query }) => method === 'POST' && query.includes('mount='));
    expect(
      mounts.map(({ path, query, status }) => ({ path, status, from: query.includes('from=team%2Fbase') })),
    ).toContainEqual({ path: '/v2/team/app/blobs/uploads/', status: 201, from: true });
  });

  test('--references stand for those of the target, and --dryRun asks nobody', async () => {
    const asked = registry.requests.length;
    const args = ['--dryRun', `--references=${registry.host}/elsewhere:{date}`, '--output-style=static'];
    const finished = await nx(['run', 'os:push', ...args], { SOURCE_DATE_EPOCH: '86400' });
    expect(finished).toMatchObject({ code: 0, stderr: '' });
    expect(printedOf(finished, 'os:image')).toMatch(fromCache);
    expect(finished.stdout).toContain(`${registry.host}/elsewhere:19700102@${(await built('os')).digest}`);
    expect(finished.stdout).toMatch(/2 blobs \(\d+ B\) at most would be sent/);
    expect(registry.requests).toHaveLength(asked);
  }, 60_000);

  test('B1: another digest in oci.lock.json builds anew; in CI what is not in it is refused; a digest needs no lock', async () => {
    const file = join(workspace, 'oci.lock.json');
    const [before, after] = bases.map(({ digest }) => digest) as [string, string];
    writeFiles(workspace, { 'oci.lock.json': readFileSync(file, 'utf8').replaceAll(before, after) });
    const locked = readFileSync(file, 'utf8');
    const args = ['run-many', '--targets=image,push', '--projects=os,app,pinned,unlocked', '--output-style=static'];
    const finished = await nx(args, { CI: 'true', GITHUB_SHA: 'c0ffee' });
    expect(finished.code).not.toBe(0);
    // A push is no work that could have been done before.
    expect(printedOf(finished, 'os:image')).toMatch(fromCache);
    expect(printedOf(finished, 'os:push')).not.toMatch(fromCache);
    expect(printedOf(finished, 'os:push')).toContain('0 blobs sent (0 B), 2 there already');
    expect(printedOf(finished, 'app:image')).not.toMatch(fromCache);
    for (const project of ['app', 'pinned']) {
      const { annotations, layers } = (await built(project)).manifest;
      expect(annotations?.['org.opencontainers.image.base.digest']).toBe(after);
      expect(layers[0]).toEqual(bases[1]?.manifest.layers[0]);
    }
    expect(printedOf(finished, 'unlocked:image')).toContain(
      `${registry.host}/team/base:later: expected its digest in oci.lock.json, found none; run "nx-oci lock ${registry.host}/team/base:later" and commit the file`,
    );
    expect(readFileSync(file, 'utf8')).toBe(locked);
    expect(existsSync(join(workspace, 'dist/unlocked'))).toBe(false);
  }, 60_000);

  test('what was fetched is built on without a network', async () => {
    const { digest } = await built('app');
    await registry.close();
    const finished = await nx(['run', 'app:image', '--skip-nx-cache', '--output-style=static']);
    expect(finished).toMatchObject({ code: 0, stderr: '' });
    expect(printedOf(finished, 'app:image')).toContain(digest);
    expect(readFileSync(join(workspace, '.nx/oci/.gitignore'), 'utf8')).toBe('*\n');
  }, 60_000);
});
