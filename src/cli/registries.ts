import { openRegistries } from '../actions/open-registries';
import type { RegistryClient } from '../registry/client';

let client: RegistryClient | undefined;

/** The registries that this command reaches, opened when the first one is asked for. */
export function registries(insecure: readonly string[] = []): RegistryClient {
  client ??= openRegistries(process.env, { insecure });
  return client;
}
