import { types } from 'node:util';
import * as z from 'zod';
import { checkDocument } from '../../spec/json';

/** How a registry goes wrong for a request. Several together all happen. */
export interface Misbehaviour {
  /** The request waits for so many milliseconds, or for an event, before anything else happens. */
  readonly delay?: number | Promise<unknown>;
  /**
   * The connection ends without an answer: `before` the request is looked at, or `after` it did what it asked for, so that
   * its client can't know.
   */
  readonly hangUp?: 'before' | 'after';
  /** The answer is this status, and nothing else happens. */
  readonly status?: number;
  /** The Retry-After header of that answer: seconds, a date, or nonsense. */
  readonly retryAfter?: number | string;
  /** The answer is a redirect (307): to the same path and query of another origin, or to a URL that has a path itself. */
  readonly redirect?: string;
  /**
   * The Authorization header that is demanded, such as `Bearer let-me-in`; everything else gets a 401 with a challenge of
   * its scheme.
   */
  readonly authorization?: string;
  /** Headers of the answer, whatever it is, by lower-case names; `null` takes one away. */
  readonly headers?: Readonly<Record<string, string | null>>;
  /** The connection ends after so many bytes of the answer's body. Befalls no HEAD, of which the answer has none. */
  readonly cutAfter?: number;
  /**
   * The connection ends after so many bytes of the request's body; those before them count as received. Befalls only
   * requests with one.
   */
  readonly cutUploadAfter?: number;
  /** The byte at this position of the content, counted from 0, has all its bits turned over. Befalls no HEAD. */
  readonly flipByte?: number;
  /** A Range header is not heeded: 200, and all of the content. Befalls only requests with such a header. */
  readonly ignoreRange?: boolean;
  /** A mount starts an upload instead: 202. Befalls only mounts. */
  readonly refuseMount?: boolean;
}

/** A misbehaviour, and the requests that it befalls: all that have everything that is named here. */
export interface Fault extends Misbehaviour {
  readonly method?: string;
  /** The whole path, without the query, or what it matches. */
  readonly path?: string | RegExp;
  readonly repository?: string;
  /** In the path or in the query. */
  readonly digest?: string;
  /** How many requests it befalls; all of them by default. */
  readonly times?: number;
}

/** A fault under way. */
export interface FaultHandle {
  /** How many requests it befell. */
  readonly hits: number;
  stop(): void;
}

/** What a fault is matched with. */
export interface Target {
  readonly method: string;
  readonly path: string;
  /** The query with its question mark, or nothing. */
  readonly search: string;
  readonly hasRange: boolean;
  readonly hasBody: boolean;
}

/** The faults of a registry. */
export interface Faults {
  /** @throws {InvalidDocumentError} for a fault that there is not. */
  add(fault: Fault): FaultHandle;
  /** Everything that befalls a request; of two faults that say different things the later one counts. */
  befalling(target: Target): Misbehaviour;
}

const position = z.int().min(0);

/** The longest that a timer of Node waits, in milliseconds; one that should wait for longer does not wait at all. */
const longestDelay = 2 ** 31 - 1;

/**
 * What TypeScript says, for JavaScript: a fault that is misspelt befalls nobody, and a test passes that tests nothing.
 * Headers may be such as none can send.
 */
export const faultSchema = z.strictObject({
  method: z
    .string()
    .regex(/^[A-Z]+$/, 'a method in capital letters')
    .optional(),
  path: z
    .union([
      z.string().startsWith('/', 'a whole path, which begins with "/", or a RegExp'),
      z.custom<RegExp>(types.isRegExp),
    ])
    .optional(),
  repository: z.string().optional(),
  digest: z.string().optional(),
  times: position.optional(),
  delay: z.union([z.number().min(0).max(longestDelay), z.custom<Promise<unknown>>(types.isPromise)]).optional(),
  hangUp: z.enum(['before', 'after']).optional(),
  status: z.int().min(200).max(999).optional(),
  retryAfter: z.union([z.number(), z.string()]).optional(),
  redirect: z.string().refine(URL.canParse, 'an origin, as in https://other.example, or a URL').optional(),
  authorization: z.string().optional(),
  headers: z.record(z.string(), z.string().nullable()).optional(),
  cutAfter: position.optional(),
  cutUploadAfter: position.optional(),
  flipByte: position.optional(),
  ignoreRange: z.boolean().optional(),
  refuseMount: z.boolean().optional(),
});

/** What befalls a request where nothing does. */
export const noMisbehaviour: Misbehaviour = {};

export function createFaults(): Faults {
  const active = new Set<{ readonly fault: Fault; hits: number }>();
  return {
    add(fault) {
      checkDocument(fault, faultSchema, 'fault');
      const entry = { fault, hits: 0 };
      active.add(entry);
      return {
        get hits() {
          return entry.hits;
        },
        stop: () => void active.delete(entry),
      };
    },
    befalling(target) {
      if (active.size === 0) return noMisbehaviour;
      let misbehaviour = noMisbehaviour;
      for (const entry of active) {
        if (!befalls(entry.fault, target)) continue;
        entry.hits++;
        if (entry.hits === entry.fault.times) active.delete(entry);
        misbehaviour = { ...misbehaviour, ...entry.fault };
      }
      return misbehaviour;
    },
  };
}

function befalls(fault: Fault, { method, path, search, hasRange, hasBody }: Target): boolean {
  if (fault.times !== undefined && fault.times < 1) return false;
  if (fault.method !== undefined && fault.method !== method) return false;
  if (typeof fault.path === 'string' && fault.path !== path) return false;
  if (typeof fault.path === 'object' && path.search(fault.path) < 0) return false;
  if (fault.repository !== undefined && !isBelow(path, fault.repository)) return false;
  if (fault.digest !== undefined && !`${path}${search.replace(/%3a/gi, ':')}`.includes(fault.digest)) return false;
  if (fault.ignoreRange && !hasRange) return false;
  if (fault.cutUploadAfter !== undefined && !hasBody) return false;
  if ((fault.cutAfter !== undefined || fault.flipByte !== undefined) && method === 'HEAD') return false;
  return !fault.refuseMount || (method === 'POST' && new URLSearchParams(search).has('mount'));
}

function isBelow(path: string, repository: string): boolean {
  return /^\/(?:manifests|blobs|tags|referrers)\//.test(path.replace(`/v2/${repository}`, ''));
}
