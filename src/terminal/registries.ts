import { openRegistries } from '../actions/open-registries';
import type { RegistryClient } from '../registry/client';
import { retryReport } from './reports';

const clients = new Map<string, RegistryClient>();

/**
 * The registries that this process reaches, as its environment describes them. What fails and is tried again is said on
 * standard error, because it takes time.
 *
 * @param insecure those that are reached without TLS, or with a certificate that nobody vouches for.
 */
export function registries(insecure: readonly string[] = []): RegistryClient {
  const key = insecure.join(' ');
  const known = clients.get(key);
  if (known) return known;
  const { stderr, env } = process;
  // A bar of progress may stand on the line.
  const start = stderr.isTTY ? '\r\u001b[K' : '';
  const onRetry = (retry: Parameters<typeof retryReport>[0]) => stderr.write(`${start}${retryReport(retry)}\n`);
  const client = openRegistries(env, { insecure, onRetry });
  clients.set(key, client);
  return client;
}
