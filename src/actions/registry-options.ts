import * as z from 'zod';

/** The options of a registry that serves images, but for what it serves. */
export const registryOptionsSchema = z.strictObject({
  port: z.int().min(0).max(65535).describe('The port; 0, the default, for any free one.').optional(),
  host: z
    .string()
    .describe('The address to listen at; "127.0.0.1", the default, is reached by this machine alone.')
    .optional(),
  storage: z
    .string()
    .describe('A directory that keeps what is pushed, a layout for each repository. By default memory does.')
    .optional(),
  tlsCert: z.string().describe('A certificate in PEM: then it is https. Needs "tlsKey".').optional(),
  tlsKey: z.string().describe('The key of the certificate, in PEM.').optional(),
  auth: z.string().describe('An htpasswd file (bcrypt) of those who may come in. By default everybody may.').optional(),
});

export type RegistryServerOptions = z.infer<typeof registryOptionsSchema>;
