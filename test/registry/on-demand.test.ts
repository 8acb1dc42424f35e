import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, test } from '@jest/globals';
import { repository, run } from '../fixtures';

/** What the package loads when it is required, by paths in the repository. */
async function loadedBy(code: string): Promise<string[]> {
  const library = JSON.stringify(join(repository, 'lib/src'));
  const print = 'process.stdout.write(JSON.stringify(Object.keys(require.cache)))';
  const {
    code: exitCode,
    stdout,
    stderr,
  } = await run(process.execPath, ['-e', `const nxOci = require(${library}); ${code}; ${print}`]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return (JSON.parse(stdout) as string[]).map((file) => relative(repository, file));
}

/** What takes time to load, and what Jest can't load before Node 24.9. */
const heavy =
  /^lib\/src\/(?:registry\/(?:client|server\/(?:start-registry|handler|authentication))|credentials\/)|^node_modules\/(?:bcryptjs|https?-proxy-agent|@noble)\//;

test('who requires the library loads neither registry nor client', async () => {
  const loaded = await loadedBy('');
  expect(loaded).toContain('lib/src/registry/on-demand.js');
  expect(loaded.filter((file) => heavy.test(file))).toEqual([]);
});

test.each([
  ['nxOci.startRegistry().then(({ close }) => close())', 'lib/src/registry/server/start-registry.js'],
  ['nxOci.registryClient()', 'lib/src/registry/client.js'],
  ['nxOci.findCredentials({}, "/home")', 'lib/src/credentials/find-credentials.js'],
  ['nxOci.digestOf(new Uint8Array(), "blake3")', 'node_modules/@noble/hashes/blake3.js'],
])('%s loads what it needs', async (code, file) => {
  expect(await loadedBy(code)).toContain(file);
});

test('nothing is loaded by import(), which Jest refuses a package', () => {
  const library = join(repository, 'lib/src');
  const files = readdirSync(library, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'));
  expect(files.length).toBeGreaterThan(100);
  // Comments, and programs of threads, which Jest does not run.
  const besides = /\/\*.*?\*\/|`[^`]*`|\/\/[^\n]*/gs;
  const code = (file: string) => readFileSync(join(library, file), 'utf8').replace(besides, '');
  expect(files.filter((file) => /\bimport\(/.test(code(file)))).toEqual([]);
});
