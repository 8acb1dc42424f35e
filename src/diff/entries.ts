import { compareNames } from '../layer/entry';
import type { ListedEntry } from '../layer/listing';
import { counterparts, misplaced } from './pairing';

/** One thing that differs between two entries. */
export interface EntryChange {
  /** `name` is another spelling of the same path; `content` is the digest. */
  readonly what:
    | 'name'
    | 'type'
    | 'content'
    | 'size'
    | 'mode'
    | 'owner'
    | 'mtime'
    | 'link'
    | 'device'
    | `pax ${string}`;
  readonly from?: string;
  readonly to?: string;
}

/** A file, directory or link that two layers do not have alike. */
export interface EntryDifference {
  readonly kind: 'added' | 'removed' | 'changed' | 'renamed' | 'movedFrom' | 'movedTo';
  /** As the newer layer has it; as the older one does, if only that has it. */
  readonly name: string;
  /** Which of several entries of that name in one tar file, from 2 on. */
  readonly occurrence?: number;
  /** The layer of the other image that has the same file: by its position, from 0 on. */
  readonly layer?: number;
  readonly a?: ListedEntry;
  readonly b?: ListedEntry;
  /** Of an entry that both have. */
  readonly changes?: readonly EntryChange[];
}

/** An entry with how it is found again. */
interface Placed {
  readonly entry: ListedEntry;
  readonly path: string;
  /** How many entries of this path stand before it. */
  readonly earlier: number;
}

/** How the entries of two layers differ, before other layers were looked at. */
export interface EntriesComparison {
  readonly changed: readonly EntryDifference[];
  readonly added: readonly Placed[];
  readonly removed: readonly Placed[];
  /** Those that both have, in another order. */
  readonly reordered: readonly string[];
}

/** Compares what is in two layers, path by path. */
export function compareEntries(a: readonly ListedEntry[], b: readonly ListedEntry[]): EntriesComparison {
  const before = placed(a);
  const after = placed(b);
  const same = counterparts(before, after, [({ path }) => path]);
  const there = new Set(same.values());
  const pairs = [...same].map(([from, to]) => ({ from, to }));
  const places = new Map(after.map((entry, place) => [entry, place]));
  const moved = misplaced(pairs.map(({ to }) => places.get(to) as number));
  return {
    changed: pairs.flatMap(({ from, to }) => {
      const changes = entryChanges(from.entry, to.entry);
      return changes.length === 0 ? [] : { kind: 'changed', ...named(to), a: from.entry, b: to.entry, changes };
    }),
    added: after.filter((entry) => !there.has(entry)),
    removed: before.filter((entry) => !same.has(entry)),
    reordered: pairs.filter((_, index) => moved.has(index)).map(({ to }) => to.entry.name),
  };
}

/** A layer's comparison, and where the layer stands in both images. */
export interface ComparedEntries {
  readonly a?: number;
  readonly b?: number;
  readonly comparison: EntriesComparison;
}

/** An entry that one image alone has in this layer. */
interface Unmatched extends Placed {
  readonly layer?: number;
}

/**
 * What differs in each of several pairs of layers, by name. What one layer lost and another one got is a file that moved;
 * what one layer lost and has again under another name was renamed.
 */
export function entryDifferences(layers: readonly ComparedEntries[]): EntryDifference[][] {
  const unmatched = layers.map(({ a, b, comparison: { removed, added } }) => ({
    lost: removed.map((entry): Unmatched => ({ ...entry, layer: a })),
    got: added.map((entry): Unmatched => ({ ...entry, layer: b })),
  }));
  const targets = counterparts(
    unmatched.flatMap(({ lost }) => lost),
    unmatched.flatMap(({ got }) => got),
    [({ path, entry }) => `${path}\0${contentOf(entry)}`],
  );
  const sources = new Map([...targets].map(([from, to]) => [to, from]));
  return unmatched.map(({ lost, got }, index) => {
    const removed = lost.filter((entry) => !targets.has(entry));
    const added = got.filter((entry) => !sources.has(entry));
    const renamed = counterparts(removed, added, [
      (entry) => fileKey(entry, entry.path.slice(entry.path.lastIndexOf('/') + 1)),
      fileKey,
    ]);
    const renamedTo = new Set(renamed.values());
    const movedTo = (entry: Unmatched) => {
      const to = targets.get(entry);
      return to ? [{ ...both('movedTo', entry, to), layer: to.layer }] : [];
    };
    const movedFrom = (entry: Unmatched) => {
      const from = sources.get(entry);
      return from ? [{ ...both('movedFrom', from, entry), layer: from.layer }] : [];
    };
    const differences: EntryDifference[] = [
      ...(layers[index]?.comparison.changed ?? []),
      ...[...renamed].map(([from, to]) => both('renamed', from, to)),
      ...added
        .filter((entry) => !renamedTo.has(entry))
        .map((to) => ({ kind: 'added' as const, ...named(to), b: to.entry })),
      ...removed
        .filter((entry) => !renamed.has(entry))
        .map((from) => ({ kind: 'removed' as const, ...named(from), a: from.entry })),
      ...lost.flatMap(movedTo),
      ...got.flatMap(movedFrom),
    ];
    return differences.sort((a, b) => compareNames(a.name, b.name));
  });
}

function both(kind: EntryDifference['kind'], from: Placed, to: Placed): EntryDifference {
  const changes = entryChanges(from.entry, to.entry).filter(({ what }) => what !== 'name');
  return { kind, ...named(to), a: from.entry, b: to.entry, changes };
}

const named = ({ entry, earlier }: Placed) => ({
  name: entry.name,
  ...(earlier > 0 && { occurrence: earlier + 1 }),
});

/** `./etc/passwd`, `/etc/passwd` and `etc/passwd` are one file. */
function placed(entries: readonly ListedEntry[]): Placed[] {
  const counts = new Map<string, number>();
  return entries.map((entry) => {
    const path = entry.name
      .split('/')
      .filter((part) => part !== '' && part !== '.')
      .join('/');
    const earlier = counts.get(path) ?? 0;
    counts.set(path, earlier + 1);
    return { entry, path, earlier };
  });
}

const contentOf = ({ type, digest, linkname, device }: ListedEntry) => [type, digest, linkname, device].join('\0');

/** Content by which a file is known under another name; an empty file is like all others. */
const fileKey = ({ entry }: Placed, name = '') =>
  entry.type === 'file' && entry.size > 0 ? `${entry.digest}\0${name}` : undefined;

function entryChanges(a: ListedEntry, b: ListedEntry): EntryChange[] {
  const content = (entry: ListedEntry): [EntryChange['what'], string | undefined][] =>
    a.type === b.type
      ? [
          ['content', entry.digest],
          ['size', String(entry.size)],
          ['link', entry.linkname],
          ['device', entry.device],
        ]
      : [];
  const facts = (entry: ListedEntry) =>
    new Map<EntryChange['what'], string | undefined>([
      ['name', entry.name],
      ['type', entry.type],
      ...content(entry),
      ['mode', entry.mode.toString(8).padStart(4, '0')],
      ['owner', entry.owner],
      ['mtime', entry.mtime],
      ...Object.entries(entry.pax ?? {}).map(([key, value]) => [`pax ${key}` as const, value] as const),
    ]);
  const before = facts(a);
  const after = facts(b);
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((what) => {
    const from = before.get(what);
    const to = after.get(what);
    return from === to ? [] : { what, ...(from !== undefined && { from }), ...(to !== undefined && { to }) };
  });
}
