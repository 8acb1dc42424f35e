import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileSystemStep, InvalidOptionError } from '../errors';
import type { Platform } from '../spec/documents';
import { parseDocument } from '../spec/json';
import type { ProductInfo } from '../spec/os-image';
import { type OsImageOptions, productInfoFileSchema } from './os-image-options';

/** What kernels call the processors whose names in the specification are others. */
const machines: ReadonlyMap<string, string> = new Map([
  ['amd64', 'x86_64'],
  ['arm64', 'aarch64'],
  ['386', 'i686'],
]);

/**
 * The product info of the image for a platform.
 *
 * @param productInfo as the options say it, tokens in its path replaced.
 * @throws {InvalidOptionError} if its variant needs a platform, and there is none.
 */
export async function productInfoFor(
  productInfo: OsImageOptions['productInfo'],
  platform: Platform | undefined,
  root: string,
): Promise<ProductInfo> {
  const info = typeof productInfo === 'string' ? await productInfoIn(resolve(root, productInfo)) : productInfo;
  const { variant = '{machine}' } = info;
  if (platform === undefined && variant.includes('{machine}')) {
    const expected = 'a variant without {machine}, or "platforms"';
    const found = info.variant ?? 'none';
    throw new InvalidOptionError(
      `option "productInfo": expected ${expected}, which say what the image is for, found ${found}`,
      { expected, found },
    );
  }
  const { architecture = '' } = platform ?? {};
  return { ...info, variant: variant.replaceAll('{machine}', machines.get(architecture) ?? architecture) };
}

async function productInfoIn(file: string) {
  return parseDocument(await fileSystemStep('read', file, () => readFile(file)), productInfoFileSchema, file);
}
