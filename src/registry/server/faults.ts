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
  /** The connection ends after so many bytes of the answer's body. */
  readonly cutAfter?: number;
  /** The connection ends after so many bytes of the request's body; those before them count as received. */
  readonly cutUploadAfter?: number;
  /** The byte at this position of the content, counted from 0, has all its bits turned over. */
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
}

/** The faults of a registry. */
export interface Faults {
  add(fault: Fault): FaultHandle;
  /** Everything that befalls a request; of two faults that say different things the later one counts. */
  befalling(target: Target): Misbehaviour;
}

/** What befalls a request where nothing does. */
export const noMisbehaviour: Misbehaviour = {};

export function createFaults(): Faults {
  const active = new Set<{ readonly fault: Fault; hits: number }>();
  return {
    add(fault) {
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

function befalls(fault: Fault, { method, path, search, hasRange }: Target): boolean {
  if (fault.times !== undefined && fault.times < 1) return false;
  if (fault.method !== undefined && fault.method !== method) return false;
  if (typeof fault.path === 'string' && fault.path !== path) return false;
  if (fault.path instanceof RegExp && path.search(fault.path) < 0) return false;
  if (fault.repository !== undefined && !isBelow(path, fault.repository)) return false;
  if (fault.digest !== undefined && !`${path}${search.replace(/%3a/gi, ':')}`.includes(fault.digest)) return false;
  if (fault.ignoreRange && !hasRange) return false;
  return !fault.refuseMount || (method === 'POST' && new URLSearchParams(search).has('mount'));
}

function isBelow(path: string, repository: string): boolean {
  return /^\/(?:manifests|blobs|tags|referrers)\//.test(path.replace(`/v2/${repository}`, ''));
}
