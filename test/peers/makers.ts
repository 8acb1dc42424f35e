import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { hello } from '../../examples/os/hello';
import { type Architecture, architectures } from '../../examples/os/processors';
import type { Platform } from '../../src';
import { temporaryDirectory, writeFiles } from '../fixtures';
import { hasOras, newBuildah, oras, skopeo, umoci } from './programs';

/** A manifest as an index lists it. */
export interface Listed {
  readonly digest: string;
  readonly platform: Platform;
}

/** Another program that makes and reads indexes. */
export interface Maker {
  readonly name: string;
  /** Makes a layout with the tag `latest` on an index with an image for each architecture. */
  make(): Promise<string>;
  /** What the program finds in an index, once it has copied everything behind it. */
  read(layout: string, tag: string): Promise<Listed[]>;
}

/** Where a new layout may be made. */
export const newPath = () => join(temporaryDirectory(), 'layout');

/** Images that umoci made, tagged with their architectures: each a program that runs without anything else. */
export async function umociImages(): Promise<string> {
  const layout = newPath();
  await umoci('init', '--layout', layout);
  for (const architecture of architectures) {
    const image = ['--image', `${layout}:${architecture}`];
    await umoci('new', ...image);
    await umoci('insert', ...image, programFiles(architecture), '/usr/bin');
    const platform = ['--architecture', architecture, '--os', 'linux'];
    await umoci('config', ...image, ...platform, '--config.entrypoint', '/usr/bin/hello');
  }
  return layout;
}

/** An index that buildah made, in the format of OCI or of Docker, of images that it made. */
export async function buildahIndex(format: 'oci' | 'v2s2'): Promise<string> {
  const buildah = newBuildah();
  const layout = newPath();
  const list = await created(buildah('manifest', 'create', 'list'));
  for (const architecture of architectures) {
    const container = await created(buildah('from', '--arch', architecture, 'scratch'));
    await buildah('copy', '--quiet', container, programFiles(architecture), '/usr/bin');
    await buildah('config', '--os', 'linux', '--arch', architecture, '--entrypoint', '["/usr/bin/hello"]', container);
    const image = `oci:${newPath()}:image`;
    await buildah('commit', '--quiet', '--disable-compression=false', container, image);
    await buildah('manifest', 'add', list, image);
  }
  await buildah('manifest', 'push', '--quiet', '--all', '--format', format, list, `oci:${layout}:latest`);
  return layout;
}

export const buildahMaker: Maker = {
  name: 'buildah',
  make: () => buildahIndex('oci'),
  read: async (layout, tag) => {
    const buildah = newBuildah();
    const list = await created(buildah('manifest', 'create', 'list'));
    await buildah('manifest', 'add', '--all', list, `oci:${layout}:${tag}`);
    await buildah('manifest', 'push', '--quiet', '--all', list, `oci:${newPath()}:copy`);
    return listedIn(await buildah('manifest', 'inspect', list));
  },
};

export const makers: readonly Maker[] = [
  {
    name: 'skopeo',
    make: async () => {
      const layout = newPath();
      // Debian's skopeo finds Docker's media types in a layout only without a tag.
      await skopeo('copy', '--all', '--format', 'oci', `oci:${await buildahIndex('v2s2')}`, `oci:${layout}:latest`);
      return layout;
    },
    read: async (layout, tag) => {
      const copy = `oci:${newPath()}:copy`;
      await skopeo('copy', '--all', '--preserve-digests', `oci:${layout}:${tag}`, copy);
      return listedIn(await skopeo('inspect', '--raw', copy));
    },
  },
  buildahMaker,
  ...(hasOras ? [orasMaker()] : []),
];

function orasMaker(): Maker {
  return {
    name: 'oras',
    make: async () => {
      const layout = newPath();
      const images = await umociImages();
      for (const architecture of architectures) {
        await oras(
          'cp',
          '--from-oci-layout',
          `${images}:${architecture}`,
          '--to-oci-layout',
          `${layout}:${architecture}`,
        );
      }
      await oras('manifest', 'index', 'create', '--oci-layout', `${layout}:latest`, ...architectures);
      return layout;
    },
    read: async (layout, tag) => {
      const copy = `${newPath()}:copy`;
      await oras('cp', '--from-oci-layout', `${layout}:${tag}`, '--to-oci-layout', copy);
      return listedIn(await oras('manifest', 'fetch', '--oci-layout', copy));
    },
  };
}

/** The digests and platforms in an index, in the order of the digests. */
export function listedIn(index: string): Listed[] {
  const { manifests } = JSON.parse(index) as { manifests: Listed[] };
  return manifests.map(({ digest, platform }) => ({ digest, platform })).sort((a, b) => (a.digest < b.digest ? -1 : 1));
}

/** The name of what buildah made, which it prints. */
async function created(printed: Promise<string>): Promise<string> {
  return (await printed).trim();
}

function programFiles(architecture: Architecture): string {
  const directory = join(temporaryDirectory(), 'bin');
  mkdirSync(directory);
  writeFiles(directory, { hello: hello(architecture) });
  for (const path of [directory, join(directory, 'hello')]) chmodSync(path, 0o755);
  return directory;
}
