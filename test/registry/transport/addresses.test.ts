import { describe, expect, test } from '@jest/globals';
import { UntrustedResponseError } from '../../../src';
import { isLocalHost, isPublicRegistry, lookupPublic } from '../../../src/registry/transport/addresses';

const hostname = (host: string) => new URL(`https://${host}/`).hostname;

describe('hosts of this machine and of its link', () => {
  test.each([
    'localhost',
    'LOCALHOST',
    'localhost.',
    'a.localhost',
    '127.0.0.1',
    '127.255.255.254',
    '127.1',
    '0x7f.0.0.1',
    '2130706433',
    '0177.0.0.1',
    '0.0.0.0',
    '169.254.169.254',
    '[::1]',
    '[::]',
    '[0:0:0:0:0:0:0:1]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[::ffff:169.254.169.254]',
    '[::127.0.0.1]',
    '[fe80::1]',
    '[febf::1]',
    '%6cocalhost',
    'ｌocalhost',
    '１２７.0.0.1',
  ])('%s is one', (host) => {
    expect(isLocalHost(hostname(host))).toBe(true);
    expect(isPublicRegistry(new URL(`https://${host}/`))).toBe(false);
  });

  test.each([
    'registry.test',
    'localhost.test',
    'notlocalhost',
    '128.0.0.1',
    '10.0.0.1',
    '[2001:db8::1]',
    '[fec0::1]',
    '[::ffff:8.8.8.8]',
  ])('%s is none', (host) => expect(isLocalHost(hostname(host))).toBe(false));

  test.each([
    ['https://registry.test/', true],
    ['https://8.8.8.8/', true],
    ['https://[2001:db8::1]:5000/', true],
    ['http://registry.test/', false],
    ['https://10.1.2.3/', false],
    ['https://172.31.0.1/', false],
    ['https://172.32.0.1/', true],
    ['https://192.168.0.1/', false],
    ['https://100.64.0.1/', false],
    ['https://[fd00::1]/', false],
    ['https://[::ffff:10.0.0.1]/', false],
  ])('%s is public: %s', (url, expected) => expect(isPublicRegistry(new URL(url))).toBe(expected));

  const resolved = (name: string, all: boolean) =>
    new Promise((resolve) => lookupPublic(name, { all }, (error, found) => resolve(error ?? found)));

  test.each([true, false])('a name is judged by what it resolves to (all: %s)', async (all) => {
    const error = await resolved('localhost', all);
    expect(error).toBeInstanceOf(UntrustedResponseError);
    expect((error as Error).message).toMatch(/^host localhost: expected a public address, .*found (127\.0\.0\.1|::1),/);
    expect(await resolved('8.8.8.8', all)).toEqual(all ? [{ address: '8.8.8.8', family: 4 }] : '8.8.8.8');
    expect(await resolved('name.invalid', all)).toMatchObject({ syscall: 'getaddrinfo' });
  });
});
