import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutorContext } from '@nx/devkit';
import { type ImageReference, isInRegistry, parseImageReference } from '../actions/image-reference';
import { imageMemory, lockedSource } from '../actions/lock-images';
import { InvalidOptionError } from '../errors';
import { type ImageSource, layoutSource } from '../layout/source';
import { registries } from '../terminal/registries';
import { devkit } from './devkit';

/**
 * What an option names: the layout that a target builds ("os-base:image"), one by its path in the workspace, or an image in
 * a registry.
 *
 * @param option the option's name, for messages.
 * @throws {InvalidOptionError} if the target has no layout among its outputs, because it did not run or builds none.
 */
export function resolveImages(text: string, option: string, context: ExecutorContext): ImageReference {
  const layout = layoutOfTarget(text, option, context);
  if (layout !== undefined) return { path: layout };
  const reference = parseImageReference(text, context.root);
  if (isInRegistry(reference) || reference.tag === undefined || text.includes('/') || existsSync(reference.path))
    return reference;
  throw new InvalidOptionError(
    `option "${option}": expected a target, a layout or an image in a registry, found neither a target ${text} nor a directory ${text.slice(0, -reference.tag.length - 1)}; an image in a registry is named with its registry, as in docker.io/library/debian:12`,
    { expected: 'a target, a layout or an image in a registry', found: text },
  );
}

/**
 * The manifests that an option names, from wherever they are.
 *
 * @param store the option of that name, if it is set.
 */
export function sourceFor(text: string, option: string, context: ExecutorContext, store?: string): ImageSource {
  const reference = resolveImages(text, option, context);
  if (!isInRegistry(reference)) return layoutSource(reference);
  return lockedSource(reference, registries(), imageMemory(context.root, process.env, store));
}

function layoutOfTarget(text: string, option: string, context: ExecutorContext): string | undefined {
  const [first, ...rest] = text.split(':');
  if (!first || rest.length === 0) return undefined;
  const { getOutputsForTargetAndConfiguration, parseTargetString } = devkit();
  const { project, target, configuration } = parseTargetString(text, context);
  const node = context.projectGraph.nodes[project];
  if (node?.data.targets?.[target] === undefined) return undefined;
  const outputs = getOutputsForTargetAndConfiguration({ project, target, configuration }, {}, node);
  const layout = outputs
    .map((output) => join(context.root, output))
    .find((output) => existsSync(join(output, 'oci-layout')));
  if (layout !== undefined) return layout;
  throw new InvalidOptionError(
    `option "${option}": expected the target ${text} to have an OCI image layout among its outputs (${outputs.join(', ') || 'none'}), found none; run "nx run ${text}", or add it to this target's dependsOn`,
    { expected: 'oci-layout', found: outputs.join(', ') },
  );
}
