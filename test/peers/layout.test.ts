import { chmodSync, cpSync, linkSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { hello } from '../../examples/os/hello';
import { processors } from '../../examples/os/processors';
import { mediaTypes } from '../../src';
import { repository, temporaryDirectory, writeFiles } from '../fixtures';
import { fileTree } from './file-tree';
import { buildImage, runContainer, skopeo, succeed, tar, umoci, unpack, verify } from './programs';

const architectures = Object.keys(processors) as (keyof typeof processors)[];
const program = hello('amd64');

describe('the image of examples/os', () => {
  const directory = join(temporaryDirectory(), 'os');
  const layout = join(directory, 'image');

  beforeAll(async () => {
    await succeed('npx', ['nx', 'run', 'os:image'], { cwd: repository, env: { NX_DAEMON: 'false' } });
    cpSync(join(repository, 'dist/examples/os'), directory, { recursive: true, verbatimSymlinks: true });
  });

  test.each(architectures)(
    'skopeo finds the digest and the platform of %s that index.json says',
    async (architecture) => {
      const { Digest, Architecture, Os } = JSON.parse(await skopeo('inspect', image(architecture)));
      const { manifests } = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8'));
      const listed = manifests.find(({ platform }: { platform: object }) => isFor(platform, architecture));
      expect({ Digest, Architecture, Os }).toEqual({ Digest: listed.digest, Architecture: architecture, Os: 'linux' });
    },
  );

  test.each(architectures)('skopeo picks %s by platform', async (architecture) => {
    const found = await skopeo('inspect', '--override-arch', architecture, '--override-os', 'linux', `oci:${layout}`);
    expect(JSON.parse(found)).toMatchObject({ Architecture: architecture });
  });
});
