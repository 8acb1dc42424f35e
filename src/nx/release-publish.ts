import type { ExecutorContext } from '@nx/devkit';
import * as z from 'zod';
import { pushOptionsSchema } from '../actions/push-options';
import { InvalidOptionError } from '../errors';
import {
  formatRegistryReference,
  isRegistry,
  parseRegistryReference,
  type RegistryReference,
} from '../registry/reference';
import { checkDocument } from '../spec/json';
import { pushTarget } from './push';
import { targetName } from './target';

/**
 * The options of the `release-publish` executor: those of a push, and what `nx release publish` hands to every target of
 * this kind. What only npm packages need is taken and not used, and so are flags that are not known.
 */
export const releasePublishExecutorSchema = z.looseObject({
  ...pushOptionsSchema.shape,
  registry: z
    .string()
    .describe('Pushes to this registry, as host or host:port, instead of those of the references.')
    .optional(),
  tag: z
    .string()
    .describe('A tag that moves to what is released, beside those of the references, such as "next".')
    .optional(),
  nxReleaseVersionData: z
    .record(z.string(), z.looseObject({ newVersion: z.string().nullish() }))
    .describe('Which versions are released, from Nx; {version} stands for that of the project.')
    .optional(),
  firstRelease: z.boolean().describe('Comes from Nx, and makes no difference here.').optional(),
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
    const here = { ...reference, ...(registry !== undefined && { registry: imageRegistry(registry) }) };
    if (tag === undefined || tag === here.tag) return [here];
    return [here, parseRegistryReference(formatRegistryReference({ ...here, tag }))];
  };
  const released = nxReleaseVersionData?.[context.projectName ?? ''];
  if (released?.newVersion === null) return `${context.projectName}: not pushed, because it has no new version`;
  return pushTarget(options, context, { version: released?.newVersion, toReferences });
}

/**
 * Nx hands `--registry` to the packages of npm as well, whose registries are URLs. Nothing is pushed to where it was not meant
 * to go, neither to a registry of npm nor, while packages go to another place, to the usual one.
 */
function imageRegistry(registry: string): string {
  if (isRegistry(registry)) return registry;
  throw new InvalidOptionError(
    'option "registry": expected a registry of images, as host or host:port, found other text, such as the URL of a registry of npm; release packages and images with a run of their own each, by --groups or --projects',
    { expected: 'host or host:port' },
  );
}
