import { relative } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import { z } from 'zod';
import { buildImage } from '../actions/build-image';
import { sourceDateEpoch } from '../actions/created';
import { imageOptionsSchema } from '../actions/image-options';
import { InvalidOptionError } from '../errors';
import { checkDocument } from '../spec/json';
import { progressOn } from '../terminal/progress';
import { imageReport } from '../terminal/reports';
import { resolveLayout } from './base';
import { resolveOutputPath } from './output-path';

/** The options of the `image` executor. */
export const imageExecutorSchema = imageOptionsSchema.extend({
  outputPath: z
    .string()
    .describe(
      'Where the layout is written, relative to the workspace. Name it in each target, for its outputs to follow it: "dist/{projectRoot}/image".',
    ),
});

/** Builds the images of a target and says what it built; throws what the options or the build do wrong. */
export async function runImage(rawOptions: unknown, context: ExecutorContext): Promise<string> {
  const { outputPath, ...options } = checkDocument(
    rawOptions,
    imageExecutorSchema,
    `options of ${targetName(context)}`,
  );
  const output = resolveOutputPath(outputPath, context.root, projectRoot(context));
  const progress = progressOn(process.stderr, process.env);
  try {
    const built = await buildImage({
      options,
      root: context.root,
      output,
      base: options.base === undefined ? undefined : resolveLayout(options.base, 'base', context),
      epoch: sourceDateEpoch(process.env),
      onProgress: progress.layer,
    });
    return imageReport(built, relative(context.root, output));
  } finally {
    progress.stop();
  }
}

function targetName({ projectName, targetName: target }: ExecutorContext): string {
  return `${projectName ?? 'project'}:${target ?? 'image'}`;
}

function projectRoot({ projectName, projectsConfigurations }: ExecutorContext): string {
  const project = projectName === undefined ? undefined : projectsConfigurations.projects[projectName];
  if (project) return project.root;
  throw new InvalidOptionError(`project ${JSON.stringify(projectName)}: expected it in the workspace, found none`);
}
