import { arch } from 'node:process';
import { describe, expect, test } from '@jest/globals';
import {
  formatPlatform,
  InvalidPlatformError,
  normalizePlatform,
  parsePlatform,
  platformDistance,
  thisPlatform,
} from '../../src';
import { chosenPlatform, platformSuffix } from '../../src/spec/platform';
import { failureOf } from '../fixtures';

test.each([
  ['linux/amd64', 'linux/amd64'],
  ['linux/x86_64', 'linux/amd64'],
  ['linux/x86-64', 'linux/amd64'],
  ['linux/x64', 'linux/amd64'],
  ['linux/amd64/v1', 'linux/amd64'],
  ['linux/amd64/v2', 'linux/amd64/v2'],
  ['linux/amd64/3', 'linux/amd64/v3'],
  ['linux/i386', 'linux/386'],
  ['linux/i686', 'linux/386'],
  ['linux/ia32', 'linux/386'],
  ['linux/aarch64', 'linux/arm64'],
  ['linux/arm64', 'linux/arm64'],
  ['linux/arm64/v8', 'linux/arm64'],
  ['linux/arm64/8', 'linux/arm64'],
  ['linux/aarch64/v8', 'linux/arm64'],
  ['linux/arm64/v9', 'linux/arm64/v9'],
  ['linux/arm', 'linux/arm/v7'],
  ['linux/arm/v7', 'linux/arm/v7'],
  ['linux/arm/7', 'linux/arm/v7'],
  ['linux/arm/v6', 'linux/arm/v6'],
  ['linux/armhf', 'linux/arm/v7'],
  ['linux/armhf/v6', 'linux/arm/v6'],
  ['linux/armel', 'linux/arm/v6'],
  ['LINUX/AMD64/V2', 'linux/amd64/v2'],
  ['macos/aarch64', 'darwin/arm64'],
  ['windows/amd64', 'windows/amd64'],
  ['linux/riscv64', 'linux/riscv64'],
  ['linux/s390x', 'linux/s390x'],
  ['plan9/something-new', 'plan9/something-new'],
  ['linux/constructor', 'linux/constructor'],
  ['arm64', 'linux/arm64'],
  ['x86_64', 'linux/amd64'],
])('%s is %s', (text, normal) => {
  expect(formatPlatform(parsePlatform(text))).toBe(normal);
  expect(parsePlatform(normal)).toEqual(parsePlatform(text));
});

test.each([
  '',
  '/',
  'linux/',
  '/amd64',
  'linux//v8',
  'linux/arm/v7/x',
  'linux/../amd64',
  '..',
  'linux/.',
  'linux/amd64\n',
  'linux\\amd64',
  'linux/amd 64',
  'linux/amd64,linux/arm64',
  '{os}/{arch}',
])('%j is no platform', async (text) => {
  const error = await failureOf(InvalidPlatformError, () => parsePlatform(text));
  expect(error.message).toContain(`invalid platform ${JSON.stringify(text)}: expected os/architecture`);
  expect(error).toMatchObject({ expected: 'os/architecture[/variant]', found: text });
});

test('a normal platform keeps what else is said of it', () => {
  expect(
    normalizePlatform({
      os: 'Windows',
      architecture: 'x64',
      variant: '',
      'os.version': '10.0.20348.1',
      'os.features': ['win32k'],
      features: ['sse4'],
    }),
  ).toEqual({
    os: 'windows',
    architecture: 'amd64',
    'os.version': '10.0.20348.1',
    'os.features': ['win32k'],
    features: ['sse4'],
  });
});

test('a platform can be part of a file name', () => {
  expect(platformSuffix(parsePlatform('linux/arm/v7'))).toBe('linux-arm-v7');
});

test('this platform is linux, with the architecture of this machine', () => {
  expect(thisPlatform()).toEqual(parsePlatform(`linux/${arch}`));
  expect(['x64', 'ia32']).not.toContain(thisPlatform().architecture);
  expect(chosenPlatform('local')).toEqual(thisPlatform());
  expect(chosenPlatform('linux/arm')).toEqual(parsePlatform('linux/arm/v7'));
});

describe('the distance from what is wanted to what is offered', () => {
  test.each<[string, string, number | undefined]>([
    ['linux/amd64', 'linux/amd64', 0],
    ['linux/amd64', 'linux/x86_64', 0],
    ['linux/amd64', 'linux/amd64/v1', 0],
    ['linux/amd64', 'linux/amd64/v2', undefined],
    ['linux/amd64/v3', 'linux/amd64/v3', 0],
    ['linux/amd64/v3', 'linux/amd64/v2', 1],
    ['linux/amd64/v3', 'linux/amd64', 2],
    ['linux/amd64/v3', 'linux/amd64/v4', undefined],
    ['linux/arm64', 'linux/arm64/v8', 0],
    ['linux/arm64', 'linux/aarch64', 0],
    ['linux/arm64', 'linux/arm/v7', undefined],
    ['linux/arm', 'linux/arm/v7', 0],
    ['linux/arm/v7', 'linux/armhf', 0],
    ['linux/arm/v7', 'linux/arm/v6', 1],
    ['linux/arm/v7', 'linux/arm/v5', 2],
    ['linux/arm/v7', 'linux/arm/v8', undefined],
    ['linux/arm/v8', 'linux/arm/v7', 1],
    ['linux/arm/v6', 'linux/arm', undefined],
    ['linux/amd64', 'windows/amd64', undefined],
    ['linux/amd64', 'linux/386', undefined],
    ['linux/riscv64', 'linux/riscv64', 0],
    ['linux/riscv64/a', 'linux/riscv64/b', undefined],
    ['linux/riscv64', 'linux/riscv64/b', undefined],
    ['linux/constructor/v1', 'linux/constructor/v2', undefined],
  ])('%s, offered %s: %s', (wanted, offered, distance) => {
    expect(platformDistance(parsePlatform(wanted), parsePlatform(offered))).toBe(distance);
  });

  test.each<[string | undefined, string | undefined, number | undefined]>([
    ['10.0.20348.1', '10.0.20348.1', 0],
    ['10.0.20348.1', '10.0.17763.1', undefined],
    ['10.0.20348.1', undefined, undefined],
    [undefined, '10.0.17763.1', 0],
    [undefined, undefined, 0],
  ])('windows %s, offered %s: %s', (wanted, offered, distance) => {
    const windows = (version: string | undefined) => ({
      ...parsePlatform('windows/amd64'),
      ...(version !== undefined && { 'os.version': version }),
    });
    expect(platformDistance(windows(wanted), windows(offered))).toBe(distance);
  });
});
