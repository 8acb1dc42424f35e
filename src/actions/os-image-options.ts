import * as z from 'zod';
import { payloadNameSchema } from '../spec/os-image';

const text = (description: string) => z.string().describe(description);

const productInfoFields = {
  id: text('Identifies the product, as ID in os-release does.'),
  name: text('What people call the product, as NAME in os-release does.'),
  version: text('The version of the product.'),
  variant: z
    .string()
    .regex(/^(?:[A-Za-z0-9._-]|\{machine\})+$/, 'letters, digits, ".", "_", "-" and {machine}')
    .describe(
      'The variant of the build: the processor, then what else there is, each behind a "-". {machine} is replaced by the processor of the platform as kernels call it (x86_64, aarch64), and is all there is by default.',
    )
    .optional(),
  commit_hash: text('The full hash of the commit that was built.').optional(),
  commit_date: text('The date of that commit.').optional(),
  build_tree_dirty: z.boolean().describe('Whether something else was built than that commit.').optional(),
  components: z
    .array(z.strictObject({ id: text('Such as "linux".'), version: text('Such as "6.6.50".') }))
    .describe('The most important components and their versions.')
    .optional(),
};

/** A file with the product info. Like the tool whose format this is, we take no offence at more in it. */
export const productInfoFileSchema = z.looseObject({
  ...productInfoFields,
  components: z.array(z.looseObject({ id: z.string(), version: z.string() })).nullish(),
});

/** The options of an OS image besides the path of its layout. */
export const osImageOptionsSchema = z.strictObject({
  payloads: z
    .array(
      z.strictObject({
        name: payloadNameSchema
          .describe('The name of the payload: up to 80 letters, digits, ".", "_" and "-". That of the file by default.')
          .optional(),
        from: text(
          'The file. Relative to the workspace (to the options file on the command line). {os}, {arch}, {variant} and {platform} are replaced for each platform.',
        ),
      }),
    )
    .min(1, 'at least one payload')
    .describe('What the image is made of, such as a kernel and a file system.'),
  productInfo: z
    .union([z.string(), z.strictObject(productInfoFields)])
    .describe(
      'What the image contains: an object with id, name, version, variant and more, or a JSON file with it, in whose path {os}, {arch}, {variant} and {platform} are replaced for each platform.',
    ),
  platforms: z
    .array(z.string())
    .min(1, 'at least one platform')
    .describe(
      'The platforms to build for, such as "linux/amd64", an image for each. Without them it is one image, and nothing says which platform it is for.',
    )
    .optional(),
  compressionLevel: z
    .int()
    .min(0)
    .max(4)
    .describe(
      'From 0, which stores the payloads plain and links the files where the file system can, over 1, the fastest, to 4, the smallest; 2 by default.',
    )
    .optional(),
  annotations: z.record(z.string(), z.string()).describe('Annotations of the manifest.').optional(),
  tag: text(
    'The tag of the image; "latest" by default. With several platforms each is tagged <tag>-<os>-<arch>[-<variant>].',
  ).optional(),
});

export type OsImageOptions = z.infer<typeof osImageOptionsSchema>;
