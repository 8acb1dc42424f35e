import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidDocumentError, InvalidOptionError } from '../../src';
import { expandTokens } from '../../src/actions/expand-tokens';
import { expectSuccess, failureOf, run, temporaryDirectory, writeFiles } from '../fixtures';

const day = 86_400;

/** A project in a Git repository: its commit is of the 3rd of January 1970, and tagged. */
let inGit: string;
let commit: string;
/** A project of which nothing is known. */
let bare: string;
beforeAll(async () => {
  bare = temporaryDirectory();
  inGit = writeFiles(temporaryDirectory(), { 'app/file': '' });
  const date = `@${2 * day} +0000`;
  const author = { GIT_AUTHOR_NAME: 'a', GIT_AUTHOR_EMAIL: 'a@b', GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b' };
  const env = { ...author, GIT_AUTHOR_DATE: date, GIT_COMMITTER_DATE: date };
  const git = async (...args: string[]) => {
    const finished = await run('git', args, { cwd: inGit, env });
    expectSuccess(finished);
    return finished.stdout.trim();
  };
  await git('init', '--quiet');
  await git('add', '.');
  await git('commit', '--quiet', '--message', 'all');
  await git('tag', 'v4.5.6');
  commit = await git('rev-parse', 'HEAD');
});

describe('where values come from', () => {
  test.each<[string, NodeJS.ProcessEnv, string]>([
    ['{sha}', { GITHUB_SHA: 'c0ffee' }, 'c0ffee'],
    ['{sha}', { CI_COMMIT_SHA: 'c0ffee' }, 'c0ffee'],
    ['{sha}', { BUILD_SOURCEVERSION: 'c0ffee' }, 'c0ffee'],
    ['{sha}', { GITHUB_SHA: '', GIT_COMMIT: 'c0ffee' }, 'c0ffee'],
    ['{version}', { NX_OCI_VERSION: '1.0.0' }, '1.0.0'],
    ['{version}', { NX_OCI_VERSION: '1.0.0-rc.1+build.5' }, '1.0.0-rc.1-build.5'],
    ['{date}', { SOURCE_DATE_EPOCH: '0' }, '19700101'],
    ['{date}', { SOURCE_DATE_EPOCH: '1795305600' }, '20261122'],
    ['os:{version}-{sha}-{version}', { NX_OCI_VERSION: '1', GITHUB_SHA: '2' }, 'os:1-2-1'],
    ['os:v1', {}, 'os:v1'],
    ['os:{version}', { NX_OCI_VERSION: '{sha}', GITHUB_SHA: '2' }, 'os:{sha}'],
    ['os:{sha}', { GITHUB_SHA: "$&$'$`$(touch pwned)" }, "os:$&$'$`$(touch pwned)"],
  ])('%s with %j', async (text, environment, expanded) => {
    expect(await expandTokens(text, { environment, project: bare })).toBe(expanded);
  });

  test('Git, where the environment says nothing', async () => {
    const sources = { environment: {}, project: join(inGit, 'app') };
    expect(await expandTokens('{sha} {version} {date}', sources)).toBe(`${commit} 4.5.6 19700103`);
  });

  test('what is released goes before NX_OCI_VERSION, that before package.json, and that before Git', async () => {
    writeFiles(inGit, { 'packed/package.json': '{"version":"1.2.3"}', 'unversioned/package.json': '{}' });
    const version = (project: string, more: object = {}, environment: NodeJS.ProcessEnv = {}) =>
      expandTokens('{version}', { environment, project: join(inGit, project), ...more });
    const said = { NX_OCI_VERSION: '2.0.0' };
    expect(await version('packed', { version: '3.0.0' }, said)).toBe('3.0.0');
    expect(await version('packed', {}, said)).toBe('2.0.0');
    expect(await version('packed')).toBe('1.2.3');
    expect(await version('unversioned')).toBe('4.5.6');
  });
});

describe('what has no value is refused', () => {
  test.each([
    [
      '{sha}',
      'expected a commit, found none in GITHUB_SHA, CI_COMMIT_SHA, BUILD_SOURCEVERSION, GIT_COMMIT and none of Git',
    ],
    ['{version}', 'expected a version, found none in NX_OCI_VERSION, in package.json and among the tags of Git'],
    ['{date}', 'expected a day, found neither SOURCE_DATE_EPOCH nor a commit of Git'],
    ['{branch}', 'expected one of {sha}, {version}, {date}'],
    ['{}', 'expected one of {sha}, {version}, {date}'],
    ['{constructor}', 'expected one of {sha}, {version}, {date}'],
    ['{__proto__}', 'expected one of {sha}, {version}, {date}'],
  ])('%s', async (token, message) => {
    const text = `user:hunter2@registry.example/os:${token}`;
    const failure = await failureOf(InvalidOptionError, () => expandTokens(text, { environment: {}, project: bare }));
    expect(failure.message).toBe(`token ${token}: ${message}`);
  });

  test('a time that is none, and a package.json that is none', async () => {
    const broken = writeFiles(temporaryDirectory(), { 'package.json': 'version: 1' });
    const environment = { SOURCE_DATE_EPOCH: 'today' };
    const { message } = await failureOf(InvalidOptionError, () =>
      expandTokens('{date}', { environment, project: bare }),
    );
    expect(message).toContain('SOURCE_DATE_EPOCH: expected seconds since 1970');
    const ofFile = await failureOf(InvalidDocumentError, () =>
      expandTokens('{version}', { environment: {}, project: broken }),
    );
    expect(ofFile.message).toContain(join(broken, 'package.json'));
  });
});
