import type { Credentials } from '../credentials/credential';
import { exchange, findOrigin } from './exchange';
import { mirroredRepository } from './mirrors';
import { type RepositoryName, servingHost } from './reference';
import { remoteRepository } from './remote-repository';
import type { Repository } from './repository';
import { withAuthorization } from './transport/authorization';
import { type HttpOptions, httpTransport } from './transport/http';
import { withRedirects } from './transport/redirects';
import { defaultRetryPolicy, type Retries, type RetryPolicy, retrying, withRetries } from './transport/retries';

/** How registries are reached. */
export interface ClientOptions extends Retries, Pick<HttpOptions, 'ca' | 'environment' | 'timeouts'> {
  /** By default nobody is known anywhere. */
  readonly credentials?: Credentials;
  /** Registries (`host` or `host:port`) that are reached without TLS, or with a certificate that nobody vouches for. */
  readonly insecure?: readonly string[];
  /** Where a registry is read from first: by its name, `host[:port][/repository prefix]` of others. */
  readonly mirrors?: Readonly<Record<string, readonly string[]>>;
  /** Ends everything under way. */
  readonly signal?: AbortSignal;
}

/** Repositories of any registry, over connections and tokens that are shared. */
export interface RegistryClient extends AsyncDisposable {
  repository(name: RepositoryName): Repository;
  /** Ends all connections. */
  close(): Promise<void>;
}

/** Tries at a mirror: a second one for a connection that was closed meanwhile. Then there is another place to go. */
const mirrorAttempts = 2;

/** Opens a client. Nothing is asked before a repository is. */
export function registryClient(options: ClientOptions = {}): RegistryClient {
  const { credentials = async () => undefined, insecure = [], mirrors = {}, signal, onRetry } = options;
  const { policy = defaultRetryPolicy } = options;
  const isInsecure = (registry: string) => insecure.includes(registry);
  const http = httpTransport({ ...options, insecureTls: isInsecure });
  const authorized = withAuthorization(withRedirects(http), credentials);
  const origins = new Map<string, Promise<URL>>();

  const originOf = (registry: string, policy: RetryPolicy): Promise<URL> => {
    const known = origins.get(registry);
    if (known) return known;
    const url = new URL(`https://${servingHost(registry)}/v2/`);
    const find = () => findOrigin(registry, isInsecure(registry), http, signal);
    const origin = retrying(find, { policy, onRetry, signal, url });
    origins.set(registry, origin);
    // A registry that starts later is looked for again.
    origin.catch(() => origins.delete(registry));
    return origin;
  };

  const direct = (name: RepositoryName, policy: RetryPolicy): Repository => {
    const transport = withRetries(authorized, policy, onRetry);
    const origin = () => originOf(name.registry, policy);
    return remoteRepository(exchange(name, origin, transport, signal), { policy, onRetry });
  };
  const mirrorPolicy = { ...policy, attempts: Math.min(mirrorAttempts, policy.attempts) };
  return {
    repository: (name) => {
      const repository = direct(name, policy);
      const nearer = mirrors[name.registry] ?? [];
      if (nearer.length === 0) return repository;
      return mirroredRepository(
        repository,
        nearer.map((mirror) => direct(behindMirror(mirror, name), mirrorPolicy)),
      );
    },
    close: http.close,
    [Symbol.asyncDispose]: http.close,
  };
}

function behindMirror(mirror: string, { repository }: RepositoryName): RepositoryName {
  const [registry = mirror, ...prefix] = mirror.split('/');
  return { registry, repository: [...prefix, repository].join('/') };
}
