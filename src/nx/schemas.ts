import { z } from 'zod';
import { InvalidOptionError } from '../errors';
import { imageExecutorSchema } from './image';

/** Each executor's options. Its schema.json is generated from here by `npm run schemas`, never written by hand. */
export const executorSchemas: Readonly<Record<string, { title: string; description: string; options: z.ZodType }>> = {
  image: {
    title: 'Image',
    description: 'Builds one OCI image per platform from build outputs and writes them as an OCI image layout.',
    options: imageExecutorSchema,
  },
};

/** The schema.json of an executor, as Nx reads it. */
export function schemaText(name: string): string {
  const executor = executorSchemas[name];
  if (executor === undefined)
    throw new InvalidOptionError(`executor ${name}: expected one of ${Object.keys(executorSchemas).join(', ')}`);
  const { title, description, options } = executor;
  const { $schema: _, ...schema } = z.toJSONSchema(options, { target: 'draft-7', io: 'input', reused: 'inline' });
  const document = { $schema: 'https://json-schema.org/schema', version: 2, title, description, ...schema };
  return `${JSON.stringify(document, null, 2)}\n`;
}
