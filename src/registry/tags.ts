import * as z from 'zod';
import { parseDocument } from '../spec/json';
import type { Exchange } from './exchange';
import { pages } from './pages';

const tagListSchema = z.looseObject({ tags: z.array(z.string()).nullable() });

/**
 * All tags of a repository, page by page.
 *
 * @throws {NotInRegistryError} if there is no such repository.
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
 */
export async function listTags(exchange: Exchange): Promise<string[]> {
  const what = 'list of tags';
  const url = await exchange.url('tags/list');
  const tags: string[][] = [];
  for await (const { body } of pages(exchange, { what, method: 'GET', url, actions: 'pull', expected: [200] })) {
    tags.push(parseDocument(body, tagListSchema, what).tags ?? []);
  }
  return tags.flat();
}
