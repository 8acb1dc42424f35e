import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod';
import { InvalidOptionError } from '../errors';
import { parseDocument } from '../spec/json';
import { sourceDateEpoch } from './created';

/** Where the values of tokens come from. */
export interface TokenSources {
  readonly environment: NodeJS.ProcessEnv;
  /** Absolute path of the project: its package.json has its version, and Git knows its commit. */
  readonly project: string;
  /** What is released, where somebody said so. */
  readonly version?: string;
}

/** Where CI systems say which commit they build. */
const commitVariables = ['GITHUB_SHA', 'CI_COMMIT_SHA', 'BUILD_SOURCEVERSION', 'GIT_COMMIT'];

const packageSchema = z.looseObject({ version: z.string().optional() });

/**
 * Replaces `{sha}` by the commit, `{version}` by the version and `{date}` by the day of the commit or of
 * SOURCE_DATE_EPOCH (`20261122`, UTC). A `+` of a version becomes a `-`, because a tag can have none.
 *
 * @throws {InvalidOptionError} naming a token that there is not, or that has no value.
 */
export async function expandTokens(text: string, sources: TokenSources): Promise<string> {
  const values: Readonly<Record<string, () => Promise<string | undefined>>> = {
    sha: async () => commitIn(sources.environment) ?? git(sources.project, 'rev-parse', 'HEAD'),
    version: async () => (await versionOf(sources))?.replaceAll('+', '-'),
    date: async () => dayOf(sources),
  };
  const found = new Map<string, string>();
  for (const [token, name = ''] of text.matchAll(tokenPattern)) {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined) {
      const known = Object.keys(values).map((name) => `{${name}}`);
      throw new InvalidOptionError(`token ${token}: expected one of ${known.join(', ')}`, { found: token });
    }
    const replacement = await value();
    if (replacement === undefined)
      throw new InvalidOptionError(`token ${token}: ${missing[name]}`, { expected: token });
    found.set(token, replacement);
  }
  // Once over the text: what a token stands for is no place for tokens.
  return text.replace(tokenPattern, (token) => found.get(token) as string);
}

const tokenPattern = /\{([^{}]*)\}/g;

const missing: Readonly<Record<string, string>> = {
  sha: `expected a commit, found none in ${commitVariables.join(', ')} and none of Git`,
  version: 'expected a version, found none in NX_OCI_VERSION, in package.json and among the tags of Git',
  date: 'expected a day, found neither SOURCE_DATE_EPOCH nor a commit of Git',
};

function commitIn(environment: NodeJS.ProcessEnv): string | undefined {
  return commitVariables.map((name) => environment[name]).find((value) => value);
}

async function versionOf({ version, environment, project }: TokenSources): Promise<string | undefined> {
  const said = version ?? (environment.NX_OCI_VERSION || undefined);
  if (said !== undefined) return said;
  const file = join(project, 'package.json');
  const content = await readFile(file).catch(() => undefined);
  const written = content && parseDocument(content, packageSchema, file).version;
  return written ?? (await git(project, 'describe', '--tags', '--abbrev=0'))?.replace(/^v(?=\d)/, '');
}

async function dayOf({ environment, project }: TokenSources): Promise<string | undefined> {
  const seconds =
    sourceDateEpoch(environment) ?? Number(await git(project, 'show', '--no-patch', '--format=%ct', 'HEAD'));
  return Number.isFinite(seconds) ? new Date(seconds * 1000).toISOString().slice(0, 10).replaceAll('-', '') : undefined;
}

async function git(directory: string, ...args: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)('git', ['-C', directory, ...args]);
    return stdout.trim() || undefined;
  } catch {
    return undefined;
  }
}
