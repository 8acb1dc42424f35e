import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type Contender, run, type Sample } from './measure';
import { type RegistryProgram, startRegistryProgram } from './registries';
import { ourTransfer } from './transfers';
import type { Workload } from './workloads';

/** What a registry is asked for, again and again, over connections that are kept. */
export interface Load {
  readonly name: string;
  readonly connections: number;
  readonly requests: number;
  /** The path of what is asked for, from the digest of the image and that of its layer. */
  path(image: { readonly layer: string }): string;
}

export const manifestLoad: Load = {
  name: 'manifests',
  connections: 16,
  requests: 20_000,
  path: () => '/v2/os/manifests/v1',
};

export const blobLoad: Load = {
  name: 'blobs',
  connections: 4,
  requests: 24,
  path: ({ layer }) => `/v2/os/blobs/${layer}`,
};

/** How fast a registry answers, filled with one image. Client and server share the machine. */
export function newServing(
  program: RegistryProgram,
  load: Load,
  layout: string,
  layer: string,
  workload: Workload,
  scratch: string,
): Contender {
  return {
    program: { id: program.id, name: `${program.name}, ${load.name}` },
    workload,
    run: async () => {
      const room = join(scratch, 'serving');
      await mkdir(room);
      try {
        await using registry = await startRegistryProgram(program, room);
        const [command = '', ...args] = ourTransfer.push(layout, `${registry.host}/os:v1`);
        await run(command, args, room);
        const path = load.path({ layer });
        await answers(registry.host, path, { ...load, requests: Math.ceil(load.requests / 20) }); // compiles the hot code
        return await answers(registry.host, path, load);
      } finally {
        await rm(room, { recursive: true, force: true });
      }
    },
  };
}

/**
 * Sends the same request over and over, on plain sockets: an HTTP client would need more of the processor than the server.
 * All responses are as long as the first one.
 */
async function answers(host: string, path: string, { connections, requests }: Load): Promise<Sample> {
  const length = await responseLength(host, path);
  const started = performance.now();
  const each = Math.ceil(requests / connections);
  await Promise.all(Array.from({ length: connections }, () => askRepeatedly(host, path, length, each)));
  const wallSeconds = (performance.now() - started) / 1000;
  const answered = each * connections;
  return {
    wallSeconds,
    answersPerSecond: answered / wallSeconds,
    servedBytesPerSecond: (answered * length) / wallSeconds,
  };
}

function requestFor(host: string, path: string): string {
  const accept = 'application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json';
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAccept: ${accept}\r\n\r\n`;
}

async function responseLength(host: string, path: string): Promise<number> {
  const socket = open(host);
  socket.write(requestFor(host, path));
  let head = '';
  let received = 0;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    received += chunk.length;
    if (!head.includes('\r\n\r\n')) head += chunk.toString('latin1');
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) continue;
    if (!head.startsWith('HTTP/1.1 200 ')) throw new Error(`${path}: expected 200, found ${head.slice(0, end)}`);
    const length = end + 4 + Number(/^content-length: (\d+)/im.exec(head)?.[1]);
    if (received < length) continue;
    socket.destroy();
    return length;
  }
  throw new Error(`${path}: the connection ended`);
}

async function askRepeatedly(host: string, path: string, length: number, times: number): Promise<void> {
  const socket = open(host);
  const request = requestFor(host, path);
  let left = times;
  let missing = length;
  socket.on('data', ({ length: received }: Buffer) => {
    missing -= received;
    if (missing > 0) return;
    if (missing < 0) return void socket.destroy(new Error(`${path}: more bytes than a response has`));
    missing = length;
    left -= 1;
    if (left > 0) socket.write(request);
    else socket.end();
  });
  socket.write(request);
  await once(socket, 'close');
  if (left > 0) throw new Error(`${path}: the connection ended`);
}

function open(host: string) {
  const [address, port] = host.split(':');
  return connect(Number(port), address).setNoDelay();
}
