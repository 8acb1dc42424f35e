import { describe, expect, test } from '@jest/globals';
import { withoutSecrets } from '../../src/credentials/redact';

describe('what a program complains of', () => {
  test.each([
    ['pass not initialized: exit status 1', 'pass not initialized: exit status 1'],
    ['no AWS credentials for us-east-1 in /root/.aws/config', 'no AWS credentials for us-east-1 in /root/.aws/config'],
    ['is the daemon running? try again', 'is the daemon running? try again'],
    ['token expired', 'token expired'],
    [' two\n\tlines\u001b[31m ', 'two lines [31m'],
    ['', ''],
    ['x'.repeat(400), `${'x'.repeat(300)}…`],
  ])('is kept: %j', (text, expected) => {
    expect(withoutSecrets(text, {})).toBe(expected);
  });

  test.each([
    ['password: hunter2 is wrong', 'password: … is wrong'],
    ['{"password":"hunter2"}', '{"password":"…"}'],
    ['PASSWORD=hunter2', 'PASSWORD=…'],
    ['secret = hunter2', 'secret = …'],
    ['Authorization: Bearer hunter2', 'Authorization: Bearer …'],
    ['authorization: basic hunter2', 'authorization: basic …'],
    ['GET https://user:hunter2@ghcr.io/v2/: 401', 'GET https://…@ghcr.io/v2/: 401'],
    ['GET https://ghcr.io/x?sig=hunter2&se=1 failed', 'GET https://ghcr.io/x?… failed'],
    ['got eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9 back', 'got … back'],
    ['got abcdefghijklmnopqrstuvwxyz0123456789 back', 'got … back'],
  ])('ACCEPTANCE 35: is kept without what looks like a secret: %j', (text, expected) => {
    expect(withoutSecrets(text, {})).toBe(expected);
  });

  test('ACCEPTANCE 35: is kept without what is known to be a secret', () => {
    const environment = {
      AWS_SECRET_ACCESS_KEY: 'hunter2',
      MY_TOKEN: 'hunter2-and-more',
      HOME: '/root',
      NPM_AUTH: 'x',
    };
    expect(withoutSecrets('max: hunter2, hunter2-and-more, letmein at /root', environment, 'letmein')).toBe(
      'max: …, …, … at /root',
    );
  });

  test('is searched in time that grows with its length alone', () => {
    const start = performance.now();
    for (const text of ['a', '?', 'token: ', '://', 'a1', 'bearer ', ' ', '=']) {
      withoutSecrets(text.repeat(260_000 / text.length), {});
    }
    expect(performance.now() - start).toBeLessThan(3_000);
  });
});
