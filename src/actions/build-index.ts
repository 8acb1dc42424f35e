import type { Digest } from '../digest';
import { addToIndex, findPlatform, type IndexEntry, type Instance, instancesOf, newIndex } from '../image-index';
import { createLayout } from '../layout/create';
import { withoutTag } from '../layout/find';
import type { ImageSource } from '../layout/source';
import { writeTree } from '../layout/write';
import type { Descriptor, Platform } from '../spec/documents';
import { formatPlatform, normalizePlatform, parsePlatform } from '../spec/platform';
import { treeFile } from '../tree';
import type { IndexOptions } from './index-options';
import { checkTag } from './tag';

/** What one build of an index takes. */
export interface BuildIndex {
  readonly options: IndexOptions;
  /** What `options.images` names, found by the caller, who knows what a target is. */
  readonly sources: readonly ImageSource[];
  /** Absolute path of the layout to write. */
  readonly output: string;
}

/** What was built. */
export interface BuiltIndex {
  readonly digest: Digest;
  readonly path: string;
  readonly tag: string;
  readonly manifests: readonly { readonly platform?: string; readonly digest: Digest; readonly mediaType: string }[];
}

/**
 * Builds an image index over images of other layouts and writes it as the one root of a layout, which shares their blobs
 * where the file system can.
 *
 * @throws {NoMatchingPlatformError} for a platform that no image is for; the message lists those that are there.
 */
export async function buildIndex({ options, sources, output }: BuildIndex): Promise<BuiltIndex> {
  const { annotations, nested = 'flatten', platforms } = options;
  const tag = checkTag(options.tag ?? 'latest');
  const candidates: Candidate[] = [];
  for (const source of sources) candidates.push(...(await candidatesOf(source, nested)));
  const chosen = platforms === undefined ? candidates : forPlatforms(candidates, platforms, options.images.join(', '));
  const entries = chosen.map(({ entry }) => entry);
  const index = addToIndex(newIndex([], annotations && { annotations }), entries);
  const tree = await createLayout(index, { tag });
  await writeTree(new Map([...tree, treeFile('digest', Buffer.from(index.digest))]), output);
  return { digest: index.digest, path: output, tag, manifests: index.manifest.manifests.map(summaryOf) };
}

/** What may be listed, with the images that it stands for: itself, or those of an index that is kept. */
interface Candidate {
  readonly entry: IndexEntry;
  readonly instances: readonly Instance[];
}

async function candidatesOf(source: ImageSource, nested: 'flatten' | 'keep'): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  for (const { ref, descriptor } of await source.read()) {
    const instances = await instancesOf(ref, descriptor);
    if (ref.kind === 'index' && nested === 'keep') {
      const { annotations } = withoutTag(descriptor);
      candidates.push({ entry: { ref, ...(annotations && { annotations }) }, instances });
    } else {
      candidates.push(...instances.map((instance) => ({ entry: entryOf(instance), instances: [instance] })));
    }
  }
  return candidates;
}

/** The tag of an image in the layout that it comes from says nothing in an index. */
function entryOf({ image, platform, descriptor }: Instance): IndexEntry {
  const annotations = descriptor && withoutTag(descriptor).annotations;
  return { ref: image, ...(platform && { platform }), ...(annotations && { annotations }) };
}

/** Those for each wanted platform, in the order of what is wanted, then of the sources; of Windows every version. */
function forPlatforms(candidates: readonly Candidate[], platforms: readonly string[], name: string): Candidate[] {
  const all = candidates.flatMap(({ instances }) => instances);
  return platforms.map(parsePlatform).flatMap((wanted) => {
    const best = findPlatform(all, wanted, name).platform;
    const isBest = ({ platform }: Instance) => best && platform && isSameKind(best, platform);
    return candidates.filter(({ instances }) => instances.some(isBest));
  });
}

function isSameKind(one: Platform, other: Platform): boolean {
  return formatPlatform(normalizePlatform(one)) === formatPlatform(normalizePlatform(other));
}

function summaryOf({ digest, mediaType, platform }: Descriptor): BuiltIndex['manifests'][number] {
  return { ...(platform && { platform: formatPlatform(platform) }), digest, mediaType };
}
