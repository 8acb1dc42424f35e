import { execFileSync } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { writeRootfs } from '../../examples/os/rootfs.js';

const directory = mkdtempSync(join(tmpdir(), 'os-'));
const rootfs = join(directory, 'rootfs');
const amd64 = join(rootfs, 'linux-amd64');

beforeAll(() => writeRootfs(rootfs));
afterAll(() => rmSync(directory, { recursive: true }));

describe.each([
  ['amd64', 'x64', 62],
  ['arm64', 'arm64', 183],
])('hello for %s', (architecture, nodeArchitecture, machine) => {
  const path = join(rootfs, `linux-${architecture}`, 'bin/hello');
  const runsHere = process.platform === 'linux' && process.arch === nodeArchitecture;

  test('is an ELF64 executable', () => {
    const elf = readFileSync(path);
    const programHeader = elf.subarray(64);
    expect({
      magic: elf.toString('latin1', 0, 4),
      class: elf.readUInt8(4),
      type: elf.readUInt16LE(16),
      machine: elf.readUInt16LE(18),
      entry: elf.readBigUInt64LE(24),
      segments: elf.readUInt16LE(56),
    }).toEqual({ magic: '\x7fELF', class: 2, type: 2, machine, entry: 0x400078n, segments: 1 });
    expect({
      type: programHeader.readUInt32LE(0),
      flags: programHeader.readUInt32LE(4),
      offset: programHeader.readBigUInt64LE(8),
      address: programHeader.readBigUInt64LE(16),
      size: programHeader.readBigUInt64LE(32),
      alignment: programHeader.readBigUInt64LE(48),
    }).toEqual({ type: 1, flags: 5, offset: 0n, address: 0x400000n, size: BigInt(elf.length), alignment: 0x10000n });
  });

  (runsHere ? test : test.skip)('prints its platform', () => {
    expect(execFileSync(path, { encoding: 'utf8' })).toBe(`Hello from linux/${architecture}\n`);
  });
});

test.each([
  ['bin/hello', 'file 755'],
  ['bin/hi', 'symlink to hello'],
  ['etc/os-release', 'file 644'],
  ['etc/passwd', 'file 644'],
  ['etc/group', 'file 644'],
  ['share/count-readings', 'file 755'],
  ['share/latest', 'symlink to readings/station-29'],
  ['share/dangling', 'symlink to no-such-file'],
  ['share/program', 'symlink to ../../bin/hello'],
  ['share/empty', 'directory 755'],
  ['share/names/a name with spaces.txt', 'file 644'],
  ['share/names/Ελληνικά/καλημέρα.txt', 'file 644'],
  ['share/names/日本語/こんにちは.txt', 'file 644'],
  ['share/names/emoji/🌍🚀.txt', 'file 644'],
])('%s: %s', (path, description) => {
  expect(describeEntry(join(amd64, path))).toBe(description);
});

test('has an empty directory', () => {
  expect(readdirSync(join(amd64, 'share/empty'))).toEqual([]);
});

test('has 3,000 readings in 30 directories', () => {
  const paths = pathsBelow(join(amd64, 'share/readings'));
  expect(paths.filter((path) => path.endsWith('.csv'))).toHaveLength(3000);
  expect(paths.filter((path) => !path.endsWith('.csv'))).toHaveLength(30);
});

test('has paths of over 100, 155 and 255 bytes, and a name of 200', () => {
  const lengths = pathsBelow(join(amd64, 'share/names')).map((path) => Buffer.byteLength(path));
  for (const limit of [100, 155, 255]) {
    expect(lengths.some((length) => length > limit && length < limit + 50)).toBe(true);
  }
  expect(readdirSync(join(amd64, 'share/names')).map((name) => Buffer.byteLength(name))).toContain(200);
});

test('writes the same again, whatever the umask and what was there', () => {
  const again = join(directory, 'again');
  mkdirSync(join(again, 'linux-amd64/left-over'), { recursive: true });
  const umask = process.umask(0o077);
  try {
    writeRootfs(again);
  } finally {
    process.umask(umask);
  }
  expect(snapshot(again)).toEqual(snapshot(rootfs));
});

test('differs between the platforms in bin/hello only', () => {
  const one = snapshot(amd64);
  const other = snapshot(join(rootfs, 'linux-arm64'));
  expect(Object.keys(other)).toEqual(Object.keys(one));
  expect(Object.keys(one).filter((path) => one[path] !== other[path])).toEqual(['bin/hello']);
});

/** Every path with the type, mode and content of what is there. */
function snapshot(root: string): Record<string, string> {
  return Object.fromEntries(
    pathsBelow(root).map((path) => {
      const entry = join(root, path);
      const content = lstatSync(entry).isFile() ? readFileSync(entry, 'latin1') : '';
      return [path, `${describeEntry(entry)}\n${content}`];
    }),
  );
}

function pathsBelow(root: string): string[] {
  return readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
}

function describeEntry(path: string): string {
  const stat = lstatSync(path);
  if (stat.isSymbolicLink()) return `symlink to ${readlinkSync(path)}`;
  return `${stat.isDirectory() ? 'directory' : 'file'} ${(stat.mode & 0o777).toString(8)}`;
}
