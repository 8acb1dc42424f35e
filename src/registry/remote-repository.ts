import { type Blobs, bytesBlob } from '../blob';
import { algorithmOf, asDigest, isDigest } from '../digest';
import { InvalidReferenceError, RegistryError } from '../errors';
import { descriptorOf, newRef, type Ref } from '../ref';
import { maxDocumentSize } from '../spec/json';
import { mediaTypes } from '../spec/media-types';
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
      const { 'content-type': mediaType, 'content-length': length, 'docker-content-digest': said } = response.headers;
      const digest = name.digest ?? said;
      if (mediaType !== undefined && length !== undefined && digest !== undefined && isDigest(digest)) {
        return { mediaType: manifestTypeOf(mediaType), digest, size: Number(length) };
      }
      return descriptorOf(await repository.read(name));
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
      if (subject && response.headers['oci-subject'] === undefined) await addReferrer(repository, subject.digest, ref);
    },
    tags: () => listTags(exchange),
    referrers: (digest, artifactType) => listReferrers(exchange, repository, asDigest(digest), artifactType),
    deleteManifest: async (digest) => {
      await removeReferrer(exchange, repository, asDigest(digest));
      await remove(`manifest ${digest}`, `manifests/${digest}`);
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
