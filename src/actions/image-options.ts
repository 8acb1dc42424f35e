import * as z from 'zod';
import { compressions, largestLevel } from '../compression';

const text = (description: string) => z.string().describe(description);
const texts = (description: string) => z.array(z.string()).describe(description);
const textMap = (description: string) => z.record(z.string(), z.string()).describe(description);

const layerSchema = z.strictObject({
  name: text('What the summary and the history of the image call the layer. The sources, by default.').optional(),
  from: z
    .union([z.string(), z.array(z.string())])
    .describe(
      'A directory, of which the content is taken, or a file; or several. Relative to the workspace (to the options file on the command line). {os}, {arch}, {variant} and {platform} are replaced for each platform.',
    )
    .optional(),
  tar: text(
    'Instead of "from": a tar file that becomes the layer as it is. One that is compressed with gzip keeps its bytes.',
  ).optional(),
  include: texts('Glob patterns of what is taken from the directories; all by default.').optional(),
  exclude: texts('Glob patterns of what is left out. A directory is left out with all that is in it.').optional(),
  to: text(
    'Where the files lie in the image; "/" by default. A single file gets this path, or lies in it if it ends with "/".',
  ).optional(),
  mode: z
    .string()
    .regex(/^(preserve|[0-7]{3,4})$/, '"preserve" or an octal mode such as "0640"')
    .describe(
      'Permissions. By default 0755 for directories and executables and 0644 for other files; "preserve" takes those of the file system, and keeps hard links; an octal mode is for all files, and for directories with the execute bit where there is the read bit.',
    )
    .optional(),
  owner: z
    .string()
    .regex(/^\d{1,10}(:\d{1,10})?$/, 'numbers as in "1000" or "1000:1000"')
    .describe('Numeric user and group, "uid" or "uid:gid"; "0:0" by default.')
    .optional(),
  followSymlinks: z.boolean().describe('Takes what symbolic links point to instead of the links.').optional(),
  split: z
    .enum(['node'])
    .describe(
      'Makes several layers of the files, what changes least first. "node": of a Node application the third-party packages, the packages of the workspace and the application itself.',
    )
    .optional(),
});

/** The options of one image: what the executor takes besides its output path, and the file that the command line takes. */
export const imageOptionsSchema = z.strictObject({
  base: text(
    'The image to build on: a target ("os-base:image"), an OCI layout ("path" or "path:tag"), or an image in a registry ("docker.io/library/debian:12"), of which oci.lock.json keeps the digest. The instance of the same platform is taken.',
  ).optional(),
  platforms: texts(
    'The platforms to build for, such as "linux/amd64" or "linux/arm/v7"; "local" is that of this machine. By default those of the base or, without one, linux/amd64.',
  )
    .min(1, 'at least one platform')
    .optional(),
  layers: z.array(layerSchema).describe('The layers, the lowest first.').optional(),
  entrypoint: texts('The command that containers run. Clears the cmd of the base.').optional(),
  cmd: texts('Arguments of the entrypoint or, without one, the command.').optional(),
  env: textMap(
    'Environment variables, added to those of the base. $KEY and ${KEY} are replaced by the values of the base and of earlier entries, \\$ stands for a plain $.',
  ).optional(),
  user: text('The user, or user:group, that containers run as.').optional(),
  workingDir: text('The working directory, absolute.').optional(),
  exposedPorts: z
    .array(
      z.union([
        z.string().regex(/^\d{1,5}(-\d{1,5})?(\/(tcp|udp|sctp))?$/, 'a port such as "8080" or "53/udp"'),
        z.int().min(1).max(65535),
      ]),
    )
    .describe('Ports that containers listen on, such as 8080 or "53/udp"; added to those of the base.')
    .optional(),
  volumes: texts('Paths where containers keep data; added to those of the base.').optional(),
  labels: textMap('Labels of the config, added to those of the base.').optional(),
  annotations: textMap('Annotations of the manifest.').optional(),
  stopSignal: z
    .string()
    .regex(/^(SIG[A-Z0-9+-]+|\d{1,3})$/, 'a signal such as "SIGTERM" or "15"')
    .describe('The signal that stops a container.')
    .optional(),
  created: z
    .union([z.string(), z.int().nonnegative()])
    .describe(
      'When the image was made: RFC 3339, or seconds since 1970. SOURCE_DATE_EPOCH by default or, where that is not set, 1970-01-01T00:00:00Z.',
    )
    .optional(),
  tag: text(
    'The tag of the image; "latest" by default. With several platforms each is tagged <tag>-<os>-<arch>[-<variant>].',
  ).optional(),
  compression: z
    .enum(compressions)
    .describe('How layers are compressed; "gzip" by default, which everything reads. "zstd" is faster and smaller.')
    .optional(),
  compressionLevel: z
    .int()
    .min(1)
    .max(largestLevel)
    .describe('From 1, the fastest, to the smallest: 9 for gzip (4 by default), 19 for zstd (2 by default).')
    .optional(),
  store: text(
    'A directory that keeps what later builds can use again, so that they cost what changed; relative like "from". By default NX_OCI_STORE or, in a workspace, .nx/oci.',
  ).optional(),
});

export type ImageOptions = z.infer<typeof imageOptionsSchema>;
export type LayerOptions = z.infer<typeof layerSchema>;
