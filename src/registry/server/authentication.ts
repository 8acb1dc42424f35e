import type { TLSSocket } from 'node:tls';
import { bytesOf } from '../../blob';
import { InvalidOptionError } from '../../errors';
import { Refusal } from './errors';
import { answerJson, bodyOf, type Exchange } from './exchange';
import { type PasswordCheck, passwordCheck, type Users } from './passwords';
import { type Route, tokenPath } from './routes';
import { isGranted, isPull, joinedScopes, scopesNeeded, singleScopes } from './scopes';
import { createTokens } from './tokens';

/** How a registry wants to know who one is. */
export type Authentication = BasicAuthentication | BearerAuthentication;

/** A user name and a password with each request. */
export interface BasicAuthentication {
  readonly scheme: 'basic';
  readonly users: Users;
  /** Whether everybody may pull; nobody by default. */
  readonly publicPull?: boolean;
}

/**
 * Tokens of an endpoint of the registry's own, each for what was asked for and no more.
 *
 * @see https://distribution.github.io/distribution/spec/auth/token/
 */
export interface BearerAuthentication {
  readonly scheme: 'bearer';
  /** Who gets tokens; without this everybody does. */
  readonly users?: Users;
  /** Whether everybody gets tokens to pull with; nobody by default. */
  readonly publicPull?: boolean;
  /** How long a token is good for, in seconds; 300 by default. */
  readonly lifetime?: number;
}

/** Lets requests in, or not. */
export interface Gate {
  /** @throws {Refusal} with a challenge. */
  authorize(exchange: Exchange, route: Route): Promise<void> | undefined;
  /** Answers at the token endpoint, where there is one. */
  answerToken?(exchange: Exchange): Promise<void>;
}

/** @throws {InvalidOptionError}, {@link FileSystemError} if the htpasswd file is not as it must be. */
export async function createGate(authentication: Authentication): Promise<Gate> {
  if (authentication.scheme === 'basic') return basicGate(authentication);
  if (authentication.scheme === 'bearer') return bearerGate(authentication);
  const { scheme } = authentication as { readonly scheme?: unknown };
  throw new InvalidOptionError(`auth.scheme: expected "basic" or "bearer", found ${String(scheme)}`);
}

async function basicGate({ users, publicPull = false }: BasicAuthentication): Promise<Gate> {
  const check = await passwordCheck(users);
  return {
    async authorize(exchange, route) {
      const { method = '', headers } = exchange.request;
      const needed = scopesNeeded(route, method, exchange.query);
      if (headers.authorization === undefined && publicPull && needed.length > 0 && needed.every(isPull)) return;
      if (!(await isUser(headers.authorization, check))) throw unknownUser();
    },
  };
}

/** How long `docker login` may stay logged in with what it got, in seconds: a day. */
const identityLifetime = 86_400;

async function bearerGate({ users, publicPull = false, lifetime = 300 }: BearerAuthentication): Promise<Gate> {
  const check = users && (await passwordCheck(users));
  const tokens = createTokens<ReadonlySet<string>>(lifetime);
  const identities = createTokens<true>(identityLifetime);

  const mayHave = (scopes: readonly string[], isKnown: boolean): readonly string[] => {
    if (isKnown || !check) return scopes;
    if (publicPull) return scopes.filter(isPull);
    throw unknownUser();
  };
  return {
    authorize(exchange, route) {
      const { method = '', headers } = exchange.request;
      const needed = scopesNeeded(route, method, exchange.query);
      const token = /^bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1];
      if (token === undefined) throw challenge(exchange, needed);
      const granted = tokens.find(token);
      if (!granted) throw challenge(exchange, needed, 'invalid_token');
      const isEnough = needed.every((scope) => isGranted(scope, granted));
      if (!isEnough) throw challenge(exchange, needed, 'insufficient_scope');
      return undefined;
    },
    async answerToken(exchange) {
      const form = exchange.request.method === 'POST' ? await formOf(exchange) : exchange.query;
      const isKnown = await whoAsks(exchange, form, check, (token) => identities.find(token) ?? false);
      const scopes = mayHave(form.getAll('scope').flatMap(singleScopes), isKnown);
      const token = tokens.issue(new Set(scopes));
      const staysLoggedIn = form.get('offline_token') === 'true' || form.get('access_type') === 'offline';
      return answerJson(exchange, {
        token,
        access_token: token,
        expires_in: lifetime,
        issued_at: new Date().toISOString(),
        scope: joinedScopes(scopes),
        ...(isKnown && staysLoggedIn && { refresh_token: identities.issue(true) }),
      });
    },
  };
}

/**
 * Whether it is a user who asks for a token: by a password in a header or a form, or by an identity token.
 *
 * @throws {Refusal} if what they say of themselves is wrong.
 * @see https://distribution.github.io/distribution/spec/auth/oauth/
 */
async function whoAsks(
  { request }: Exchange,
  form: URLSearchParams,
  check: PasswordCheck | undefined,
  isIdentity: (token: string) => boolean,
): Promise<boolean> {
  const { authorization } = request.headers;
  const isForm = request.method === 'POST';
  if (authorization === undefined && !isForm) return false;
  if (!check) return true;
  const identity = isForm ? form.get('refresh_token') : null;
  const isKnown =
    identity !== null
      ? isIdentity(identity)
      : isForm && authorization === undefined
        ? await check(form.get('username') ?? '', form.get('password') ?? '')
        : await isUser(authorization, check);
  if (!isKnown) throw unknownUser();
  return true;
}

/** More than any form of a token request has, in bytes. */
const maxForm = 64 * 1024;

async function formOf(exchange: Exchange): Promise<URLSearchParams> {
  return new URLSearchParams(Buffer.from(await bytesOf(bodyOf(exchange), maxForm, 'form')).toString('utf8'));
}

async function isUser(authorization: string | undefined, check: PasswordCheck): Promise<boolean> {
  const encoded = /^basic +([A-Za-z0-9+/]+=*)$/i.exec(authorization ?? '')?.[1];
  if (encoded === undefined) return false;
  const text = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon >= 0 && check(text.slice(0, colon), text.slice(colon + 1));
}

function unknownUser(): Refusal {
  return new Refusal(401, 'UNAUTHORIZED', 'expected a user name with its password, found none or another one', {
    'www-authenticate': 'Basic realm="registry"',
  });
}

/** @see https://www.rfc-editor.org/rfc/rfc6750#section-3 */
function challenge({ request }: Exchange, needed: readonly string[], error?: string): Refusal {
  const scheme = (request.socket as TLSSocket).encrypted ? 'https' : 'http';
  // As its client reaches it: which of the machine's names that is only the client knows.
  const host = /^[\w.:[\]-]+$/.exec(request.headers.host ?? '')?.[0] ?? 'localhost';
  const parameters = {
    realm: `${scheme}://${host}${tokenPath}`,
    service: host,
    ...(needed.length > 0 && { scope: joinedScopes(needed) }),
    ...(error !== undefined && { error }),
  };
  const written = Object.entries(parameters).map(([name, value]) => `${name}="${value.replace(/["\\]/g, '')}"`);
  return new Refusal(
    401,
    'UNAUTHORIZED',
    `expected a token${needed.length > 0 ? ` for ${joinedScopes(needed)}` : ''}`,
    {
      'www-authenticate': `Bearer ${written.join(',')}`,
    },
  );
}
