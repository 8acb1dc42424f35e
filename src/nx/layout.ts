import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type ExecutorContext, getOutputsForTargetAndConfiguration, parseTargetString } from '@nx/devkit';
import { InvalidOptionError } from '../errors';
import { type LayoutReference, parseLayoutReference } from '../layout/reference';

/** Where a target that builds an image finds the layout that another one built. */
export type LayoutSource = Pick<ExecutorContext, 'root' | 'projectGraph' | 'projectName' | 'nxJsonConfiguration'> &
  ExecutorContext;

/**
 * The layout that an option names: by the target that builds it ("os-base:image"), or by its path in the workspace.
 *
 * @param option the option's name, for messages.
 * @throws {InvalidOptionError} if the target has no layout among its outputs, because it did not run or builds none.
 */
export function resolveLayout(text: string, option: string, context: LayoutSource): LayoutReference {
  const layout = layoutOfTarget(text, option, context);
  if (layout !== undefined) return { path: layout };
  const { path, ...selection } = parseLayoutReference(text);
  const absolute = resolve(context.root, path);
  if (selection.tag === undefined || path.includes('/') || existsSync(absolute))
    return { ...selection, path: absolute };
  throw new InvalidOptionError(
    `option "${option}": expected a target or a layout, found neither a target ${text} nor a directory ${path}`,
    { expected: 'a target or a layout', found: text },
  );
}

function layoutOfTarget(text: string, option: string, context: LayoutSource): string | undefined {
  const [first, ...rest] = text.split(':');
  if (!first || rest.length === 0) return undefined;
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
