import type { EntryDifference } from '../diff/entries';
import type { ManifestDifference } from '../diff/images';
import type { LayerDifference } from '../diff/layers';
import { escaped, pathWords, shortDigest } from './diff-words';

type ListedDifference = ManifestDifference['manifests'][number];

/** Something with what it is called, among others of its kind. */
export interface Labelled<T> {
  readonly item: T;
  readonly label: string;
}

/** Why two images have different digests, on one line. */
export function diffReason(difference: ManifestDifference): string {
  const { a, b, identical } = difference;
  if (identical) return `identical: ${[...new Set([a.digest, b.digest])].join(' and ')}`;
  return `${shortDigest(a.digest)} and ${shortDigest(b.digest)} differ: ${reasonText(difference)}`;
}

/** How many reasons a line names. */
const shownReasons = 6;

function reasonText({ manifest, config, layers, manifests, rewritten }: ManifestDifference): string {
  const isLayerCountSame = !layers.some(({ kind }) => kind === 'added' || kind === 'removed');
  const configWords = config.map(({ path }) => (path[0] === 'history' ? 'history' : pathWords(path)));
  const reasons = [
    ...layerReasons(layers),
    // Layers come and go with their history.
    ...configWords.filter((word) => word !== 'history' || isLayerCountSame),
    ...manifest.map(({ path }) => pathWords(path)),
    ...rewritten.map((name) => `${name} written otherwise`),
  ];
  const shown = few([...new Set(reasons)], ', ');
  return few([...listedReasons(manifests), ...(shown === '' ? [] : [shown])], '; ') || 'named by another algorithm';
}

function few(words: readonly string[], separator: string): string {
  const more = words.length - shownReasons;
  return more > 0 ? `${words.slice(0, shownReasons).join(separator)} and ${more} more` : words.join(separator);
}

function layerReasons(layers: readonly LayerDifference[]): string[] {
  const described = layers.filter(({ kind, moved, descriptor }) => kind === 'same' && !moved && descriptor.length > 0);
  const reasons = labelled(layers).flatMap(({ item, label }) => {
    const isDescribed = described.includes(item);
    if (isDescribed && described.length > 1) return [];
    if (isDescribed) return [`${label} (${item.descriptor.map(({ path }) => pathWords(path)).join(', ')})`];
    const reason = layerReason(item);
    return reason === '' ? [] : [`${label} ${reason}`];
  });
  return described.length > 1 ? [...reasons, `descriptors of ${described.length} layers`] : reasons;
}

function layerReason({ kind, entries = [], reordered = [], moved }: LayerDifference): string {
  switch (kind) {
    case 'same':
      return moved ? 'moved' : '';
    case 'recompressed':
      return 'compressed otherwise';
    case 'rewritten':
      return '(tar file written otherwise)';
    case 'changed':
      return `(${fileCounts(entries, reordered.length > 0) || 'content'})`;
    default:
      return kind;
  }
}

const entryWords: readonly [EntryDifference['kind'], string][] = [
  ['changed', 'changed'],
  ['added', 'added'],
  ['removed', 'removed'],
  ['renamed', 'renamed'],
  ['movedFrom', 'moved here'],
  ['movedTo', 'moved away'],
];

/** `1 file changed, 2 added, order of files`. */
function fileCounts(entries: readonly EntryDifference[], isReordered: boolean): string {
  const counts = entryWords
    .map(([kind, words]) => ({ words, count: entries.filter((entry) => entry.kind === kind).length }))
    .filter(({ count }) => count > 0)
    .map(
      ({ words, count }, index) =>
        `${count.toLocaleString('en-US')}${index > 0 ? '' : count === 1 ? ' file' : ' files'} ${words}`,
    );
  return [...counts, ...(isReordered ? ['order of files'] : [])].join(', ');
}

/** Those of an index, together where they have the same reason. */
function listedReasons(manifests: readonly ListedDifference[]): string[] {
  const together = new Map<string, string[]>();
  for (const { item, label } of labelled(manifests)) {
    const reason = listedReason(item);
    if (reason !== '') together.set(reason, [...(together.get(reason) ?? []), label]);
  }
  return [...together].map(([reason, labels]) => `${few(labels, ', ')}${reason}`);
}

function listedReason({ kind, moved, descriptor, difference }: ListedDifference): string {
  if (kind === 'added' || kind === 'removed') return ` ${kind}`;
  const reasons = [
    ...(difference ? [reasonText(difference)] : kind === 'changed' ? ['content'] : []),
    ...descriptor.map(({ path }) => pathWords(path)),
    ...(moved ? ['order'] : []),
  ];
  return reasons.length === 0 ? '' : `: ${reasons.join(', ')}`;
}

/** Layers, or manifests in an index, by what they are called: with a number where that is not enough. */
export function labelled<T extends LayerDifference | ListedDifference>(items: readonly T[]): Labelled<T>[] {
  const labels = items.map((item, index) => ({ item, label: nameOf(item), index }));
  const counts = new Map<string, number>();
  for (const { label } of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  return labels.map(({ item, label }) => ({
    item,
    label: (counts.get(label) ?? 0) > 1 ? numbered(item, label) : label,
  }));
}

/** How much of a long name is shown. */
const shownName = 48;

function nameOf(item: LayerDifference | ListedDifference): string {
  const facts = item.b ?? item.a;
  if (facts === undefined) return '';
  if (!('position' in facts))
    return escaped(facts.platform ?? facts.tag ?? facts.artifactType ?? shortDigest(facts.digest));
  const { name } = facts;
  if (name === undefined) return `layer ${facts.position + 1}`;
  // What builders write around the instruction itself.
  const short = name
    .replace(/^nx-oci image: layer /, '')
    .replace(/^\/bin\/sh -c (#\(nop\) *)?/, '')
    .replace(/ # buildkit$/, '');
  return `layer ${escaped(short.length > shownName ? `${short.slice(0, shownName)}…` : short)}`;
}

function numbered(item: LayerDifference | ListedDifference, label: string): string {
  const facts = item.b ?? item.a;
  if (facts === undefined) return label;
  return 'position' in facts
    ? label.replace('layer', `layer ${facts.position + 1}`)
    : `${label} ${shortDigest(facts.digest)}`;
}
