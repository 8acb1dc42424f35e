import type { Digest } from '../../digest';
import { answer } from './exchange';
import type { Handler } from './handler';
import { notFound } from './pull';

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#deleting-manifests */
export const deleteManifest: Handler<'manifest'> = async (exchange, { repository, name }, { storage }) => {
  const isTag = !name.includes(':');
  const wasThere = isTag
    ? await storage.untag(repository, name)
    : await storage.deleteManifest(repository, name as Digest);
  if (!wasThere) throw await notFound(storage, repository, 'MANIFEST_UNKNOWN', `${isTag ? 'tag' : 'manifest'} ${name}`);
  return answer(exchange, 202);
};

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#deleting-blobs */
export const deleteBlob: Handler<'blob'> = async (exchange, { repository, digest }, { storage }) => {
  const wasThere = await storage.deleteBlob(repository, digest);
  if (!wasThere) throw await notFound(storage, repository, 'BLOB_UNKNOWN', `blob ${digest}`);
  return answer(exchange, 202);
};
