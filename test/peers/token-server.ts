import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';
import { certificates, user } from './registry-programs';

/** What docker-registry is told: where tokens are had, and which of them to believe. */
export interface TokenIssuer {
  readonly realm: string;
  readonly service: string;
  readonly issuer: string;
  readonly rootcertbundle: string;
}

const service = 'registry of the tests';
const issuer = 'token server of the tests';

const started: Server[] = [];
afterAll(async () => {
  for (const server of started) {
    const closed = once(server.close(), 'close');
    server.closeAllConnections();
    await closed;
  }
});

/**
 * Gives the one user tokens for whatever is asked for, as JSON Web Tokens of which docker-registry can tell the issuer. It
 * ends with the test file.
 *
 * @see https://distribution.github.io/distribution/spec/auth/jwt/
 */
export async function startTokenServer(): Promise<TokenIssuer> {
  const expected = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString('base64')}`;
  const server = createServer(({ url = '', headers }, response) => {
    const scopes = new URL(url, 'http://localhost').searchParams.getAll('scope');
    if (headers.authorization !== expected) response.writeHead(401).end();
    else response.end(JSON.stringify({ token: tokenFor(scopes.flatMap((scope) => scope.split(' '))) }));
  });
  started.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  // crane refuses addresses of this machine, but not its name.
  const realm = `http://localhost:${(server.address() as AddressInfo).port}/token`;
  return { realm, service, issuer, rootcertbundle: join(certificates, 'ca.pem') };
}

function tokenFor(scopes: readonly string[]): string {
  const certificate = new X509Certificate(readFileSync(join(certificates, 'server.pem')));
  const key = createPrivateKey(readFileSync(join(certificates, 'server-key.pem')));
  const now = Math.floor(Date.now() / 1000);
  const header = { typ: 'JWT', alg: 'ES256', x5c: [certificate.raw.toString('base64')] };
  const claims = {
    iss: issuer,
    sub: user.username,
    aud: service,
    iat: now,
    nbf: now - 10,
    exp: now + 300,
    jti: randomUUID(),
    access: scopes.filter((scope) => scope !== '').map(accessOf),
  };
  const signed = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  const signature = sign('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' });
  return `${signed}.${signature.toString('base64url')}`;
}

/** `repository:name:actions`; a name may have colons in it. */
function accessOf(scope: string) {
  const [type, ...rest] = scope.split(':');
  return { type, name: rest.slice(0, -1).join(':'), actions: rest.at(-1)?.split(',') };
}
