import { posix, relative, resolve, sep } from 'node:path';
import { LayerSourceError } from '../errors';
import { entryName, type LayerEntry } from './entry';

/** What a Node application is made of, the least changing first. */
export const nodeGroups = ['third-party', 'workspace', 'app'] as const;

export type NodeGroup = (typeof nodeGroups)[number];

/** The entries of one layer, sorted, each directory above an entry named explicitly. */
export interface NodeLayer {
  readonly group: NodeGroup;
  readonly entries: readonly LayerEntry[];
}

/** Where the entries come from and where they lie in the image, as `listFiles` had it. */
export interface NodeSources {
  /** Absolute paths. */
  readonly from: readonly string[];
  /** `/` by default. */
  readonly to?: string;
}

/** As many links in a row as Linux follows. */
const mostLinks = 40;

/**
 * Divides a Node application into layers, so that a change of its code ships its code alone:
 *
 * - `third-party`: what lies below a `node_modules`, in npm's tree or pnpm's store;
 * - `workspace`: the directories outside of `node_modules` that a package's link in one leads to, the packages that pnpm
 *   injects, and `workspace_modules`, where Nx prunes to;
 * - `app`: the rest, and what package managers keep in `node_modules` for themselves, which changes with every install.
 *
 * A link that stands for a package or a command is in the layer of what it leads to, so that neither is there without the
 * other. Absolute links that lead inside the source become relative ones. Groups without entries make no layer.
 *
 * @param entries sorted, with their directories, as `listFiles` gives them.
 * @throws {LayerSourceError} naming a package's or a command's link that leads out of the source, or to a package of the
 *   workspace that is not among the entries.
 */
export function splitNode(entries: readonly LayerEntry[], sources: NodeSources): NodeLayer[] {
  const tree = treeOf(entries, sources);
  const workspace = workspacePackages(tree);
  const names: Record<NodeGroup, Set<string>> = { 'third-party': new Set(), workspace: new Set(), app: new Set() };
  const parents = new Set(entries.map(({ name }) => parentOf(name)));
  for (const entry of entries) {
    if (entry.type === 'directory' && parents.has(entry.name)) continue;
    const place = isModuleLink(entry) ? followed(entry.name, tree) : entry.name;
    addWithParents(entry.name, names[groupOf(place, tree, workspace)]);
  }
  const relinked = entries.map((entry) => (entry.type === 'symlink' ? relativeLink(entry, tree) : entry));
  return nodeGroups.flatMap((group) => {
    const own = relinked.filter(({ name }) => names[group].has(name));
    return own.length === 0 ? [] : [{ group, entries: own.map(contentInLayer(names[group], tree)) }];
  });
}

/** The entries by name, with what it takes to follow links before there is an image. */
interface Tree {
  readonly entries: ReadonlyMap<string, LayerEntry>;
  readonly from: readonly string[];
  /** The name of `to`; empty for the root. */
  readonly to: string;
}

function treeOf(entries: readonly LayerEntry[], { from, to = '/' }: NodeSources): Tree {
  return { entries: new Map(entries.map((entry) => [entry.name, entry])), from, to: entryName(to, 'option "to"') };
}

const within = (directory: string, name: string) =>
  directory === '' ? name : name === '' ? directory : `${directory}/${name}`;

const parentOf = (name: string) => name.slice(0, Math.max(0, name.lastIndexOf('/')));

function addWithParents(name: string, names: Set<string>): void {
  for (let path = name; path !== '' && !names.has(path); path = parentOf(path)) names.add(path);
}

/** Whether Node or a shell looks for a package or a command here: `node_modules/x`, `node_modules/@x/y`, `.bin/x`. */
function isModuleLink({ type, name }: LayerEntry): boolean {
  return type === 'symlink' && /(^|\/)node_modules\/((\.bin|@[^/]+)\/)?[^/]+$/.test(name);
}

/** The directories of packages that the workspace has itself: links in `node_modules` lead out of it, to them. */
function workspacePackages(tree: Tree): ReadonlySet<string> {
  const packages = new Set([within(tree.to, 'workspace_modules')]);
  for (const link of tree.entries.values()) {
    if (!isModuleLink(link)) continue;
    const place = followed(link.name, tree);
    // The application may have a link to itself.
    const leadsUp = place === '' || link.name.startsWith(`${place}/`);
    if (leadsUp || modulesIn(place) >= 0) continue;
    const found = tree.entries.get(place);
    if (found === undefined && !isCommand(link)) throw notTaken(link, place);
    if (found?.type === 'directory') packages.add(place);
  }
  return packages;
}

const isCommand = ({ name }: LayerEntry) => posix.basename(parentOf(name)) === '.bin';

function groupOf(place: string, { entries }: Tree, workspace: ReadonlySet<string>): NodeGroup {
  const parts = place.split('/');
  const modules = modulesIn(place);
  if (modules < 0) return isBelow(place, workspace) ? 'workspace' : 'app';
  if (isInjected(parts[modules - 1])) return 'workspace';
  const depth = parts.length - modules - (parts[modules + 1] === '.pnpm' ? 2 : 1);
  // A file that is part of no package is a package manager's: .package-lock.json, .modules.yaml, .pnpm/lock.yaml.
  return depth === 1 && entries.get(place)?.type === 'file' ? 'app' : 'third-party';
}

/** The position of the innermost `node_modules` that the path lies in, among its names; -1 if there is none. */
function modulesIn(place: string): number {
  const parts = place.split('/');
  return parts.length < 2 ? -1 : parts.lastIndexOf('node_modules', parts.length - 2);
}

/** Whether a directory of pnpm's store is a copy of a package of the workspace: `greeting@file+packages+greeting`. */
function isInjected(stored = ''): boolean {
  return /^(@?[^@]+@)?(file|link)[+:]/.test(stored);
}

function isBelow(place: string, directories: ReadonlySet<string>): boolean {
  for (let path = place; path !== ''; path = parentOf(path)) if (directories.has(path)) return true;
  return false;
}

/**
 * Where a path leads to in the image, all links followed. What is missing there is taken to be what its name says.
 *
 * @throws {LayerSourceError} naming a link on the way that leads out of the source.
 */
function followed(path: string, tree: Tree, links = 0): string {
  const parts = path.split('/');
  let place = '';
  for (const [position, part] of parts.entries()) {
    place = within(place, part);
    const entry = tree.entries.get(place);
    if (entry?.type !== 'symlink') continue;
    const target = targetOf(entry, tree);
    if (target === undefined) throw leadsOut(entry, tree);
    const rest = parts.slice(position + 1).join('/');
    return links === mostLinks ? path : followed(within(target, rest), tree, links + 1);
  }
  return place;
}

/** The name of what a link's text leads to, which may be a link; `undefined` outside of the source. */
function targetOf(link: LayerEntry, tree: Tree): string | undefined {
  const places = sourcePaths(link, tree).flatMap((path) => placesOf(path, tree));
  return places.find((place) => tree.entries.has(place)) ?? places[0];
}

/** What a link's text leads to on this machine. Nobody knows which of several sources the link comes from. */
function sourcePaths({ name, linkname = '' }: LayerEntry, { from, to }: Tree): string[] {
  const directory = parentOf(to === '' ? name : name.slice(to.length + 1));
  return from.map((source) => resolve(source, directory, linkname));
}

function placesOf(path: string, { from, to }: Tree): string[] {
  return from.flatMap((source) => {
    const parts = relative(source, path).split(sep);
    return parts[0] === '..' ? [] : [within(to, parts.join('/'))];
  });
}

/** The link as it works in the image; one that leads out of the source, or that works there already, stays as it is. */
function relativeLink(link: LayerEntry, tree: Tree): LayerEntry {
  const { name, linkname = '' } = link;
  const target = targetOf(link, tree);
  const directory = `/${parentOf(name)}`;
  if (target === undefined) return link;
  const isRelative = !posix.isAbsolute(linkname);
  if (isRelative && posix.resolve(directory, linkname) === `/${target}`) return link;
  return { ...link, linkname: posix.relative(directory, `/${target}`) || '.' };
}

/** A hard link whose file is in another layer carries the content itself, or links to the first that does. */
function contentInLayer(names: ReadonlySet<string>, { entries }: Tree): (entry: LayerEntry) => LayerEntry {
  const carriers = new Map<string, string>();
  return (entry) => {
    const { name, type, linkname = '' } = entry;
    if (type !== 'link' || names.has(linkname)) return entry;
    const file = entries.get(linkname);
    if (file === undefined) return entry;
    const carrier = carriers.get(linkname);
    if (carrier !== undefined) return { ...entry, linkname: carrier };
    carriers.set(linkname, name);
    return { ...file, name };
  };
}

function leadsOut(link: LayerEntry, tree: Tree): LayerSourceError {
  const { name, linkname = '' } = link;
  const [path = linkname] = sourcePaths(link, tree);
  const shown = path === linkname ? path : `${linkname} (${path})`;
  return new LayerSourceError(
    `${name}: expected a symbolic link that stays inside of ${tree.from[0]}, found one to ${shown}; lay out the application with that package inside of "from", exclude the link, or set "followSymlinks": true to take what it leads to`,
    { expected: `inside of ${tree.from[0]}`, found: path },
  );
}

function notTaken({ name, linkname }: LayerEntry, place: string): LayerSourceError {
  return new LayerSourceError(
    `${name}: expected the package that it links to (${linkname}) in the same layer, found no ${place}; let "from", "include" and "exclude" take it, or exclude the link`,
    { expected: place, found: 'none' },
  );
}
