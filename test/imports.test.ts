import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { repository } from './fixtures';

/** The floors of the house, the lowest first. A room imports from its own floor and below. */
const floors: readonly (readonly string[])[] = [
  ['src/errors.ts', 'src/digest.ts', 'src/compression.ts', 'src/compression/', 'src/concurrency.ts'],
  ['src/spec/', 'src/blob.ts', 'src/hashing.ts', 'src/hashing-threads.ts'],
  ['src/ref.ts', 'src/tree.ts'],
  [
    'src/layer/',
    'src/image.ts',
    'src/image-index.ts',
    'src/artifact.ts',
    'src/os-image/',
    'src/convert.ts',
    'src/recompress.ts',
  ],
  ['src/layout/', 'src/store/', 'src/registry/', 'src/credentials/'],
  ['src/actions/', 'src/diff/'],
  ['src/terminal/', 'src/nx/', 'src/cli.ts', 'src/cli/', 'src/index.ts', 'executors/', 'generators/'],
];

function floorOf(file: string): number {
  return floors.findIndex((rooms) =>
    rooms.some((room) => (room.endsWith('/') ? file.startsWith(room) : file === room)),
  );
}

function sources(folder: string): string[] {
  return readdirSync(join(repository, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => join(folder, name));
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(repository, file), 'utf8');
  return [...text.matchAll(/\b(?:from|import|require)\s*\(?\s*'([^']+)'/g)].map(([, name]) => name as string);
}

const files = [...sources('src'), ...sources('executors'), ...sources('generators')];

describe('the house', () => {
  test.each(files)('%s stands on a floor and imports only downward', (file) => {
    const floor = floorOf(file);
    expect({ file, floor }).toEqual({ file, floor: expect.any(Number) });
    expect(floor).toBeGreaterThanOrEqual(0);
    for (const name of importsOf(file).filter((name) => name.startsWith('.'))) {
      const imported = `${relative(repository, join(repository, dirname(file), name))}.ts`;
      expect({ file, imported, floor: floorOf(imported) <= floor && floorOf(imported) >= 0 }).toEqual({
        file,
        imported,
        floor: true,
      });
    }
  });

  test('only the rooms of Nx know Nx', () => {
    const knowing = files.filter((file) => importsOf(file).some((name) => name.startsWith('@nx/')));
    expect(knowing.filter((file) => !file.startsWith('src/nx/') && !file.startsWith('executors/'))).toEqual([]);
    expect(knowing).not.toEqual([]);
  });
});
