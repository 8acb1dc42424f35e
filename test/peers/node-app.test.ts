import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Registry, startRegistry } from '../../src';
import { repository, run, temporaryDirectory } from '../fixtures';
import { runNx } from '../nx/workspace';
import { ours, skopeo, unpack, verify } from './programs';

/** The workspace as a clone has it, but for what the examples do not need. */
const workspace = temporaryDirectory();
const files = ['nx.json', 'package.json', 'package-lock.json', 'tsconfig.json', 'examples'];
for (const file of files) cpSync(join(repository, file), join(workspace, file), { recursive: true });
for (const made of ['node_modules', 'lib']) symlinkSync(join(repository, made), join(workspace, made));

const image = join(workspace, 'dist/examples/api/image');

/** Runs `nx run api:image`; gives the tasks that did work. */
async function buildImage(): Promise<string[]> {
  const finished = await runNx(workspace, ['run', 'api:image', '--output-style=static'], {
    NX_CACHE_DIRECTORY: join(workspace, '.nx/cache'),
  });
  expect(finished).toMatchObject({ code: 0 });
  return [...finished.stdout.matchAll(/^> nx run (\S+)$/gm)].map(([, task]) => task as string).sort();
}

function edit(file: string, from: string, to: string): void {
  const text = readFileSync(join(workspace, file), 'utf8');
  expect(text).toContain(from);
  writeFileSync(join(workspace, file), text.replace(from, to));
}

/** The digests of the layers by their names in the history. */
async function layers(): Promise<Record<string, string>> {
  const { history, rootfs } = JSON.parse(await skopeo('inspect', '--config', `oci:${image}:latest`));
  const names: string[] = history.map(({ created_by }: { created_by: string }) => created_by.split('layer ')[1]);
  return Object.fromEntries(names.map((name, position) => [name, rootfs.diff_ids[position]]));
}

/** A container of the image, on the machine's own network so that the test reaches it. */
async function startContainer(): Promise<{ url: string; stop(): Promise<number | null> }> {
  const { path } = await unpack(`${image}:latest`);
  const file = join(path, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8'));
  config.process.terminal = false;
  config.process.args.push('--host', '127.0.0.1', '--port', '0');
  config.root.readonly = true;
  config.linux.namespaces = config.linux.namespaces.filter(({ type }: { type: string }) => type !== 'network');
  writeFileSync(file, JSON.stringify(config));
  const child = spawn('runc', ['run', '--bundle', path, newContainer()], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  const url = await urlFrom(child);
  const stop = async () => {
    child.kill('SIGTERM');
    const [code] = await closed;
    return code;
  };
  return { url, stop };
}

async function urlFrom({ stdout }: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: stdout as NodeJS.ReadableStream })) {
    const url = /^Listening at (\S+)$/.exec(line)?.[1];
    if (url !== undefined) return url;
  }
  throw new Error('expected the container to say where it listens, found it ended');
}

const containers: string[] = [];
function newContainer(): string {
  const name = `nx-oci-node-app-${process.pid}-${containers.length}`;
  containers.push(name);
  return name;
}

afterAll(async () => {
  // What a failed test left.
  for (const name of containers) await run('runc', ['delete', '--force', name]);
});

// One story: what a run leaves is what the next one finds.
describe('the example api, a Node application', () => {
  let registry: Registry;
  let first: Record<string, string>;
  beforeAll(async () => {
    registry = await startRegistry();
    await buildImage();
    first = await layers();
  });
  afterAll(() => registry.close());

  const push = async () => {
    const [pushed] = JSON.parse(await ours('push', image, `${registry.host}/api:latest`, '--insecure', '--json'));
    return pushed as { bytes: number; blobs: Record<string, number> };
  };

  test('is an image of five layers, those of its base below', async () => {
    expect(Object.keys(first)).toEqual(['libraries', 'node', 'api: third-party', 'api: workspace', 'api: app']);
    await verify(image);
    const { bytes, blobs } = await push();
    expect(blobs).toMatchObject({ uploaded: 6 });
    expect(bytes).toBeGreaterThan(20e6);
  });

  test('runs under runc on a base that is no more than Node and its libraries, and answers', async () => {
    const { url, stop } = await startContainer();
    const answer = async (path: string) => {
      const response = await fetch(`${url}${path}`);
      return [response.status, await response.text()];
    };
    expect(await answer('/?name=Ada')).toEqual([200, 'Hello, Ada!\n']);
    expect(await answer('/')).toEqual([200, 'Hello, world!\n']);
    expect(await answer('/?name=')).toEqual([400, expect.stringContaining('→ at name')]);
    expect(await stop()).toBe(0);
  });

  test('is built anew only when something changed', async () => {
    expect(await buildImage()).toEqual([]);
  });

  test.each([
    {
      what: 'a line of the application',
      file: 'examples/api/src/server.ts',
      from: "'http://api'",
      to: "'http://api.example'",
      tasks: ['api:build', 'api:image'],
      changed: 'api: app',
    },
    {
      what: 'a line of a package of the workspace',
      file: 'examples/greeting/index.ts',
      from: 'Hello',
      to: 'Welcome',
      tasks: ['api:build', 'api:image', 'greeting:build'],
      changed: 'api: workspace',
    },
  ])('a change of $what ships kilobytes', async ({ file, from, to, tasks, changed }) => {
    const before = await layers();
    edit(file, from, to);
    expect(await buildImage()).toEqual(tasks);
    const after = await layers();
    expect(Object.keys(after).filter((name) => after[name] !== before[name])).toEqual([changed]);
    const { bytes, blobs } = await push();
    // The layer, and the config that names it.
    expect(blobs).toMatchObject({ uploaded: 2, present: 4 });
    expect(bytes).toBeLessThan(5_000);
  });

  test('runs as it was changed', async () => {
    const { url, stop } = await startContainer();
    const response = await fetch(`${url}/?name=Ada`);
    expect(await response.text()).toBe('Welcome, Ada!\n');
    expect(await stop()).toBe(0);
  });
});
