import * as z from 'zod';
import { InvalidDocumentError } from '../errors';
import { jsonPath } from './json';

/**
 * OS images as Monogon defines them: artifacts whose layers are payloads, such as a kernel and a file system, and whose
 * config has a hash of each chunk of them, so that a payload can be written to a disk while it is verified.
 *
 * @see https://github.com/monogon-dev/monogon/blob/8b9bf216bd4ab085ac3443edfe70a249f30359f1/osbase/oci/osimage/types.go
 */
export const osImageTypes = {
  artifact: 'application/vnd.monogon.os.image.v1',
  config: 'application/vnd.monogon.os.image.config.v1+json',
  payload: 'application/octet-stream',
  payloadZstd: 'application/zstd',
} as const;

/** The only version of the config there is. Readers stop at another one. */
export const osImageVersion = '1';

/** The chunk size of what is written here, in bytes, and the largest one that is read: a whole chunk is held in memory. */
export const hashChunkSize = 1024 * 1024;
const largestHashChunk = 16 * hashChunkSize;

/** Names of payloads are safe as file names. */
export const payloadNameSchema = z
  .string()
  .regex(
    /^[0-9A-Za-z-](?:[0-9A-Za-z._-]{0,78}[0-9A-Za-z_-])?$/,
    'a name of 1 to 80 letters, digits, ".", "_" and "-" that does not begin with "." or "_" nor end with "."',
  );

/** What the image contains. Writers fill in all but `components`; a reader needs none of it. */
export const productInfoSchema = z.looseObject({
  id: z.string().optional(),
  name: z.string().optional(),
  version: z.string().optional(),
  variant: z.string().optional(),
  commit_hash: z.string().optional(),
  commit_date: z.string().optional(),
  build_tree_dirty: z.boolean().optional(),
  components: z.array(z.looseObject({ id: z.string(), version: z.string() })).nullish(),
});

/** 32 bytes in base64 without padding: of the last digit two bits are left over, and are 0. */
const chunkHashSchema = z
  .string()
  .regex(/^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$/, 'a SHA-256 hash in base64 without padding');

const payloadSchema = z.looseObject({
  name: payloadNameSchema,
  size: z.int('a whole number of bytes').nonnegative('a size of 0 or more bytes'),
  hash_chunk_size: z
    .int('a whole number of bytes')
    .min(1, 'a chunk size of at least 1 byte')
    .max(largestHashChunk, `a chunk size of at most ${largestHashChunk} bytes`),
  // Go encodes a list that was never made as null.
  chunk_hashes_sha256: z.array(chunkHashSchema).nullable(),
});

/** Loose, as the documents of the image specification are. The version comes first, so that it is what one reads of another. */
export const osImageConfigSchema = z.looseObject({
  format_version: z.literal(osImageVersion, `version ${JSON.stringify(osImageVersion)}`),
  product_info: productInfoSchema.optional(),
  payloads: z.array(payloadSchema).nullable(),
});

export type ProductInfo = z.infer<typeof productInfoSchema>;

/** What the config says of a payload. */
export interface PayloadInfo {
  readonly name: string;
  /** In bytes, unpacked. */
  readonly size: number;
  /** In bytes. */
  readonly hash_chunk_size: number;
  /** Of each chunk of the unpacked payload, in base64 without padding. */
  readonly chunk_hashes_sha256: readonly string[];
}

/** The config of an OS image. */
export interface OsImageConfig {
  readonly format_version: typeof osImageVersion;
  readonly product_info: ProductInfo;
  /** As many as the manifest has layers, in the same order. */
  readonly payloads: readonly PayloadInfo[];
}

/** How many chunks a payload has; the last one may be shorter than the others. */
export function chunkCount({ size, hash_chunk_size }: Pick<PayloadInfo, 'size' | 'hash_chunk_size'>): number {
  return Math.ceil(size / hash_chunk_size);
}

/**
 * Checks what the schema can't say: that there is a hash for each chunk, and that no two payloads have one name.
 *
 * @param name names the config in messages.
 * @throws {InvalidDocumentError}
 */
export function checkPayloads(config: z.infer<typeof osImageConfigSchema>, name: string): OsImageConfig {
  const names = new Set<string>();
  const payloads = (config.payloads ?? []).map((payload, position): PayloadInfo => {
    const place = `${name}: ${jsonPath(['payloads', position])}: payload ${payload.name}`;
    if (names.has(payload.name)) {
      throw new InvalidDocumentError(`${place}: expected each name once, found it twice`, { found: payload.name });
    }
    names.add(payload.name);
    const hashes = payload.chunk_hashes_sha256 ?? [];
    const chunks = chunkCount(payload);
    if (hashes.length !== chunks) {
      throw new InvalidDocumentError(
        `${place}: expected ${chunks} chunk hashes for ${payload.size} bytes in chunks of ${payload.hash_chunk_size}, found ${hashes.length}`,
        { expected: String(chunks), found: String(hashes.length) },
      );
    }
    return { ...payload, chunk_hashes_sha256: hashes };
  });
  return { ...config, product_info: config.product_info ?? {}, payloads };
}
