import { expect, test } from '@jest/globals';
import { parseLayoutReference } from '../../src/layout/reference';

test.each([
  ['dist/os/image', { path: 'dist/os/image' }],
  ['dist/os/image:v1.0', { path: 'dist/os/image', tag: 'v1.0' }],
  ['/absolute/image:latest', { path: '/absolute/image', tag: 'latest' }],
  ['./a:b', { path: './a', tag: 'b' }],
  ['image:tag:more', { path: 'image', tag: 'tag:more' }],
  ['dist/9:00/image', { path: 'dist/9:00/image' }],
  ['image:', { path: 'image:' }],
  [':tag', { path: ':tag' }],
  ['C:', { path: 'C:' }],
  ['C:\\images\\os', { path: 'C:\\images\\os' }],
  ['C:\\images\\os:v1', { path: 'C:\\images\\os', tag: 'v1' }],
  ['', { path: '' }],
])('parseLayoutReference(%j)', (text, reference) => {
  expect(parseLayoutReference(text)).toEqual(reference);
});
