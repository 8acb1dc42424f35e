import type { BuiltOsImage } from '../actions/build-os-image';
import type { ListedOsImage, VerifiedPayload } from '../actions/read-payloads';
import type { Digest } from '../digest';
import type { ProductInfo } from '../spec/os-image';
import { formatSize } from './size';
import { visible } from './visible';

/** A payload as both what was built and what is listed have it. */
interface ShownPayload {
  readonly name: string;
  readonly size: number;
  readonly storedSize: number;
  readonly digest: Digest;
}

/** What was built: digest, platforms, payloads, their sizes unpacked and as they are stored, where. */
export function osImageReport(built: BuiltOsImage, path: string): string {
  const lines = [path, `  digest ${built.digest}`];
  for (const { platform, tag, digest, payloads } of built.images) {
    const size = payloads.reduce((sum, { storedSize }) => sum + storedSize, 0);
    lines.push(
      `  ${[platform, tag, formatSize(size)].filter((word) => word !== undefined).join('  ')}`,
      `    ${digest}`,
    );
    lines.push(...payloadLines(payloads));
  }
  return lines.join('\n');
}

/** The OS images of a layout or repository, with what they contain. */
export function payloadListReport(images: readonly ListedOsImage[]): string {
  return images
    .flatMap(({ platform, productInfo, digest, payloads }) => [
      visible([platform, ...productWords(productInfo)].filter((word) => word !== undefined).join('  ')),
      `    ${digest}`,
      ...payloadLines(payloads),
    ])
    .join('\n');
}

/** Each payload, whether it is as it should be and, if not, what is wrong. */
export function payloadVerifyReport(verified: readonly VerifiedPayload[]): string {
  return verified
    .map(({ platform, name, size, problem }) => {
      const words = [platform, name, formatSize(size)].filter((word) => word !== undefined).join('  ');
      return problem === undefined ? `✓ ${visible(words)}` : `✗ ${visible(words)}\n  ${visible(problem)}`;
    })
    .join('\n');
}

function payloadLines(payloads: readonly ShownPayload[]): string[] {
  const width = Math.max(0, ...payloads.map(({ name }) => name.length));
  return payloads.map(({ name, size, storedSize, digest }) => {
    const sizes = [size, storedSize].map((bytes) => formatSize(bytes).padStart(8));
    return `    ${name.padEnd(width)}  ${sizes.join('  ')}  ${digest}`;
  });
}

function productWords({ name, version, variant }: ProductInfo): string[] {
  return [name, version, variant].filter((word) => word !== undefined && word !== '') as string[];
}
