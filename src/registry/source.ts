import type { ImageSource } from '../layout/source';
import { descriptorOf } from '../ref';
import { type Descriptor, refNameAnnotation } from '../spec/documents';
import type { RegistryReference } from './reference';
import type { Repository } from './repository';

/**
 * The one manifest that a reference names; `latest` where it has neither tag nor digest, as in Docker. A digest says all: the
 * tag beside it may have moved on since.
 */
export function registrySource(reference: RegistryReference, repository: Repository): ImageSource {
  const { registry, repository: name, digest } = reference;
  const tag = reference.tag ?? (digest === undefined ? 'latest' : undefined);
  return {
    name: `${registry}/${name}`,
    read: async () => {
      const ref = await repository.read(digest ? { digest } : { ...(tag !== undefined && { tag }) });
      return [{ ref, descriptor: taggedAs(descriptorOf(ref), tag) }];
    },
  };
}

/** As index.json says it, so that a copy keeps its tag. */
function taggedAs(descriptor: Descriptor, tag: string | undefined): Descriptor {
  return tag === undefined ? descriptor : { ...descriptor, annotations: { [refNameAnnotation]: tag } };
}
