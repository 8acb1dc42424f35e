import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { hashSync } from 'bcryptjs';
import { readLayout, startRegistry } from '../../src';
import type { Registry } from '../../src/registry/server/start-registry';
import { type Finished, repository, sampleImage, taggedLayout } from '../fixtures';
import { nxWorkspace, projectFile, runNx } from './workspace';

/** Somebody interrupts Nx, a CI system stops it, or it is gone without a word. */
const endings = ['SIGINT', 'SIGTERM', 'SIGKILL'] as const;

const registry = (options: object, more: object = {}) => ({
  executor: 'nx-oci:registry',
  readyWhen: { signal: true, timeout: 60_000 },
  options,
  ...more,
});
/** A target that needs a registry, and says that it ran. */
const afterwards = (target: string, file: string) => ({
  executor: 'nx:run-commands',
  dependsOn: [{ target, waitFor: 'ready' }],
  options: { command: `node e2e/${file}` },
});
const serving = (image: string, more: object = {}) => ({ layouts: [{ image, repository: 'os', ...more }] });

/** What a dependent does: finds the registry, and pulls from it. */
const pull = `
  import { getReadyUrl } from '@nx/devkit';
  import { writeFileSync } from 'node:fs';
  import { registryClient } from 'nx-oci';
  const url = process.env.NX_READY_URL;
  const { host: registry } = new URL(url);
  const client = registryClient({ credentials: async () => ({ username: 'ci', password: 'secret' }) });
  const os = client.repository({ registry, repository: 'team/os' });
  const other = client.repository({ registry, repository: 'other' });
  const pulled = { os: (await os.read({ tag: 'v1' })).digest, other: await other.tags() };
  const { status } = await fetch(url + '/v2/');
  writeFileSync('pulled.json', JSON.stringify({ url, same: getReadyUrl() === url, status, ...pulled }));
  await client.close();
`;

let taken: Registry;
let workspace: string;
beforeAll(async () => {
  taken = await startRegistry();
  const other = await taggedLayout({ v7: await sampleImage(['7']), v8: await sampleImage(['8']) });
  workspace = nxWorkspace({
    ...projectFile('os', {
      image: {
        executor: 'nx-oci:image',
        cache: true,
        outputs: ['{options.outputPath}'],
        options: { outputPath: 'dist/os', layers: [{ from: 'os/files' }] },
      },
      never: { executor: 'nx-oci:image', outputs: ['{options.outputPath}'], options: { outputPath: 'dist/never' } },
    }),
    'os/files/hello': 'hello',
    ...projectFile('e2e', {
      registry: registry(
        {
          auth: 'e2e/htpasswd',
          layouts: [
            { image: 'os:image', repository: 'team/os', tag: 'v1' },
            { image: other, repository: 'other' },
          ],
        },
        { dependsOn: ['os:image'] },
      ),
      pull: afterwards('registry', 'pull.mjs'),
      ...Object.fromEntries(
        endings.map((signal) => [
          `until-${signal}`,
          registry(serving('os:image', { tag: 'v1' }), { dependsOn: ['os:image'] }),
        ]),
      ),
    }),
    'e2e/pull.mjs': pull,
    'e2e/htpasswd': `ci:${hashSync('secret', 4)}\n`,
    ...projectFile('wrong', {
      taken: registry({ port: Number(new URL(taken.url).port) }),
      lonely: registry(serving('os:never')),
      remote: registry(serving('docker://ghcr.io/team/os:v1')),
      ambiguous: registry(serving(other, { tag: 'v1' })),
      misspelt: registry({ layout: [] }),
      halfTls: registry({ tlsCert: 'cert.pem' }),
      after: afterwards('taken', 'after.mjs'),
    }),
    'e2e/after.mjs': 'await import("node:fs").then((fs) => fs.writeFileSync("after", ""));',
  });
});
afterAll(() => taken.close());

const printedOf = ({ stdout }: Finished, task: string) =>
  stdout.split(/^> nx run /m).find((block) => block.startsWith(`${task}\n`)) ?? '';

describe('M18: a target that waits for the registry', () => {
  let finished: Finished;
  let pulled: Record<string, unknown>;
  beforeAll(async () => {
    finished = await runNx(workspace, ['run', 'e2e:pull', '--output-style=static']);
    expect(finished).toMatchObject({ code: 0 });
    pulled = JSON.parse(readFileSync(join(workspace, 'pulled.json'), 'utf8'));
  }, 60_000);

  test('finds its URL, and pulls what a target built and what lies in a layout', async () => {
    const { digest } = await readLayout(join(workspace, 'dist/os'));
    const url = expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/);
    expect(pulled).toEqual({ url, same: true, os: digest, other: ['v7', 'v8'], status: 401 });
  });

  test('the registry says what it serves, and nothing of those who may come in', () => {
    const { host } = new URL(String(pulled.url));
    const printed = printedOf(finished, 'e2e:registry');
    expect(printed).toContain(
      `registry http://${host}\n  ${host}/other:v7\n  ${host}/other:v8\n  ${host}/team/os:v1\n`,
    );
    expect(finished.stdout + finished.stderr).not.toContain('secret');
  });

  test('is gone with the run', async () => {
    await expect(fetch(`${pulled.url}/v2/`)).rejects.toThrow('fetch failed');
  });
});

describe('a registry that cannot start', () => {
  let finished: Finished;
  beforeAll(async () => {
    const targets = 'after,taken,lonely,remote,ambiguous,misspelt,halfTls';
    finished = await runNx(workspace, [
      'run-many',
      `--targets=${targets}`,
      '--projects=wrong',
      '--output-style=static',
    ]);
  }, 60_000);

  test.each([
    ['a port that is taken', 'taken', /port \d+ of 127\.0\.0\.1: expected to listen there, found listen EADDRINUSE/],
    [
      'a target that did not run',
      'lonely',
      /expected the target os:never to have an OCI image layout among its outputs/,
    ],
    ['an image in a registry', 'remote', /option "layouts": expected a target or a layout, found docker:\/\/ghcr\.io/],
    ['several images for one tag', 'ambiguous', /expected one image or index to serve as os:v1, found 2 \(v7, v8\)/],
    ['an unknown option', 'misspelt', /'layout' is not found in schema/],
    [
      'a certificate without its key',
      'halfTls',
      /option "tlsKey": expected a certificate and its key, found one of them/,
    ],
  ])('%s: fails, and says why in words', (_, target, message) => {
    expect(finished.code).not.toBe(0);
    const printed = printedOf(finished, `wrong:${target}`);
    expect(printed).toMatch(message);
    expect(printed).not.toMatch(/^ {4}at /m);
  });

  test('and those who wait for it do not run', () => {
    expect(finished.stderr).toMatch(/Tasks not run because their dependencies failed.*- wrong:after/s);
    expect(existsSync(join(workspace, 'after'))).toBe(false);
  });
});

// At once, and of targets of their own, because Nx runs one target once for all that want it.
test('a registry in a run of its own ends with it, however that ends, and lets go of its port', async () => {
  const runs = endings.map(async (signal) => {
    const nx = startNx(`e2e:until-${signal}`);
    const url = await printedUrl(nx);
    const { status } = await fetch(`${url}/v2/os/manifests/v1`);
    nx.kill(signal);
    await connectionRefused(url);
    return { signal, status };
  });
  expect(await Promise.all(runs)).toEqual(endings.map((signal) => ({ signal, status: 200 })));
}, 60_000);

function startNx(target: string): ChildProcess {
  const command = join(repository, 'node_modules/nx/dist/bin/nx.js');
  const env = { ...process.env, NX_DAEMON: 'false', NX_NO_CLOUD: 'true' };
  return spawn(process.execPath, [command, 'run', target], {
    cwd: workspace,
    env,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

function printedUrl({ stdout }: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let printed = '';
    stdout?.on('data', (chunk) => {
      printed += chunk;
      const url = /registry (http\S+)\n/.exec(printed)?.[1];
      if (url !== undefined) resolve(url);
    });
    stdout?.on('close', () =>
      reject(new Error(`nx: expected the URL of a registry, found ${JSON.stringify(printed)}`)),
    );
  });
}

/** Nx may be gone before the registry is, but not for long. */
async function connectionRefused(url: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; await setTimeout(20)) {
    if (!(await fetch(url).catch(() => undefined))) return;
  }
  throw new Error(`${url}: expected nobody there, found the registry`);
}
