import { join } from 'node:path';
import { type AskHelper, type AuthConfig, credentialIn, readAuthConfig } from './config-file';
import type { Credential, Credentials } from './credential';
import { configFromVariable, registryVariables } from './environment';
import { askHelper } from './helper';

/**
 * Finds what one is known by at a registry where Docker, Podman and Skopeo keep it. The first of these that knows the
 * registry is believed, and what stands behind it is not read:
 *
 * 1. `NX_OCI_USERNAME` and `NX_OCI_PASSWORD`, for `NX_OCI_REGISTRY`;
 * 2. `DOCKER_AUTH_CONFIG`, the content of a `config.json`;
 * 3. the files of {@link authFiles}.
 *
 * Files are read when they are first needed. What was read and what helper programs said is kept as long as the function
 * that comes back, so that a person is asked once; a process that runs for hours makes a new one before its tokens expire.
 *
 * @param environment of the process; helper programs get it too.
 * @param home the user's home directory.
 */
export function findCredentials(environment: NodeJS.ProcessEnv, home: string): Credentials {
  const sources: readonly (() => Promise<AuthConfig | undefined>)[] = [
    async () => registryVariables(environment),
    async () => configFromVariable(environment),
    ...authFiles(environment, home).map((path) => once(() => readAuthConfig(path))),
  ];
  const answers = new Map<string, Promise<Credential | undefined>>();
  const ask: AskHelper = (helper, key, configuredIn) => {
    const question = JSON.stringify([helper, key]);
    const answer = answers.get(question) ?? askHelper({ helper, key, configuredIn, environment });
    answers.set(question, answer);
    return answer;
  };
  return async (registry, repository) => {
    for (const source of sources) {
      const config = await source();
      const credential = config && (await credentialIn(config, registry, repository, ask));
      if (credential) return credential;
    }
    return undefined;
  };
}

/**
 * The files that may have credentials, in the order in which they are read: `$REGISTRY_AUTH_FILE` alone where it is set, else
 * those of Podman and Skopeo, then Docker's.
 *
 * @see https://github.com/containers/image/blob/v5.36.1/docs/containers-auth.json.5.md
 */
function authFiles(environment: NodeJS.ProcessEnv, home: string): readonly string[] {
  const { REGISTRY_AUTH_FILE, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, DOCKER_CONFIG } = environment;
  if (REGISTRY_AUTH_FILE) return [REGISTRY_AUTH_FILE];
  const runtime = XDG_RUNTIME_DIR ? join(XDG_RUNTIME_DIR, 'containers') : `/run/containers/${process.getuid?.()}`;
  const config = join(home, '.config', 'containers');
  return [
    join(process.platform === 'linux' ? runtime : config, 'auth.json'),
    join(XDG_CONFIG_HOME ? join(XDG_CONFIG_HOME, 'containers') : config, 'auth.json'),
    join(DOCKER_CONFIG || join(home, '.docker'), 'config.json'),
  ];
}

function once<T>(read: () => Promise<T>): () => Promise<T> {
  let value: Promise<T> | undefined;
  return () => {
    value ??= read();
    return value;
  };
}
