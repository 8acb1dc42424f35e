type Client = typeof import('./client');
type Credentials = typeof import('../credentials/find-credentials');
type Server = typeof import('./server/start-registry');

// Loaded when they are first called: they would be a sixth of the library's start for those who build images alone. By
// `require`, because Jest takes no `import()` from a package.

/** Opens a client. Nothing is asked before a repository is. */
export const registryClient: Client['registryClient'] = (options) =>
  (require('./client') as Client).registryClient(options);

/**
 * Finds what one is known by at a registry where Docker, Podman and Skopeo keep it, after `NX_OCI_USERNAME` and
 * `NX_OCI_PASSWORD` (docs/credentials.md).
 *
 * @param environment of the process; helper programs get it too.
 * @param home the user's home directory.
 */
export const findCredentials: Credentials['findCredentials'] = (environment, home) =>
  (require('../credentials/find-credentials') as Credentials).findCredentials(environment, home);

/**
 * Starts a registry for tests (docs/testing.md): the whole distribution specification 1.1, over http or https.
 *
 * @throws {InvalidOptionError} if it can't listen there, or the certificate or the htpasswd file can't be used.
 * @throws what reading the layouts throws.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
 */
export const startRegistry: Server['startRegistry'] = async (options) =>
  (require('./server/start-registry') as Server).startRegistry(options);
