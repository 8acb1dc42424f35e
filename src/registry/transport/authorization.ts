import type { Credential, Credentials } from '../../credentials/credential';
import { UnauthorizedError } from '../../errors';
import { registryServedBy } from '../reference';
import { untilAborted } from './abort';
import { parseChallenges } from './challenge';
import { harmless, redactedUrl } from './redaction';
import { responseError, withoutEchoes } from './response-error';
import { repositoryOf, unionOfScopes } from './scopes';
import { basicAuthorization, fetchToken, loginAdvice, secretsOf, type TokenEndpoint, tokenEndpoint } from './token';
import { type TokenCache, tokenCache } from './token-cache';
import type { HttpRequest, HttpResponse, Transport } from './transport';

/** What a request is sent with. */
interface Authorization {
  readonly header: string;
  /** What must not come back in a message. */
  readonly secrets: readonly string[];
  /** Whether it is that of somebody. */
  readonly isPersonal: boolean;
}

/** How requests about one repository are authorized; `refused` is what the registry did not take. */
type Way = (
  scopes: readonly string[],
  signal: AbortSignal | undefined,
  refused?: Authorization,
) => Promise<Authorization>;

/** What is known of one registry's ways. */
interface Keyring {
  readonly registry: string;
  /** By repository, because credentials and realms may be those of one. */
  readonly ways: Map<string, Way>;
  /** By token endpoint. */
  readonly tokens: Map<string, TokenCache>;
}

/**
 * Authorizes the requests that have scopes, as their registry's challenges ask for: with tokens, which are kept for
 * further requests, or with a password. A request without scopes, and what a redirect leads to at another origin, gets
 * nothing. Without credentials it gets what everybody may.
 *
 * @param inner follows redirects and takes no `authorization` along to another origin.
 * @param credentials are asked for by the name that a request's own host is known by, and go to that origin and to its
 *   token endpoint only.
 * @throws {UnauthorizedError} for a second 401, and for a token that is not given.
 * @throws {UntrustedResponseError} naming the realm, for a token endpoint that must not be believed.
 */
export function withAuthorization(inner: Transport, credentials: Credentials): Transport {
  const keyrings = new Map<string, Keyring>();

  const keyringFor = ({ origin, host }: URL): Keyring => {
    const known = keyrings.get(origin) ?? { registry: registryServedBy(host), ways: new Map(), tokens: new Map() };
    keyrings.set(origin, known);
    return known;
  };

  const tokenWay = ({ registry, tokens }: Keyring, endpoint: TokenEndpoint): Way => {
    const name = `${endpoint.realm} ${endpoint.service}`;
    const cache =
      tokens.get(name) ??
      tokenCache(async (scopes, signal) => {
        const credential = await credentials(registry, repositoryOf(scopes));
        return fetchToken(inner, endpoint, { registry, scopes, credential, signal });
      });
    tokens.set(name, cache);
    return async (scopes, signal, refused) => {
      const { value, isPersonal } = await cache.token(scopes, refused?.secrets[0], signal);
      return { header: `Bearer ${value}`, secrets: [value], isPersonal };
    };
  };

  /** The way that a challenge shows, which is remembered, and the scopes that it asks for. */
  const challenged = async ({ url, scopes = [], signal }: HttpRequest, response: HttpResponse) => {
    const keyring = keyringFor(url);
    const challenges = parseChallenges(response.headers['www-authenticate'] ?? '');
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')?.parameters;
    const isBasic = challenges.some(({ scheme }) => scheme === 'basic');
    const repository = repositoryOf(scopes);
    const credential =
      isBasic && !bearer ? await untilAborted(credentials(keyring.registry, repository), signal) : undefined;
    const way = bearer ? tokenWay(keyring, tokenEndpoint(url, bearer)) : passwordWay(credential);
    if (way !== undefined) keyring.ways.set(repository, way);
    const schemes = challenges.map(({ scheme }) => scheme).join(', ') || 'none';
    const advice = isBasic
      ? loginAdvice(keyring.registry, credential !== undefined)
      : `its challenge (${harmless(schemes, 100)}) is neither Bearer nor Basic, which are supported`;
    const asked = bearer?.get('scope')?.split(' ').filter(Boolean) ?? [];
    return { way, advice, scopes: unionOfScopes([...scopes, ...asked]) };
  };

  const send = async (request: HttpRequest, authorization: Authorization | undefined): Promise<HttpResponse> => {
    if (authorization === undefined) return inner(request);
    const response = await inner({ ...request, headers: { ...request.headers, authorization: authorization.header } });
    return response.status >= 400 ? withoutEchoes(response, authorization.secrets) : response;
  };

  return async (request) => {
    const { url, scopes, signal } = request;
    if (scopes === undefined) return inner(request);
    const { registry, ways } = keyringFor(url);
    const known = await ways.get(repositoryOf(scopes))?.(unionOfScopes(scopes), signal);
    const response = await send(request, known);
    if (!isUnauthorized(response, url)) return response;

    const challenge = await challenged(request, response).catch(async (error: unknown) => {
      // A response that nobody takes keeps its connection, and that the process.
      await response.discard();
      throw error;
    });
    if (challenge.way === undefined) throw await unauthorized(request, response, challenge.advice);
    await response.discard();
    const fresh = await challenge.way(challenge.scopes, signal, known);
    const second = await send(request, fresh);
    if (!isUnauthorized(second, url)) return second;
    throw await unauthorized(request, second, loginAdvice(registry, fresh.isPersonal));
  };
}

function passwordWay(credential: Credential | undefined): Way | undefined {
  if (credential === undefined || !('username' in credential)) return undefined;
  const header = basicAuthorization(credential);
  return async () => ({ header, secrets: secretsOf(credential), isPersonal: true });
}

/** Whether the registry itself asks who one is; where else a redirect may have led does not matter here. */
function isUnauthorized({ status, url }: HttpResponse, asked: URL): boolean {
  return status === 401 && url.origin === asked.origin;
}

function unauthorized({ method, url }: HttpRequest, response: HttpResponse, advice: string) {
  return responseError(response, `${method} ${redactedUrl(url)}`, {
    expected: 'access',
    type: UnauthorizedError,
    advice,
  });
}
