import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { findCredentials } from '../credentials/find-credentials';
import { InvalidOptionError } from '../errors';
import { type ClientOptions, type RegistryClient, registryClient } from '../registry/client';
import { isRegistry, isRepository } from '../registry/reference';

/** What a command knows of registries beyond the environment. */
export interface RegistryChoice extends Pick<ClientOptions, 'onRetry' | 'signal'> {
  /** These registries too are reached without TLS, or with a certificate that nobody vouches for. */
  readonly insecure?: readonly string[];
}

/**
 * A client as the environment describes it: credentials where people have them (docs/credentials.md), proxies by
 * HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and by
 *
 * - `NX_OCI_INSECURE`: registries without TLS, with commas between;
 * - `NX_OCI_MIRRORS`: `docker.io=mirror.example/hub`, with commas between;
 * - `NX_OCI_CA`: a file of certificates in PEM that are trusted beside the system's.
 *
 * @throws {InvalidOptionError} naming the variable or the option.
 */
export function openRegistries(environment: NodeJS.ProcessEnv, choice: RegistryChoice = {}): RegistryClient {
  const { insecure = [], ...own } = choice;
  return registryClient({
    ...own,
    environment,
    credentials: findCredentials(environment, homedir()),
    insecure: [
      ...registriesIn('NX_OCI_INSECURE', listIn(environment.NX_OCI_INSECURE)),
      ...registriesIn('--insecure', insecure),
    ],
    mirrors: mirrorsIn(environment.NX_OCI_MIRRORS),
    ca: certificatesIn(environment.NX_OCI_CA),
  });
}

function listIn(text = ''): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

function registriesIn(name: string, list: readonly string[]): readonly string[] {
  const wrong = list.find((item) => !isRegistry(item));
  if (wrong === undefined) return list;
  throw new InvalidOptionError(
    `${name}: expected host or host:port of a registry, such as localhost:5000, found ${shown(wrong)}`,
    { expected: 'host or host:port', found: shown(wrong) },
  );
}

/** `host[:port][/repository prefix]` */
function isMirror(text: string): boolean {
  const [registry = '', ...prefix] = text.split('/');
  return isRegistry(registry) && (prefix.length === 0 || isRepository(prefix.join('/')));
}

/** Who writes a URL may write a password into it. */
const shown = (text: string) => (text.includes('@') ? 'text with a user before "@"' : JSON.stringify(text));

function mirrorsIn(text: string | undefined): Record<string, string[]> {
  const mirrors: Record<string, string[]> = {};
  for (const item of listIn(text)) {
    const [registry = '', mirror = '', ...more] = item.split('=');
    if (!isRegistry(registry) || !isMirror(mirror) || more.length > 0) {
      throw new InvalidOptionError(
        `NX_OCI_MIRRORS: expected registry=mirror, such as docker.io=mirror.example/hub, found ${shown(item)}`,
        { found: shown(item) },
      );
    }
    mirrors[registry] = [...(mirrors[registry] ?? []), mirror];
  }
  return mirrors;
}

function certificatesIn(file: string | undefined): string[] {
  if (!file) return [];
  try {
    const pem = readFileSync(file, 'utf8');
    new X509Certificate(pem);
    return [pem];
  } catch (error) {
    throw new InvalidOptionError(
      `NX_OCI_CA: expected a file of certificates in PEM, found none that can be read at ${file}`,
      { found: file, cause: error },
    );
  }
}
