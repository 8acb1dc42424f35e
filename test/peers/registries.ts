import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { hashSync } from 'bcryptjs';
import { type RegistryOptions, startRegistry } from '../../src/registry/server/start-registry';
import { temporaryDirectory } from '../fixtures';
import { fileWith } from './registry-content';
import { certificates, type Reached, user } from './registry-programs';
import { startTokenServer } from './token-server';

/** Who may come in: everybody, who gives the password, or who has a token that was given for it. */
export const accesses = ['open', 'basic', 'token'] as const;
export type Access = (typeof accesses)[number];

/** A registry that runs for a test. */
export interface Running {
  readonly host: string;
  readonly isSecure: boolean;
  close(): Promise<void>;
}

/** The registry as it is reached by one who has not logged in yet. */
export function reach({ host, isSecure }: Pick<Running, 'host' | 'isSecure'>): Reached {
  return { host, isSecure, room: temporaryDirectory() };
}

export const storages = ['memory', 'directory'] as const;

export interface OurChoice {
  readonly storage: (typeof storages)[number];
  readonly scheme: 'http' | 'https';
  readonly access: Access;
}

export async function startOurs({ storage, scheme, access }: OurChoice): Promise<Running> {
  const registry = await startRegistry({
    ...(storage === 'directory' && { storage: join(temporaryDirectory(), 'storage') }),
    ...(scheme === 'https' && { tls: { cert: certificate('server.pem'), key: certificate('server-key.pem') } }),
    ...(access !== 'open' && { auth: authentication(access) }),
  });
  return { host: registry.host, isSecure: scheme === 'https', close: () => registry.close() };
}

function authentication(access: 'basic' | 'token'): RegistryOptions['auth'] {
  const users = { htpasswd: htpasswd() };
  return access === 'basic' ? { scheme: 'basic', users } : { scheme: 'bearer', users };
}

/** docker-registry, which tells at its end which requests it had. */
export interface DockerRegistry extends Running {
  /** Ends it, and gives its access log: `GET /v2/ 200`, a line for each request. */
  requests(): Promise<string[]>;
}

/** Starts Debian's docker-registry on a free port, with an empty storage where things can be deleted. */
export async function startDockerRegistry(access: Access = 'open'): Promise<DockerRegistry> {
  const tokens = access === 'token' ? await startTokenServer() : undefined;
  const config = {
    version: '0.1',
    storage: { filesystem: { rootdirectory: join(temporaryDirectory(), 'storage') }, delete: { enabled: true } },
    http: { addr: '127.0.0.1:0' },
    ...(access === 'basic' && { auth: { htpasswd: { realm: 'the tests', path: htpasswd() } } }),
    ...(tokens && { auth: { token: { ...tokens, close: undefined } } }),
  };
  // JSON is YAML.
  const file = fileWith('config.yml', JSON.stringify(config));
  const child = spawn('docker-registry', ['serve', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  const closed = once(child, 'close');
  let accessLog = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    accessLog += text;
  });
  const close = async () => {
    child.kill();
    await Promise.all([closed, tokens?.close()]);
  };
  try {
    const host = await Promise.race([addressIn(child.stderr.setEncoding('utf8')), failureOf(closed)]);
    return {
      host,
      isSecure: false,
      close,
      requests: async () => {
        await close();
        return [...accessLog.matchAll(/"([A-Z]+ \S+) HTTP\/1\.1" (\d+)/g)].map(
          ([, what, status]) => `${what} ${status}`,
        );
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The address that it says it listens at, which it chose itself. */
function addressIn(log: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    log.on('data', (chunk: string) => {
      text += chunk;
      const address = /listening on ([\d.]+:\d+)/.exec(text)?.[1];
      if (address !== undefined) resolve(address);
    });
  });
}

async function failureOf(closed: Promise<unknown[]>): Promise<never> {
  const [code] = await closed;
  throw new Error(`docker-registry: expected it to listen, found that it ended with ${code}`);
}

export const certificate = (name: string) => readFileSync(join(certificates, name));

/** As `htpasswd -B` writes it. */
export function htpasswd(): string {
  return fileWith('htpasswd', `${user.username}:${hashSync(user.password, 4)}\n`);
}
