import { isDeepStrictEqual } from 'node:util';
import { type Image, readConfig } from '../ref';
import type { ImageConfig } from '../spec/documents';
import { parseJson } from '../spec/json';
import { isImageConfigType } from '../spec/media-types';
import { type ValueChange, valueChanges } from './json';

/** What is compared of a config. */
export interface ComparedConfig {
  /** Of a container image. */
  readonly image?: ImageConfig;
  /** The JSON document; its digest, if it is none. */
  readonly value: unknown;
}

/** Reads a config, verified; one that is not JSON is known by its digest alone. */
export async function comparedConfig(image: Image): Promise<ComparedConfig> {
  const descriptor = image.manifest.config;
  if (isImageConfigType(descriptor.mediaType)) {
    const config = await readConfig(image);
    return { image: config, value: config };
  }
  if (!/[/+]json$/.test(descriptor.mediaType)) return { value: descriptor.digest };
  return { value: parseJson(await image.readBlobVerified(descriptor), `config ${descriptor.digest}`) };
}

/** The values that differ between two configs, but for the diffIDs, which are compared with the layers. */
export function configChanges(a: ComparedConfig, b: ComparedConfig): ValueChange[] {
  if (!a.image || !b.image) return valueChanges(a.value, b.value);
  const [from, to] = [a.image.config?.Env ?? [], b.image.config?.Env ?? []];
  const [before, after] = [variablesOf(from), variablesOf(to)];
  // Variables that only stand in another order are the same by their names.
  const byName = before && after && (!isDeepStrictEqual(before, after) || isDeepStrictEqual(from, to));
  return byName
    ? valueChanges(comparable(a.image, before), comparable(b.image, after))
    : valueChanges(comparable(a.image, from), comparable(b.image, to));
}

function comparable({ rootfs: { diff_ids: _, ...rootfs }, config, ...others }: ImageConfig, Env: unknown): object {
  return { ...others, config: { ...config, Env }, rootfs };
}

/** The environment by names; none if it names one twice, or something that has no value. */
function variablesOf(environment: readonly string[]): Record<string, string> | undefined {
  const variables = environment.map((variable) => {
    const equals = variable.indexOf('=');
    return [variable.slice(0, equals), variable.slice(equals + 1)] as const;
  });
  const names = new Set(variables.map(([name]) => name));
  return names.size < variables.length || names.has('') || environment.some((variable) => !variable.includes('='))
    ? undefined
    : Object.fromEntries(variables);
}
