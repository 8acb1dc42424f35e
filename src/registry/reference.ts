import { asDigest, type Digest } from '../digest';
import { InvalidReferenceError } from '../errors';

/** A repository of a registry and, where one of its manifests is meant, which. */
export interface RegistryReference {
  /** `host` or `host:port`, as the user names it: `docker.io`, not the host that serves it. */
  readonly registry: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: Digest;
}

/** The part of a reference that names a repository. */
export type RepositoryName = Pick<RegistryReference, 'registry' | 'repository'>;

/** What a reference to a registry may begin with, where a path could stand as well. */
const scheme = 'docker://';

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests */
const repositoryPattern = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;
const registryPattern = /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?$/;

/** Many clients stop at 255 characters for registry and repository together, and so do we. */
const longestName = 255;

/** Whether the text is `host` or `host:port`, and no number that is no address. */
export const isRegistry = (text: string): boolean => registryPattern.test(text) && URL.canParse(`https://${text}`);

/** Whether the text can be the name of a repository: lower case, with single slashes between its parts. */
export const isRepository = (text: string): boolean => text.length <= longestName && repositoryPattern.test(text);

/** Whether the text can be a tag. */
export const isTag = (text: string): boolean => tagPattern.test(text);

/** Whether a text, where a path could stand as well, speaks of a registry beyond doubt. */
export const hasRegistryScheme = (text: string): boolean => text.startsWith(scheme);

/**
 * Whether a text begins as a reference with the name of a registry does: with a host that has a dot or a port, or is
 * `localhost`. A path can look the same; who takes both looks for the path first.
 */
export function beginsWithRegistry(text: string): boolean {
  const slash = text.indexOf('/');
  return slash > 0 && isRegistryName(text.slice(0, slash));
}

/**
 * Reads `registry/repository`, with `:tag`, `@digest` or both behind it, and with `docker://` before it or without. As in
 * Docker, a name without a registry is one of docker.io, and one there without a slash is below `library/`.
 *
 * @throws {InvalidReferenceError} naming the part that is wrong.
 * @throws {InvalidDigestError}
 */
export function parseRegistryReference(text: string): RegistryReference {
  const plain = hasRegistryScheme(text) ? text.slice(scheme.length) : text;
  const at = plain.indexOf('@');
  const digest = at < 0 ? undefined : asDigest(plain.slice(at + 1));
  const named = at < 0 ? plain : plain.slice(0, at);
  const colon = named.indexOf(':', named.lastIndexOf('/') + 1);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  const { registry, repository } = splitName(colon < 0 ? named : named.slice(0, colon));
  const refuse = (part: string, expected: string, found: string) =>
    new InvalidReferenceError(
      `reference ${JSON.stringify(text)}: expected ${expected} as ${part}, found ${JSON.stringify(found)}`,
      { expected, found },
    );
  if (!isRegistry(registry)) throw refuse('registry', 'host or host:port', registry);
  if (!repositoryPattern.test(repository)) {
    throw refuse('repository', 'lower-case letters, digits, ".", "_" and "-" with single slashes between', repository);
  }
  if (registry.length + repository.length + 1 > longestName) {
    throw refuse('registry and repository', `at most ${longestName} characters`, `${registry}/${repository}`);
  }
  if (tag !== undefined && !isTag(tag)) {
    throw refuse('tag', 'up to 128 letters, digits, ".", "_" and "-", the first no "." or "-"', tag);
  }
  return { registry, repository, ...(tag !== undefined && { tag }), ...(digest && { digest }) };
}

/** The reference as text, the same for all spellings of it: `registry/repository:tag@digest`. */
export function formatRegistryReference({ registry, repository, tag, digest }: RegistryReference): string {
  return `${registry}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`;
}

const dockerHub = 'docker.io';
const dockerHubHost = 'registry-1.docker.io';

/** The host that serves a registry: Docker's own is known by another name than it is reached by. */
export function servingHost(registry: string): string {
  return registry === dockerHub ? dockerHubHost : registry;
}

/** The name by which users know the registry that a host serves: the inverse of {@link servingHost}. */
export function registryServedBy(host: string): string {
  return host === dockerHubHost ? dockerHub : host;
}

function splitName(name: string): RepositoryName {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  const hasRegistry = slash > 0 && isRegistryName(first);
  const registry = hasRegistry ? first : dockerHub;
  const repository = hasRegistry ? name.slice(slash + 1) : name;
  if (registry !== dockerHub && registry !== 'index.docker.io') return { registry, repository };
  return { registry: dockerHub, repository: repository.includes('/') ? repository : `library/${repository}` };
}

/** Without a dot or a port it may be an account at Docker, or the beginning of a path. */
function isRegistryName(text: string): boolean {
  return registryPattern.test(text) && (text === 'localhost' || /[.:]/.test(text));
}
