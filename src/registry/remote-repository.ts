import { type Blobs, bytesBlob } from '../blob';
import { algorithmOf, asDigest, type Digest, isDigest } from '../digest';
import { InvalidReferenceError, RegistryError } from '../errors';
import { descriptorOf, newRef, type Ref } from '../ref';
import type { Descriptor } from '../spec/documents';
import { maxDocumentSize } from '../spec/json';
import { isIndexType, isManifestType, mediaTypes } from '../spec/media-types';
import { boundedBody } from './body';
import { remoteBlob } from './download';
import type { Exchange, Question } from './exchange';
import { manifestTypeOf } from './manifest-type';
import { isTag } from './reference';
import { addReferrer, listReferrers, removeReferrer } from './referrers';
import type { ManifestName, Repository } from './repository';
import { listTags } from './tags';
import type { Retries } from './transport/retries';
import type { HttpResponse } from './transport/transport';
import { hasBlob, uploadBlob } from './upload';

/** What is read, in the order in which it is liked: an index before its images, the OCI's types before Docker's. */
const acceptedTypes = [
  mediaTypes.imageIndex,
  mediaTypes.dockerManifestList,
  mediaTypes.imageManifest,
  mediaTypes.dockerManifest,
].join(', ');

/** The repository behind an {@link Exchange}. */
export function remoteRepository(exchange: Exchange, retries: Retries): Repository {
  const manifestQuestion = async (method: 'GET' | 'HEAD', name: ManifestName): Promise<Question> => {
    const named = nameOf(name);
    return {
      what: `manifest ${named}`,
      method,
      url: await exchange.url(`manifests/${named}`),
      actions: 'pull',
      expected: [200],
      headers: { accept: acceptedTypes },
    };
  };
  const remove = async (what: string, path: string) => {
    const url = await exchange.url(path);
    const response = await exchange.ask({
      what,
      method: 'DELETE',
      url,
      actions: 'delete',
      expected: [200, 202, 204],
      idempotent: true,
    });
    await response.discard();
  };
  const fetchManifest = async (name: ManifestName, limit: number) => {
    const question = await manifestQuestion('GET', name);
    const response = await exchange.ask(question);
    return { bytes: await boundedBody(response, limit, question.what), response };
  };

  /** A list of referrers is read, changed and written as a whole: of two changes at once one would be lost. */
  let lastTurn = Promise.resolve();
  const inTurn = (change: () => Promise<void>): Promise<void> => {
    lastTurn = lastTurn.then(change, change);
    return lastTurn;
  };

  const blobs: Blobs = {
    blob: (descriptor) => remoteBlob(exchange, descriptor, retries),
    manifest: async ({ digest, size }) => (await fetchManifest({ digest }, size)).bytes,
    blobs: () => blobs,
  };

  const repository: Repository = {
    name: exchange.name,
    blobs,
    read: async (name) => {
      const { bytes, response } = await fetchManifest(name, maxDocumentSize);
      const said = response.headers['docker-content-digest'];
      const digest = name.digest ?? (said !== undefined && isDigest(said) ? said : undefined);
      return newRef(bytes, manifestTypeOf(response.headers['content-type'], bytes), digest, blobs);
    },
    resolve: async (name) => {
      const question = await manifestQuestion('HEAD', name);
      const response = await exchange.ask({ ...question, expected: [200, 404] });
      await response.discard();
      if (response.status === 404) return undefined;
      return describedBy(response, name.digest) ?? descriptorOf(await repository.read(name));
    },
    hasBlob: (descriptor) => hasBlob(exchange, descriptor),
    putBlob: async (descriptor, blob, options = {}) =>
      (await hasBlob(exchange, descriptor)) ? 'present' : uploadBlob(exchange, descriptor, blob, options, retries),
    putManifest: async (ref, tag) => {
      const response = await exchange.ask({
        what: `manifest ${tag ?? ref.digest}`,
        method: 'PUT',
        url: await exchange.url(`manifests/${tag === undefined ? ref.digest : nameOf({ tag })}`),
        actions: 'pull,push',
        expected: [201],
        headers: { 'content-type': ref.mediaType },
        body: bytesBlob(ref.rawManifest),
        idempotent: true,
      });
      await response.discard();
      checkKept(response, ref, `${exchange.name.registry}/${exchange.name.repository}`);
      const { subject } = ref.manifest;
      if (subject === undefined || response.headers['oci-subject'] !== undefined) return;
      await inTurn(() => addReferrer(repository, subject.digest, ref));
    },
    tags: () => listTags(exchange),
    referrers: (digest, artifactType) => listReferrers(exchange, repository, asDigest(digest), artifactType),
    deleteManifest: async (digest) => {
      const { subject } = (await repository.read({ digest: asDigest(digest) })).manifest;
      await remove(`manifest ${digest}`, `manifests/${digest}`);
      if (subject) await inTurn(() => removeReferrer(exchange, repository, subject.digest, digest));
    },
    deleteTag: (tag) => remove(`tag ${tag}`, `manifests/${nameOf({ tag })}`),
    deleteBlob: (digest) => remove(`blob ${digest}`, `blobs/${asDigest(digest)}`),
  };
  return repository;
}

/** The tag goes into the URL where there is one, for the registry and those in between to know what is wanted. */
function nameOf({ tag, digest }: ManifestName): string {
  if (digest !== undefined) asDigest(digest);
  if (tag === undefined) return digest ?? 'latest';
  if (isTag(tag)) return tag;
  throw new InvalidReferenceError(
    `tag ${JSON.stringify(tag)}: expected up to 128 letters, digits, ".", "_" and "-", the first no "." or "-"`,
    { found: tag },
  );
}

/** What the head of a response says of a manifest; `undefined` if that is not enough, or not what was asked for. */
function describedBy(
  { headers }: HttpResponse,
  asked: Digest | undefined,
): Pick<Descriptor, 'mediaType' | 'digest' | 'size'> | undefined {
  const mediaType = manifestTypeOf(headers['content-type']);
  const digest = headers['docker-content-digest'] ?? asked;
  const size = Number(headers['content-length']);
  if (!isManifestType(mediaType) && !isIndexType(mediaType)) return undefined;
  if (digest === undefined || !isDigest(digest) || digest !== (asked ?? digest)) return undefined;
  return size > 0 ? { mediaType, digest, size } : undefined;
}

/** A registry that keeps other bytes than those it was sent would give them to everybody. */
function checkKept(response: HttpResponse, { digest }: Ref, repository: string): void {
  const kept = response.headers['docker-content-digest'];
  if (kept === undefined || !isDigest(kept) || algorithmOf(kept) !== algorithmOf(digest) || kept === digest) return;
  throw new RegistryError(`${repository}: expected the registry to keep manifest ${digest}, found ${kept}`, {
    expected: digest,
    found: kept,
    status: response.status,
  });
}
