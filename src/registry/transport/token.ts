import * as z from 'zod';
import { bytesBlob, bytesOf } from '../../blob';
import type { Credential } from '../../credentials/credential';
import { RegistryError, UnauthorizedError, UntrustedResponseError } from '../../errors';
import { isLocalHost, isPublicRegistry } from './addresses';
import { harmless, redactedUrl } from './redaction';
import { responseError, withoutEchoes } from './response-error';
import type { HttpRequest, HttpResponse, Transport } from './transport';

/** Where tokens for a registry come from, as its challenge says. */
export interface TokenEndpoint {
  readonly realm: URL;
  readonly service: string | undefined;
  /** Whether addresses of this machine are refused: for a registry that is not of here. */
  readonly publicOnly: boolean;
}

export interface Token {
  readonly value: string;
  /** In milliseconds of `performance.now`, from when on it is not used any more. */
  readonly expires: number;
  /** Whether it is that of somebody, not of everybody. */
  readonly isPersonal: boolean;
}

/** In bytes. A token holds the rights of its user, which may be many; it must fit into a header all the same. */
const tokenLimit = 256 * 1024;

/** Seconds: what is assumed of a token that does not say, what is believed at most, and before its end it is not used. */
const lifetime = { default: 60, longest: 3600, margin: 10 };

/** With these an endpoint may say that it does not know POST; with the last one, JFrog's Artifactory does. */
const unknownMethod = new Set([404, 405, 401]);

const refusals = new Set([400, 401, 403]);

const printable = z.string().regex(/^[\x21-\x7e]+$/);
const tokenSchema = z
  .object({
    token: printable.optional(),
    access_token: printable.optional(),
    expires_in: z.number().nonnegative().optional().catch(undefined),
  })
  .transform(({ token, access_token, expires_in }) => ({ value: token ?? access_token, expiresIn: expires_in }));

/**
 * Checks where a registry sends its users for a token, because they take their passwords along.
 *
 * @throws {UntrustedResponseError} naming the realm.
 */
export function tokenEndpoint(registry: URL, parameters: ReadonlyMap<string, string>): TokenEndpoint {
  const text = parameters.get('realm') ?? '';
  const realm = URL.canParse(text) ? new URL(text) : undefined;
  const publicOnly = isPublicRegistry(registry);
  const refuse = (expected: string, found: string) =>
    new UntrustedResponseError(
      `realm of ${registry.host}: expected ${expected}, found ${found}; nothing was sent there, ask who runs the registry`,
      { expected, found },
    );
  if (realm === undefined) throw refuse('a URL', JSON.stringify(harmless(text.replace(/[?#].*$/s, ''), 100)));
  if (realm.protocol !== 'https:' && !(realm.protocol === 'http:' && registry.protocol === 'http:')) {
    throw refuse(registry.protocol === 'https:' ? 'an https URL' : 'an http or https URL', redactedUrl(realm));
  }
  if (publicOnly && isLocalHost(realm.hostname)) throw refuse('a public address', redactedUrl(realm));
  return { realm, service: parameters.get('service'), publicOnly };
}

/**
 * A token that allows what the scopes say, or as much of it as whoever this is may do.
 *
 * @param registry names it in messages.
 * @param credential of nobody in particular gets what everybody may.
 * @see https://distribution.github.io/distribution/spec/auth/token/
 * @see https://distribution.github.io/distribution/spec/auth/oauth/
 */
export async function fetchToken(
  transport: Transport,
  endpoint: TokenEndpoint,
  {
    registry,
    scopes,
    credential,
    signal,
  }: {
    readonly registry: string;
    readonly scopes: readonly string[];
    readonly credential: Credential | undefined;
    readonly signal: AbortSignal;
  },
): Promise<Token> {
  if (credential && 'registryToken' in credential) {
    return { value: credential.registryToken, expires: Number.POSITIVE_INFINITY, isPersonal: true };
  }
  const asked = performance.now();
  const ask = (request: Pick<HttpRequest, 'method' | 'url' | 'headers' | 'body'>) =>
    transport({ ...request, signal, publicOnly: endpoint.publicOnly }).catch((error) => {
      throw error instanceof UntrustedResponseError ? untrusted(endpoint, error) : error;
    });
  const identityToken = credential && 'identityToken' in credential ? credential.identityToken : undefined;
  let response = identityToken === undefined ? undefined : await ask(exchange(endpoint, scopes, identityToken));
  if (response === undefined || unknownMethod.has(response.status)) {
    await response?.discard();
    response = await ask(question(endpoint, scopes, credential));
  }
  const what = `token for ${registry} from ${redactedUrl(endpoint.realm)}`;
  if (response.status === 200)
    return { ...(await readToken(response, what, asked)), isPersonal: credential !== undefined };
  throw await responseError(await withoutEchoes(response, credential ? secretsOf(credential) : []), what, {
    expected: '200',
    type: refusals.has(response.status) ? UnauthorizedError : RegistryError,
    ...(refusals.has(response.status) && { advice: loginAdvice(registry, credential !== undefined) }),
  });
}

/** What one who is refused can do about it. Says whether there were credentials, but not which. */
export function loginAdvice(registry: string, hasCredentials: boolean): string {
  return hasCredentials
    ? `the credentials for ${registry} are refused: run "docker login ${registry}" again, or ask for the right to do this`
    : `there are no credentials for ${registry}: run "docker login ${registry}", or check the name, because registries say so of unknown repositories too`;
}

/** All that must not come back in a message. */
export function secretsOf(credential: Credential): readonly string[] {
  if ('registryToken' in credential) return [credential.registryToken];
  const basic = basicAuthorization(credential).replace(/^Basic /, '');
  return [basic, 'identityToken' in credential ? credential.identityToken : credential.password];
}

/** An identity token has no user. */
export function basicAuthorization(credential: Exclude<Credential, { registryToken: string }>): string {
  const [username, password] =
    'identityToken' in credential ? ['', credential.identityToken] : [credential.username, credential.password];
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

function question({ realm, service }: TokenEndpoint, scopes: readonly string[], credential: Credential | undefined) {
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set('service', service);
  for (const scope of scopes) url.searchParams.append('scope', scope);
  const known = credential && !('registryToken' in credential);
  return {
    method: 'GET' as const,
    url,
    headers: { accept: 'application/json', ...(known && { authorization: basicAuthorization(credential) }) },
  };
}

function exchange({ realm, service }: TokenEndpoint, scopes: readonly string[], identityToken: string) {
  const form = new URLSearchParams({ grant_type: 'refresh_token', client_id: 'nx-oci', refresh_token: identityToken });
  if (service !== undefined) form.set('service', service);
  if (scopes.length > 0) form.set('scope', scopes.join(' '));
  return {
    method: 'POST' as const,
    url: realm,
    headers: { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded' },
    body: bytesBlob(Buffer.from(form.toString())),
  };
}

async function readToken(response: HttpResponse, what: string, asked: number): Promise<Omit<Token, 'isPersonal'>> {
  const text = Buffer.from(await bytesOf(response.body, tokenLimit, what)).toString();
  const { value, expiresIn = lifetime.default } = tokenIn(text) ?? {};
  if (value === undefined) {
    // What was found may be a token all the same, and so may be in what the parser says.
    throw new RegistryError(
      `${what}: expected JSON with "token" or "access_token", found none; ask who runs the registry`,
    );
  }
  return { value, expires: asked + (Math.min(expiresIn, lifetime.longest) - lifetime.margin) * 1000 };
}

function tokenIn(text: string): z.infer<typeof tokenSchema> | undefined {
  try {
    return tokenSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

function untrusted({ realm }: TokenEndpoint, { message, expected, found }: UntrustedResponseError) {
  return new UntrustedResponseError(`realm ${redactedUrl(realm)}: ${message}`, {
    ...(expected !== undefined && { expected }),
    ...(found !== undefined && { found }),
  });
}
