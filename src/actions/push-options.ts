import { z } from 'zod';

/** The options of a push. */
export const pushOptionsSchema = z.strictObject({
  image: z
    .string()
    .describe(
      'What is pushed: a target ("os:index"), or an OCI layout or archive ("path", "path:tag" or "path@digest").',
    ),
  references: z
    .array(z.string())
    .min(1, 'at least one reference')
    .describe(
      'Where to: "registry.example/repository:tag". {sha}, {version} and {date} are replaced. Without a tag the image keeps the tag of the layout; several images each keep theirs.',
    ),
  platforms: z
    .array(z.string())
    .min(1, 'at least one platform')
    .describe('Pushes the images for these platforms alone: one as an image, several as an index.')
    .optional(),
  format: z
    .enum(['oci', 'docker'])
    .describe('Converts manifests to these media types; layers keep their bytes.')
    .optional(),
  insecure: z
    .boolean()
    .describe('Reaches the registries without TLS, or with a certificate that nobody vouches for.')
    .optional(),
  chunkSize: z
    .int()
    .min(1)
    .describe('Sends blobs in pieces of this many bytes, for a proxy that takes no larger ones.')
    .optional(),
  digestFile: z.string().describe('A file that the digest is written to, relative to the workspace.').optional(),
  dryRun: z.boolean().describe('Only says what would be pushed.').optional(),
});

export type PushOptions = z.infer<typeof pushOptionsSchema>;
