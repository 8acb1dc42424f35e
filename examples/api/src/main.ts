import type { AddressInfo } from 'node:net';
import { Command, InvalidArgumentError } from 'commander';
import { createApi } from './server.js';

const { host, port } = new Command('api')
  .option('--host <address>', 'the address to listen at', '0.0.0.0')
  .option('--port <number>', 'the port; 0 for any free one', parsePort, 8080)
  .parse()
  .opts<{ host: string; port: number }>();

const server = createApi();
server.listen(port, host, () => {
  const { address, port } = server.address() as AddressInfo;
  console.log(`Listening at http://${address}:${port}`);
});

// The first process of a container ignores what it does not ask for.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => server.close());

function parsePort(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port < 65536) return port;
  throw new InvalidArgumentError('It is no port.');
}
