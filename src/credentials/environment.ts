import { CredentialsError } from '../errors';
import { type AuthConfig, parseAuthConfig } from './config-file';

/** The variables for one registry, as CI systems set them. */
const registryVariable = 'NX_OCI_REGISTRY';
const usernameVariable = 'NX_OCI_USERNAME';
const passwordVariable = 'NX_OCI_PASSWORD';

/** The content of a `config.json`, as GitLab and Docker take it. */
const configVariable = 'DOCKER_AUTH_CONFIG';

/**
 * What `NX_OCI_USERNAME` and `NX_OCI_PASSWORD` are for `NX_OCI_REGISTRY`: a registry, or a part of one. A variable that is
 * empty is one that is not set. `undefined` without username and password.
 *
 * @throws {CredentialsError} if one of the three is missing: without the registry, nobody knows who may see the password.
 */
export function registryVariables(environment: NodeJS.ProcessEnv): AuthConfig | undefined {
  const registry = environment[registryVariable];
  const username = environment[usernameVariable];
  const password = environment[passwordVariable];
  if (!username && !password) return undefined;
  if (!registry) throw missing(registryVariable, 'the registry that they are for, such as ghcr.io');
  if (!username) throw missing(usernameVariable, `the name of a user of ${registry}`);
  if (!password) throw missing(passwordVariable, `the password or token of the user at ${registry}`);
  return {
    name: registryVariable,
    auths: new Map([[registry, { username, password }]]),
    credHelpers: new Map(),
    credsStore: undefined,
  };
}

/**
 * What `DOCKER_AUTH_CONFIG` says; `undefined` if it is not set.
 *
 * @throws {CredentialsError} naming the place, never the content.
 * @see https://docs.gitlab.com/ci/docker/using_docker_images/#access-an-image-from-a-private-container-registry
 */
export function configFromVariable(environment: NodeJS.ProcessEnv): AuthConfig | undefined {
  const content = environment[configVariable];
  return content ? parseAuthConfig(Buffer.from(content), configVariable) : undefined;
}

function missing(variable: string, meaning: string): CredentialsError {
  const all = `${registryVariable}, ${usernameVariable} and ${passwordVariable}`;
  return new CredentialsError(
    `${variable}: expected ${all} to be set together, found no ${variable}; set it to ${meaning}, or set none of them`,
    { expected: meaning, found: 'nothing' },
  );
}
