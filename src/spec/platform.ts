import { arch } from 'node:process';
import { InvalidPlatformError } from '../errors';
import type { Platform } from './documents';

/** Names that kernels and distributions use for what the specification calls by Go's names. */
const architectureNames = byArchitecture<{ architecture: string; variant?: string }>({
  x86_64: { architecture: 'amd64' },
  'x86-64': { architecture: 'amd64' },
  x64: { architecture: 'amd64' },
  i386: { architecture: '386' },
  i686: { architecture: '386' },
  ia32: { architecture: '386' },
  aarch64: { architecture: 'arm64' },
  armhf: { architecture: 'arm', variant: 'v7' },
  armel: { architecture: 'arm', variant: 'v6' },
});

const variantsByPreference = byArchitecture<readonly string[]>({
  arm: ['v8', 'v7', 'v6', 'v5'],
  arm64: ['v8'],
  amd64: ['v4', 'v3', 'v2', 'v1'],
});

/** The variant that is meant where none is named. */
const impliedVariants = byArchitecture({ arm: 'v7', arm64: 'v8', amd64: 'v1' });

const part = /^[A-Za-z0-9_.-]+$/;

/**
 * Reads `os/architecture[/variant]`, as docker and buildah take it, in the specification's names: `linux/x86_64` is
 * `linux/amd64`, `linux/arm64/v8` is `linux/arm64`, `linux/arm` is `linux/arm/v7`. An architecture alone is of linux.
 *
 * @throws {InvalidPlatformError}
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  if (parts.length > 3 || !parts.every((word) => part.test(word) && word !== '.' && word !== '..')) {
    throw new InvalidPlatformError(
      `invalid platform ${JSON.stringify(text)}: expected os/architecture or os/architecture/variant, for example linux/arm64`,
      { expected: 'os/architecture[/variant]', found: text },
    );
  }
  const [os, architecture, variant] = parts.length === 1 ? ['linux', parts[0]] : parts;
  return normalizePlatform({
    os: os as string,
    architecture: architecture as string,
    ...(variant !== undefined && { variant }),
  });
}

/** The same platform in the specification's names, without a variant that the architecture implies. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase() === 'macos' ? 'darwin' : platform.os.toLowerCase();
  const written = platform.architecture.toLowerCase();
  const known = architectureNames.get(written);
  const architecture = known?.architecture ?? written;
  const named = (platform.variant || known?.variant)?.toLowerCase().replace(/^(?=\d)/, 'v');
  const variant =
    architecture === 'arm' ? (named ?? 'v7') : named === impliedVariants.get(architecture) ? undefined : named;
  const { variant: _, ...rest } = platform;
  return { ...rest, os, architecture, ...(variant !== undefined && { variant }) };
}

/** `os/architecture[/variant]`. */
export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, ...(platform.variant ? [platform.variant] : [])].join('/');
}

/** `os-architecture[-variant]`, which can be part of a tag or of a file name. */
export function platformSuffix(platform: Platform): string {
  return formatPlatform(platform).replaceAll('/', '-');
}

/** Node's names of processors that differ from Go's, beside those that {@link parsePlatform} knows. */
const nodeArchitectures = new Map([
  ['ppc64', 'ppc64le'],
  ['mipsel', 'mipsle'],
]);

/** The platform of containers on this machine: linux, with the machine's own architecture. */
export function thisPlatform(): Platform {
  return parsePlatform(`linux/${nodeArchitectures.get(arch) ?? arch}`);
}

/** A platform that somebody chooses from those that are there: `local` is {@link thisPlatform}, as in Docker. */
export function chosenPlatform(text: string): Platform {
  return text === 'local' ? thisPlatform() : parsePlatform(text);
}

/**
 * How well an instance serves what is wanted: 0 for exactly, more for a lesser variant that the wanted one can run,
 * `undefined` for not at all. `linux/arm/v7` runs v6 and v5; `linux/amd64/v3` runs v2 and v1.
 */
export function platformDistance(wanted: Platform, offered: Platform): number | undefined {
  const want = normalizePlatform(wanted);
  const offer = normalizePlatform(offered);
  if (want.os !== offer.os || want.architecture !== offer.architecture) return undefined;
  if (want['os.version'] !== undefined && want['os.version'] !== offer['os.version']) return undefined;
  const implied = impliedVariants.get(want.architecture);
  const wantVariant = want.variant ?? implied;
  const offerVariant = offer.variant ?? implied;
  if (wantVariant === offerVariant) return 0;
  const order = variantsByPreference.get(want.architecture) ?? [];
  const from = order.indexOf(wantVariant ?? '');
  const to = order.indexOf(offerVariant ?? '');
  return from >= 0 && to > from ? to - from : undefined;
}

/** A map and not an object, because an architecture may be called `constructor`. */
function byArchitecture<T>(entries: Readonly<Record<string, T>>): ReadonlyMap<string, T> {
  return new Map(Object.entries(entries));
}
