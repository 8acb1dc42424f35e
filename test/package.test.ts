import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import * as source from '../src';
import { type Finished, repository, run, temporaryDirectory, writeFiles } from './fixtures';

const names = 'createLayout, readLayout, readLayoutIndex, newRef, asImage, walkRefs, writeTree, verifyLayout';

/** What a user's program does with the package: an image from scratch, to disk, and back. */
const program = `
  const { digest } = emptyManifest('application/vnd.example.thing');
  main().catch((error) => { console.error(error); process.exitCode = 1; });
  async function main() {
    await writeTree(await createLayout(emptyManifest('application/vnd.example.thing')), 'out');
    const ref = await readLayout('out');
    const visited = [];
    await walkRefs(await readLayoutIndex('out'), (visit) => { visited.push(visit.kind); });
    const again = newRef(ref.rawManifest, ref.mediaType, ref.digest, ref.blobs);
    const { problems } = await verifyLayout('out');
    console.log(JSON.stringify({ same: digest === asImage(again).digest, visited, problems, all: Object.keys(all) }));
  }
`;

/** The same for the compiler; each @ts-expect-error fails where it finds types that are anything. */
const typed = `
  export async function main(path: string): Promise<Digest> {
    const tree: Tree = await createLayout(await readLayout(path, { tag: 'v1' }), { tag: 'v2' });
    await writeTree(tree, path);
    const ref: Ref = newRef(new Uint8Array(), 'a/b', undefined, (await readLayoutIndex(path)).blobs);
    await walkRefs(ref, (visited) => { if (visited.kind === 'index') visited.children(); });
    const layers: readonly Descriptor[] = asImage(ref).manifest.layers;
    // @ts-expect-error
    const size: string = layers[0].size;
    // @ts-expect-error
    (await verifyLayout(path)).problem;
    return ref.digest;
  }
`;
const types = 'type Descriptor, type Digest, type Ref, type Tree';

const user = writeFiles(temporaryDirectory(), {
  'package.json': JSON.stringify({ name: 'user', private: true, type: 'module' }),
  'esm/main.mjs': `import { ${names}, emptyManifest } from 'nx-oci';\nimport * as all from 'nx-oci';\n${program}`,
  'cjs/main.cjs': `const { ${names}, emptyManifest } = require('nx-oci');\nconst all = require('nx-oci');\n${program}`,
  'main.mts': `import { ${names}, ${types} } from 'nx-oci';\n${typed}`,
  'main.cts': `import { ${names}, ${types} } from 'nx-oci';\n${typed}`,
  'main.ts': `import { ${names}, ${types} } from 'nx-oci';\n${typed}`,
});
symlinkSync(join(repository, 'node_modules'), join(user, 'node_modules'));

describe.each(['esm/main.mjs', 'cjs/main.cjs'])('a program (%s)', (file) => {
  test('uses the library', async () => {
    const { code, stdout, stderr } = await run(process.execPath, [join(user, file)], { cwd: join(user, file, '..') });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { all, ...result } = JSON.parse(stdout);
    expect(result).toEqual({ same: true, visited: ['image', 'index'], problems: [] });
    expect(all).toEqual(expect.arrayContaining(Object.keys(source)));
  });
});

describe('a program in TypeScript', () => {
  const compilers = [
    { module: 'node16', files: ['main.mts', 'main.cts'] },
    { module: 'nodenext', files: ['main.mts', 'main.cts'] },
    { module: 'esnext', moduleResolution: 'bundler', files: ['main.ts'] },
  ];
  let compiled: Finished[];
  beforeAll(async () => {
    const common = { strict: true, noEmit: true, skipLibCheck: true, types: [], lib: ['es2022'], target: 'es2022' };
    const compile = ({ files, ...options }: (typeof compilers)[number], position: number) => {
      const compilerOptions = { ...common, ...options };
      writeFiles(user, { [`tsconfig.${position}.json`]: JSON.stringify({ compilerOptions, files }) });
      const tsc = join(repository, 'node_modules/typescript/bin/tsc');
      return run(process.execPath, [tsc, '-p', join(user, `tsconfig.${position}.json`)]);
    };
    compiled = await Promise.all(compilers.map(compile));
  }, 60_000);

  test.each(compilers.map(({ module, files }, position) => ({ module, files, position })))(
    'finds the types with module $module ($files)',
    ({ position }) => {
      expect(compiled[position]).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
    },
  );
});

test('each path that package.json names is there', () => {
  const manifest = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8'));
  const { main, types: declarations, bin, exports, executors, generators } = manifest;
  const strings = (value: unknown): string[] =>
    typeof value === 'string' ? [value] : Object.values(value as object).flatMap(strings);
  const paths = strings([main, declarations, bin, exports, executors, generators]);
  expect(paths.length).toBeGreaterThan(8);
  expect(paths.filter((path) => !existsSync(join(repository, path)))).toEqual([]);
});
