import { describe, expect, test } from '@jest/globals';
import { InvalidDocumentError, type OsImageConfig } from '../../src';
import { encodeJson, parseDocument } from '../../src/spec/json';
import { checkPayloads, chunkCount, osImageConfigSchema } from '../../src/spec/os-image';
import { failureOf } from '../fixtures';

const hash = '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU';
const payload = { name: 'system', size: 20, hash_chunk_size: 8, chunk_hashes_sha256: [hash, hash, hash] };
const config = { format_version: '1', product_info: { id: 'os' }, payloads: [payload] };
const withPayload = (change: object) => ({ ...config, payloads: [{ ...payload, ...change }] });

const read = (document: unknown): OsImageConfig =>
  checkPayloads(parseDocument(encodeJson(document), osImageConfigSchema, 'config'), 'config');

const largest = 16 * 1024 * 1024;
const longName = 'n'.repeat(80);

describe('M16: the config of an OS image', () => {
  test.each<[string, object]>([
    ['as it should be', config],
    ['with one chunk that is not full', withPayload({ size: 17 })],
    ['with the largest chunks', withPayload({ hash_chunk_size: largest, size: 2 * largest + 1 })],
    ['with chunks of one byte', withPayload({ hash_chunk_size: 1, size: 3 })],
    ['with an empty payload', withPayload({ size: 0, chunk_hashes_sha256: [] })],
    ['with fields that are not known', { ...withPayload({ later: 1 }), later: { a: 1 } }],
    ['with all of the product info', { ...config, product_info: { components: [{ id: 'linux', version: '6.6' }] } }],
  ])('%s', (_, document) => {
    expect(read(document)).toEqual(document);
  });

  test.each<[string, object, object]>([
    ['lists as Go writes empty ones', { ...config, payloads: null }, { ...config, payloads: [] }],
    [
      'hashes as Go writes none',
      withPayload({ size: 0, chunk_hashes_sha256: null }),
      withPayload({ size: 0, chunk_hashes_sha256: [] }),
    ],
    ['no product info', { format_version: '1', payloads: [] }, { format_version: '1', payloads: [], product_info: {} }],
  ])('reads %s', (_, document, expected) => {
    expect(read(document)).toEqual(expected);
  });

  test.each(['a', '-', 'kernel.efi', 'A-b_c.9', longName])('lets a payload be called %s', (name) => {
    expect(read(withPayload({ name })).payloads[0]?.name).toBe(name);
  });

  const namesExpected = 'a name of 1 to 80 letters';
  test.each<[string, object, string, string]>([
    ...['', '.a', '_a', 'a.', '.', '..', 'a/b', '../a', 'a\n', 'ä', `${longName}n`].map(
      (name): [string, object, string, string] => [
        `the name ${JSON.stringify(name).slice(0, 20)}`,
        withPayload({ name }),
        '$.payloads[0].name',
        namesExpected,
      ],
    ),
    ['a later version', { ...config, format_version: '2' }, '$.format_version', 'version "1", found "2"'],
    ['a version that is a number', { ...config, format_version: 1 }, '$.format_version', 'version "1", found 1'],
    ['no version', { payloads: [] }, '$.format_version', 'version "1", found nothing'],
    [
      'a later version, first of all that is wrong',
      { format_version: '2', payloads: { a: 1 } },
      '$.format_version',
      'found "2" (and 1 more)',
    ],
    ['a negative size', withPayload({ size: -1 }), '$.payloads[0].size', '0 or more bytes, found -1'],
    ['half a byte', withPayload({ size: 0.5 }), '$.payloads[0].size', 'a whole number of bytes, found 0.5'],
    ['a size beyond all numbers', withPayload({ size: 2 ** 53 }), '$.payloads[0].size', 'found 9007199254740992'],
    ['chunks of 0 bytes', withPayload({ hash_chunk_size: 0 }), '$.payloads[0].hash_chunk_size', 'at least 1 byte'],
    [
      'chunks that are too large',
      withPayload({ hash_chunk_size: largest + 1 }),
      '$.payloads[0].hash_chunk_size',
      `at most ${largest} bytes, found ${largest + 1}`,
    ],
    ...[`${hash}=`, hash.slice(1), `${hash.slice(1)}V`, `${hash.slice(0, -1)}-`, '', 'sha256:abc'].map(
      (text): [string, object, string, string] => [
        `the hash ${JSON.stringify(text)}`,
        withPayload({ chunk_hashes_sha256: [hash, text, hash] }),
        '$.payloads[0].chunk_hashes_sha256[1]',
        'a SHA-256 hash in base64 without padding',
      ],
    ),
    ['too few hashes', withPayload({ size: 25 }), 'system', '4 chunk hashes for 25 bytes in chunks of 8, found 3'],
    ['too many hashes', withPayload({ size: 16 }), 'system', '2 chunk hashes for 16 bytes in chunks of 8, found 3'],
    ['hashes of nothing', withPayload({ size: 0 }), 'system', '0 chunk hashes for 0 bytes in chunks of 8, found 3'],
    ['one name twice', { ...config, payloads: [payload, payload] }, '$.payloads[1]: payload system', 'found it twice'],
  ])('refuses %s', async (_, document, place, words) => {
    const { message } = await failureOf(InvalidDocumentError, () => read(document));
    expect(message).toContain('config: ');
    expect(message).toContain(place);
    expect(message).toContain(words);
  });
});

test.each([
  [0, 8, 0],
  [1, 8, 1],
  [8, 8, 1],
  [9, 8, 2],
])('%d bytes in chunks of %d are %d chunks', (size, hash_chunk_size, count) => {
  expect(chunkCount({ size, hash_chunk_size })).toBe(count);
});
