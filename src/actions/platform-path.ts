import type { Platform } from '../spec/documents';
import { platformSuffix } from '../spec/platform';

const tokens = /\{(os|arch|variant|platform)\}/g;

/** A path in which `{os}`, `{arch}`, `{variant}` and `{platform}` are replaced by the platform's. */
export function forPlatform(path: string, platform: Platform): string {
  const values: Readonly<Record<string, string>> = {
    os: platform.os,
    arch: platform.architecture,
    variant: platform.variant ?? '',
    platform: platformSuffix(platform),
  };
  return path.replace(tokens, (_, token: string) => values[token] ?? '');
}

/** Whether a path differs between platforms. */
export const namesPlatform = (path: string): boolean => path.search(tokens) >= 0;
