import * as z from 'zod';
import { CredentialsError } from '../errors';
import type { Credential } from './credential';
import { withoutSecrets } from './redact';
import { type Ending, runProgram } from './run-program';

/** In milliseconds: time for a person to unlock a keychain. */
const helperPatience = 60_000;

/** The end of a program's name: no path, no option, nothing that a shell would notice. */
const helperPattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** What the protocol says where there is no credential. */
const notFound = 'credentials not found in native keychain';

/** What the protocol has in place of a user's name where the secret is an identity token. */
const tokenUser = '<token>';

const answerSchema = z.looseObject({ Username: z.string().default(''), Secret: z.string().default('') });

/** What a helper program is asked. */
export interface HelperQuestion {
  /** What stands behind `docker-credential-` in the name of the program. */
  readonly helper: string;
  /** The registry, or the URL that it is filed under. */
  readonly key: string;
  /** The file or variable that names the helper. */
  readonly configuredIn: string;
  readonly environment: NodeJS.ProcessEnv;
  /** For how many milliseconds to wait for the answer. By default a minute. */
  readonly patience?: number;
}

/**
 * Runs `docker-credential-<helper> get`, without a shell; `undefined` if the helper has no credential.
 *
 * @throws {CredentialsError} naming the helper and the registry if there is no such program, if it fails, or does not end.
 * @see https://docs.docker.com/reference/cli/docker/login/#credential-helper-protocol
 */
export async function askHelper(question: HelperQuestion): Promise<Credential | undefined> {
  const { helper, key, configuredIn, environment, patience = helperPatience } = question;
  if (!helperPattern.test(helper)) {
    throw new CredentialsError(
      `${configuredIn}: expected the name of a credential helper for ${key}, found ${JSON.stringify(helper.slice(0, 80))}; write what stands behind docker-credential- in the name of the program`,
      { expected: 'the name of a credential helper', found: helper.slice(0, 80) },
    );
  }
  const program = `docker-credential-${helper}`;
  const ending = await runProgram(program, ['get'], { input: key, environment, patience });
  const refuse = (expected: string, found: string, advice: string) =>
    new CredentialsError(`${program} for ${key}: expected ${expected}, found ${found}; ${advice}`, { expected, found });
  if (ending.kind === 'absent') {
    throw refuse(
      `a program on PATH, because ${configuredIn} names it`,
      `none that can be run (${ending.code})`,
      `install ${program}, or take ${JSON.stringify(helper)} out of ${configuredIn}`,
    );
  }
  const advice = `give ${key} to "${program} get" on standard input to see what it says`;
  if (ending.kind === 'stopped') throw refuse('an answer', ending.reason, advice);
  if (ending.code === 0) return parseAnswer(ending.stdout, () => refuse('JSON with a Secret', 'none', advice));
  if (ending.stdout.trim() === notFound) return undefined;
  throw refuse('a credential', `a failure (${wordsOf(ending, environment)})`, advice);
}

function parseAnswer(answer: string, refusal: () => CredentialsError): Credential | undefined {
  const parsed = answerSchema.safeParse(jsonOf(answer));
  if (!parsed.success) throw refusal();
  const { Username: username, Secret: secret } = parsed.data;
  if (secret === '') return undefined;
  return username === tokenUser ? { identityToken: secret } : { username, password: secret };
}

/** The parser's own words quote what it read. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** By the protocol a failure is explained on standard output, where on success the secret is. */
function wordsOf({ code, signal, stdout, stderr }: Ending & { kind: 'ended' }, environment: NodeJS.ProcessEnv): string {
  const answered = /"Secret"\s*:\s*"((?:[^"\\]|\\.)*)/.exec(stdout)?.[1];
  const said = stdout.includes('{') ? stderr : `${stdout}\n${stderr}`;
  const words = withoutSecrets(said, environment, answered);
  return `${code === null ? signal : `exit code ${code}`}${words && `: ${words}`}`;
}
