import type { Compression } from './levels';

/** A file as it was when it was listed. If it is no longer the same when it was read, what is made of it is wrong. */
export interface SourceFile {
  readonly path: string;
  /** Whether what a symbolic link points to is meant. */
  readonly follow: boolean;
  readonly size: number;
  readonly mtimeMs: number;
  readonly ino: number;
  readonly dev: number;
}

/** A part of a file that goes into a piece. */
export interface FilePart {
  readonly source: SourceFile;
  /** Which bytes of the file: so many from here. */
  readonly start: number;
  readonly length: number;
  /** Where they go in the piece. */
  readonly at: number;
}

/** What has to be done for one piece of a stream. */
export interface PieceTask {
  /** Its bytes, but for those that are still to be read. */
  readonly block: Uint8Array<ArrayBuffer>;
  readonly files: readonly FilePart[];
  readonly compression: Compression;
  readonly level: number;
  /** Whether its content is to be named; a compressed piece of the same name is taken instead of compressing again. */
  readonly isNamed: boolean;
  /** Where such pieces may be, the likeliest first. */
  readonly known?: readonly StoredPiece[];
}

/** Where the compressed form of a piece lies. */
export interface StoredPiece {
  /** The name of its content before compression. */
  readonly content: string;
  readonly path: string;
  readonly start: number;
  readonly length: number;
  /** The name of the compressed bytes, which are believed no further than that. */
  readonly stored: string;
}

/** A finished piece. */
export interface Piece {
  /** All its bytes, as they were read. */
  readonly block: Uint8Array<ArrayBuffer>;
  /** Absent where nothing is compressed. */
  readonly compressed?: Uint8Array | undefined;
  /** The names of its content and of its compressed bytes, where they were asked for. */
  readonly content?: string | undefined;
  readonly stored?: string | undefined;
}

/** Why there is no piece: a file that is no longer what it was, or that can't be read. */
export type PieceFailure =
  | { readonly path: string; readonly size: number; readonly read: number; readonly now: number }
  | {
      readonly path: string;
      readonly code: string;
      readonly errno: number;
      readonly syscall: string;
      readonly message: string;
    };

/** What a maker of pieces works with. */
export interface PieceTools {
  readonly fs: typeof import('node:fs');
  readonly crypto: typeof import('node:crypto');
  readonly zlib: typeof import('node:zlib');
  /** Loaded before the first piece that needs it. */
  zstd?: { compress(block: Uint8Array, level: number): Uint8Array };
}

/**
 * Makes pieces: reads what is missing, compresses. It runs where it is called, and on threads, which are started from its
 * text: it must use nothing but its arguments.
 */
export function pieceMaker(tools: PieceTools): (task: PieceTask) => Piece | { readonly failure: PieceFailure } {
  const { fs, crypto, zlib } = tools;
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;
  const probe = new Uint8Array(1);

  // It has no key and no other use than to tell contents apart, and takes half the time of SHA-256.
  const nameOf = (bytes: Uint8Array): string => crypto.createHash('blake2b512').update(bytes).digest('base64url');

  /** How many of the bytes there are; one more if the file goes on behind its end. */
  const readPart = (block: Uint8Array, { source, start, length, at }: FilePart): number => {
    const { path, follow, size } = source;
    const file = fs.openSync(path, O_RDONLY | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW));
    try {
      let read = 0;
      while (read < length) {
        const more = fs.readSync(file, block, at + read, length - read, start + read);
        if (more === 0) return read;
        read += more;
      }
      return start + length < size ? read : read + fs.readSync(file, probe, 0, 1, size);
    } finally {
      fs.closeSync(file);
    }
  };

  const statusOf = ({ path, follow }: SourceFile) => (follow ? fs.statSync(path) : fs.lstatSync(path));

  const isSame = (now: import('node:fs').Stats, { size, mtimeMs, ino, dev }: SourceFile): boolean =>
    now.size === size && now.mtimeMs === mtimeMs && now.ino === ino && now.dev === dev;

  /** Often because something else lies in its place, such as a link or a FIFO. */
  const whyRefused = (source: SourceFile, error: NodeJS.ErrnoException): PieceFailure => {
    const { path, size } = source;
    try {
      const now = statusOf(source);
      if (!isSame(now, source)) return { path, size, read: 0, now: now.size };
    } catch {
      // The first refusal is the one to tell of.
    }
    const { code = '', errno = 0, syscall = '', message } = error;
    return { path, code, errno, syscall, message };
  };

  /** A file that changed between listing and reading is neither its old nor its new self in the piece. */
  const takePart = (block: Uint8Array, part: FilePart): PieceFailure | undefined => {
    const { source, start, length } = part;
    const { path, size } = source;
    try {
      const read = readPart(block, part);
      const now = statusOf(source);
      return isSame(now, source) && read === length ? undefined : { path, size, read: start + read, now: now.size };
    } catch (error) {
      return whyRefused(source, error as NodeJS.ErrnoException);
    }
  };

  const compress = (block: Uint8Array, { compression, level }: PieceTask): Uint8Array | undefined => {
    if (compression === 'none') return undefined;
    if (compression === 'zstd') return (tools.zstd as NonNullable<typeof tools.zstd>).compress(block, level);
    // A sync flush ends the piece on a byte boundary, so that pieces can be joined.
    const deflated = zlib.deflateRawSync(block, {
      level,
      memLevel: 9,
      chunkSize: Math.max(1024, block.length),
      finishFlush: zlib.constants.Z_SYNC_FLUSH,
    });
    // In memory of its own, and no more of it than needed: it may change hands.
    return new Uint8Array(deflated);
  };

  /** The compressed bytes as they were stored, if they still are. */
  const readStored = ({ path, start, length, stored }: StoredPiece): Uint8Array | undefined => {
    try {
      const bytes = new Uint8Array(length);
      const file = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      try {
        for (let read = 0; read < length; ) {
          const more = fs.readSync(file, bytes, read, length - read, start + read);
          if (more === 0) return undefined;
          read += more;
        }
      } finally {
        fs.closeSync(file);
      }
      return nameOf(bytes) === stored ? bytes : undefined;
    } catch {
      return undefined;
    }
  };

  const reuse = (content: string, known: readonly StoredPiece[]) => {
    for (const piece of known) {
      const compressed = piece.content === content ? readStored(piece) : undefined;
      if (compressed) return { compressed, stored: piece.stored };
    }
    return undefined;
  };

  return (task) => {
    const { block, files, isNamed, known = [] } = task;
    for (const part of files) {
      const failure = takePart(block, part);
      if (failure) return { failure };
    }
    if (!isNamed) return { block, compressed: compress(block, task) };
    const content = nameOf(block);
    const reused = reuse(content, known);
    if (reused) return { block, content, ...reused };
    const compressed = compress(block, task);
    return { block, content, compressed, stored: compressed && nameOf(compressed) };
  };
}
