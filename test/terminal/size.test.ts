import { expect, test } from '@jest/globals';
import { formatSize } from '../../src/terminal/size';

test.each([
  [0, '0 B'],
  [1, '1 B'],
  [999, '999 B'],
  [1000, '1.0 kB'],
  [99_949, '99.9 kB'],
  [99_950, '100 kB'],
  [1_500_000, '1.5 MB'],
  [123_456_789, '123 MB'],
  [2.5e9, '2.5 GB'],
  [7e12, '7.0 TB'],
  [3e15, '3000 TB'],
])('formatSize(%i) is %j', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text);
});
