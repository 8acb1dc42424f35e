import { createReadStream } from 'node:fs';
import * as z from 'zod';
import { bytesOf } from '../blob';
import { CredentialsError, hasSystemCode, isSystemError, LimitError } from '../errors';
import { jsonPath, parseJson } from '../spec/json';
import { dockerHubKey, isDockerHub, isPartial, keysFor } from './auth-key';
import type { Credential } from './credential';

/** In bytes. Real files have a few kilobytes, even with a hundred registries. */
const maxConfigSize = 1024 * 1024;

const entrySchema = z.looseObject({
  /** Base64 of `username:password`. */
  auth: z.string().nullish(),
  username: z.string().nullish(),
  password: z.string().nullish(),
  identitytoken: z.string().nullish(),
  registrytoken: z.string().nullish(),
});

/** What is read of Docker's `config.json` and Podman's `auth.json`; they have one form. */
const configSchema = z.looseObject({
  auths: z.record(z.string(), entrySchema.nullish()).nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
  credsStore: z.string().nullish(),
});

type Entry = z.infer<typeof entrySchema>;

/** What a `config.json` says of credentials. */
export interface AuthConfig {
  /** The file or variable that says it, for messages. */
  readonly name: string;
  readonly auths: ReadonlyMap<string, Entry>;
  /** Which helper program knows a registry. */
  readonly credHelpers: ReadonlyMap<string, string>;
  /** The helper program that may know every registry. */
  readonly credsStore: string | undefined;
}

/** Asks a helper program for what it has under a key. `configuredIn` names who says so, for messages. */
export type AskHelper = (helper: string, key: string, configuredIn: string) => Promise<Credential | undefined>;

/**
 * Reads a `config.json` or `auth.json`; `undefined` if there is none.
 *
 * @throws {CredentialsError} naming the file and the place in it, never its content.
 */
export async function readAuthConfig(path: string): Promise<AuthConfig | undefined> {
  try {
    return parseAuthConfig(await bytesOf(createReadStream(path), maxConfigSize, path), path);
  } catch (error) {
    if (hasSystemCode(error, 'ENOENT', 'ENOTDIR')) return undefined;
    if (error instanceof LimitError) throw tooLarge(path);
    if (!isSystemError(error)) throw error;
    throw new CredentialsError(
      `${path}: expected a file of credentials that can be read, found ${error.code}; let this user read it, or remove it`,
      { expected: 'a readable file', found: String(error.code), cause: error },
    );
  }
}

/**
 * Checks the content of a `config.json`. Nothing at all is a file without credentials.
 *
 * @param name of the file or variable, for messages.
 * @throws {CredentialsError} naming the place, never the content.
 */
export function parseAuthConfig(content: Uint8Array, name: string): AuthConfig {
  if (content.length > maxConfigSize) throw tooLarge(name);
  const isBlank = Buffer.from(content).toString('utf8').trim() === '';
  const { auths, credHelpers, credsStore } = isBlank ? {} : checkShape(parseSecretJson(content, name), name);
  return {
    name,
    auths: new Map(Object.entries(auths ?? {}).map(([key, entry]) => [key, entry ?? {}])),
    credHelpers: new Map(Object.entries(credHelpers ?? {})),
    credsStore: credsStore || undefined,
  };
}

/**
 * Finds the credential for a repository. A helper that is named for the registry decides alone; else what stands under a
 * part of the registry goes before the store for all registries, and that before what stands under the registry.
 *
 * @throws {CredentialsError} if what stands under a key can't be read, or the helper fails.
 */
export async function credentialIn(
  config: AuthConfig,
  registry: string,
  repository: string,
  ask: AskHelper,
): Promise<Credential | undefined> {
  const [helped] = keysFor([...config.credHelpers.keys()], registry);
  const helper = helped === undefined ? undefined : config.credHelpers.get(helped);
  if (helped !== undefined && helper) return ask(helper, helped, config.name);

  const keys = keysFor([...config.auths.keys()], registry, repository);
  const stored = () =>
    config.credsStore && ask(config.credsStore, isDockerHub(registry) ? dockerHubKey : registry, config.name);
  return (
    firstCredential(config, keys.filter(isPartial)) ||
    (await stored()) ||
    firstCredential(
      config,
      keys.filter((key) => !isPartial(key)),
    )
  );
}

/** `docker login` leaves an empty entry where a helper keeps the secret. */
function firstCredential(config: AuthConfig, keys: readonly string[]): Credential | undefined {
  for (const key of keys) {
    const credential = credentialOf(config.auths.get(key) ?? {}, `${config.name}: ${safePath(['auths', key, 'auth'])}`);
    if (credential) return credential;
  }
  return undefined;
}

/** Tokens go before passwords, as in Docker. */
function credentialOf(entry: Entry, place: string): Credential | undefined {
  if (entry.registrytoken) return { registryToken: entry.registrytoken };
  if (entry.identitytoken) return { identityToken: entry.identitytoken };
  if (entry.auth) return decodeAuth(entry.auth, place);
  if (entry.username || entry.password) return { username: entry.username ?? '', password: entry.password ?? '' };
  return undefined;
}

/** @see https://www.rfc-editor.org/rfc/rfc7617#section-2 */
function decodeAuth(auth: string, place: string): Credential {
  const isBase64 = /^[A-Za-z0-9+/]*=*$/.test(auth.replace(/\s/g, ''));
  const text = isBase64 ? Buffer.from(auth, 'base64').toString('utf8') : '';
  const colon = text.indexOf(':');
  if (colon < 0) {
    throw new CredentialsError(
      `${place}: expected base64 of username:password, found something else; log in to the registry again`,
      { expected: 'base64 of username:password', found: 'something else' },
    );
  }
  // Old versions of Docker filled the password up with NULs.
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replaceAll('\0', '') };
}

/** The parser's own words quote what it read. */
function parseSecretJson(content: Uint8Array, name: string): unknown {
  try {
    return parseJson(content, name);
  } catch {
    throw new CredentialsError(
      `${name}: expected JSON in UTF-8, with each key once in an object, found something else; correct it, or log in again without it`,
      { expected: 'JSON', found: 'something else' },
    );
  }
}

function checkShape(value: unknown, name: string): z.infer<typeof configSchema> {
  const { error } = configSchema.safeParse(value);
  const issue = error?.issues[0];
  if (issue === undefined) return value as z.infer<typeof configSchema>;
  const place = `${name}: ${safePath(issue.path)}`;
  const expected = issue.code === 'invalid_type' ? issue.expected : 'another value';
  const found = /received (\w+)$/.exec(issue.message)?.[1] ?? 'something else';
  throw new CredentialsError(`${place}: expected ${expected}, found ${found}; correct it, or log in again`, {
    expected,
    found,
  });
}

/** Keys may be URLs, with a user and a password in front of the host. */
function safePath(path: readonly PropertyKey[]): string {
  return jsonPath(path.map((step) => (typeof step === 'string' ? step.slice(step.lastIndexOf('@') + 1) : step)));
}

function tooLarge(name: string): CredentialsError {
  return new CredentialsError(
    `${name}: expected at most ${maxConfigSize} bytes of credentials, found more; is it the right file?`,
    { expected: `<= ${maxConfigSize}`, found: 'more' },
  );
}
