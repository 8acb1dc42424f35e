import { relative } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import * as z from 'zod';
import { InvalidOptionError } from '../errors';
import { checkDocument } from '../spec/json';
import { resolveOutputPath } from './output-path';

/** The option that every executor has which writes a layout. */
export const outputPathOption = {
  outputPath: z
    .string()
    .describe(
      'Where the layout is written, relative to the workspace. Name it in each target, for its outputs to follow it: "dist/{projectRoot}/image".',
    ),
};

/** A target as its executor sees it, with its options checked. */
export interface Target<Options> {
  readonly options: Omit<Options, 'outputPath'>;
  /** Absolute path of the layout to write. */
  readonly output: string;
  /** The same, relative to the workspace, for people. */
  readonly shownOutput: string;
}

/**
 * Checks what Nx hands to an executor.
 *
 * @throws {InvalidDocumentError}, {@link InvalidOptionError} naming the option.
 */
export function readTarget<Options extends { outputPath: string }>(
  rawOptions: unknown,
  schema: z.ZodType<Options>,
  context: ExecutorContext,
): Target<Options> {
  const { outputPath, ...options } = checkDocument(rawOptions, schema, `options of ${targetName(context)}`);
  const output = resolveOutputPath(outputPath, context.root, projectRoot(context));
  return { options, output, shownOutput: relative(context.root, output) };
}

/** The target that runs, as one names it, for messages. */
export function targetName({ projectName, targetName: target }: ExecutorContext): string {
  return `${projectName ?? 'project'}:${target ?? 'target'}`;
}

/** Of the project whose target runs, relative to the workspace. */
export function projectRoot({ projectName, projectsConfigurations }: ExecutorContext): string {
  const project = projectName === undefined ? undefined : projectsConfigurations.projects[projectName];
  if (project) return project.root;
  throw new InvalidOptionError(`project ${JSON.stringify(projectName)}: expected it in the workspace, found none`);
}
