import * as z from 'zod';
import { pushOptionsSchema } from '../actions/push-options';
import { InvalidOptionError } from '../errors';
import { artifactExecutorSchema } from './artifact';
import { imageExecutorSchema } from './image';
import { indexExecutorSchema } from './image-index';
import { osImageExecutorSchema } from './os-image';
import { registryExecutorSchema } from './registry';
import { releasePublishExecutorSchema } from './release-publish';

interface ExecutorSchema {
  readonly title: string;
  readonly description: string;
  readonly options: z.ZodType;
  /** Runs until it is stopped, while the targets that depend on it run. */
  readonly continuous?: true;
}

/** Each executor's options. Its schema.json is generated from here by `npm run schemas`, never written by hand. */
export const executorSchemas: Readonly<Record<string, ExecutorSchema>> = {
  image: {
    title: 'Image',
    description: 'Builds one OCI image per platform from build outputs and writes them as an OCI image layout.',
    options: imageExecutorSchema,
  },
  index: {
    title: 'Index',
    description: 'Builds an OCI image index over images of targets, layouts and archives.',
    options: indexExecutorSchema,
  },
  artifact: {
    title: 'Artifact',
    description: 'Builds an OCI artifact from files.',
    options: artifactExecutorSchema,
  },
  'os-image': {
    title: 'OS image',
    description: 'Builds OS images from payloads such as kernels and file systems, with a hash of each chunk.',
    options: osImageExecutorSchema,
  },
  registry: {
    title: 'Registry',
    description: 'Runs a registry that serves images of targets, layouts and archives, while other targets need it.',
    options: registryExecutorSchema,
    continuous: true,
  },
  push: {
    title: 'Push',
    description: 'Pushes images to registries.',
    options: pushOptionsSchema,
  },
  'release-publish': {
    title: 'Release publish',
    description: 'Pushes images to registries in "nx release publish".',
    options: releasePublishExecutorSchema,
  },
};

/** The schema.json of an executor, as Nx reads it. */
export function schemaText(name: string): string {
  const { $schema: _, ...schema } = jsonSchema(name);
  return `${JSON.stringify({ $schema: 'https://json-schema.org/schema', version: 2, ...schema }, null, 2)}\n`;
}

/** The options of an executor as a table in Markdown, those of a list's items below it. */
export function optionTable(name: string): string {
  const rows = optionRows(jsonSchema(name), '');
  return ['| option | type | what it does |', '|---|---|---|', ...rows].join('\n');
}

interface OptionSchema {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, OptionSchema>>;
  readonly items?: OptionSchema;
  readonly anyOf?: readonly OptionSchema[];
}

function optionRows({ properties = {} }: OptionSchema, prefix: string): string[] {
  return Object.entries(properties).flatMap(([option, schema]) => [
    `| \`${prefix}${option}\` | ${typeWords(schema)} | ${forTable(schema.description ?? '')} |`,
    ...(schema.items ? optionRows(schema.items, `${prefix}${option}[].`) : []),
  ]);
}

function forTable(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '\\<');
}

function typeWords(schema: OptionSchema): string {
  if (schema.anyOf) return schema.anyOf.map(typeWords).join(' or ');
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (schema.type === 'object' && !schema.properties) return 'map of strings';
  if (schema.type === 'array' && schema.items) return `list of ${typeWords(schema.items)}`;
  return schema.type ?? 'any';
}

function jsonSchema(name: string): OptionSchema & { $schema?: string } {
  const executor = executorSchemas[name];
  if (executor === undefined)
    throw new InvalidOptionError(`executor ${name}: expected one of ${Object.keys(executorSchemas).join(', ')}`);
  const { title, description, options, continuous } = executor;
  const schema = z.toJSONSchema(options, { target: 'draft-7', io: 'input', reused: 'inline', override: allowAnything });
  return { title, description, ...(continuous && { continuous }), ...schema } as OptionSchema;
}

/** Nx takes the empty schema for one that lists and objects do not match. */
function allowAnything({ jsonSchema }: { jsonSchema: z.core.JSONSchema.BaseSchema }): void {
  const { additionalProperties } = jsonSchema;
  if (typeof additionalProperties === 'object' && Object.keys(additionalProperties).length === 0) {
    jsonSchema.additionalProperties = true;
  }
}
