import type { OutgoingHttpHeaders } from 'node:http';
import type { Descriptor } from '../../spec/documents';
import { encodeJson } from '../../spec/json';
import { mediaTypes } from '../../spec/media-types';
import { Refusal } from './errors';
import { answer, answerJson } from './exchange';
import type { Handler } from './handler';
import { headerNames, paths } from './protocol';
import { unknownRepository } from './pull';
import { maxManifestSize } from './push';

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags */
export const listTags: Handler<'tags'> = async (exchange, { repository }, { storage, pageSize }) => {
  const all = await storage.tags(repository);
  if (!all) throw unknownRepository(repository);
  const { entries, headers } = pageOf(all, exchange.query, paths.tags(repository), pageSize);
  return answerJson(exchange, { name: repository, tags: entries }, headers);
};

/** Docker's list of all repositories, which the specification leaves out. */
export const listRepositories: Handler<'catalog'> = async (exchange, _, { storage, pageSize }) => {
  const { entries, headers } = pageOf(await storage.repositories(), exchange.query, paths.catalog, pageSize);
  return answerJson(exchange, { repositories: entries }, headers);
};

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers */
export const listReferrers: Handler<'referrers'> = async (exchange, { repository, digest }, { storage, pageSize }) => {
  const { query } = exchange;
  const filter = query.get('artifactType');
  const last = query.get('last');
  // Sorted, so that the next page begins where this one ends, whatever comes and goes in between.
  const left = [...(await storage.referrers(repository, digest))]
    .sort((one, other) => (one.digest < other.digest ? -1 : 1))
    .filter((descriptor) => filter === null || descriptor.artifactType === filter)
    .filter((descriptor) => last === null || descriptor.digest > last);
  const manifests = fitting(left, pageSize);
  const isMore = manifests.length < left.length;
  const body = encodeJson({ schemaVersion: 2, mediaType: mediaTypes.imageIndex, manifests });
  return answer(
    exchange,
    200,
    {
      'content-type': mediaTypes.imageIndex,
      ...(filter !== null && { [headerNames.filtersApplied]: 'artifactType' }),
      ...(isMore && nextPage(paths.referrers(repository, digest), query, manifests.at(-1)?.digest ?? '')),
    },
    body,
  );
};

/** The part of a sorted list that a request asks for. */
function pageOf(all: readonly string[], query: URLSearchParams, path: string, pageSize: number) {
  const last = query.get('last');
  const left = last === null ? all : all.filter((entry) => entry > last);
  const asked = query.get('n');
  if (asked !== null && !/^\d{1,9}$/.test(asked)) {
    throw new Refusal(400, 'UNSUPPORTED', `n: expected a number of entries, found ${JSON.stringify(asked)}`);
  }
  const entries = left.slice(0, Math.min(Number(asked ?? pageSize), pageSize));
  const isMore = entries.length > 0 && entries.length < left.length;
  return { entries, headers: isMore ? nextPage(path, query, entries.at(-1) ?? '') : {} };
}

/** As many as make a manifest that clients still read. */
function fitting(descriptors: readonly Descriptor[], pageSize: number): readonly Descriptor[] {
  let size = 0;
  const tooMany = descriptors.findIndex((descriptor, position) => {
    size += JSON.stringify(descriptor).length;
    return position > 0 && (position === pageSize || size > maxManifestSize - 1024);
  });
  return tooMany < 0 ? descriptors : descriptors.slice(0, tooMany);
}

/** @see https://www.rfc-editor.org/rfc/rfc5988#section-5 */
function nextPage(path: string, query: URLSearchParams, last: string): OutgoingHttpHeaders {
  const next = new URLSearchParams(query);
  next.set('last', last);
  return { link: `<${path}?${next}>; rel="next"` };
}
