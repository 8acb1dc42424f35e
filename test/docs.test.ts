import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { codeBlocks, repository, run, writeFiles } from './fixtures';

/** Below the repository, so that `nx-oci` is found as it is from a user's project. */
const directory = join(repository, 'node_modules/.cache/nx-oci-docs');
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('the examples of docs/library.md and docs/testing.md are correct TypeScript', async () => {
  const examples = ['library', 'testing'].flatMap((page) => codeBlocks(`docs/${page}.md`, 'ts'));
  expect(examples.length).toBeGreaterThan(10);
  const files = examples.map((code, position) => [
    `example-${position}.mts`,
    // The example of an artifact takes its bytes from the reader's program.
    code.includes('(sbom)') ? `${code}\ndeclare const sbom: AsyncIterable<Uint8Array>;\n` : code,
  ]);
  writeFiles(directory, {
    ...Object.fromEntries(files),
    'tsconfig.json': JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        types: ['node'],
        strict: true,
        noEmit: true,
        skipLibCheck: true,
      },
      include: ['*.mts'],
    }),
  });
  const checked = await run(process.execPath, [join(repository, 'node_modules/typescript/bin/tsc'), '-p', directory]);
  expect(checked).toMatchObject({ stdout: '', code: 0 });
});
