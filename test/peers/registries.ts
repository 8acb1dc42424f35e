import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';
import { hashSync } from 'bcryptjs';
import { type RegistryOptions, startRegistry } from '../../src/registry/server/start-registry';
import { commandFile, temporaryDirectory, writeFiles } from '../fixtures';
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
  // buildah wants the file that it is told to be there.
  return { host, isSecure, room: writeFiles(temporaryDirectory(), { 'auth.json': '{}' }) };
}

export interface OurChoice {
  readonly storage: 'memory' | 'directory';
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

/** Starts `nx-oci serve` with TLS and a password. It ends with the test file, if not before, and must end well. */
export async function startServe(...args: string[]): Promise<Running> {
  const tls = ['--tls-cert', join(certificates, 'server.pem'), '--tls-key', join(certificates, 'server-key.pem')];
  const command = [commandFile, 'serve', ...args, ...tls, '--auth', htpasswd()];
  const { child, closed, close } = startProcess(process.execPath, command);
  const registry = {
    isSecure: true,
    close: async () => {
      await close();
      const [code] = await closed;
      if (code !== 0) throw new Error(`nx-oci serve: expected exit code 0, found ${code}`);
    },
  };
  return { ...registry, host: await firstMatch(child.stdout, /registry https:\/\/(\S+)\n/, closed) };
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

/** Starts Debian's docker-registry on a free port, with an empty storage. It ends with the test file, if not before. */
export async function startDockerRegistry(access: Access = 'open'): Promise<DockerRegistry> {
  const config = {
    version: '0.1',
    storage: { filesystem: { rootdirectory: join(temporaryDirectory(), 'storage') }, delete: { enabled: true } },
    http: { addr: '127.0.0.1:0' },
    ...(access === 'basic' && { auth: { htpasswd: { realm: 'the tests', path: htpasswd() } } }),
    ...(access === 'token' && { auth: { token: await startTokenServer() } }),
  };
  // JSON is YAML.
  const file = fileWith('config.yml', JSON.stringify(config));
  const { child, closed, close } = startProcess('docker-registry', ['serve', file]);
  let accessLog = '';
  child.stdout.on('data', (text: string) => {
    accessLog += text;
  });
  return {
    isSecure: false,
    close,
    requests: async () => {
      await close();
      const lines = accessLog.matchAll(/"([A-Z]+ \S+) HTTP\/1\.1" (\d+)/g);
      return [...lines].map(([, what, status]) => `${what} ${status}`);
    },
    host: await firstMatch(child.stderr, /listening on ([\d.]+:\d+)/, closed),
  };
}

const closers: (() => Promise<void>)[] = [];
afterAll(async () => {
  await Promise.all(closers.map((close) => close()));
});

/** Starts a process that ends with the test file, if not before. */
function startProcess(command: string, args: readonly string[]) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  for (const output of [child.stdout, child.stderr]) output.setEncoding('utf8');
  const closed = once(child, 'close');
  const close = async () => {
    child.kill();
    await closed;
  };
  closers.push(close);
  return { child, closed, close };
}

/** What a process says of itself, such as the address where it listens; it may not end before it said it. */
function firstMatch(output: NodeJS.ReadableStream, pattern: RegExp, closed: Promise<unknown[]>): Promise<string> {
  let text = '';
  const said = new Promise<string>((resolve) => {
    output.on('data', (chunk: string) => {
      text += chunk;
      const [, found] = pattern.exec(text) ?? [];
      if (found !== undefined) resolve(found);
    });
  });
  const ended = closed.then(([code]) => {
    throw new Error(`expected ${pattern}, found that the process ended with ${code}: ${text}`);
  });
  return Promise.race([said, ended]);
}

const certificate = (name: string) => readFileSync(join(certificates, name));

/** As `htpasswd -B` writes it. */
function htpasswd(): string {
  return fileWith('htpasswd', `${user.username}:${hashSync(user.password, 4)}\n`);
}
