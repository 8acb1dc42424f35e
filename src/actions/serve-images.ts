import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileSystemStep, InvalidOptionError } from '../errors';
import type { ServedLayout } from '../registry/server/layouts';
import { checkCertificate, type Registry, startRegistry } from '../registry/server/start-registry';
import type { RegistryServerOptions } from './registry-options';

/**
 * Starts a registry that serves layouts.
 *
 * @param root what paths in the options are relative to.
 * @throws {InvalidOptionError} for a certificate without its key, or with another one.
 * @throws what {@link startRegistry} throws.
 */
export async function serveImages(
  layouts: readonly ServedLayout[],
  { port, host, storage, tlsCert, tlsKey, auth }: RegistryServerOptions,
  root: string,
): Promise<Registry> {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new InvalidOptionError(
      `option "${tlsKey === undefined ? 'tlsKey' : 'tlsCert'}": expected a certificate and its key, found one of them`,
    );
  }
  const tls = tlsCert !== undefined && tlsKey !== undefined && (await readCertificate(tlsCert, tlsKey, root));
  return startRegistry({
    layouts,
    ...(port !== undefined && { port }),
    ...(host !== undefined && { host }),
    ...(storage !== undefined && { storage: resolve(root, storage) }),
    ...(tls && { tls }),
    ...(auth !== undefined && { auth: { scheme: 'basic' as const, users: { htpasswd: resolve(root, auth) } } }),
  });
}

async function readCertificate(
  certFile: string,
  keyFile: string,
  root: string,
): Promise<{ cert: Buffer; key: Buffer }> {
  const read = async (path: string) => {
    const file = resolve(root, path);
    return fileSystemStep('read', file, () => readFile(file));
  };
  const tls = { cert: await read(certFile), key: await read(keyFile) };
  checkCertificate(tls, `${certFile}, ${keyFile}`);
  return tls;
}

/** What a registry serves: `host/repository:tag`, and of a repository without tags its name. */
export async function servedReferences({ host, storage }: Registry): Promise<string[]> {
  const references: string[] = [];
  for (const repository of await storage.repositories()) {
    const tags = (await storage.tags(repository)) ?? [];
    const names = tags.map((tag) => `${repository}:${tag}`);
    references.push(...(names.length === 0 ? [repository] : names).map((name) => `${host}/${name}`));
  }
  return references;
}
