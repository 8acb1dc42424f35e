import type { BuiltImage } from '../actions/build-image';
import type { InspectedBlob, InspectedLayout, InspectedManifest } from '../actions/inspect-layout';
import type { Verification } from '../layout/verify';
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
  const words = [kind, manifest.tag, manifest.platform, manifest.artifactType].filter((word) => word !== undefined);
  lines.push(`${indent}${last ? '└─' : '├─'} ${visible(words.join('  '))}`);
  const below = `${indent}${last ? '   ' : '│  '}`;
  lines.push(`${below}${blobLine('', manifest)}`);
  const children = manifest.manifests ?? [];
  for (const [position, child] of children.entries())
    addManifest(child, below, position === children.length - 1, lines);
  const layers = manifest.layers ?? [];
  if (manifest.config)
    lines.push(`${below}${layers.length === 0 ? '└─' : '├─'} ${blobLine('config', manifest.config)}`);
  for (const [position, layer] of layers.entries()) {
    const branch = position === layers.length - 1 ? '└─' : '├─';
    lines.push(
      `${below}${branch} ${blobLine('layer', layer)}${layer.createdBy === undefined ? '' : `  ${visible(layer.createdBy)}`}`,
    );
  }
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
    lines.push(`- layer ${digest}: its diffID was not compared (compression not supported)`);
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
