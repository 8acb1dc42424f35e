import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { isInstalled } from './measure';
import { cli } from './peers';

/** A program that serves images, in a directory of its own for each start. */
export interface RegistryProgram {
  readonly id: string;
  readonly name: string;
  missing(): string | undefined;
  readonly version: string;
  command(port: number, room: string): Promise<readonly string[]>;
}

/** A registry that runs on loopback. */
export interface RunningRegistry extends AsyncDisposable {
  /** `127.0.0.1:port` */
  readonly host: string;
}

export const dockerRegistry: RegistryProgram = {
  id: 'docker-registry',
  name: 'docker-registry',
  missing: () => (isInstalled('docker-registry') ? undefined : 'docker-registry not on the PATH'),
  version: 'docker-registry --version',
  command: async (port, room) => {
    const config = join(room, 'config.yml');
    const storage = join(room, 'registry');
    await mkdir(storage);
    const document = {
      version: '0.1',
      log: { level: 'error', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: storage }, cache: { blobdescriptor: 'inmemory' } },
      http: { addr: `127.0.0.1:${port}` },
    };
    await writeFile(config, JSON.stringify(document)); // JSON is YAML
    return ['docker-registry', 'serve', config];
  },
};

export const ourRegistry: RegistryProgram = {
  id: 'serve',
  name: 'nx-oci serve --storage',
  missing: () => undefined,
  version: `echo nx-oci $("${process.execPath}" "${cli}" --version)`,
  command: async (port, room) => [
    process.execPath,
    cli,
    'serve',
    '--port',
    String(port),
    '--storage',
    join(room, 'registry'),
  ],
};

export async function startRegistryProgram(program: RegistryProgram, room: string): Promise<RunningRegistry> {
  const port = await freePort();
  const [command = '', ...args] = await program.command(port, room);
  const child = spawn(command, args, { stdio: 'ignore' });
  await listening(port, child);
  return {
    host: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      const ended = once(child, 'exit');
      child.kill();
      await ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function listening(port: number, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    if (child.exitCode !== null) throw new Error(`registry ended with exit code ${child.exitCode}`);
    const socket = connect(port, '127.0.0.1');
    const isThere = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    if (isThere) return;
    await setTimeout(20);
  }
  throw new Error('registry did not listen within 10 seconds');
}
