import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { descriptorOf, digestOf, type Image } from '../../src';
import { type Registry, startRegistry } from '../../src/registry/server/start-registry';
import { temporaryDirectory } from '../fixtures';
import { newPath } from './makers';
import { hasCrane, hasOras, ours, runContainer, succeed, umoci, unpack } from './programs';
import { reach, startServe } from './registries';
import {
  type Contents,
  configsOf,
  fileWith,
  largeContent,
  makeContents,
  rootOf,
  sbomOf,
  sbomType,
} from './registry-content';
import {
  crane,
  dockerName,
  managers,
  named,
  oras,
  plainHttp,
  programs,
  type Reached,
  runCrane,
  runOras,
  runSkopeo,
  skopeo,
  tlsVerify,
} from './registry-programs';

/** Our registry, and everything that other programs do with it beyond an index to and fro (registry.test.ts). */
const storages = ['memory', 'directory'] as const;

/** Short, so that lists have several pages. */
const pageSize = 2;

/** How each program sends a blob. */
const uploads: Readonly<Record<string, readonly string[]>> = {
  skopeo: ['PATCH', 'PUT'],
  crane: ['PATCH', 'PUT'],
  oras: ['PUT'],
};

const testWithCrane = hasCrane ? test : test.skip;
const testWithOras = hasOras ? test : test.skip;
const testWith = ({ isHere }: { isHere: boolean }) => (isHere ? test : test.skip);

let contents: Contents;
beforeAll(async () => {
  contents = await makeContents();
});

describe.each(storages)('M14: ours (%s)', (storage) => {
  let registry: Registry;
  let reached: Reached;
  beforeAll(async () => {
    const directory = storage === 'directory' ? { storage: join(temporaryDirectory(), 'storage') } : {};
    registry = await startRegistry({ ...directory, pageSize });
    reached = reach({ host: registry.host, isSecure: false });
  });
  afterAll(() => registry.close());

  const requestsOf = (repository: string) => registry.requests.filter((request) => request.repository === repository);

  for (const program of programs) {
    testWith(program)(`${program.name} ⇄ ours (${storage}): an image`, async () => {
      const name = `image/${program.name}:v1`;
      await program.push(reached, contents.image, name);
      const pulled = await program.pull(reached, name, 'image');
      expect(await configsOf(pulled)).toEqual(await configsOf(contents.image.layout));
      if (program.keepsManifests) expect(await rootOf(pulled)).toBe(contents.image.root.digest);
    });
  }

  for (const program of managers) {
    const check = testWith(program);

    check(`${program.name} ⇄ ours (${storage}): an artifact, which is then listed as a referrer`, async () => {
      const repository = `artifact/${program.name}`;
      await program.push(reached, contents.image, `${repository}:v1`);
      await program.push(reached, contents.artifact, `${repository}:sbom`);
      const { digest } = contents.artifact.root;
      expect(await rootOf(await program.pull(reached, `${repository}:sbom`, 'artifact'))).toBe(digest);
      const listed = { digest, artifactType: sbomType };
      expect(await registry.storage.referrers(repository, contents.image.root.digest)).toMatchObject([listed]);
      // Nobody needed the tag that stands in for the list.
      expect(await registry.storage.tags(repository)).toEqual(['sbom', 'v1']);
      if (hasOras) expect(await discovered(reached, `${repository}:v1`)).toMatchObject([listed]);
    });

    check(`${program.name} ← ours (${storage}): a list of tags of several pages`, async () => {
      const tags = ['a', 'b', 'c', 'd', 'e'];
      const repository = `tags/${program.name}`;
      for (const tag of tags) await registry.addRef(repository, tag, contents.image.root);
      expect(await program.tags(reached, repository)).toEqual(tags);
      expect(requestsOf(repository).filter(({ path }) => path.endsWith('/tags/list'))).toHaveLength(3);
    });

    check(`${program.name} → ours (${storage}): a blob is mounted from another repository`, async () => {
      const [from, to] = [`mount/${program.name}/from`, `mount/${program.name}/to`];
      // An image of its own: skopeo remembers where it saw which blob, in other repositories too.
      const own = await largeContent(1_000);
      await program.push(reached, own, `${from}:v1`);
      await program.copy(reached, `${from}:v1`, `${to}:v1`);
      const mounts = requestsOf(to).filter(({ method, query }) => method === 'POST' && query.includes('mount='));
      expect(mounts.length).toBeGreaterThan(0);
      for (const mount of mounts) expect(mount).toMatchObject({ status: 201, bytesIn: 0 });
      expect(await rootOf(await program.pull(reached, `${to}:v1`, 'image'))).toBe(own.root.digest);
    });

    check(`${program.name} ⇄ ours (${storage}): a large blob, by ${uploads[program.name]?.join(' and ')}`, async () => {
      const large = await largeContent(8_000_000);
      const name = `large/${program.name}:v1`;
      await program.push(reached, large, name);
      expect(await rootOf(await program.pull(reached, name, 'image'))).toBe(large.root.digest);
      const sending = requestsOf(`large/${program.name}`).filter(({ bytesIn }) => bytesIn > 8_000_000);
      expect(sending.map(({ method }) => method)).toEqual([uploads[program.name]?.[0]]);
    });

    check(`${program.name} → ours (${storage}): a deletion, after which nothing is there to pull`, async () => {
      const repository = `delete/${program.name}`;
      for (const tag of ['gone', 'other']) await registry.addRef(repository, tag, contents.image.root);
      await program.remove(reached, `${repository}:gone`);
      // crane deletes the tag itself, the others the manifest that it names.
      expect(await registry.storage.tags(repository)).toEqual(program === crane ? ['other'] : []);
      const pull = program.pull(reached, `${repository}:gone`, 'image');
      await expect(pull).rejects.toThrow(/manifest.unknown|not found/i);
    });
  }

  testWithCrane(`crane → ours (${storage}): a deletion by digest, and a new tag`, async () => {
    const repository = 'retagged';
    const { digest } = contents.image.root;
    await crane.push(reached, contents.image, `${repository}:v1`);
    await runCrane(reached, 'tag', named(reached, `${repository}:v1`), 'v2');
    expect(await crane.tags(reached, repository)).toEqual(['v1', 'v2']);
    expect((await runCrane(reached, 'digest', named(reached, `${repository}:v2`))).trim()).toBe(digest);
    await crane.remove(reached, `${repository}@${digest}`);
    expect(await crane.tags(reached, repository)).toEqual([]);
  });

  testWithCrane(`crane ← ours (${storage}): validates what nx-oci pushed, and lists the repositories`, async () => {
    await ours('push', contents.index.layout, named(reached, 'validated:v1'));
    expect(await runCrane(reached, 'validate', '--remote', named(reached, 'validated:v1'))).toContain('PASS');
    const repositories = (await runCrane(reached, 'catalog', reached.host)).trim().split('\n');
    expect(repositories).toEqual(await registry.storage.repositories());
  });

  testWithOras(
    `oras → ours (${storage}): attaches, discovers by type, pulls files, and takes a blob away`,
    async () => {
      const repository = 'attached';
      await oras.push(reached, contents.image, `${repository}:v1`);
      const file = fileWith('sbom.json', '{"packages":["attached"]}');
      await attach(reached, `${repository}:v1`, sbomType, file);
      await attach(reached, `${repository}:v1`, 'application/vnd.example.notes', fileWith('notes.txt', 'notes\n'));
      expect(await discovered(reached, `${repository}:v1`)).toHaveLength(2);
      const [sbom] = await discovered(reached, `${repository}:v1`, '--artifact-type', sbomType);
      expect(await discovered(reached, `${repository}:v1`, '--artifact-type', sbomType)).toHaveLength(1);
      const output = temporaryDirectory();
      const attached = named(reached, `${repository}@${sbom?.digest}`);
      await runOras(reached, 'pull', ...plainHttp(reached), attached, '--output', output);
      expect(await succeed('cat', [join(output, 'sbom.json')])).toBe('{"packages":["attached"]}');

      const blob = digestOf(Buffer.from('notes\n'));
      const target = named(reached, `${repository}@${blob}`);
      expect(await runOras(reached, 'blob', 'fetch', ...plainHttp(reached), target, '--output', '-')).toBe('notes\n');
      await runOras(reached, 'blob', 'delete', '--force', ...plainHttp(reached), target);
      expect(await registry.storage.blob(repository, blob)).toBeUndefined();
    },
  );

  testWithOras(`oras ⇄ ours (${storage}): copies an image with its referrers, and theirs`, async () => {
    const { image, artifact } = contents;
    const note = sbomOf(artifact.root, 'about the sbom');
    await registry.addRef('recursive/from', 'v1', image.root);
    for (const ref of [artifact.root, note]) await registry.addRef('recursive/from', undefined, ref);
    const plain = [...plainHttp(reached, 'from-'), ...plainHttp(reached, 'to-')];
    const [from, to] = [named(reached, 'recursive/from:v1'), named(reached, 'recursive/to:v1')];
    await runOras(reached, 'cp', '--no-tty', '--recursive', ...plain, from, to);
    for (const ref of [artifact.root, note]) {
      const { subject } = (ref as Image).manifest;
      const found = await registry.storage.referrers('recursive/to', subject?.digest ?? image.root.digest);
      expect(found).toMatchObject([{ digest: ref.digest, size: descriptorOf(ref).size }]);
    }
  });

  describe(`L13: Docker's schema 2 (${storage})`, () => {
    const platforms = { image: [], index: ['--all'] };

    test.each(['image', 'index'] as const)('skopeo → ours → skopeo, crane, oras and nx-oci: an %s', async (kind) => {
      const name = `docker/${kind}:v1`;
      const from = `oci:${contents[kind].layout}:latest`;
      const format = ['--format', 'v2s2', ...platforms[kind], tlsVerify(reached, 'dest')];
      await runSkopeo(reached, 'copy', ...format, from, dockerName(reached, name));

      const raw = await runSkopeo(reached, 'inspect', '--raw', tlsVerify(reached), dockerName(reached, name));
      const { mediaType } = JSON.parse(raw);
      expect(mediaType).toMatch(/^application\/vnd\.docker\.distribution\.manifest\./);
      const digest = digestOf(Buffer.from(raw));
      for (const { pull, isHere } of [crane, oras]) {
        if (isHere) expect(await rootOf(await pull(reached, name, kind))).toBe(digest);
      }
      const layout = newPath();
      await ours('pull', named(reached, name), `${layout}:latest`);
      expect(await rootOf(layout)).toBe(digest);
      expect(await configsOf(layout)).toEqual(await configsOf(contents[kind].layout));

      await ours('push', layout, named(reached, `${name}-again`));
      const directory = newPath();
      const copying = ['copy', ...platforms[kind], '--preserve-digests', tlsVerify(reached, 'src')];
      await runSkopeo(reached, ...copying, dockerName(reached, `${name}-again`), `dir:${directory}`);
      expect(await succeed('cat', [join(directory, 'manifest.json')])).toBe(raw);
    });

    testWithCrane(`nx-oci → ours → crane: an index that nx-oci converted`, async () => {
      const name = 'docker/converted:v1';
      await ours('push', '--format', 'docker', contents.index.layout, named(reached, name));
      expect(await runCrane(reached, 'validate', '--remote', named(reached, name))).toContain('PASS');
      const { mediaType } = JSON.parse(await runCrane(reached, 'manifest', named(reached, name)));
      expect(mediaType).toBe('application/vnd.docker.distribution.manifest.list.v2+json');
    });
  });

  test(`umoci and runc ← skopeo ← ours (${storage}): the image runs`, async () => {
    await registry.addRef('running', 'v1', contents.index.root);
    const layout = newPath();
    const picked = ['--override-arch', 'amd64', 'copy', tlsVerify(reached, 'src')];
    await runSkopeo(reached, ...picked, dockerName(reached, 'running:v1'), `oci:${layout}:v1`);
    expect(await runContainer(await unpack(`${layout}:v1`))).toBe('Hello from linux/amd64\n');
  });
});

describe('M14: ours (directory): the storage is layouts', () => {
  const restarted = async (storage: string, check: (registry: Registry, reached: Reached) => Promise<void>) => {
    const registry = await startRegistry({ storage });
    try {
      await check(registry, reach({ host: registry.host, isSecure: false }));
    } finally {
      await registry.close();
    }
  };

  for (const program of programs) {
    testWith(program)(
      `${program.name} → ours → skopeo and umoci: they read what was pushed, while we run`,
      async () => {
        const storage = join(temporaryDirectory(), 'storage');
        await restarted(storage, async (_, reached) => {
          await program.push(reached, contents.index, 'team/os:v1');
          await program.push(reached, contents.image, 'team/os:one');
          const copy = newPath();
          const layout = join(storage, 'team+os');
          await runSkopeo(reached, 'copy', '--all', '--preserve-digests', `oci:${layout}:v1`, `oci:${copy}:latest`);
          expect(await configsOf(copy)).toEqual(await configsOf(contents.index.layout));
          if (program.keepsManifests) expect(await rootOf(copy)).toBe(contents.index.root.digest);
          expect((await umoci('list', '--layout', layout)).trim().split('\n').sort()).toEqual(['one', 'v1']);
          expect(await runContainer(await unpack(`${layout}:one`))).toBe('Hello from linux/amd64\n');
          await ours('verify', layout);
        });
      },
    );
  }

  test('skopeo, umoci → the storage while we do not run → ours → skopeo: it is served after a restart', async () => {
    const storage = join(temporaryDirectory(), 'storage');
    await restarted(storage, async (_, reached) => {
      await skopeo.push(reached, contents.image, 'team/os:v1');
    });
    for (const added of ['team+os:added', 'new:v1']) {
      const ends = [`oci:${contents.index.layout}:latest`, `oci:${join(storage, added)}`];
      await succeed('skopeo', ['--insecure-policy', 'copy', '--all', '--preserve-digests', ...ends]);
    }
    await umoci('tag', '--image', `${join(storage, 'team+os')}:v1`, 'again');
    await restarted(storage, async (registry, reached) => {
      expect(await registry.storage.repositories()).toEqual(['new', 'team/os']);
      expect(await skopeo.tags(reached, 'team/os')).toEqual(['added', 'again', 'v1']);
      for (const name of ['team/os:added', 'new:v1']) {
        expect(await rootOf(await skopeo.pull(reached, name, 'index'))).toBe(contents.index.root.digest);
      }
      expect(await rootOf(await skopeo.pull(reached, 'team/os:again', 'image'))).toBe(contents.image.root.digest);
    });
  });
});

test('M18: skopeo, crane ⇄ nx-oci serve (directory, https, basic): a layout, and what was pushed before a restart', async () => {
  const storage = join(temporaryDirectory(), 'storage');
  const serve = () => startServe(`${contents.index.layout}:latest=os:v1`, '--storage', storage);
  const pushers = [skopeo, ...(hasCrane ? [crane] : [])];
  const first = await serve();
  for (const program of pushers) {
    const reached = reach(first);
    await program.login(reached);
    expect(await rootOf(await program.pull(reached, 'os:v1', 'index'))).toBe(contents.index.root.digest);
    await program.push(reached, contents.image, `pushed/${program.name}:v1`);
  }
  await first.close();
  const second = await serve();
  const reached = reach(second);
  await skopeo.login(reached);
  for (const { name } of pushers) {
    const pulled = await skopeo.pull(reached, `pushed/${name}:v1`, 'image');
    expect(await rootOf(pulled)).toBe(contents.image.root.digest);
  }
  await second.close();
});

async function discovered(reached: Reached, name: string, ...flags: string[]): Promise<{ digest: string }[]> {
  const args = ['--format', 'json', ...plainHttp(reached), ...flags, named(reached, name)];
  return JSON.parse(await runOras(reached, 'discover', ...args)).referrers;
}

async function attach(reached: Reached, name: string, type: string, file: string): Promise<void> {
  const args = ['attach', '--no-tty', ...plainHttp(reached), '--artifact-type', type, named(reached, name)];
  await succeed('oras', [...args, basename(file)], { cwd: dirname(file), env: oras.environment(reached) });
}
