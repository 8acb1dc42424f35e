import { isAbsolute, join, relative, resolve, sep } from 'node:path';
import { InvalidOptionError } from '../errors';

/**
 * The absolute path of an executor's output. It is replaced by each build, so that it must be a directory for that alone.
 *
 * @param outputPath as the target says it, relative to the workspace.
 * @param projectRoot relative to the workspace.
 * @throws {InvalidOptionError} if it leads out of the workspace, or is or contains the project or the workspace.
 */
export function resolveOutputPath(outputPath: string, workspaceRoot: string, projectRoot: string): string {
  const refuse = (why: string) => {
    const expected = 'a directory of its own inside the workspace';
    return new InvalidOptionError(
      `option "outputPath": expected ${expected}, such as "dist/${projectRoot}/image", found ${JSON.stringify(outputPath)}, which ${why}`,
      { expected, found: outputPath },
    );
  };
  if (outputPath.trim() === '') throw refuse('is empty');
  if (outputPath.includes('\0')) throw refuse('has a NUL character');
  const absolute = resolve(workspaceRoot, outputPath);
  const fromWorkspace = relative(workspaceRoot, absolute);
  if (fromWorkspace.split(sep)[0] === '..' || isAbsolute(fromWorkspace)) throw refuse('is outside the workspace');
  const toProject = relative(absolute, join(workspaceRoot, projectRoot));
  if (toProject.split(sep)[0] !== '..' && !isAbsolute(toProject)) throw refuse('is or contains the project itself');
  return absolute;
}
