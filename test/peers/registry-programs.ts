import { basename, dirname, join } from 'node:path';
import { repository } from '../fixtures';
import { newPath } from './makers';
import { hasCrane, hasOras, newBuildah, succeed } from './programs';
import type { Content, Kind } from './registry-content';

/** A registry as a program reaches it. */
export interface Reached {
  readonly host: string;
  readonly isSecure: boolean;
  /** The directory where logins leave what they wrote. */
  readonly room: string;
}

/** The one who may come in where not everybody may. */
export const user = { username: 'somebody', password: 'open sesame: ü' };

export const certificates = join(repository, 'test/registry/certificates');

/** What Go's TLS and `nx-oci` trust: the authority of the tests. */
const trust = { SSL_CERT_FILE: join(certificates, 'ca.pem'), NX_OCI_CA: join(certificates, 'ca.pem') };

/** Another program that speaks with registries. Names are `repository:tag` or `repository@digest`. */
export interface RegistryProgram {
  readonly name: string;
  /** Whether it can be had on this machine; see `.ci/run`. */
  readonly isHere: boolean;
  /** Whether manifests pass through it byte for byte; buildah packs images anew. */
  readonly keepsManifests: boolean;
  /** The variables with which it, and `nx-oci` too, finds what its login wrote. */
  environment(registry: Reached): NodeJS.ProcessEnv;
  login(registry: Reached): Promise<string>;
  push(registry: Reached, content: Pick<Content, 'kind' | 'layout'>, name: string): Promise<string>;
  /** Pulls into a new layout. */
  pull(registry: Reached, name: string, kind: Kind): Promise<string>;
}

/** One that can list, copy and delete, too. */
export interface RegistryManager extends RegistryProgram {
  tags(registry: Reached, repository: string): Promise<string[]>;
  /** Copies within the registry. */
  copy(registry: Reached, from: string, to: string): Promise<string>;
  /** Deletes what is named, or the tag alone: each program does it its way. */
  remove(registry: Reached, name: string): Promise<string>;
}

export const skopeo: RegistryManager = {
  name: 'skopeo',
  isHere: true,
  keepsManifests: true,
  environment: inAuthFile,
  login: (registry) => runSkopeo(registry, 'login', tlsVerify(registry), ...password(), registry.host),
  push: (registry, { layout }, name) =>
    skopeoCopy(registry, [tlsVerify(registry, 'dest')], `oci:${layout}:latest`, dockerName(registry, name)),
  pull: async (registry, name) => {
    const layout = newPath();
    await skopeoCopy(registry, [tlsVerify(registry, 'src')], dockerName(registry, name), `oci:${layout}:latest`);
    return layout;
  },
  tags: async (registry, name) =>
    JSON.parse(await runSkopeo(registry, 'list-tags', tlsVerify(registry), dockerName(registry, name))).Tags,
  copy: (registry, from, to) =>
    skopeoCopy(
      registry,
      [tlsVerify(registry, 'src'), tlsVerify(registry, 'dest')],
      dockerName(registry, from),
      dockerName(registry, to),
    ),
  remove: (registry, name) => runSkopeo(registry, 'delete', tlsVerify(registry), dockerName(registry, name)),
};

export const crane: RegistryManager = {
  name: 'crane',
  isHere: hasCrane,
  keepsManifests: true,
  environment: inDockerConfig,
  login: (registry) => runCrane(registry, 'auth', 'login', registry.host, ...password()),
  push: (registry, { layout }, name) => runCrane(registry, 'push', layout, named(registry, name)),
  pull: async (registry, name) => {
    const layout = newPath();
    await runCrane(registry, 'pull', '--format', 'oci', named(registry, name), layout);
    return layout;
  },
  tags: async (registry, name) => linesOf(await runCrane(registry, 'ls', named(registry, name))),
  copy: (registry, from, to) => runCrane(registry, 'copy', named(registry, from), named(registry, to)),
  remove: (registry, name) => runCrane(registry, 'delete', named(registry, name)),
};

export const oras: RegistryManager = {
  name: 'oras',
  isHere: hasOras,
  keepsManifests: true,
  environment: inDockerConfig,
  login: (registry) => runOras(registry, 'login', ...plainHttp(registry), ...password(), registry.host),
  push: (registry, { layout }, name) => {
    const from = ['--from-oci-layout', `${layout}:latest`];
    return runOras(registry, 'cp', '--no-tty', ...from, ...plainHttp(registry, 'to-'), named(registry, name));
  },
  pull: async (registry, name) => {
    const layout = newPath();
    const to = ['--to-oci-layout', `${layout}:latest`];
    await runOras(registry, 'cp', '--no-tty', ...plainHttp(registry, 'from-'), named(registry, name), ...to);
    return layout;
  },
  tags: async (registry, name) =>
    linesOf(await runOras(registry, 'repo', 'tags', ...plainHttp(registry), named(registry, name))),
  copy: (registry, from, to) => {
    const plain = [...plainHttp(registry, 'from-'), ...plainHttp(registry, 'to-')];
    return runOras(registry, 'cp', '--no-tty', ...plain, named(registry, from), named(registry, to));
  },
  remove: (registry, name) =>
    runOras(registry, 'manifest', 'delete', '--force', ...plainHttp(registry), named(registry, name)),
};

export const buildah: RegistryProgram = {
  name: 'buildah',
  isHere: true,
  keepsManifests: false,
  environment: inAuthFile,
  login: (registry) =>
    newBuildah({ env: inAuthFile(registry) })('login', tlsVerify(registry), ...password(), registry.host),
  push: (registry, { layout, kind }, name) =>
    throughBuildah(registry, kind, dirname(layout), [`oci:${basename(layout)}:latest`, dockerName(registry, name)]),
  pull: async (registry, name, kind) => {
    const layout = newPath();
    const ends = [dockerName(registry, name), `oci:${basename(layout)}:latest`] as const;
    await throughBuildah(registry, kind, dirname(layout), ends);
    return layout;
  },
};

export const managers = [skopeo, crane, oras];
export const programs: readonly RegistryProgram[] = [...managers, buildah];

export function runSkopeo(registry: Reached, ...args: string[]): Promise<string> {
  return succeed('skopeo', ['--insecure-policy', ...args], { env: inAuthFile(registry) });
}

export function runCrane(registry: Reached, ...args: string[]): Promise<string> {
  return succeed('crane', args, { env: inDockerConfig(registry) });
}

export function runOras(registry: Reached, ...args: string[]): Promise<string> {
  return succeed('oras', args, { env: inDockerConfig(registry) });
}

/** How oras is told that there is no TLS. */
export const plainHttp = ({ isSecure }: Reached, side: '' | 'from-' | 'to-' = '') =>
  isSecure ? [] : [`--${side}plain-http`];

/** How skopeo and buildah are told whether there is TLS. */
export const tlsVerify = ({ isSecure }: Reached, side?: 'src' | 'dest') =>
  `--${side ? `${side}-` : ''}tls-verify=${isSecure}`;

export const named = ({ host }: Reached, name: string) => `${host}/${name}`;
export const dockerName = (registry: Reached, name: string) => `docker://${named(registry, name)}`;

function inAuthFile({ room }: Reached): NodeJS.ProcessEnv {
  return { ...trust, REGISTRY_AUTH_FILE: join(room, 'auth.json') };
}

function inDockerConfig({ room }: Reached): NodeJS.ProcessEnv {
  return { ...trust, DOCKER_CONFIG: room };
}

function password(): string[] {
  return ['--username', user.username, '--password', user.password];
}

function skopeoCopy(registry: Reached, flags: readonly string[], from: string, to: string): Promise<string> {
  return runSkopeo(registry, 'copy', '--all', '--preserve-digests', ...flags, from, to);
}

/** From one end to the other by way of buildah's own storage, where it names images by paths, which must be lower-case. */
async function throughBuildah(
  registry: Reached,
  kind: Kind,
  directory: string,
  [from, to]: readonly [string, string],
): Promise<string> {
  const buildah = newBuildah({ cwd: directory, env: inAuthFile(registry) });
  const tls = tlsVerify(registry);
  if (kind === 'index') {
    await buildah('manifest', 'create', 'list');
    await buildah('manifest', 'add', '--all', tls, 'list', from);
    return buildah('manifest', 'push', '--quiet', '--all', tls, 'list', to);
  }
  const image = (await buildah('pull', '--quiet', tls, from)).trim();
  return buildah('push', '--quiet', '--disable-compression=false', tls, image, to);
}

function linesOf(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}
