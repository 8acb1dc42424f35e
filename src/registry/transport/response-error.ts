import * as z from 'zod';
import { bytesBlob } from '../../blob';
import { NotInRegistryError, RegistryError, UnauthorizedError } from '../../errors';
import { harmless, secretsIn, withoutSecrets } from './redaction';
import { retryAfterOf } from './retry-after';
import type { HttpResponse } from './transport';

/** As much of an error's body as is read, in bytes, and for as long, in milliseconds: it is a few lines of text. */
const bodyLimit = 64 * 1024;
const bodyTimeout = 2000;

/** As much of what a registry says as goes into a message. */
const mostErrors = 5;
const longestText = 300;
const longestCode = 64;

/** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes */
const errorsSchema = z.object({
  errors: z.array(z.object({ code: z.string().min(1), message: z.string().optional().catch(undefined) })).min(1),
});

/** What an error says beside what the response does. */
export interface ErrorWords {
  /** What should have come instead, such as `200`. */
  readonly expected: string;
  /** What to do about it. By default what fits the status. */
  readonly advice?: string;
  /** The class. By default the one that fits the status. */
  readonly type?: typeof RegistryError;
}

/**
 * A response that is not the one that was hoped for, as an error; its body is read, or let go if it is long or slow. A body
 * in another form than the specification's shows in no message.
 *
 * @param what names what was asked for: `manifest localhost:5000/os:v1`.
 */
export async function responseError(
  response: HttpResponse,
  what: string,
  { expected, advice, type }: ErrorWords,
): Promise<RegistryError> {
  const { status, headers, url } = response;
  const errors = errorsIn(await errorBody(response));
  const said = errors.map(({ code, message }) => (message ? `${code}: ${message}` : code)).join('; ');
  const clean = harmless(withoutSecrets(said, secretsIn(url)), longestText);
  const found = clean === '' ? String(status) : `${status} (${clean})`;
  const facts = {
    expected,
    found,
    status,
    codes: errors.map(({ code }) => code),
    ...retryAfterFact(headers['retry-after']),
  };
  const fitting = type ?? typeFor(status);
  return new fitting(`${what}: expected ${expected}, found ${found}; ${advice ?? adviceFor(status)}`, facts);
}

/** The response again after its body was read, as far as an error's is, without secrets of the request that it repeats. */
export async function withoutEchoes(response: HttpResponse, secrets: readonly string[]): Promise<HttpResponse> {
  const clean = withoutSecrets(await errorBody(response), secrets);
  return { ...response, body: bytesBlob(Buffer.from(clean)).open(), discard: async () => undefined };
}

/** The text of an error's body; what can't be read of it is left away, because the status says more. */
async function errorBody(response: HttpResponse): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const slow = setTimeout(() => response.discard(), bodyTimeout);
  try {
    for await (const chunk of response.body) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > bodyLimit) break;
    }
  } catch {
    // A body that breaks off is as good as none.
  } finally {
    clearTimeout(slow);
  }
  return Buffer.concat(chunks).toString('utf8', 0, bodyLimit);
}

function errorsIn(body: string): readonly { readonly code: string; readonly message?: string | undefined }[] {
  try {
    const { errors } = errorsSchema.parse(JSON.parse(body));
    return errors.slice(0, mostErrors).map(({ code, message }) => ({ code: harmless(code, longestCode), message }));
  } catch {
    return [];
  }
}

function retryAfterFact(header: string | undefined) {
  const retryAfter = retryAfterOf(header);
  return retryAfter === undefined ? {} : { retryAfter };
}

function typeFor(status: number): typeof RegistryError {
  if (status === 404) return NotInRegistryError;
  return status === 401 || status === 403 ? UnauthorizedError : RegistryError;
}

function adviceFor(status: number): string {
  if (status === 404) return 'check the name, and whether it was pushed';
  if (status === 401) return 'log in to the registry';
  if (status === 403) return 'check what the credentials in use may do there';
  if (status === 413) return 'the registry takes nothing that large';
  if (status === 429) return 'the registry limits how often one may ask, try again later';
  if (status >= 500) return 'the registry has trouble, try again later or ask who runs it';
  return 'the registry does not take this request';
}
