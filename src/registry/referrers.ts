import { type Digest, parseDigest } from '../digest';
import { NotInRegistryError } from '../errors';
import { asIndex, newIndex } from '../image-index';
import { descriptorOf, type Index, newRef, type Ref } from '../ref';
import { type Descriptor, type ImageIndex, indexSchema } from '../spec/documents';
import { encodeJson, parseDocument } from '../spec/json';
import { mediaTypes } from '../spec/media-types';
import type { Exchange } from './exchange';
import { pages } from './pages';
import type { Repository } from './repository';

/**
 * The manifests whose subject has the digest. A registry without a list of referrers has a tag for it, which clients keep.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
 */
export async function listReferrers(
  exchange: Exchange,
  repository: Repository,
  subject: Digest,
  artifactType?: string,
): Promise<Descriptor[]> {
  const all = (await listedReferrers(exchange, subject, artifactType)) ?? (await taggedReferrers(repository, subject));
  return artifactType === undefined ? [...all] : all.filter((descriptor) => descriptor.artifactType === artifactType);
}

/** `undefined` if the registry has no such list. */
async function listedReferrers(
  exchange: Exchange,
  subject: Digest,
  artifactType: string | undefined,
): Promise<readonly Descriptor[] | undefined> {
  const what = `referrers of ${subject}`;
  const url = await exchange.url(`referrers/${subject}`, artifactType === undefined ? {} : { artifactType });
  const headers = { accept: mediaTypes.imageIndex };
  const question = { what, method: 'GET', url, actions: 'pull', expected: [200, 404], headers } as const;
  const found: Descriptor[][] = [];
  for await (const { status, body } of pages(exchange, question)) {
    if (status === 404) return undefined;
    found.push(parseDocument(body, indexSchema, what).manifests ?? []);
  }
  return found.flat();
}

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema */
function referrersTag(subject: Digest): string {
  const { algorithm, encoded } = parseDigest(subject);
  return `${algorithm.slice(0, 32)}-${encoded.slice(0, 64)}`;
}

async function referrersIndex(repository: Repository, subject: Digest): Promise<Index | undefined> {
  try {
    return asIndex(await repository.read({ tag: referrersTag(subject) }));
  } catch (error) {
    if (error instanceof NotInRegistryError) return undefined;
    throw error;
  }
}

async function taggedReferrers(repository: Repository, subject: Digest): Promise<readonly Descriptor[]> {
  return (await referrersIndex(repository, subject))?.manifest.manifests ?? [];
}

/** Lists a manifest among the referrers of its subject, where the registry does not do it. */
export async function addReferrer(repository: Repository, subject: Digest, ref: Ref): Promise<void> {
  const { annotations } = ref.manifest;
  const listed = { ...descriptorOf(ref), ...(annotations && { annotations }) };
  await changeReferrers(repository, subject, (manifests) =>
    manifests.some(({ digest }) => digest === ref.digest) ? manifests : [...manifests, listed],
  );
}

/** Takes a manifest out of the referrers of its subject, where the registry does not do it. */
export async function removeReferrer(
  exchange: Exchange,
  repository: Repository,
  subject: Digest,
  digest: Digest,
): Promise<void> {
  if (await listedReferrers(exchange, subject, undefined)) return;
  await changeReferrers(repository, subject, (manifests) =>
    manifests.filter((descriptor) => descriptor.digest !== digest),
  );
}

async function changeReferrers(
  repository: Repository,
  subject: Digest,
  change: (manifests: readonly Descriptor[]) => readonly Descriptor[],
): Promise<void> {
  const index = (await referrersIndex(repository, subject)) ?? newIndex([]);
  // With a subject of its own the list would itself have to be listed.
  const { subject: _, manifests, ...others } = index.manifest;
  const changed = change(manifests);
  if (changed.length === manifests.length) return;
  const document: ImageIndex = { ...others, manifests: [...changed] };
  const ref = newRef(encodeJson(document), index.mediaType, undefined, repository.blobs);
  await repository.putManifest(ref, referrersTag(subject));
}
