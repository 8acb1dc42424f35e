import * as z from 'zod';
import { compressions, largestLevel } from '../compression';

/** The options of a push. */
export const pushOptionsSchema = z.strictObject({
  image: z
    .string()
    .describe(
      'What is pushed: a target ("os:index"), which belongs in dependsOn, or an OCI layout or archive ("path", "path:tag" or "path@digest").',
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
    .describe(
      'Pushes the images for these platforms alone: one as an image, several as an index. "local" is that of this machine.',
    )
    .optional(),
  format: z
    .enum(['oci', 'docker'])
    .describe('Converts manifests to these media types; layers keep their bytes.')
    .optional(),
  forceCompression: z
    .enum(compressions)
    .describe('Compresses all layers like this on the way; those that are so already keep their bytes.')
    .optional(),
  addCompression: z
    .array(z.enum(['zstd']))
    .min(1, 'at least one compression')
    .describe(
      'Adds an instance with this compression for each image of an index, behind the others: clients that know it take it, all others the first that fits.',
    )
    .optional(),
  compressionLevel: z
    .int()
    .min(1)
    .max(largestLevel)
    .describe('Of what is compressed anew, from 1, the fastest, to the smallest: 9 for gzip, 19 for zstd.')
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
  digestFile: z
    .string()
    .describe(
      'A file that the digest is written to, or those of several images, each on a line; relative to the workspace.',
    )
    .optional(),
  dryRun: z.boolean().describe('Only says what would be pushed; no registry is asked.').optional(),
});

export type PushOptions = z.infer<typeof pushOptionsSchema>;
