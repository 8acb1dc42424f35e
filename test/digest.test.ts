import { describe, expect, test } from '@jest/globals';
import {
  asDigest,
  createDigester,
  type DigestAlgorithm,
  digestAlgorithms,
  digestOf,
  InvalidDigestError,
  isDigest,
  parseDigest,
  UnsupportedDigestAlgorithmError,
} from '../src';
import { failureOf } from './fixtures';

const hex64 = 'ab'.repeat(32);

describe('digests of known content', () => {
  // FIPS 180-4 and the test vectors of BLAKE3.
  test.each<[DigestAlgorithm, string, string]>([
    ['sha256', '', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['sha256', 'abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    [
      'sha512',
      '',
      'cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e',
    ],
    [
      'sha512',
      'abc',
      'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    ],
    ['blake3', '', 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'],
    ['blake3', 'abc', '6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85'],
  ])('%s of %j', (algorithm, text, encoded) => {
    expect(digestOf(Buffer.from(text), algorithm)).toBe(`${algorithm}:${encoded}`);
  });

  test.each(digestAlgorithms)('%s of bytes that stream by', (algorithm) => {
    const bytes = Buffer.alloc(100_000, 'stream');
    const digester = createDigester(algorithm);
    for (let at = 0; at < bytes.length; at += 999) digester.update(bytes.subarray(at, at + 999));
    expect(digester.digest()).toBe(digestOf(bytes, algorithm));
  });

  test('sha256 unless another is asked for', () => {
    expect(digestOf(Buffer.from('abc'))).toBe(digestOf(Buffer.from('abc'), 'sha256'));
  });
});

test.each(digestAlgorithms)('a digest of %s is taken apart', (algorithm) => {
  const digest = digestOf(Buffer.from('abc'), algorithm);
  expect(parseDigest(digest)).toEqual({ algorithm, encoded: digest.slice(algorithm.length + 1) });
  expect(asDigest(digest)).toBe(digest);
  expect(isDigest(digest)).toBe(true);
});

test.each([
  ['ACCEPTANCE 1: a way out of the directory', 'sha256:../../x'],
  ['ACCEPTANCE 1: a way out of the right length', `sha256:../../${'a'.repeat(58)}`],
  ['ACCEPTANCE 1: an escaped way out', `sha256:%2e%2e%2f${'a'.repeat(55)}`],
  ['ACCEPTANCE 1: a NUL', `sha256:${hex64.slice(1)}\0`],
  ['ACCEPTANCE 1: a NUL behind', `sha256:${hex64}\0`],
  ['ACCEPTANCE 1: a newline behind', `sha256:${hex64}\n`],
  ['ACCEPTANCE 1: a newline instead of the last digit', `sha256:${hex64.slice(1)}\n`],
  ['ACCEPTANCE 1: a way out before the colon', `../../x:${hex64}`],
  ['ACCEPTANCE 2: upper-case digits', `sha256:${hex64.toUpperCase()}`],
  ['ACCEPTANCE 2: 63 digits', `sha256:${hex64.slice(1)}`],
  ['ACCEPTANCE 2: 65 digits', `sha256:${hex64}a`],
  ['ACCEPTANCE 2: the digits of sha256 for sha512', `sha512:${hex64}`],
  ['ACCEPTANCE 2: the digits of sha512 for blake3', `blake3:${hex64}${hex64}`],
  ['ACCEPTANCE 2: no digits', 'sha256:'],
  ['ACCEPTANCE 2: no colon', hex64],
  ['ACCEPTANCE 2: no algorithm', `:${hex64}`],
  ['ACCEPTANCE 2: an upper-case algorithm', `SHA256:${hex64}`],
  ['ACCEPTANCE 2: nothing', ''],
  ['ACCEPTANCE 2: digits that are digits elsewhere only', `sha256:${'٣'.repeat(64)}`],
])('%s', async (_, text) => {
  const { message, found } = await failureOf(InvalidDigestError, () => parseDigest(text));
  expect(message).toContain(`invalid digest ${JSON.stringify(text)}`);
  expect(found).toBe(text);
  expect(isDigest(text)).toBe(false);
  expect(() => asDigest(text)).toThrow(InvalidDigestError);
});

test.each([`md5:${'a'.repeat(32)}`, 'md5:', `sha384:${hex64}`, `multihash+base58:${hex64}`, `constructor:${hex64}`])(
  'ACCEPTANCE 2: %s is of another algorithm',
  async (text) => {
    const error = await failureOf(UnsupportedDigestAlgorithmError, () => parseDigest(text));
    expect(error.message).toContain(JSON.stringify(text));
    expect(error).toMatchObject({ expected: 'sha256, sha512, blake3', found: text.slice(0, text.indexOf(':')) });
    expect(isDigest(text)).toBe(false);
  },
);

test.each([`sha256:${'a'.repeat(1e6)}`, `${'a'.repeat(1e6)}:${hex64}`, 'a'.repeat(1e6)])(
  'a digest of a million characters makes no message of a million',
  (text) => {
    expect(() => parseDigest(text)).toThrow(/^.{1,600}$/s);
  },
);
