import * as z from 'zod';
import { type Digest, isDigest } from '../digest';

/**
 * The documents of image-spec 1.1 (and Docker's, which are a subset) as schemas. All are loose: what is not named here
 * survives, as the specification asks of implementations.
 *
 * @see https://github.com/opencontainers/image-spec/tree/v1.1.1
 */

const digestSchema = z
  .string()
  .refine(
    isDigest,
    'a digest (sha256, sha512 or blake3 with lower-case hexadecimal digits)',
  ) as unknown as z.ZodType<Digest>;

const mediaTypeSchema = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$/, 'a media type (RFC 6838)');

/** Bytes; an integer that a JavaScript number holds exactly. */
const sizeSchema = z.int('a whole number of bytes').nonnegative('a size of 0 or more bytes');

const annotationsSchema = z.record(z.string(), z.string());

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md#image-index-property-descriptions */
export const platformSchema = z.looseObject({
  architecture: z.string(),
  os: z.string(),
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
  variant: z.string().optional(),
});

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md */
export const descriptorSchema = z.looseObject({
  mediaType: mediaTypeSchema,
  digest: digestSchema,
  size: sizeSchema,
  urls: z.array(z.string()).optional(),
  annotations: annotationsSchema.nullish(),
  data: z.string().optional(),
  artifactType: mediaTypeSchema.optional(),
  platform: platformSchema.optional(),
});

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md */
export const manifestSchema = z.looseObject({
  schemaVersion: z.literal(2, '2'),
  mediaType: mediaTypeSchema.optional(),
  artifactType: mediaTypeSchema.optional(),
  config: descriptorSchema,
  // Go encodes a list that was never made as null.
  layers: z.array(descriptorSchema).nullable(),
  subject: descriptorSchema.optional(),
  annotations: annotationsSchema.nullish(),
});

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md */
export const indexSchema = z.looseObject({
  schemaVersion: z.literal(2, '2'),
  mediaType: mediaTypeSchema.optional(),
  artifactType: mediaTypeSchema.optional(),
  manifests: z.array(descriptorSchema).nullable(),
  subject: descriptorSchema.optional(),
  annotations: annotationsSchema.nullish(),
});

const emptyObjects = z.record(z.string(), z.looseObject({})).nullish();
const words = z.array(z.string()).nullish();

/** What a container is started with. */
export const executionSchema = z.looseObject({
  User: z.string().optional(),
  ExposedPorts: emptyObjects,
  Env: words,
  Entrypoint: words,
  Cmd: words,
  Volumes: emptyObjects,
  WorkingDir: z.string().optional(),
  Labels: annotationsSchema.nullish(),
  StopSignal: z.string().optional(),
});

export const historySchema = z.looseObject({
  created: z.string().optional(),
  author: z.string().optional(),
  created_by: z.string().optional(),
  comment: z.string().optional(),
  empty_layer: z.boolean().optional(),
});

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md */
export const configSchema = z.looseObject({
  created: z.string().optional(),
  author: z.string().optional(),
  architecture: z.string(),
  os: z.string(),
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
  variant: z.string().optional(),
  config: executionSchema.nullish(),
  rootfs: z.looseObject({ type: z.literal('layers', '"layers"'), diff_ids: z.array(digestSchema).nullable() }),
  history: z.array(historySchema).nullish(),
});

/** @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md#oci-layout-file */
export const layoutMarkerSchema = z.looseObject({ imageLayoutVersion: z.string() });

export type Platform = z.infer<typeof platformSchema>;
export type Descriptor = z.infer<typeof descriptorSchema>;
export type ImageManifest = z.infer<typeof manifestSchema> & { layers: Descriptor[] };
export type ImageIndex = z.infer<typeof indexSchema> & { manifests: Descriptor[] };
export type ImageConfig = z.infer<typeof configSchema> & { rootfs: { diff_ids: Digest[] } };
export type Execution = z.infer<typeof executionSchema>;
export type History = z.infer<typeof historySchema>;

/** Where an index.json keeps the tag of a manifest. */
export const refNameAnnotation = 'org.opencontainers.image.ref.name';

/** Which image another one is built on: by name, and by the digest of its manifest. */
export const baseNameAnnotation = 'org.opencontainers.image.base.name';
export const baseDigestAnnotation = 'org.opencontainers.image.base.digest';

/** The only version of the layout there is. */
export const imageLayoutVersion = '1.0.0';
