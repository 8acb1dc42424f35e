import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { writePayloads } from '../../examples/os/payloads';
import { digestOf } from '../../src';
import { chunkHasher } from '../../src/os-image/chunk-hashes';
import { temporaryDirectory } from '../fixtures';

test('the payloads of examples/os are the same each time, and no two chunks of one are', () => {
  const directories = [temporaryDirectory(), temporaryDirectory()];
  for (const directory of directories) writePayloads(directory);
  const sizes = { 'kernel.efi': 8, system: 192 };
  for (const architecture of ['amd64', 'arm64']) {
    for (const [name, mebibytes] of Object.entries(sizes)) {
      const [one, other] = directories.map((directory) => join(directory, `linux-${architecture}`, name)) as [
        string,
        string,
      ];
      expect(statSync(one).size).toBe(mebibytes * 1024 * 1024);
      const bytes = readFileSync(one);
      expect(digestOf(readFileSync(other))).toBe(digestOf(bytes));
      const hasher = chunkHasher(1024 * 1024);
      hasher.update(bytes);
      expect(new Set(hasher.hashes()).size).toBe(mebibytes);
    }
  }
});
