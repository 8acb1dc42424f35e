import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { PassThrough, pipeline, Transform } from 'node:stream';
import { afterAll } from '@jest/globals';

/** A network before a registry that breaks connections off. */
export interface CuttingProxy {
  readonly host: string;
  /** How many connections it has broken off. */
  readonly cuts: () => number;
}

export interface Cutting {
  /** How many bytes of the first connections get through, from the registry or to it. */
  readonly after: number;
  readonly direction: 'from' | 'to';
  /** How many connections are broken off; all further ones stay whole. */
  readonly times: number;
}

const started: (() => Promise<void>)[] = [];
afterAll(async () => {
  await Promise.all(started.map((close) => close()));
});

/** Starts a TCP proxy on a free port before a registry (`127.0.0.1:5000`). It ends with the test file, if not before. */
export async function startCuttingProxy(target: string, { after, direction, times }: Cutting): Promise<CuttingProxy> {
  const { hostname, port } = new URL(`http://${target}`);
  const sockets = new Set<Socket>();
  let cuts = 0;
  const cutting = () => {
    let passed = 0;
    return new Transform({
      transform(chunk: Buffer, _, done) {
        passed += chunk.length;
        if (passed <= after || cuts >= times) return done(null, chunk);
        cuts += 1;
        return done(new Error('cut off'));
      },
    });
  };
  const server = createServer((client) => {
    const registry = connect(Number(port), hostname);
    for (const socket of [client, registry]) sockets.add(socket.on('close', () => sockets.delete(socket)));
    const end = (error?: Error | null) => {
      if (error) for (const socket of [client, registry]) socket.destroy();
    };
    pipeline(client, direction === 'to' ? cutting() : new PassThrough(), registry, end);
    pipeline(registry, direction === 'from' ? cutting() : new PassThrough(), client, end);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  started.push(async () => {
    const closed = once(server.close(), 'close');
    for (const socket of sockets) socket.destroy();
    await closed;
  });
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, cuts: () => cuts };
}
