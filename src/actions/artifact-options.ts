import * as z from 'zod';

/** A media type, as RFC 6838 writes it. */
const mediaType = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*$/, 'a media type such as "text/plain"');

const artifactFilesSchema = z.strictObject({
  from: z.string().describe('A file, or a directory of which each file becomes a layer. Relative to the workspace.'),
  include: z.array(z.string()).describe('Glob patterns of what is taken from a directory; all by default.').optional(),
  exclude: z.array(z.string()).describe('Glob patterns of what is left out.').optional(),
  mediaType: mediaType.describe('The media type of these layers; "application/octet-stream" by default.').optional(),
  titles: z
    .boolean()
    .describe('Whether layers are annotated with the names of their files, relative to "from"; true by default.')
    .optional(),
});

/** The options of an artifact besides the path of its layout. */
export const artifactOptionsSchema = z.strictObject({
  artifactType: mediaType.describe('What kind of artifact it is, as a media type.').optional(),
  files: z.array(artifactFilesSchema).describe('The files that the artifact is made of, each a layer.').optional(),
  config: z
    .strictObject({
      from: z.string().describe('The file that is the config.'),
      mediaType: mediaType.describe(
        'Its media type, which says what kind of artifact it is where artifactType does not.',
      ),
    })
    .describe('The config; an empty one by default.')
    .optional(),
  annotations: z.record(z.string(), z.string()).describe('Annotations of the manifest.').optional(),
  subject: z
    .string()
    .describe(
      'The manifest that the artifact speaks of: a target ("os:index"), a layout ("path"), a manifest in it ("path:tag", "path@digest"), or one in a registry ("registry.example/os:v1"), of which oci.lock.json keeps the digest.',
    )
    .optional(),
  tag: z.string().describe('The tag of the artifact; "latest" by default.').optional(),
});

export type ArtifactOptions = z.infer<typeof artifactOptionsSchema>;
