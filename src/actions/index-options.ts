import * as z from 'zod';

/** The options of an index besides the path of its layout. */
export const indexOptionsSchema = z.strictObject({
  images: z
    .array(z.string())
    .min(1, 'at least one image')
    .describe(
      'What the index lists: targets that build images or indexes ("api:image"), OCI layouts ("path") or manifests in them ("path:tag", "path@digest"), archives, or images in a registry ("registry.example/os:v1"), of which oci.lock.json keeps the digests. What is listed twice is taken once.',
    ),
  platforms: z
    .array(z.string())
    .min(1, 'at least one platform')
    .describe('Takes only the images for these platforms, such as "linux/amd64" or "linux/arm/v7"; all by default.')
    .optional(),
  nested: z
    .enum(['flatten', 'keep'])
    .describe(
      'What becomes of an index among the images: "flatten" (the default) lists its images, "keep" lists it as it is.',
    )
    .optional(),
  annotations: z.record(z.string(), z.string()).describe('Annotations of the index.').optional(),
  tag: z.string().describe('The tag of the index; "latest" by default.').optional(),
});

export type IndexOptions = z.infer<typeof indexOptionsSchema>;
