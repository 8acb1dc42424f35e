/** `docker login` keeps what is known of Docker Hub under the URL of its first API. */
export const dockerHubKey = 'https://index.docker.io/v1/';

const dockerHubHosts: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** Whether a registry is Docker Hub, by any of its names. */
export const isDockerHub = (registry: string): boolean => dockerHubHosts.has(registry);

/**
 * The keys of `auths` or `credHelpers` that speak of a repository, the most specific first. Host and port must be the
 * same as a whole. A key is a registry (`quay.io`), a part of one (`quay.io/team`, which Podman writes), or a URL, of which
 * only the host counts; a plain name goes before a URL.
 *
 * @param repository `undefined` for keys of whole registries alone.
 * @see https://github.com/containers/image/blob/v5.36.1/docs/containers-auth.json.5.md
 */
export function keysFor(keys: readonly string[], registry: string, repository?: string): readonly string[] {
  const host = canonicalHost(registry);
  return keys
    .map((key) => ({ key, ...placeOf(key) }))
    .filter((place) => place.host === host && covers(place.path, repository))
    .sort((a, b) => b.path.length - a.path.length || Number(a.isUrl) - Number(b.isUrl))
    .map(({ key }) => key);
}

/** Whether a key speaks of a part of a registry, and not of all of it. */
export const isPartial = (key: string): boolean => placeOf(key).path !== '';

interface Place {
  readonly host: string;
  /** The beginning of a repository's name; empty for the whole registry. */
  readonly path: string;
  readonly isUrl: boolean;
}

function placeOf(key: string): Place {
  const url = /^https?:\/\/([^/]*)/.exec(key);
  if (url) return { host: canonicalHost(url[1] as string), path: '', isUrl: true };
  const name = key.endsWith('/') ? key.slice(0, -1) : key;
  const slash = name.indexOf('/');
  if (slash < 0) return { host: canonicalHost(name), path: '', isUrl: false };
  return { host: canonicalHost(name.slice(0, slash)), path: name.slice(slash + 1), isUrl: false };
}

const canonicalHost = (host: string): string => (isDockerHub(host) ? 'docker.io' : host);

function covers(path: string, repository: string | undefined): boolean {
  return path === '' || repository === path || (repository?.startsWith(`${path}/`) ?? false);
}
