import { describe, expect, test } from '@jest/globals';
import { type Pack, pack } from 'tar-stream';
import type { LayerEntry } from '../../src';
import { tarHeader } from '../../src/layer/tar-header';
import { collect } from '../fixtures';

const plain: LayerEntry = { name: 'etc/os-release', type: 'file', mode: 0o644, uid: 0, gid: 0 };

/** The header as another program writes it. */
async function byTarStream(entry: LayerEntry, mtime: number): Promise<Buffer> {
  const { type, mode, uid, gid, linkname } = entry;
  const name = type === 'directory' ? `${entry.name}/` : entry.name;
  const stream: Pack = pack();
  // A bit above those that are written: a mode of 0 would be replaced.
  const header = {
    name,
    type,
    mode: mode | 0o10000,
    uid,
    gid,
    mtime: new Date(mtime * 1000),
    ...(linkname && { linkname }),
  };
  stream.entry(header, '');
  stream.finalize();
  const tar = await collect(stream as AsyncIterable<Uint8Array>);
  return tar.subarray(0, tar.length - 1024);
}

const long = (length: number, letter = 'n') => letter.repeat(length);

const names = [
  'a',
  long(99),
  long(100),
  long(101),
  `${long(155, 'p')}/${long(99)}`,
  `${long(154, 'p')}/${long(100)}`,
  `${long(156, 'p')}/x${long(99)}`,
  `${long(60, 'a')}/${long(60, 'b')}/${long(60, 'c')}`,
  `${long(100, 'a')}/${long(100, 'b')}/${long(100, 'c')}/d`,
  'Ελληνικά',
  'é',
  `🚀/${long(98)}`,
];

describe('the header of an entry is what tar-stream writes', () => {
  test.each(names)('a file %s', async (name) => {
    const entry = { ...plain, name };
    expect(Buffer.from(tarHeader(entry, 0))).toEqual(await byTarStream(entry, 0));
  });

  test.each(names)('a directory %s', async (name) => {
    // Of a name that ends in its prefix field tar-stream leaves the other field empty; see tar.test.ts.
    if (name.slice(name.lastIndexOf('/') + 1).length >= 100) return;
    const entry: LayerEntry = { ...plain, type: 'directory', mode: 0o755, name };
    expect(Buffer.from(tarHeader(entry, 0))).toEqual(await byTarStream(entry, 0));
  });

  test.each(names)('a symbolic link and a link to %s', async (linkname) => {
    // A link text of at most 100 bytes is written as it is by tar-stream, whatever is in it.
    for (const type of ['symlink', 'link'] as const) {
      const entry: LayerEntry = { ...plain, type, mode: 0o777, linkname };
      expect(Buffer.from(tarHeader(entry, 0))).toEqual(await byTarStream(entry, 0));
    }
  });

  test.each([
    [0, 0, 0, 0],
    [0o7777, 0o777777, 0o777777, 2 ** 31 - 1],
    [0o4755, 1000, 2000, 1_700_000_000],
  ])('mode %i, owner %i:%i, time %i', async (mode, uid, gid, mtime) => {
    const entry = { ...plain, mode, uid, gid };
    expect(Buffer.from(tarHeader(entry, mtime))).toEqual(await byTarStream(entry, mtime));
  });
});
