import { join, resolve } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import type { ImageMemory } from '../actions/lock-images';
import { openRegistries } from '../actions/open-registries';
import type { RegistryClient } from '../registry/client';

let client: RegistryClient | undefined;

/** The registries that the targets of this process reach, as the environment describes them. */
export function registries(): RegistryClient {
  client ??= openRegistries(process.env);
  return client;
}

/** The lock file is the workspace's; so is the store, unless NX_OCI_STORE says otherwise. */
export function memoryOf({ root }: ExecutorContext): ImageMemory {
  const { NX_OCI_STORE, CI } = process.env;
  return {
    root,
    store: NX_OCI_STORE ? resolve(root, NX_OCI_STORE) : join(root, '.nx', 'oci'),
    isFrozen: CI !== undefined && CI !== 'false',
  };
}
