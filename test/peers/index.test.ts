import { cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { type Architecture, architectures } from '../../examples/os/processors';
import { type Descriptor, mediaTypes } from '../../src';
import { repository, temporaryDirectory, writeFiles } from '../fixtures';
import { buildahIndex, buildahMaker, type Listed, listedIn, makers, newPath, umociImages } from './makers';
import { hasOras, oras, ours, runContainer, skopeo, succeed, umoci, unpack, verify } from './programs';

const platforms = architectures.map((architecture) => ({ architecture, os: 'linux' }));

const testWithOras = hasOras ? test : test.skip;
const describeWithOras = hasOras ? describe : describe.skip;

describe.each(makers)('an index that $name made', ({ make, read }) => {
  let made: string;
  beforeAll(async () => {
    made = await make();
  });

  test('is verified and inspected', async () => {
    await verify(made);
    const instances = await inspectedIndex(`${made}:latest`);
    expect(instances.map(({ platform }) => platform)).toEqual(expect.arrayContaining(platforms));
    expect(instances).toHaveLength(platforms.length);
    expect(await read(made, 'latest')).toEqual(instances);
  });

  test('is tagged anew and untagged', async () => {
    const layout = copyOf(made);
    const before = await read(layout, 'latest');
    await ours('tag', layout, 'latest', 'v1');
    await ours('untag', layout, 'latest');
    await verify(layout);
    expect(await read(layout, 'v1')).toEqual(before);
    await expect(read(layout, 'latest')).rejects.toThrow(/no descriptor found for reference|not found/);
  });

  test('L8, L10: is annotated, loses an instance and gets another one', async () => {
    const layout = copyOf(made);
    const index = `${layout}:latest`;
    const [amd64, arm64] = await instances(made);
    await ours('index', 'annotate', index, 'linux/arm64', '--variant', 'v8', '--annotation', 'note=edited');
    await ours('index', 'remove', index, 'linux/amd64');
    const annotated: Listed = { ...(arm64 as Listed), platform: { architecture: 'arm64', os: 'linux', variant: 'v8' } };
    expect(await read(layout, 'latest')).toEqual([annotated]);
    const { manifests } = JSON.parse(await skopeo('inspect', '--raw', `oci:${index}`));
    expect(manifests).toMatchObject([{ annotations: { note: 'edited' } }]);

    await ours('index', 'add', index, `${made}:latest`, '--platform', 'linux/amd64');
    await verify(layout);
    expect(await read(layout, 'latest')).toEqual(byDigest([annotated, amd64 as Listed]));
  });

  test('L1, L6: gives its instances to an index of ours', async () => {
    const layout = newPath();
    await ours('index', 'create', `${layout}:empty`);
    await ours('index', 'add', `${layout}:empty`, `${made}:latest`, '--all');
    await ours('index', 'create', `${layout}:full`, `${made}:latest`, '--all');
    await verify(layout);
    for (const tag of ['empty', 'full']) expect(await read(layout, tag)).toEqual(await read(made, 'latest'));
  });

  test('is copied and cloned, byte for byte', async () => {
    const [copy, clone] = [newPath(), newPath()];
    await ours('copy', `${made}:latest`, `${copy}:kept`);
    await ours('clone', made, clone);
    const raw = await skopeo('inspect', '--raw', `oci:${made}:latest`);
    expect(await skopeo('inspect', '--raw', `oci:${copy}:kept`)).toBe(raw);
    expect(readFileSync(join(clone, 'index.json'))).toEqual(readFileSync(join(made, 'index.json')));
    for (const [layout, tag] of [
      [copy, 'kept'],
      [clone, 'latest'],
    ] as const) {
      await verify(layout);
      expect(await read(layout, tag)).toEqual(await read(made, 'latest'));
    }
  });

  test('an instance of it is picked, and runs', async () => {
    for (const architecture of architectures) {
      const copy = newPath();
      await ours('copy', `${made}:latest`, `${copy}:one`, '--platform', `linux/${architecture}`);
      await expectToRun(`${copy}:one`, architecture);
    }
  });

  test('is collected after an edit: only the old index goes', async () => {
    const layout = copyOf(made);
    const [old] = (await listed(layout)).filter(({ annotations }) => annotations?.[refName] === 'latest');
    const before = blobsOf(layout);
    const edit = ['annotate', `${layout}:latest`, '--index', '--annotation', 'a=b', '--json'];
    const { digest } = JSON.parse(await ours('index', ...edit));
    const wouldGo = JSON.parse(await ours('gc', layout, '--dry-run', '--json'));
    expect(wouldGo).toMatchObject({ digests: [old?.digest], size: old?.size });
    expect(blobsOf(layout)).toEqual([...before, digest].sort());
    expect(JSON.parse(await ours('gc', layout, '--json'))).toEqual(wouldGo);
    expect(blobsOf(layout)).toEqual([...before.filter((blob) => blob !== old?.digest), digest].sort());
    await verify(layout);
    expect(await read(layout, 'latest')).toEqual(await read(made, 'latest'));
  });
});

describe('images that umoci made', () => {
  let made: string;
  beforeAll(async () => {
    made = await umociImages();
  });

  test('are verified, tagged and untagged; umoci lists the same', async () => {
    const layout = copyOf(made);
    await ours('tag', layout, 'amd64', 'v1');
    await ours('untag', layout, 'amd64');
    await umoci('tag', '--image', `${layout}:arm64`, 'v2');
    await umoci('rm', '--image', `${layout}:arm64`);
    await verify(layout);
    const tags = (await listed(layout)).map(({ annotations }) => annotations?.[refName]);
    expect(tags.sort()).toEqual(['v1', 'v2']);
    expect(lines(await umoci('list', '--layout', layout)).sort()).toEqual(['v1', 'v2']);
    await expectToRun(`${layout}:v1`, 'amd64');
    await expectToRun(`${layout}:v2`, 'arm64');
  });

  test('become an index, of which skopeo picks each', async () => {
    const layout = newPath();
    await ours('index', 'create', `${layout}:latest`, `${made}:amd64`, `${made}:arm64`);
    for (const architecture of architectures) await expectSkopeoToPick(`${layout}:latest`, architecture);
  });

  // umoci picks no platform: an index is to it what it lists, which must be one image.
  test('become an index of one, of which umoci tags and unpacks the image', async () => {
    const layout = newPath();
    await ours('index', 'create', `${layout}:latest`, `${made}:amd64`);
    await umoci('tag', '--image', `${layout}:latest`, 'again');
    await verify(layout);
    const [image] = (await listed(made)).filter(({ annotations }) => annotations?.[refName] === 'amd64');
    expect(await listed(layout)).toMatchObject([
      { mediaType: mediaTypes.imageIndex, annotations: { [refName]: 'latest' } },
      { digest: image?.digest, annotations: { [refName]: 'again' } },
    ]);
    const { history } = JSON.parse(await umoci('stat', '--json', '--image', `${layout}:again`));
    const { history: original } = JSON.parse(await umoci('stat', '--json', '--image', `${made}:amd64`));
    expect(history).toEqual(original);
    await expectToRun(`${layout}:again`, 'amd64');
  });

  test('umoci gc removes what nx-oci gc would', async () => {
    const layout = copyOf(made);
    await ours('index', 'create', `${layout}:latest`, `${made}:amd64`, `${made}:arm64`);
    await ours('index', 'remove', `${layout}:latest`, 'linux/arm64');
    await ours('untag', layout, 'arm64');
    const before = blobsOf(layout);
    const { digests } = JSON.parse(await ours('gc', layout, '--dry-run', '--json'));
    // The first index, umoci's early versions of the images, and the image that nothing names now.
    expect(digests.length).toBeGreaterThan(3);
    const other = copyOf(layout);
    await umoci('gc', '--layout', other);
    await ours('gc', layout);
    expect(blobsOf(other)).toEqual(before.filter((blob) => !digests.includes(blob)));
    expect(blobsOf(layout)).toEqual(blobsOf(other));
    for (const collected of [layout, other]) {
      await verify(collected);
      await expectToRun(`${collected}:amd64`, 'amd64');
    }
  });
});

describe('the index of examples/os', () => {
  const layout = join(temporaryDirectory(), 'index');
  const index = `${layout}:latest`;
  let raw: string;

  beforeAll(async () => {
    const target = ['nx', 'run', 'os:index', '--platforms=linux/amd64,linux/arm64'];
    await succeed('npx', target, { cwd: repository, env: { NX_DAEMON: 'false' } });
    cpSync(join(repository, 'dist/examples/os/index'), layout, { recursive: true });
    raw = await skopeo('inspect', '--raw', `oci:${index}`);
  });

  test('skopeo shows it with its platforms, and copies all of it', async () => {
    const { mediaType, manifests } = JSON.parse(raw);
    expect(mediaType).toBe(mediaTypes.imageIndex);
    expect(manifests.map(({ platform }: Listed) => platform)).toEqual(platforms);
    const copy = newPath();
    await skopeo('copy', '--all', '--preserve-digests', `oci:${index}`, `oci:${copy}:latest`);
    expect((await listed(copy)).map(({ digest }) => digest)).toEqual([digestFile()]);
    await verify(copy);
  });

  test.each(architectures)('skopeo picks %s, and it runs', async (architecture) => {
    await expectSkopeoToPick(index, architecture);
  });

  test('buildah adds all of it to a list, and pushes that on', async () => {
    expect(await buildahMaker.read(layout, 'latest')).toEqual(listedIn(raw));
  });

  testWithOras('oras fetches it, and copies one platform', async () => {
    expect(await oras('manifest', 'fetch', '--oci-layout', index)).toBe(raw);
    for (const { digest, platform } of listedIn(raw)) {
      const copy = newPath();
      const wanted = ['--platform', `${platform.os}/${platform.architecture}`];
      await oras('cp', ...wanted, '--from-oci-layout', index, '--to-oci-layout', `${copy}:one`);
      expect(await listed(copy)).toMatchObject([{ digest, annotations: { [refName]: 'one' } }]);
      await verify(copy);
    }
  });

  test('umoci lists it, and its gc leaves everything', async () => {
    const copy = copyOf(layout);
    expect(await umoci('list', '--layout', copy)).toBe('latest\n');
    await umoci('gc', '--layout', copy);
    expect(blobsOf(copy)).toEqual(blobsOf(layout));
  });

  function digestFile(): string {
    return readFileSync(join(layout, 'digest'), 'utf8');
  }
});

describeWithOras('artifacts', () => {
  const sbom = { type: 'application/spdx+json', file: 'sbom.json', content: '{"spdxVersion":"SPDX-2.3"}\n' };
  const files = writeFiles(temporaryDirectory(), { [sbom.file]: sbom.content, 'notes.txt': 'notes\n' });
  const orasIn = (...args: string[]) => succeed('oras', args, { cwd: files });
  let images: string;

  /** An index of ours in a new layout. */
  const indexed = async (): Promise<string> => {
    const layout = newPath();
    await ours('index', 'create', `${layout}:latest`, `${images}:amd64`, `${images}:arm64`);
    return layout;
  };

  beforeAll(async () => {
    images = await umociImages();
  });

  test('L7: oras pulls what we added to an index, and discovers it as a referrer', async () => {
    const layout = await indexed();
    const subject = (await instances(layout))[0]?.digest as string;
    const about = ['--type', sbom.type, '--layer-type', sbom.type, '--subject', `${layout}@${subject}`];
    const annotations = ['--artifact-annotation', 'by=nx-oci'];
    await ours('index', 'add-artifact', `${layout}:latest`, join(files, sbom.file), ...about, ...annotations);
    await verify(layout);

    // oras names what only a nested index lists by its tag alone.
    await ours('tag', layout, subject, 'subject');
    const [found, ...more] = JSON.parse(await ours('referrers', layout, subject, '--json')) as Descriptor[];
    expect(more).toEqual([]);
    expect(found).toMatchObject({ artifactType: sbom.type, annotations: { by: 'nx-oci' } });
    const { referrers } = JSON.parse(await oras('discover', '--oci-layout', `${layout}:subject`, '--format', 'json'));
    const { digest, mediaType, size, artifactType, annotations: words } = found as Descriptor;
    expect(referrers).toMatchObject([{ digest, mediaType, size, artifactType, annotations: words }]);
    await ours('tag', layout, digest, 'sbom');
    expect(await pulled(`${layout}:sbom`)).toEqual({ [sbom.file]: sbom.content });
  });

  test('O11: what oras attaches to an index of ours, we list as its referrers', async () => {
    const layout = await indexed();
    const attach = (type: string, file: string) =>
      orasIn('attach', '--oci-layout', `${layout}:latest`, '--artifact-type', type, '--annotation', `of=${file}`, file);
    await attach(sbom.type, sbom.file);
    await attach('text/plain', 'notes.txt');
    await verify(layout);

    const discovered = async (...args: string[]) => {
      const { referrers } = JSON.parse(
        await oras('discover', '--oci-layout', `${layout}:latest`, '--format', 'json', ...args),
      );
      return byDigest(referrers.map(wordsOf));
    };
    const listedByUs = async (...args: string[]) =>
      byDigest(JSON.parse(await ours('referrers', layout, 'latest', '--json', ...args)).map(wordsOf));
    const all = await listedByUs();
    expect(all).toHaveLength(2);
    expect(all).toEqual(await discovered());
    const filter = ['--artifact-type', sbom.type];
    expect(await listedByUs(...filter)).toMatchObject([{ artifactType: sbom.type, annotations: { of: sbom.file } }]);
    expect(await listedByUs(...filter)).toEqual(await discovered(...filter));

    await ours('gc', layout);
    expect(await listedByUs()).toEqual(all);
  });

  test('an artifact that oras pushed is verified, tagged, copied and pulled', async () => {
    const layout = newPath();
    const file = `${sbom.file}:${sbom.type}`;
    await orasIn('push', '--oci-layout', `${layout}:sbom`, '--artifact-type', sbom.type, file, 'notes.txt');
    await ours('tag', layout, 'sbom', 'v1');
    await ours('untag', layout, 'sbom');
    const copy = newPath();
    await ours('copy', `${layout}:v1`, `${copy}:copied`);
    for (const [from, tag] of [
      [layout, 'v1'],
      [copy, 'copied'],
    ] as const) {
      await verify(from);
      expect(await listed(from)).toMatchObject([{ artifactType: sbom.type, annotations: { [refName]: tag } }]);
      expect(await oras('repo', 'tags', '--oci-layout', from)).toBe(`${tag}\n`);
      expect(await pulled(`${from}:${tag}`)).toEqual({ [sbom.file]: sbom.content, 'notes.txt': 'notes\n' });
    }
  });

  test('oras copies our layout with its referrers, and we find them in the copy', async () => {
    const layout = await indexed();
    await orasIn('attach', '--oci-layout', `${layout}:latest`, '--artifact-type', sbom.type, sbom.file);
    const copy = newPath();
    await oras('cp', '--recursive', '--from-oci-layout', `${layout}:latest`, '--to-oci-layout', `${copy}:latest`);
    await verify(copy);
    const referrers = await ours('referrers', layout, 'latest', '--json');
    expect(JSON.parse(referrers)).toHaveLength(1);
    expect(await ours('referrers', copy, 'latest', '--json')).toBe(referrers);
  });

  async function pulled(reference: string): Promise<Record<string, string>> {
    const directory = temporaryDirectory();
    await oras('pull', '--oci-layout', reference, '--output', directory);
    return Object.fromEntries(
      readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'utf8')]),
    );
  }
});

describe("L13: Docker's format", () => {
  let list: string;
  let images: string;

  beforeAll(async () => {
    list = await buildahIndex('v2s2');
    images = await umociImages();
  });

  test('a manifest list that buildah made is read, edited, converted, and runs', async () => {
    await verify(list);
    const inspected = JSON.parse(await ours('index', 'inspect', `${list}:latest`, '--json'));
    expect(inspected.mediaType).toBe(mediaTypes.dockerManifestList);
    expect(inspected.instances).toMatchObject(platforms.map(() => ({ mediaType: mediaTypes.dockerManifest })));

    const edited = copyOf(list);
    await ours('index', 'annotate', `${edited}:latest`, 'linux/arm64', '--variant', 'v8', '--features', 'fp,asimd');
    await verify(edited);
    const raw = JSON.parse(await skopeo('inspect', '--raw', `oci:${edited}`));
    expect(raw.mediaType).toBe(mediaTypes.dockerManifestList);
    const platform = { architecture: 'arm64', os: 'linux', variant: 'v8', features: ['fp', 'asimd'] };
    expect(raw.manifests).toContainEqual(expect.objectContaining({ platform }));

    const converted = newPath();
    await ours('copy', '--format', 'oci', `${list}:latest`, `${converted}:latest`);
    await verify(converted);
    expect(await layersOf(`oci:${converted}:latest`)).toEqual(await layersOf(`oci:${list}`));
    for (const architecture of architectures) await expectSkopeoToPick(`${converted}:latest`, architecture);
  });

  test('what we convert is read by skopeo and oras, and comes back with the same layers', async () => {
    const [ociLayout, converted, back] = [newPath(), newPath(), newPath()];
    await ours('index', 'create', `${ociLayout}:latest`, `${images}:amd64`, `${images}:arm64`);
    await ours('copy', '--format', 'docker', `${ociLayout}:latest`, `${converted}:latest`);
    await verify(converted);
    const layers = await layersOf(`oci:${ociLayout}:latest`);

    // Debian's skopeo finds Docker's media types in a layout only without a tag.
    const raw = await skopeo('inspect', '--raw', `oci:${converted}`);
    expect(JSON.parse(raw)).toMatchObject({
      mediaType: mediaTypes.dockerManifestList,
      manifests: platforms.map((platform) => ({ mediaType: mediaTypes.dockerManifest, platform })),
    });
    const directory = `dir:${newPath()}`;
    await skopeo('copy', '--all', '--preserve-digests', `oci:${converted}`, directory);
    expect(await layersOf(directory)).toEqual(layers);
    if (hasOras) expect(await oras('manifest', 'fetch', '--oci-layout', `${converted}:latest`)).toBe(raw);

    await ours('copy', '--format', 'oci', `${converted}:latest`, `${back}:latest`);
    await verify(back);
    expect(await layersOf(`oci:${back}:latest`)).toEqual(layers);
    await expectSkopeoToPick(`${back}:latest`, 'amd64');
  });

  test.each([
    ['docker-archive', mediaTypes.dockerManifest],
    ['oci-archive', mediaTypes.imageManifest],
  ])('%s: what skopeo made is copied, added to an index, and runs', async (transport, mediaType) => {
    const directory = temporaryDirectory();
    const archive = (architecture: Architecture) => join(directory, `${architecture}.tar`);
    for (const architecture of architectures) {
      const to = `${transport}:${archive(architecture)}:os:${architecture}`;
      await skopeo('copy', '--override-arch', architecture, `oci:${images}:${architecture}`, to);
    }
    const layout = newPath();
    await ours('copy', archive('amd64'), `${layout}:copied`);
    expect(await listed(layout)).toMatchObject([{ mediaType, platform: platforms[0] }]);
    await ours('index', 'create', `${layout}:latest`);
    for (const architecture of architectures) await ours('index', 'add', `${layout}:latest`, archive(architecture));
    await verify(layout);
    expect((await instances(layout)).map(({ platform }) => platform)).toEqual(platforms);

    const converted = newPath();
    await ours('copy', '--format', 'oci', `${layout}:latest`, `${converted}:latest`);
    for (const architecture of architectures) await expectSkopeoToPick(`${converted}:latest`, architecture);
  });
});

const refName = 'org.opencontainers.image.ref.name';

/** What index.json lists, as `nx-oci ls` reads it. */
async function listed(layout: string): Promise<Descriptor[]> {
  return JSON.parse(await ours('ls', layout, '--json'));
}

/** What an index lists, as `nx-oci index inspect` reads it, in the order of the digests. */
async function inspectedIndex(reference: string): Promise<Listed[]> {
  const { manifest } = JSON.parse(await ours('index', 'inspect', reference, '--json'));
  return listedIn(JSON.stringify(manifest));
}

/** The instances of the index with the tag `latest`, in the order of the architectures. */
async function instances(layout: string): Promise<Listed[]> {
  const all = await inspectedIndex(`${layout}:latest`);
  return architectures.flatMap((wanted) => all.filter(({ platform }) => platform.architecture === wanted));
}

/** The layers of each platform of an image that skopeo reads. */
async function layersOf(image: string): Promise<string[][]> {
  const inspected = architectures.map((architecture) => skopeo('--override-arch', architecture, 'inspect', image));
  return (await Promise.all(inspected)).map((printed) => JSON.parse(printed).Layers);
}

async function expectSkopeoToPick(index: string, architecture: Architecture): Promise<void> {
  const copy = newPath();
  await skopeo('copy', '--override-arch', architecture, '--preserve-digests', `oci:${index}`, `oci:${copy}:one`);
  const wanted = (await inspectedIndex(index)).find(({ platform }) => platform.architecture === architecture);
  expect(await listed(copy)).toMatchObject([{ digest: wanted?.digest }]);
  await expectToRun(`${copy}:one`, architecture);
}

async function expectToRun(image: string, architecture: Architecture): Promise<void> {
  const bundle = await unpack(image);
  const program = join(bundle.rootfs, 'usr/bin/hello');
  const printed = architecture === 'amd64' ? runContainer(bundle) : succeed('qemu-aarch64-static', [program]);
  expect(await printed).toBe(`Hello from linux/${architecture}\n`);
}

function copyOf(layout: string): string {
  const copy = newPath();
  cpSync(layout, copy, { recursive: true });
  return copy;
}

function blobsOf(layout: string): string[] {
  return readdirSync(join(layout, 'blobs/sha256'))
    .map((name) => `sha256:${name}`)
    .sort();
}

function byDigest<T extends { digest: string }>(all: T[]): T[] {
  return all.sort((a, b) => (a.digest < b.digest ? -1 : 1));
}

function wordsOf({ digest, mediaType, size, artifactType, annotations }: Descriptor) {
  return { digest, mediaType, size, artifactType, annotations };
}

function lines(text: string): string[] {
  return text.trim().split('\n');
}
