import { describe, expect, test } from '@jest/globals';
import { parseChallenges } from '../../../src/registry/transport/challenge';

type Plain = readonly [scheme: string, parameters: Readonly<Record<string, string>>];

const plain = (header: string): Plain[] =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe('M12: challenges', () => {
  const token = 'https://auth.test/token';

  test.each<[string, Plain[]]>([
    ['', []],
    ['Basic', [['basic', {}]]],
    ['Basic realm="registry"', [['basic', { realm: 'registry' }]]],
    [
      `Bearer realm="${token}",service="registry.test",scope="repository:os:pull,push"`,
      [['bearer', { realm: token, service: 'registry.test', scope: 'repository:os:pull,push' }]],
    ],
    [
      `bEARER  REALM = "${token}" ,\tService="a"  ,scope="x:y:z t:u:v"`,
      [['bearer', { realm: token, service: 'a', scope: 'x:y:z t:u:v' }]],
    ],
    [
      `Bearer realm="a \\"b\\" \\\\ c", service="d=e, Basic f=g"`,
      [['bearer', { realm: 'a "b" \\ c', service: 'd=e, Basic f=g' }]],
    ],
    [
      'Basic realm="a", Bearer realm="b",service=c',
      [
        ['basic', { realm: 'a' }],
        ['bearer', { realm: 'b', service: 'c' }],
      ],
    ],
    [
      'Negotiate, NTLM TlRMTVNTUAAB==, Basic realm=a, , Digest qop="auth",nonce="x"',
      [
        ['negotiate', {}],
        ['ntlm', {}],
        ['basic', { realm: 'a' }],
        ['digest', { qop: 'auth', nonce: 'x' }],
      ],
    ],
    [`Bearer realm=${token}?a=b,service=c`, [['bearer', { realm: `${token}?a=b`, service: 'c' }]]],
    ['Bearer realm="a" service="b"', [['bearer', { realm: 'a', service: 'b' }]]],
    [',, ,Basic realm="a",,', [['basic', { realm: 'a' }]]],
    ['Bearer realm="first",realm="second"', [['bearer', { realm: 'first' }]]],
    ['Bearer realm=""', [['bearer', { realm: '' }]]],
    ['Bearer error="invalid_token",realm="a"', [['bearer', { error: 'invalid_token', realm: 'a' }]]],
  ])('%s', (header, expected) => expect(plain(header)).toEqual(expected));

  test.each<[string, Plain[]]>([
    ['Bearer realm="unterminated', [['bearer', {}]]],
    ['Bearer realm="ends with a backslash\\', [['bearer', {}]]],
    ['Bearer realm="a", service="b\\"', [['bearer', { realm: 'a' }]]],
    ['realm="no scheme"', [['realm', {}]]],
    ['="nothing"', []],
    ['"quoted"', []],
    ['Bearer {realm="a"}', [['bearer', {}]]],
    ['Bearer __proto__="x", constructor="y"', [['bearer', { ['__proto__']: 'x', constructor: 'y' }]]],
    ['Basic realm="a\u0000b"', [['basic', { realm: 'a\u0000b' }]]],
  ])('hostile: %j', (header, expected) => {
    expect(plain(header).map(([scheme, parameters]) => [scheme, Object.entries(parameters)])).toEqual(
      expected.map(([scheme, parameters]) => [scheme, Object.entries(parameters)]),
    );
    expect({}).not.toHaveProperty('x');
  });

  test.each([
    ['spaces', `Bearer${' '.repeat(1e6)}realm="a"`],
    ['commas', `Bearer ${','.repeat(1e6)}x`],
    ['equals signs', `Bearer a${'='.repeat(1e6)}"`],
    ['spaces before an equals sign', `Bearer a${' '.repeat(1e6)}=${' '.repeat(1e6)}"`],
    ['one long token', `Bearer ${'a'.repeat(1e6)}"`],
    ['backslashes', `Bearer realm="${'\\'.repeat(1e6)}`],
    ['tokens', `Bearer ${'a '.repeat(3e5)}"`],
    ['quotes', `Bearer realm=${'"'.repeat(1e6)}`],
    ['schemes', 'Basic,'.repeat(2e5)],
  ])('a header of a million characters takes its length in time: %s', (_title, header) => {
    const start = performance.now();
    parseChallenges(header);
    // Twice the length would be a minute and more, if the time grew with its square.
    expect(performance.now() - start).toBeLessThan(3000);
  });
});
