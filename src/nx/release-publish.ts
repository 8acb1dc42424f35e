import type { ExecutorContext } from '@nx/devkit';
import { z } from 'zod';
import { pushOptionsSchema } from '../actions/push-options';
import type { RegistryReference } from '../registry/reference';
import { checkDocument } from '../spec/json';
import { pushTarget } from './push';
import { targetName } from './target';

/**
 * The options of the `release-publish` executor: those of a push, and what `nx release publish` hands to every target of
 * this kind. What only npm packages need is taken and not used, and so are flags that are not known.
 */
export const releasePublishExecutorSchema = z.looseObject({
  ...pushOptionsSchema.shape,
  registry: z.string().describe('Pushes to this registry instead of that of the references.').optional(),
  tag: z.string().describe('A tag that moves to what is released, beside those of the references.').optional(),
  nxReleaseVersionData: z
    .record(z.string(), z.looseObject({ newVersion: z.string().nullish() }))
    .describe('What is released, as Nx says it; {version} stands for the version of this project.')
    .optional(),
  firstRelease: z.boolean().describe('As Nx says it; makes no difference here.').optional(),
});

/** Pushes what `nx release` releases. */
export async function runReleasePublish(rawOptions: unknown, context: ExecutorContext): Promise<string> {
  const checked = checkDocument(rawOptions, releasePublishExecutorSchema, `options of ${targetName(context)}`);
  const { registry, tag, nxReleaseVersionData } = checked;
  const known = Object.keys(pushOptionsSchema.shape);
  const options = pushOptionsSchema.parse(
    Object.fromEntries(Object.entries(checked).filter(([name]) => known.includes(name))),
  );
  const toReferences = (reference: RegistryReference): RegistryReference[] => {
    const here = { ...reference, ...(registry !== undefined && { registry }) };
    return tag === undefined || tag === here.tag ? [here] : [here, { ...here, tag }];
  };
  const version = nxReleaseVersionData?.[context.projectName ?? '']?.newVersion ?? undefined;
  const dryRun = options.dryRun ?? process.env.NX_DRY_RUN === 'true';
  return pushTarget({ ...options, dryRun }, context, { version, toReferences });
}
