/** What one is known by at a registry. */
export type Credential =
  | { readonly username: string; readonly password: string }
  /** Exchanged at the token endpoint for the token of a request (`docker login` stores such). */
  | { readonly identityToken: string }
  /** Sent as it is. */
  | { readonly registryToken: string };

/**
 * Finds what one is known by; `undefined` for nobody in particular.
 *
 * @param registry `host` or `host:port` as the user names it, matched as a whole: `docker.io` is neither `evildocker.io`
 *   nor `docker.io:5000`.
 * @param repository for files that keep credentials for a part of a registry.
 */
export type Credentials = (registry: string, repository: string) => Promise<Credential | undefined>;
