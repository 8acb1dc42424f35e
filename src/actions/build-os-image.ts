import { realpath, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { type FileBlob, fileBlob } from '../blob';
import type { Digest } from '../digest';
import { fileSystemStep, hasSystemCode, InvalidOptionError, LayerSourceError } from '../errors';
import { type IndexEntry, newIndex } from '../image-index';
import { steadyFile } from '../layer/files';
import { digested } from '../layer/layer';
import { createLayout } from '../layout/create';
import { type LayoutWriter, layoutWriter } from '../layout/write';
import { checkPayloadName, newOsImage, type Payload, type PayloadCompression, writePayload } from '../os-image/write';
import { type Platform, refNameAnnotation } from '../spec/documents';
import type { ProductInfo } from '../spec/os-image';
import { formatPlatform, parsePlatform, platformSuffix } from '../spec/platform';
import { treeFile } from '../tree';
import type { OsImageOptions } from './os-image-options';
import { forPlatform, namesPlatform } from './platform-path';
import { productInfoFor } from './product-info';
import { checkTag } from './tag';

/** What one build of an OS image takes. */
export interface BuildOsImage {
  readonly options: OsImageOptions;
  /** Absolute path that files are relative to. */
  readonly root: string;
  /** Absolute path of the layout to write. */
  readonly output: string;
  /** How far a payload is, in bytes. */
  readonly onProgress?: (payload: string, progress: { readonly done: number; readonly total: number }) => void;
}

/** What was built. */
export interface BuiltOsImage {
  /** The digest of the image or, where there are several, of index.json. */
  readonly digest: Digest;
  readonly path: string;
  readonly images: readonly BuiltOsImageInstance[];
}

/** The OS image for one platform. */
export interface BuiltOsImageInstance {
  readonly platform?: string;
  readonly tag: string;
  readonly digest: Digest;
  readonly payloads: readonly BuiltPayload[];
}

export interface BuiltPayload {
  readonly name: string;
  /** In bytes, unpacked. */
  readonly size: number;
  /** In bytes, as it is stored. */
  readonly storedSize: number;
  readonly digest: Digest;
}

/**
 * Builds an OS image, or one per platform, and writes them to one layout. The layout that was there before stays as it is
 * until the new one is complete.
 *
 * @throws {InvalidOptionError} naming the option.
 * @throws {LayerSourceError} naming the file.
 * @throws what {@link layoutWriter} throws.
 */
export async function buildOsImage({ options, root, output, onProgress }: BuildOsImage): Promise<BuiltOsImage> {
  const plans = await planOsImages(options, root);
  const writer = await layoutWriter(output);
  try {
    const write = payloadWriter(writer, options, onProgress);
    const entries: IndexEntry[] = [];
    const images: BuiltOsImageInstance[] = [];
    for (const { platform, tag, productInfo, files } of plans) {
      const payloads: Payload[] = [];
      for (const file of files) payloads.push(await write(file));
      const ref = newOsImage(payloads, productInfo, options);
      entries.push({ ref, ...(platform && { platform }), annotations: { [refNameAnnotation]: tag } });
      const shown = platform && { platform: formatPlatform(platform) };
      images.push({ ...shown, tag, digest: ref.digest, payloads: payloads.map(summaryOf) });
    }
    const digest = images.length === 1 ? (images[0] as BuiltOsImageInstance).digest : newIndex(entries).digest;
    const tree = await createLayout(entries);
    await writer.commit(new Map([...tree, treeFile('digest', Buffer.from(digest))]));
    return { digest, path: output, images };
  } finally {
    await writer.close();
  }
}

/** One image before its payloads are read. */
interface Plan {
  readonly platform?: Platform;
  readonly tag: string;
  readonly productInfo: ProductInfo;
  readonly files: readonly PayloadFile[];
}

interface PayloadFile {
  readonly name: string;
  readonly content: FileBlob;
}

/** Everything that can be refused before a payload is read is refused here. */
async function planOsImages(options: OsImageOptions, root: string): Promise<readonly Plan[]> {
  const tag = checkTag(options.tag ?? 'latest');
  const all = options.platforms?.map(parsePlatform) ?? [undefined];
  const platforms = [...new Map(all.map((platform) => [platform && formatPlatform(platform), platform])).values()];
  const plans: Plan[] = [];
  for (const platform of platforms) {
    const { productInfo } = options;
    const info = typeof productInfo === 'string' ? pathFor(productInfo, 'productInfo', platform) : productInfo;
    plans.push({
      ...(platform && { platform }),
      tag: platform && platforms.length > 1 ? checkTag(`${tag}-${platformSuffix(platform)}`) : tag,
      productInfo: await productInfoFor(info, platform, root),
      files: await payloadFiles(options.payloads, platform, root),
    });
  }
  return plans;
}

async function payloadFiles(
  payloads: OsImageOptions['payloads'],
  platform: Platform | undefined,
  root: string,
): Promise<PayloadFile[]> {
  const files = new Map<string, PayloadFile>();
  for (const payload of payloads) {
    const from = pathFor(payload.from, 'payloads', platform);
    const name = checkPayloadName(payload.name ?? basename(from));
    if (files.has(name)) {
      throw new InvalidOptionError(
        `option "payloads": expected each name once, found ${name} twice; give one of them another "name"`,
        { found: name },
      );
    }
    files.set(name, { name, content: await payloadFile(resolve(root, from)) });
  }
  return [...files.values()];
}

function pathFor(path: string, option: string, platform: Platform | undefined): string {
  if (platform) return forPlatform(path, platform);
  if (!namesPlatform(path)) return path;
  throw new InvalidOptionError(`option "${option}": expected "platforms" for what is replaced in ${path}, found none`, {
    expected: 'platforms',
    found: 'none',
  });
}

/** A file that may be linked into a layout; read as a whole, it is as it was now or an error. */
async function payloadFile(path: string): Promise<FileBlob> {
  // A layout must not lead out of itself, so that what a symbolic link leads to is linked, and not the link.
  const real = await fileSystemStep('read', path, () => realpath(path)).catch((error) => {
    if (!hasSystemCode(error, 'ENOENT')) throw error;
    throw new LayerSourceError(
      `${path}: expected a file for the payload, found none; does a target that this one depends on make it?`,
      { found: 'none', cause: error },
    );
  });
  const stats = await fileSystemStep('read', path, () => stat(real));
  if (!stats.isFile()) {
    const found = stats.isDirectory() ? 'a directory' : 'something else';
    throw new LayerSourceError(`${path}: expected a file for the payload, found ${found}`, {
      expected: 'a file',
      found,
    });
  }
  const whole = steadyFile(real);
  const part = fileBlob(real, stats.size);
  return { ...part, open: (range) => (range ? part.open(range) : whole.open()) };
}

/** Writes each payload once: platforms share those whose files do not differ. */
function payloadWriter(
  sink: LayoutWriter,
  { compressionLevel }: OsImageOptions,
  onProgress: BuildOsImage['onProgress'],
): (file: PayloadFile) => Promise<Payload> {
  const written = new Map<string, Promise<Payload>>();
  return ({ name, content }) => {
    const key = `${name} ${content.path}`;
    const known = written.get(key);
    if (known) return known;
    const open = () => {
      let done = 0;
      return digested(content.open(), (chunk) => {
        done += chunk.length;
        onProgress?.(name, { done, total: content.size });
      });
    };
    const writing = writePayload(name, { ...content, open }, sink, compressionLevel as PayloadCompression | undefined);
    written.set(key, writing);
    return writing;
  };
}

function summaryOf({ info, descriptor }: Payload): BuiltPayload {
  return { name: info.name, size: info.size, storedSize: descriptor.size, digest: descriptor.digest };
}
