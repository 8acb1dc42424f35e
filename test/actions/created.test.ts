import { describe, expect, test } from '@jest/globals';
import { InvalidOptionError } from '../../src';
import { createdTime, sourceDateEpoch } from '../../src/actions/created';

describe('SOURCE_DATE_EPOCH', () => {
  test.each([
    [undefined, undefined],
    ['', undefined],
    ['0', 0],
    ['1700000000', 1_700_000_000],
    ['2147483648', 2 ** 31],
    ['253402300799', 253_402_300_799],
  ])('%j means %p', (text, seconds) => {
    expect(sourceDateEpoch({ SOURCE_DATE_EPOCH: text })).toBe(seconds);
  });

  test.each(['-1', '1.5', '1e9', '0x10', ' 1', '1\n', 'now', '2026-01-31', '253402300800', '9'.repeat(30)])(
    '%j is refused',
    (text) => {
      const refused = () => sourceDateEpoch({ SOURCE_DATE_EPOCH: text });
      expect(refused).toThrow(InvalidOptionError);
      expect(refused).toThrow('SOURCE_DATE_EPOCH: expected seconds since 1970');
      expect(refused).toThrow(`found ${JSON.stringify(text)}`);
    },
  );
});

describe('created', () => {
  test.each<[string | number | undefined, number | undefined, string]>([
    [undefined, undefined, '1970-01-01T00:00:00Z'],
    [undefined, 1_700_000_000, '2023-11-14T22:13:20Z'],
    [undefined, 4_102_444_800, '2100-01-01T00:00:00Z'],
    [0, 1_700_000_000, '1970-01-01T00:00:00Z'],
    [1_700_000_000, undefined, '2023-11-14T22:13:20Z'],
    [253_402_300_799, undefined, '9999-12-31T23:59:59Z'],
    ['2026-01-31T12:00:00Z', 1_700_000_000, '2026-01-31T12:00:00Z'],
    ['2026-01-31t12:00:00z', undefined, '2026-01-31T12:00:00Z'],
    ['2026-01-31T12:00:00.000Z', undefined, '2026-01-31T12:00:00Z'],
    ['2026-01-31T12:00:00.25Z', undefined, '2026-01-31T12:00:00.250Z'],
    ['2026-01-31T12:00:00+02:00', undefined, '2026-01-31T10:00:00Z'],
    ['2026-01-01T00:30:00+01:00', undefined, '2025-12-31T23:30:00Z'],
    ['2024-02-29T23:59:59-00:00', undefined, '2024-02-29T23:59:59Z'],
  ])('%j with SOURCE_DATE_EPOCH %p is %s', (option, epoch, time) => {
    expect(createdTime(option, epoch)).toBe(time);
  });

  test.each([
    '',
    'now',
    'yesterday',
    '1700000000',
    '2026-01-31',
    '2026-01-31T12:00:00',
    '2026-01-31T12:00Z',
    '2026-01-31 12:00:00Z',
    '2026-01-31T12:00:00Z\n',
    '2026-02-30T12:00:00Z',
    '2025-02-29T12:00:00Z',
    '2026-13-01T12:00:00Z',
    '2026-00-10T12:00:00Z',
    '2026-01-00T12:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T12:60:00Z',
    '2026-01-01T12:00:60Z',
    '2026-01-01T12:00:00+25:00',
    '+010000-01-01T00:00:00Z',
    '0000-01-01T00:00:00+01:00',
    '9999-12-31T23:59:59-01:00',
    253_402_300_800,
  ])('%j is refused', (option) => {
    const refused = () => createdTime(option, undefined);
    expect(refused).toThrow(InvalidOptionError);
    expect(refused).toThrow('option "created": expected');
    expect(refused).toThrow(`found ${JSON.stringify(String(option))}`);
  });

  test('the time zone of the machine does not matter', () => {
    const zone = process.env.TZ;
    try {
      for (const other of ['America/New_York', 'Asia/Kolkata', 'UTC']) {
        process.env.TZ = other;
        expect(createdTime('2026-07-01t12:00:00z', undefined)).toBe('2026-07-01T12:00:00Z');
        expect(createdTime(1_700_000_000, undefined)).toBe('2023-11-14T22:13:20Z');
      }
    } finally {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    }
  });
});
