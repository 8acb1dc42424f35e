import { join, resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { InvalidOptionError } from '../../src';
import { resolveOutputPath } from '../../src/nx/output-path';

const workspace = resolve('/workspace');

describe('ACCEPTANCE 48: outputPath', () => {
  test.each([
    ['dist/apps/api/image', 'apps/api'],
    ['./dist/../dist/apps/api', 'apps/api'],
    ['apps/api/dist', 'apps/api'],
    ['apps/api-image', 'apps/api'],
    ['..dist', 'apps/api'],
    ['dist/...', 'apps/api'],
    ['dist', '.'],
    [join(workspace, 'dist'), 'apps/api'],
  ])('%j is for the project in %j', (outputPath, projectRoot) => {
    expect(resolveOutputPath(outputPath, workspace, projectRoot)).toBe(resolve(workspace, outputPath));
  });

  test.each([
    ['', 'apps/api', 'is empty'],
    ['  ', 'apps/api', 'is empty'],
    ['..', 'apps/api', 'is outside the workspace'],
    ['../other', 'apps/api', 'is outside the workspace'],
    ['dist/../../other', 'apps/api', 'is outside the workspace'],
    ['/tmp/out', 'apps/api', 'is outside the workspace'],
    [`${workspace}-2/dist`, 'apps/api', 'is outside the workspace'],
    ['apps/api', 'apps/api', 'is or contains the project itself'],
    ['apps/api/', 'apps/api', 'is or contains the project itself'],
    ['apps/api/dist/..', 'apps/api', 'is or contains the project itself'],
    ['apps', 'apps/api', 'is or contains the project itself'],
    ['.', 'apps/api', 'is or contains the project itself'],
    ['.', '.', 'is or contains the project itself'],
    [workspace, 'apps/api', 'is or contains the project itself'],
    ['dist/\0', 'apps/api', 'has a NUL character'],
  ])('%j is not for the project in %j', (outputPath, projectRoot, why) => {
    const resolving = () => resolveOutputPath(outputPath, workspace, projectRoot);
    expect(resolving).toThrow(InvalidOptionError);
    expect(resolving).toThrow('option "outputPath": expected a directory of its own inside the workspace');
    expect(resolving).toThrow(`found ${JSON.stringify(outputPath)}, which ${why}`);
  });
});
