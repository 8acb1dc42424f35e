import { types } from 'node:util';

/** Facts about a failure, for programs; the message says the same for people. */
export interface ErrorFacts {
  readonly expected?: string;
  readonly found?: string;
  readonly cause?: unknown;
}

/**
 * Every failure that a user can cause or mend. The message names the thing, what was expected and what was found.
 * Match by class; `expected` and `found` carry the data.
 */
export class OciError extends Error {
  declare readonly expected?: string;
  declare readonly found?: string;

  constructor(message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    if (facts.expected !== undefined) this.expected = facts.expected;
    if (facts.found !== undefined) this.found = facts.found;
  }
}

/** Text that is no digest: no colon, wrong length, a character that is no lower-case hexadecimal digit. */
export class InvalidDigestError extends OciError {}

/** A well-formed digest of an algorithm other than sha256, sha512 and blake3. */
export class UnsupportedDigestAlgorithmError extends OciError {}

/** Content whose digest is not the one that it was asked for by. */
export class DigestMismatchError extends OciError {
  constructor(thing: string, expected: string, found: string) {
    super(
      `${thing}: expected digest ${expected}, found ${found}; the content was changed or damaged, fetch or build it again`,
      {
        expected,
        found,
      },
    );
  }
}

/** Content that is shorter or longer than its descriptor says. `found` of `more` means: at least one byte more. */
export class SizeMismatchError extends OciError {
  constructor(thing: string, expected: number, found: number | 'more') {
    super(
      `${thing}: expected ${expected} bytes, found ${found}; the content was changed or damaged, fetch or build it again`,
      {
        expected: String(expected),
        found: String(found),
      },
    );
  }
}

/** Something larger than what is read into memory or unpacked. */
export class LimitError extends OciError {
  constructor(thing: string, limit: number, found: number | 'more') {
    super(`${thing}: expected at most ${limit} bytes, found ${found}`, {
      expected: `<= ${limit}`,
      found: String(found),
    });
  }
}

/** Compressed content that can't be unpacked: damaged, cut off, or with other bytes behind its end. */
export class InvalidStreamError extends OciError {}

/** A document (manifest, index, config, marker, options) that is no JSON or does not have the shape it must have. */
export class InvalidDocumentError extends OciError {}

/** A media type other than the ones that can be handled here. */
export class UnexpectedMediaTypeError extends OciError {
  constructor(thing: string, expected: string, found: string, advice?: string) {
    const whatToDo = advice === undefined ? '' : `; ${advice}`;
    super(`${thing}: expected media type ${expected}, found ${found}${whatToDo}`, { expected, found });
  }
}

/** An image where only an index can be edited. */
export class NotAnIndexError extends UnexpectedMediaTypeError {}

/** References nested deeper than any real content is. */
export class DepthError extends OciError {}

/** A blob that something refers to is not there. */
export class MissingBlobError extends OciError {
  constructor(digest: string, referrer: string, cause?: unknown) {
    super(`blob ${digest}: expected it because ${referrer} refers to it, found none; build or copy it again`, {
      expected: digest,
      found: 'none',
      ...(cause !== undefined && { cause }),
    });
  }
}

/** A directory that is no OCI image layout, or one of a version or form that is not supported. */
export class InvalidLayoutError extends OciError {}

/** A layout that another process edits, and does not stop to. */
export class LayoutLockedError extends OciError {}

/** A layout without its index.json. */
export class MissingIndexError extends InvalidLayoutError {}

/** An index without manifests where one is needed. */
export class EmptyIndexError extends OciError {}

/** Several manifests where exactly one is needed. */
export class AmbiguousManifestError extends OciError {}

/** No manifest has this tag. */
export class UnknownTagError extends OciError {}

/** No payload of an OS image has this name. */
export class UnknownPayloadError extends OciError {}

/** No manifest is for this platform. */
export class NoMatchingPlatformError extends OciError {}

/** Text that is no platform. */
export class InvalidPlatformError extends OciError {}

/** A file among a layer's sources that can't be put into a layer, or that changed while it was read. */
export class LayerSourceError extends OciError {}

/** A value of an option that can't be used. */
export class InvalidOptionError extends OciError {}

/** Text that names no repository, tag or digest of a registry. */
export class InvalidReferenceError extends OciError {}

/**
 * A registry that refused, failed or could not be reached. URLs in its message have no user, no password and no query but
 * the names of its parameters.
 */
export class RegistryError extends OciError {
  /** Of the last response; `undefined` if there was none. */
  declare readonly status?: number;
  /** The codes of the specification that the response named, such as `MANIFEST_UNKNOWN`. */
  readonly codes: readonly string[];
  /** How many milliseconds the registry asked to wait, if it did. */
  declare readonly retryAfter?: number;

  constructor(
    message: string,
    facts: ErrorFacts & Partial<Pick<RegistryError, 'status' | 'codes' | 'retryAfter'>> = {},
  ) {
    super(message, facts);
    if (facts.status !== undefined) this.status = facts.status;
    this.codes = facts.codes ?? [];
    if (facts.retryAfter !== undefined) this.retryAfter = facts.retryAfter;
  }
}

/** No answer, or half of one: the connection failed, broke or was too slow. */
export class ConnectionError extends RegistryError {
  /** The system's or the protocol's code, for example `ECONNREFUSED`. */
  readonly code: string;

  constructor(message: string, code: string, facts: ErrorFacts = {}) {
    super(message, facts);
    this.code = code;
  }
}

/** The registry has no such repository, tag, manifest or blob. */
export class NotInRegistryError extends RegistryError {}

/** The registry wants to know who one is, or does not let one do that. */
export class UnauthorizedError extends RegistryError {}

/** A response, or a place that it points to, that must not be believed: another origin, plain http, a wrong range. */
export class UntrustedResponseError extends RegistryError {}

/** Credentials that are kept in a form that can't be read, or a credential helper that failed. */
export class CredentialsError extends OciError {}

/** A file that changed between listing and reading is neither its old nor its new self in what is built. Sizes in bytes. */
export function fileChanged(path: string, expected: number, read: number, now: number): LayerSourceError {
  return new LayerSourceError(
    `${path}: expected a file that stays as it is while it is read (${expected} bytes), found it changed (${read} bytes read, ${now} bytes now); build when nothing writes to it`,
    { expected: String(expected), found: String(read) },
  );
}

/** The file system refused; `cause` is the system's own error. */
export class FileSystemError extends OciError {
  /** The system's code, for example `ENOSPC`. */
  readonly code: string;

  constructor(action: string, path: string, cause: NodeJS.ErrnoException) {
    const code = cause.code ?? 'unknown';
    super(`${path}: could not ${action} (${code}: ${systemMessage(cause)})`, { cause });
    this.code = code;
  }
}

/** `ENOENT: no such file or directory, open '/x'` without the code and the path, which the caller names. */
function systemMessage(error: NodeJS.ErrnoException): string {
  return error.message.replace(/^[A-Z0-9]+: /, '').replace(/, \w+( '.*')?$/, '');
}

/** Whether the file system answered with one of these codes. */
export function hasSystemCode(error: unknown, ...codes: readonly string[]): error is NodeJS.ErrnoException {
  return types.isNativeError(error) && 'code' in error && codes.includes(String(error.code));
}

/** Whether the error is the operating system's, with a code and the call that failed. */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return types.isNativeError(error) && 'syscall' in error;
}

/** Runs a file-system step; its failure becomes a {@link FileSystemError} that names the action and the path. */
export async function fileSystemStep<T>(action: string, path: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw isSystemError(error) ? new FileSystemError(action, path, error) : error;
  }
}
