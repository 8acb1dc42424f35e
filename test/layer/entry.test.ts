import { describe, expect, test } from '@jest/globals';
import { LayerSourceError } from '../../src';
import { compareNames, entryName, rejectWhiteout } from '../../src/layer/entry';

describe('compareNames', () => {
  test.each([
    [
      ['a/b', 'a.b', 'a-b', 'a', 'a0'],
      ['a', 'a-b', 'a.b', 'a/b', 'a0'],
    ],
    [
      ['é', 'f', 'z', 'e'],
      ['e', 'f', 'z', 'é'],
    ],
    [
      ['b', 'B', 'a', 'A'],
      ['A', 'B', 'a', 'b'],
    ],
    // U+1F30D is written with surrogates (D83C DF0D), which are less than U+FF21 in UTF-16 and more in UTF-8.
    [
      ['🌍', 'Ａ', '\ue000'],
      ['\ue000', 'Ａ', '🌍'],
    ],
    [
      ['x🌍', 'xＡ', 'x'],
      ['x', 'xＡ', 'x🌍'],
    ],
  ])('sorts %j as bytes do', (names, sorted) => {
    expect([...names].sort(compareNames)).toEqual(sorted);
    expect([...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))).toEqual(sorted);
  });

  test('takes the same name for the same', () => {
    expect(compareNames('a/é', 'a/é')).toBe(0);
  });
});

describe('entryName', () => {
  test.each([
    ['/', ''],
    ['', ''],
    ['.', ''],
    ['/etc/passwd', 'etc/passwd'],
    ['./a//b/./c/', 'a/b/c'],
    ['..a/b..', '..a/b..'],
    ['a:b', 'a:b'],
  ])('%j lies in a tar file as %j', (path, name) => {
    expect(entryName(path, 'path')).toBe(name);
  });

  test.each(['../x', 'a/../x', '/../x', 'a/..', '..', 'C:\\x', 'C:/x', 'a\\..\\b', '..\\x', 'a\0b'])(
    'ACCEPTANCE 23: %j is refused on every system',
    (path) => {
      const refused = () => entryName(path, 'option "to"');
      expect(refused).toThrow(LayerSourceError);
      expect(refused).toThrow(`option "to": expected a path inside the image`);
      expect(refused).toThrow(`found ${JSON.stringify(path)}`);
    },
  );
});

describe('rejectWhiteout', () => {
  test.each([
    ['.wh.passwd', '.wh.passwd'],
    ['etc/.wh.passwd', '.wh.passwd'],
    ['etc/.wh..wh..opq', '.wh..wh..opq'],
    ['.wh.etc/passwd', '.wh.etc'],
  ])('ACCEPTANCE 24: %j is refused', (name, whiteout) => {
    const refused = () => rejectWhiteout(name, '/source/file');
    expect(refused).toThrow(LayerSourceError);
    expect(refused).toThrow(`/source/file: expected a file name that does not begin with ".wh."`);
    expect(refused).toThrow(JSON.stringify(whiteout));
  });

  test.each(['wh.x', '.whx', 'a.wh.x', '.w/h.x'])('%j is no whiteout', (name) => {
    expect(() => rejectWhiteout(name, '/source')).not.toThrow();
  });
});
