import { setTimeout } from 'node:timers/promises';
import { ConnectionError, RegistryError } from '../../errors';
import { redactedUrl } from './redaction';
import { responseError } from './response-error';
import type { HttpRequest, Transport } from './transport';

/** How often and how long something is tried again. Times in milliseconds. */
export interface RetryPolicy {
  /** Tries in a row without progress, the first included. */
  readonly attempts: number;
  /** After the first failure in a row; no try begins later than that. What succeeds may take as long as it wants. */
  readonly deadline: number;
  /** The longest that is waited after the first failure. It doubles with each further one. */
  readonly firstDelay: number;
  /** The longest that is ever waited, whatever a registry asks for. */
  readonly longestDelay: number;
}

/** Some seconds for a registry that is about to start, half a minute for one that limits how often one may ask. */
export const defaultRetryPolicy: RetryPolicy = {
  attempts: 6,
  deadline: 120_000,
  firstDelay: 300,
  longestDelay: 30_000,
};

/** One failure that is not the end. */
export interface Retry {
  /** How many tries failed in a row. */
  readonly attempt: number;
  /** Until the next one. */
  readonly delayMs: number;
  /** The failure's message, which holds no secrets. */
  readonly reason: string;
  /** Without user, password and the values of its query. */
  readonly url: string;
}

export type OnRetry = (retry: Retry) => void;

/**
 * The registry may answer otherwise soon. 500 is among them because registries say so when the storage behind them
 * stumbles; 501 and 505 are not, nor 425, which only those get who send data before TLS is settled.
 */
const temporaryStatuses: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/** The request had no effect, so that even one that must not be made twice can be made again. */
const refusedStatus = 429;
const unsentCodes = new Set([
  'CONNECT_TIMEOUT',
  'EAI_AGAIN',
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'PROXY_UNREACHED',
]);

/** The connection broke, or the other side was too slow. Certificates and names that are wrong stay so. */
const temporaryCodes: ReadonlySet<string> = new Set([
  ...unsentCodes,
  'ECONNABORTED',
  'ECONNRESET',
  'EHOSTDOWN',
  'ENETDOWN',
  'ENETRESET',
  'EPIPE',
  'ETIMEDOUT',
  'IDLE_TIMEOUT',
  'RESPONSE_TIMEOUT',
]);

/** Errors after which all tries were used up: who tries again around that must not multiply them. */
const exhausted = new WeakSet<RegistryError>();

/** Whether the same may succeed soon. Not what {@link retrying} has given up on already. */
export function isTemporary(error: unknown): error is RegistryError {
  if (!(error instanceof RegistryError) || exhausted.has(error)) return false;
  return error instanceof ConnectionError
    ? temporaryCodes.has(error.code)
    : error.status !== undefined && temporaryStatuses.has(error.status);
}

/** How failures that may pass are dealt with, and who is told of them. */
export interface Retries {
  /** By default {@link defaultRetryPolicy}. */
  readonly policy?: RetryPolicy | undefined;
  readonly onRetry?: OnRetry | undefined;
}

export interface RetryOptions extends Retries {
  /** What the notifications name. */
  readonly url: URL;
  /** Ends the waiting at once. */
  readonly signal?: AbortSignal | undefined;
  /** Which failures are not the end. By default those of {@link isTemporary}. */
  readonly temporary?: (error: unknown) => boolean;
}

/**
 * Tries something until it succeeds, fails for good, or the policy says that it is enough; then with the last failure.
 * Between two tries it waits for a random part of a time that doubles, so that many clients do not come back all at once,
 * or for as long as the registry asked.
 *
 * @param attempt is given what it calls when it got on by much before it fails: then the policy counts from the start.
 */
export async function retrying<T>(attempt: (progressed: () => void) => Promise<T>, options: RetryOptions): Promise<T> {
  const { policy = defaultRetryPolicy, onRetry, url, signal, temporary = isTemporary } = options;
  let failures = 0;
  let firstFailure = 0;
  const progressed = () => {
    failures = 0;
  };
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await attempt(progressed);
    } catch (error) {
      if (!temporary(error)) throw error;
      const now = performance.now();
      if (failures++ === 0) firstFailure = now;
      const delayMs = delayAfter(failures, policy, error);
      if (failures >= policy.attempts || now + delayMs > firstFailure + policy.deadline) {
        if (error instanceof RegistryError) exhausted.add(error);
        throw error;
      }
      const reason = error instanceof Error ? error.message : String(error);
      onRetry?.({ attempt: failures, delayMs, reason, url: redactedUrl(url) });
      await pause(delayMs, signal);
    }
  }
}

/**
 * Makes requests again that failed for now: those that are idempotent, and others where it is sure that they had no effect.
 *
 * @throws {RegistryError} with the last response's status, when it is a temporary one to the end; a request that must not
 *   be made again gets the response itself.
 */
export function withRetries(inner: Transport, policy: RetryPolicy = defaultRetryPolicy, onRetry?: OnRetry): Transport {
  return (request) => {
    const { method, url, signal, idempotent = method === 'GET' || method === 'HEAD' } = request;
    const mayRepeat = (status: number) => temporaryStatuses.has(status) && (idempotent || status === refusedStatus);
    const attempt = async () => {
      const response = await inner(request);
      return mayRepeat(response.status) ? Promise.reject(await temporaryResponse(request, response)) : response;
    };
    const temporary = (error: unknown) => isTemporary(error) && (idempotent || hadNoEffect(error));
    return retrying(attempt, { policy, onRetry, url, signal, temporary });
  };
}

function temporaryResponse({ method, url }: HttpRequest, response: Awaited<ReturnType<Transport>>) {
  return responseError(response, `${method} ${redactedUrl(url)}`, { expected: 'success' });
}

function hadNoEffect(error: RegistryError): boolean {
  return error instanceof ConnectionError ? unsentCodes.has(error.code) : error.status === refusedStatus;
}

function delayAfter(failures: number, { firstDelay, longestDelay }: RetryPolicy, error: unknown): number {
  const asked = (error instanceof RegistryError && error.retryAfter) || 0;
  const ownLongest = Math.min(longestDelay, firstDelay * 2 ** (failures - 1));
  return Math.round(Math.min(longestDelay, Math.max(asked, Math.random() * ownLongest)));
}

async function pause(delay: number, signal: AbortSignal | undefined): Promise<void> {
  await setTimeout(delay, undefined, signal && { signal }).catch(() => signal?.throwIfAborted());
}
