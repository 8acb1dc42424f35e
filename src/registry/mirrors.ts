import type { Blob, Blobs } from '../blob';
import { OciError, RegistryError } from '../errors';
import { newRef } from '../ref';
import type { Repository } from './repository';

/**
 * A repository that is read from mirrors first, and from itself where they fail: one that is down, or lacks something,
 * costs a try. What is written goes to the repository itself.
 */
export function mirroredRepository(repository: Repository, mirrors: readonly Repository[]): Repository {
  const places = [...mirrors, repository];
  const fromFirst = async <T>(read: (place: Repository) => Promise<T>): Promise<T> => {
    for (const mirror of mirrors) {
      try {
        return await read(mirror);
      } catch (error) {
        // What is wrong may be the mirror's alone, nonsense that it sends included.
        if (!(error instanceof OciError)) throw error;
      }
    }
    return read(repository);
  };
  const blobs: Blobs = {
    blob: (descriptor) => blobFromFirst(places.map((place) => place.blobs.blob(descriptor))),
    manifest: (descriptor) => fromFirst((place) => place.blobs.manifest(descriptor)),
    blobs: () => blobs,
  };
  return {
    ...repository,
    blobs,
    read: async (name) => {
      const { rawManifest, mediaType, digest } = await fromFirst((place) => place.read(name));
      return newRef(rawManifest, mediaType, digest, blobs);
    },
    resolve: async (name) => {
      for (const mirror of mirrors) {
        const found = await mirror.resolve(name).catch(() => undefined);
        if (found) return found;
      }
      return repository.resolve(name);
    },
  };
}

/** Goes on in the next place where one fails. What is put together that way is verified by its reader, as always. */
function blobFromFirst(blobs: readonly Blob[]): Blob {
  return {
    size: blobs[0]?.size ?? 0,
    open: async function* ({ start = 0, end } = {}) {
      let position = start;
      for (const [place, blob] of blobs.entries()) {
        try {
          for await (const chunk of blob.open({ start: position, ...(end !== undefined && { end }) })) {
            position += chunk.length;
            yield chunk;
          }
          return;
        } catch (error) {
          if (!(error instanceof RegistryError) || place === blobs.length - 1) throw error;
        }
      }
    },
  };
}
