import { bytesOf, noBlobs } from '../../blob';
import type { Digest } from '../../digest';
import { DigestMismatchError, OciError } from '../../errors';
import { newRef, type Ref } from '../../ref';
import type { Descriptor } from '../../spec/documents';
import { parseJson } from '../../spec/json';
import { Refusal } from './errors';
import { answer, bodyOf, type Exchange } from './exchange';
import type { Handler } from './handler';
import { headerNames, paths } from './protocol';
import { checkTag } from './routes';
import type { RegistryStorage, StoredManifest } from './storage';

/**
 * The largest manifest that is taken: 4 MiB, which is what the specification asks of all and what most registries stop
 * at.
 */
export const maxManifestSize = 4 * 1024 * 1024;

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests */
export const putManifest: Handler<'manifest'> = async (exchange, { repository, name }, { storage, sparse }) => {
  const digest = name.includes(':') ? (name as Digest) : undefined;
  const tags = (digest ? exchange.query.getAll('tag') : [name]).map(checkTag);
  const bytes = await readManifest(exchange);
  const ref = refOf(bytes, exchange.request.headers['content-type'], digest);
  if (!sparse) await checkReferences(storage, repository, ref);
  const manifest = storedManifest(ref);
  await storage.putManifest(repository, manifest, tags);
  return answer(exchange, 201, {
    location: paths.manifest(repository, manifest.digest),
    [headerNames.contentDigest]: manifest.digest,
    ...(manifest.referrer && { [headerNames.subject]: manifest.referrer.subject }),
    ...(digest && tags.length > 0 && { [headerNames.tag]: tags.join(', ') }),
  });
};

/** The manifest as it is kept, with what the list of referrers says of it. */
export function storedManifest(ref: Ref): StoredManifest {
  const { mediaType, digest, rawManifest: bytes, manifest } = ref;
  const stored = { mediaType, digest, bytes };
  if (!manifest.subject) return stored;
  const artifactType = manifest.artifactType ?? (ref.kind === 'image' ? ref.manifest.config.mediaType : undefined);
  const descriptor: Descriptor = {
    mediaType,
    digest,
    size: bytes.length,
    ...(artifactType !== undefined && { artifactType }),
    ...(manifest.annotations && { annotations: manifest.annotations }),
  };
  return { ...stored, referrer: { subject: manifest.subject.digest, descriptor } };
}

async function readManifest(exchange: Exchange): Promise<Uint8Array> {
  const announced = Number(exchange.request.headers['content-length'] ?? 0);
  if (announced > maxManifestSize) {
    throw new Refusal(413, 'SIZE_INVALID', `manifest: expected at most ${maxManifestSize} bytes, found ${announced}`);
  }
  return bytesOf(bodyOf(exchange), maxManifestSize, 'manifest');
}

function refOf(bytes: Uint8Array, contentType: string | undefined, digest: Digest | undefined): Ref {
  try {
    return newRef(bytes, contentType ?? ownMediaType(bytes), digest, noBlobs);
  } catch (error) {
    if (error instanceof DigestMismatchError) throw new Refusal(400, 'DIGEST_INVALID', error.message);
    throw error instanceof OciError ? new Refusal(400, 'MANIFEST_INVALID', error.message) : error;
  }
}

/** What the manifest says of itself, where its client says nothing. */
function ownMediaType(bytes: Uint8Array): string {
  const body = parseJson(bytes, 'manifest');
  return typeof body === 'object' && body !== null && 'mediaType' in body ? String(body.mediaType) : '';
}

/** What can be had elsewhere need not be here, and neither needs a subject. */
async function checkReferences(storage: RegistryStorage, repository: string, ref: Ref): Promise<void> {
  const manifests = ref.kind === 'index' ? ref.children() : [];
  for (const { digest } of manifests) {
    if (!(await storage.manifest(repository, digest))) throw unknownReference(ref, repository, `manifest ${digest}`);
  }
  for (const { digest, urls } of ref.descriptors()) {
    if (!urls && !(await storage.blob(repository, digest))) throw unknownReference(ref, repository, `blob ${digest}`);
  }
}

function unknownReference(ref: Ref, repository: string, thing: string): Refusal {
  return new Refusal(
    400,
    'MANIFEST_BLOB_UNKNOWN',
    `manifest ${ref.digest}: expected ${thing} in repository ${repository}, found none; push it before what refers to it`,
  );
}
