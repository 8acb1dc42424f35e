import type { EntryDifference } from '../diff/entries';
import type { ManifestDifference } from '../diff/images';
import type { ValueChange } from '../diff/json';
import type { LayerDifference } from '../diff/layers';
import { diffReason, type Labelled, labelled } from './diff-reason';
import { changedValue, escaped, pathWords, shortDigest } from './diff-words';
import { formatSize } from './size';

/** How a difference is shown. */
export interface DiffReport {
  /** What the user calls the two. */
  readonly names: readonly [a: string, b: string];
  /** Shows lists and values to their ends. */
  readonly all: boolean;
}

/** How many lines of a list are shown unless all are asked for. */
const shownLines = 20;

/** Why two images differ: a line that sums up, then everything that differs, as `diff` marks it. */
export function diffReport(difference: ManifestDifference, { names, all }: DiffReport): string {
  if (difference.identical) return diffReason(difference);
  const sides = [difference.a, difference.b].map(
    ({ digest }, side) => `  ${side === 0 ? 'a' : 'b'}  ${digest}  ${escaped(names[side] ?? '')}`,
  );
  return [diffReason(difference), ...sides, ...manifestLines(difference, all)].join('\n');
}

function manifestLines(difference: ManifestDifference, all: boolean): string[] {
  const { manifest, config, rewritten } = difference;
  const layers = labelled(difference.layers);
  const documents = (['manifest', 'config'] as const).flatMap((name) => {
    const note = rewritten.includes(name) ? ['  other white space or order of keys; the values are the same'] : [];
    const lines = [...note, ...valueLines({ manifest, config }[name], all)];
    return lines.length === 0 ? [] : [name, ...lines];
  });
  const same = layers.filter(({ item }) => isSame(item)).length;
  return [
    ...documents,
    ...layers.flatMap((layer) => (isSame(layer.item) ? [] : layerLines(layer, layers, all))),
    ...(same > 0 ? [`${same} ${same === 1 ? 'layer is' : 'layers are'} the same`] : []),
    ...listLines(difference.manifests, all),
  ];
}

const isSame = ({ kind, moved, descriptor }: LayerDifference) => kind === 'same' && !moved && descriptor.length === 0;

function layerLines(
  { item, label }: Labelled<LayerDifference>,
  layers: readonly Labelled<LayerDifference>[],
  all: boolean,
): string[] {
  const { kind, a, b, moved, descriptor, entries = [], reordered = [] } = item;
  const layerAt = (side: 'a' | 'b', position: number | undefined) =>
    layers.find((layer) => layer.item[side]?.position === position)?.label ?? '';
  const place = moved && a && b ? `moved from place ${a.position + 1} to ${b.position + 1}` : '';
  const order = `order in the tar file: ${counted(reordered.length, 'file')} elsewhere`;
  return [
    `${label}: ${[layerWords[kind], place, between(a, b)].filter((words) => words !== '').join(', ')}`,
    ...valueLines(descriptor, all),
    ...cut(entries, all, (entry) => entryLine(entry, layerAt)),
    ...(reordered.length > 0 ? [`  ${order}`, ...cut(reordered, all, (name) => `  ${escaped(name)}`)] : []),
  ];
}

const layerWords: Readonly<Record<LayerDifference['kind'], string>> = {
  same: '',
  recompressed: 'compressed otherwise, same content',
  rewritten: 'same files, but the tar file is written otherwise (headers, padding)',
  changed: '',
  added: 'added',
  removed: 'removed',
};

type Sized = { readonly digest: string; readonly size: number };

function between(a: Sized | undefined, b: Sized | undefined): string {
  const sides = [a, b].filter((side) => side !== undefined);
  const digests = [...new Set(sides.map(({ digest }) => shortDigest(digest)))];
  const sizes = [...new Set(sides.map(({ size }) => formatSize(size)))];
  return `${digests.join(' → ')}, ${sizes.join(' → ')}`;
}

function entryLine(entry: EntryDifference, layerAt: (side: 'a' | 'b', position: number | undefined) => string): string {
  const { kind, name, occurrence, layer, a, b, changes = [] } = entry;
  const nth = occurrence === undefined ? '' : ` (entry ${occurrence} of this name)`;
  const shown = `${escaped(name)}${(b ?? a)?.type === 'directory' ? '/' : ''}${nth}`;
  const also = changes.length === 0 ? '' : `: ${changesText(entry)}`;
  switch (kind) {
    case 'added':
      return `+ ${shown}${factsText(entry)}`;
    case 'removed':
      return `- ${shown}${factsText(entry)}`;
    case 'renamed':
      return `> ${escaped(a?.name ?? '')} → ${shown}${also}`;
    case 'movedFrom':
      return `> ${shown} from ${layerAt('a', layer)}${also}`;
    case 'movedTo':
      return `> ${shown} to ${layerAt('b', layer)}${also}`;
    case 'changed':
      return `~ ${shown}${also}`;
  }
}

/** What an entry is that only one of two layers has. */
function factsText({ a, b }: EntryDifference): string {
  const { type, linkname, size, device } = b ?? a ?? { type: 'unknown' };
  if (type === 'directory') return '';
  if (type === 'file') return `  ${formatSize(size ?? 0)}`;
  return `  ${type}${linkname === undefined ? '' : ` to ${escaped(linkname)}`}${device === undefined ? '' : ` ${device}`}`;
}

function changesText({ a, b, changes = [] }: EntryDifference): string {
  const texts = changes.map((change) => {
    const { what, from = 'none', to = 'none' } = change;
    // The sizes say more than two digests do.
    if (what === 'content') return a?.size === b?.size ? 'content, of the same size' : 'content';
    if (what === 'size') return `size ${formatSize(Number(from))} → ${formatSize(Number(to))}${nearly(from, to)}`;
    return `${escaped(what)} ${escaped(from)} → ${escaped(to)}`;
  });
  return texts.join(', ');
}

/** Sizes that are rounded to the same text are shown to the byte. */
const nearly = (from: string, to: string) =>
  formatSize(Number(from)) === formatSize(Number(to)) ? ` (${from} → ${to} bytes)` : '';

/** What an index lists; platforms that differ in the same way are described once. */
function listLines(manifests: ManifestDifference['manifests'], all: boolean): string[] {
  const described = new Map<string, string>();
  return labelled(manifests).flatMap(({ item, label }) => {
    const { kind, a, b, moved, descriptor, difference } = item;
    if (kind === 'added') return [`+ ${label}  ${b?.digest}`];
    if (kind === 'removed') return [`- ${label}  ${a?.digest}`];
    if (kind === 'same' && !moved && descriptor.length === 0) return [`  ${label}: the same`];
    const lines = difference ? manifestLines(difference, all) : [];
    const text = lines.join('\n');
    const alike = lines.length > 1 ? described.get(text) : undefined;
    described.set(text, alike ?? label);
    return [
      `~ ${label}: ${moved ? 'moved, ' : ''}${between(a, b)}`,
      ...valueLines(descriptor, all),
      ...(alike === undefined ? lines : [`as ${alike}`]).map(indented),
    ];
  });
}

const indented = (line: string) => `  ${line}`;

/** A line for each item, as long as there are not too many of them. */
function cut<T>(items: readonly T[], all: boolean, line: (item: T) => string): string[] {
  const shown = all ? items : items.slice(0, shownLines);
  const more = items.length - shown.length;
  const rest = more > 0 ? [`... and ${more.toLocaleString('en-US')} more (--all shows them)`] : [];
  return [...shown.map(line), ...rest].map(indented);
}

const valueLines = (changes: readonly ValueChange[], all: boolean) =>
  cut(changes, all, (change) => changedValue(pathWords(change.path), change, all));

function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}
