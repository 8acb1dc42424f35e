import type { BuiltArtifact } from '../actions/build-artifact';
import type { BuiltImage } from '../actions/build-image';
import type { BuiltIndex } from '../actions/build-index';
import type {
  InspectedBlob,
  InspectedIndex,
  InspectedLayer,
  InspectedLayout,
  InspectedManifest,
} from '../actions/inspect-layout';
import type { PushedImage } from '../actions/push-images';
import { titleAnnotation } from '../artifact';
import type { Collected } from '../layout/directory';
import { tagOf } from '../layout/find';
import type { Verification } from '../layout/verify';
import type { Retry } from '../registry/transport/retries';
import type { Descriptor } from '../spec/documents';
import { isIndexType } from '../spec/media-types';
import { formatPlatform } from '../spec/platform';
import { formatSize } from './size';
import { visible } from './visible';

/** What was built: digest, platforms, layers, sizes, where. */
export function imageReport(built: BuiltImage, path: string): string {
  const lines = [path, `  digest ${built.digest}`];
  for (const image of built.images) {
    lines.push(`  ${image.platform}  ${image.tag}  ${formatSize(image.size)}`, `    ${image.digest}`);
    const names = image.layers.map((layer) => layer.name ?? '(base)');
    const width = Math.max(0, ...names.map((name) => name.length));
    for (const [position, layer] of image.layers.entries()) {
      lines.push(
        `    ${(names[position] ?? '').padEnd(width)}  ${formatSize(layer.size).padStart(8)}  ${layer.digest}`,
      );
    }
  }
  return lines.join('\n');
}

/** What was built: digest, tag, and what the index lists. */
export function indexReport(built: BuiltIndex, path: string): string {
  const names = built.manifests.map(({ platform, mediaType }) => visible(platform ?? mediaType));
  const width = Math.max(0, ...names.map((name) => name.length));
  return [
    path,
    `  digest ${built.digest}`,
    `  tag    ${built.tag}`,
    ...built.manifests.map(({ digest }, position) => `    ${(names[position] ?? '').padEnd(width)}  ${digest}`),
  ].join('\n');
}

/** What was built: digest, tag, kind, and the files with their sizes. */
export function artifactReport(built: BuiltArtifact, path: string): string {
  const names = built.layers.map(({ title }) => visible(title ?? '(no title)'));
  const width = Math.max(0, ...names.map((name) => name.length));
  return [
    path,
    `  digest ${built.digest}`,
    `  tag    ${built.tag}`,
    `  type   ${built.artifactType}`,
    ...built.layers.map(
      ({ digest, size }, position) =>
        `    ${(names[position] ?? '').padEnd(width)}  ${formatSize(size).padStart(8)}  ${digest}`,
    ),
  ].join('\n');
}

/** The tree of indexes, manifests, configs and layers. */
export function inspectReport({ path, manifests }: InspectedLayout): string {
  const lines = [path];
  for (const [position, manifest] of manifests.entries()) {
    addManifest(manifest, '', position === manifests.length - 1, lines);
  }
  return lines.join('\n');
}

function addManifest(manifest: InspectedManifest, indent: string, last: boolean, lines: string[]): void {
  const kind = manifest.manifests ? 'index' : manifest.artifactType === undefined ? 'image' : 'artifact';
  const { tag, platform, 'os.version': version, artifactType, subject, annotations } = manifest;
  const words = [kind, tag, platform, version, artifactType].filter((word) => word !== undefined);
  lines.push(`${indent}${last ? '└─' : '├─'} ${visible(words.join('  '))}`);
  const below = `${indent}${last ? '   ' : '│  '}`;
  lines.push(`${below}${blobLine('', manifest)}`);
  for (const line of aboutLines(subject, annotations)) lines.push(`${below}   ${line}`);
  const children = manifest.manifests ?? [];
  for (const [position, child] of children.entries())
    addManifest(child, below, position === children.length - 1, lines);
  const layers = manifest.layers ?? [];
  if (manifest.config)
    lines.push(`${below}${layers.length === 0 ? '└─' : '├─'} ${blobLine('config', manifest.config)}`);
  for (const [position, layer] of layers.entries()) {
    const branch = position === layers.length - 1 ? '└─' : '├─';
    const origin = originOf(layer);
    lines.push(`${below}${branch} ${blobLine('layer', layer)}${origin === undefined ? '' : `  ${visible(origin)}`}`);
  }
}

/** What made a layer or, in an artifact, the file that it is. */
function originOf({ createdBy, annotations }: InspectedLayer): string | undefined {
  return createdBy ?? annotations?.[titleAnnotation];
}

function aboutLines(subject: string | undefined, annotations: InspectedManifest['annotations'] = {}): string[] {
  const words = Object.entries(annotations).map(([key, value]) => visible(`${key}=${value}`));
  return [...(subject === undefined ? [] : [`subject ${subject}`]), ...words];
}

function blobLine(kind: string, { digest, size, mediaType }: InspectedBlob): string {
  return [kind.padEnd(6), formatSize(size).padStart(8), digest, mediaType]
    .filter((word) => word.trim() !== '')
    .join('  ');
}

/** What a verification found: each problem with its blob and who refers to it, then a line that sums up. */
export function verifyReport(verification: Verification, path: string): string {
  const { problems, manifests, blobs, bytes, uncheckedDiffIds } = verification;
  const lines = problems.map(
    ({ message, referrer, digest }) =>
      // The blob is named in most messages already.
      `✗ ${message.includes(digest) ? '' : `${digest}: `}${visible(message)}\n  referred to by ${referrer}`,
  );
  for (const digest of uncheckedDiffIds)
    lines.push(`- layer ${digest}: its diffID was not compared (unknown media type)`);
  const read = `${counted(manifests, 'manifest')} and ${counted(blobs, 'blob')} (${formatSize(bytes)}) read`;
  lines.push(
    problems.length === 0
      ? `✓ ${path}: ${read}, all as they should be`
      : `✗ ${path}: ${counted(problems.length, 'problem')}; ${read}`,
  );
  return lines.join('\n');
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** A line for each descriptor: tag, platform or kind, size, digest. */
export function listReport(descriptors: readonly Descriptor[]): string {
  const rows = descriptors.map((descriptor) => [tagOf(descriptor) ?? '-', kindOf(descriptor)].map(visible));
  const widths = [0, 1].map((column) => Math.max(0, ...rows.map((row) => (row[column] ?? '').length)));
  return descriptors
    .map(({ digest, size }, position) => {
      const words = (rows[position] ?? []).map((word, column) => word.padEnd(widths[column] ?? 0));
      return [...words, formatSize(size).padStart(8), digest].join('  ');
    })
    .join('\n');
}

/** One descriptor as {@link listReport} shows it. */
export function descriptorLine(descriptor: Descriptor): string {
  return listReport([descriptor]);
}

/** The tags of a repository, a line for each. */
export function tagsReport(tags: readonly string[]): string {
  return tags.map(visible).join('\n');
}

/** What a collection removed, or would have. */
export function collectReport({ digests, size }: Collected, dryRun: boolean): string {
  const summary = `${counted(digests.length, 'blob')} (${formatSize(size)}) ${dryRun ? 'would be removed' : 'removed'}`;
  return [...digests, summary].join('\n');
}

/** What a clone holds. */
export function cloneReport({ blobs }: { readonly blobs: number }, path: string): string {
  return `${path}: ${counted(blobs, 'blob')}`;
}

/** An index with its annotations and all that it lists. */
export function indexInspectReport({ digest, mediaType, manifest, instances }: InspectedIndex, name: string): string {
  const { artifactType, subject, annotations } = manifest;
  const words = [digest, mediaType, ...(artifactType === undefined ? [] : [artifactType])];
  const about = aboutLines(subject?.digest, annotations ?? {});
  const lines = [name, ...[words.join('  '), ...about].map((line) => `  ${line}`)];
  for (const [position, instance] of instances.entries()) {
    addManifest(instance, '', position === instances.length - 1, lines);
  }
  return lines.join('\n');
}

function kindOf({ platform, artifactType, mediaType }: Descriptor): string {
  if (platform) return formatPlatform(platform);
  return artifactType ?? (isIndexType(mediaType) ? 'index' : mediaType);
}

/** What was pushed, and how much of it the registry had. */
export function pushReport(pushed: readonly PushedImage[], isDryRun: boolean): string {
  return pushed
    .flatMap(({ reference, digest, manifests, blobs, bytes }) => {
      const { uploaded, present, mounted } = blobs;
      const words = isDryRun
        ? [`${counted(uploaded, 'blob')} (${formatSize(bytes)}) at most would be sent`]
        : [
            `${counted(uploaded, 'blob')} sent (${formatSize(bytes)})`,
            ...(mounted > 0 ? [`${mounted} mounted`] : []),
            ...(present > 0 ? [`${present} there already`] : []),
          ];
      return [reference, `  digest ${digest}`, `  ${counted(manifests, 'manifest')}, ${words.join(', ')}`];
    })
    .join('\n');
}

/** What failed, and when it is tried again. */
export function retryReport({ reason, delayMs }: Pick<Retry, 'reason' | 'delayMs'>): string {
  return `${visible(reason)}; trying again in ${(delayMs / 1000).toFixed(1)} s`;
}

/** Where a registry is, and what it serves. */
export function registryReport(url: string, references: readonly string[]): string {
  return [`registry ${url}`, ...references.map((reference) => `  ${reference}`)].join('\n');
}

/** Each locked reference with its digest. */
export function lockReport(locked: Readonly<Record<string, string>>): string {
  return Object.entries(locked)
    .map(([reference, digest]) => `${reference}@${digest}`)
    .join('\n');
}
