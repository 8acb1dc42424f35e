import { createHash } from 'node:crypto';
import { InvalidDigestError, UnsupportedDigestAlgorithmError } from './errors';

/** `algorithm:encoded`, checked by {@link parseDigest}: safe as part of a path. */
export type Digest = `${DigestAlgorithm}:${string}`;

/** The algorithms that the image specification registers. */
export type DigestAlgorithm = 'sha256' | 'sha512' | 'blake3';

/** Takes bytes and gives their digest at the end. */
export interface Digester {
  update(bytes: Uint8Array): void;
  digest(): Digest;
}

const encodedLength: Record<DigestAlgorithm, number> = { sha256: 64, sha512: 128, blake3: 64 };

/** Asked of every name in a registry: cheaper than an error with its stack. */
const wellFormed = new RegExp(
  `^(?:${Object.entries(encodedLength)
    .map(([algorithm, length]) => `${algorithm}:[0-9a-f]{${length}}`)
    .join('|')})$`,
);

/** The algorithms by name, for messages and options. */
export const digestAlgorithms = Object.keys(encodedLength) as readonly DigestAlgorithm[];

/**
 * Splits a digest. Nothing is opened or asked for before a digest passed here, because a digest becomes a path or a URL.
 *
 * @throws {InvalidDigestError} if the text is not `algorithm:encoded` with lower-case hexadecimal digits of the right number.
 * @throws {UnsupportedDigestAlgorithmError} if the algorithm is not registered.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests
 */
export function parseDigest(text: string): { algorithm: DigestAlgorithm; encoded: string } {
  const colon = text.indexOf(':');
  if (colon < 0) throw invalidDigest(text, 'algorithm:encoded');
  const algorithm = text.slice(0, colon);
  const encoded = text.slice(colon + 1);
  if (!isDigestAlgorithm(algorithm)) {
    if (!/^[a-z0-9]+(?:[+._-][a-z0-9]+)*$/.test(algorithm)) throw invalidDigest(text, 'algorithm:encoded');
    throw new UnsupportedDigestAlgorithmError(
      `digest ${quote(text)}: expected one of the algorithms ${digestAlgorithms.join(', ')}, found ${quote(algorithm)}`,
      { expected: digestAlgorithms.join(', '), found: algorithm },
    );
  }
  const length = encodedLength[algorithm];
  if (encoded.length !== length || !/^[0-9a-f]+$/.test(encoded)) {
    throw invalidDigest(text, `${length} lower-case hexadecimal digits after ${algorithm}:`);
  }
  return { algorithm, encoded };
}

/** The text as a {@link Digest}; throws as {@link parseDigest} does. */
export function asDigest(text: string): Digest {
  parseDigest(text);
  return text as Digest;
}

/** Whether the text is a digest of a registered algorithm. */
export function isDigest(text: string): text is Digest {
  return wellFormed.test(text);
}

/** The algorithm of a checked digest. */
export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.slice(0, digest.indexOf(':')) as DigestAlgorithm;
}

/** A digester that takes bytes as they stream by. */
export function createDigester(algorithm: DigestAlgorithm = 'sha256'): Digester {
  // node:crypto hashes many times faster than JavaScript can, but has no blake3.
  const hash = algorithm === 'blake3' ? blake3() : createHash(algorithm);
  return {
    update: (bytes) => void hash.update(bytes),
    digest: () => `${algorithm}:${Buffer.from(hash.digest()).toString('hex')}`,
  };
}

/** Loaded when it is needed: it is an ES module, which Jest can `require` only from Node 24.9 on. */
const blake3 = () => (require('@noble/hashes/blake3.js') as typeof import('@noble/hashes/blake3.js')).blake3.create();

/** The digest of bytes in memory. */
export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = 'sha256'): Digest {
  const digester = createDigester(algorithm);
  digester.update(bytes);
  return digester.digest();
}

function isDigestAlgorithm(text: string): text is DigestAlgorithm {
  return Object.hasOwn(encodedLength, text);
}

function invalidDigest(text: string, expected: string): InvalidDigestError {
  return new InvalidDigestError(`invalid digest ${quote(text)}: expected ${expected}`, { expected, found: text });
}

/** Control characters visible, and no message longer than a screen because of a hostile value. */
function quote(text: string): string {
  return JSON.stringify(text.length > 160 ? `${text.slice(0, 160)}…` : text);
}
