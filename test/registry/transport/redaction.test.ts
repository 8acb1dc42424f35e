import { describe, expect, test } from '@jest/globals';
import { harmless, redactedUrl, withoutSecrets } from '../../../src/registry/transport/redaction';

describe('M13: URLs in messages', () => {
  test.each([
    ['https://registry.test/v2/', 'https://registry.test/v2/'],
    ['http://127.0.0.1:5000/v2/a/b?c=d', 'http://127.0.0.1:5000/v2/a/b?c=…'],
    ['https://user:password@registry.test/', 'https://registry.test/'],
    ['https://token@registry.test/', 'https://registry.test/'],
    [
      'https://cdn.test/x?X-Amz-Signature=abc&X-Amz-Date=1&flag&=z',
      'https://cdn.test/x?X-Amz-Signature=…&X-Amz-Date=…&…&…',
    ],
    ['https://cdn.test/?a=b=c&d=%26e', 'https://cdn.test/?a=…&d=…'],
    ['https://cdn.test/?signedvalueonly', 'https://cdn.test/?…'],
    [`https://cdn.test/?${'k'.repeat(50)}=v`, 'https://cdn.test/?…'],
    ['https://cdn.test/path#fragment', 'https://cdn.test/path'],
    ['https://cdn.test/\u001b[31m\n', 'https://cdn.test/%1B[31m'],
  ])('%s', (url, expected) => expect(redactedUrl(new URL(url))).toBe(expected));

  test('a long one is cut', () => {
    expect(redactedUrl(new URL(`https://cdn.test/${'x'.repeat(10_000)}`)).length).toBeLessThan(500);
  });
});

describe('text of others', () => {
  test.each([
    ['plain text', 'plain text'],
    ['  two\r\nlines\t', 'two lines'],
    ['\u001b[2J\u0007gone\u009b1m', '[2J gone 1m'],
    ['\u202eright to left\u2066\u2028', 'right to left'],
    ['0123456789_and_more', '0123456789_an…'],
  ])('%j becomes %j', (text, expected) => expect(harmless(text, 13)).toBe(expected));

  test.each([
    ['the token abc.def is bad', ['abc.def'], 'the token … is bad'],
    [JSON.stringify({ message: 'pa"ss\\word' }), ['pa"ss\\word'], '{"message":"…"}'],
    ['$& and $1', ['$1'], '$& and …'],
    ['nothing', [''], 'nothing'],
  ])('%j without %j', (text, secrets, expected) => expect(withoutSecrets(text, secrets)).toBe(expected));
});
