import type { BlobSink } from '../blob';
import {
  type Bytes,
  type Compression,
  type DeflatedBlock,
  gzipMember,
  gzipStart,
  makeHere,
  type Piece,
  type PieceThreads,
  pieceThreads,
  type StoredPiece,
} from '../compression';
import { inOrder } from '../concurrency';
import { createDigester } from '../digest';
import type { LayerEntry } from './entry';
import { digested, type Layer, type LayerEncoder, type PieceEncoding, writeLayer } from './layer';
import { fillPlanned, largestPiece, type PlannedEntry, type PlannedPiece, planPieces } from './pieces';
import { tarOf } from './tar';

/**
 * Bytes of the tar file that are compressed at once on one thread, about. The result depends on it, so it is a constant of
 * the format: another value gives every layer another digest.
 */
const pieceTargets: Readonly<Record<Compression, number>> = { gzip: 2 * 2 ** 20, zstd: 4 * 2 ** 20, none: 2 * 2 ** 20 };

/** Up to this many bytes a layer is made here: to start threads would take longer. */
const smallLayer = 2 * 2 ** 20;

/** What goes with the writing of entries. */
export interface EntryWriting {
  /** Seconds since 1970, of every entry; 0 by default. */
  readonly mtime?: number;
  /** Do the reading and compressing; by default threads of their own. Those that are shared start once for many layers. */
  readonly threads?: PieceThreads;
  /** Is told of each chunk of the tar file, in bytes. */
  readonly onBytes?: (bytes: number) => void;
  /** What an earlier build left of the layer. */
  readonly memory?: PieceMemory;
}

/** What is known of pieces from earlier builds, and learns of those that are made. */
export interface PieceMemory {
  /** Pieces of the same entries, the latest first; their files may have changed since. */
  recall(key: string): readonly StoredPiece[];
  /** @param piece where its compressed form lies in the layer's blob. */
  learn(key: string, piece: Omit<StoredPiece, 'path'>): void;
}

/**
 * Writes a layer of entries: a tar file, compressed. What comes from files is read and compressed on threads, in pieces;
 * the diffID, the blob and its digest are made as they arrive. The bytes depend on the entries and the encoder alone.
 *
 * @throws {LayerSourceError} naming a file that is no longer what it was when it was listed.
 */
export async function writeEntries(
  entries: readonly LayerEntry[],
  sink: BlobSink,
  encoder: LayerEncoder,
  writing: EntryWriting = {},
): Promise<Layer> {
  const { mtime = 0, onBytes = () => undefined } = writing;
  const encoding = encoder.inPieces;
  if (encoding === undefined || !entries.every(isPlanned)) {
    const tar = digested(tarOf(entries, mtime), ({ length }) => onBytes(length));
    return writeLayer(tar, sink, encoder);
  }
  if (writing.threads) return writePlanned(entries, sink, encoder.mediaType, encoding, writing, writing.threads);
  const threads = pieceThreads();
  try {
    return await writePlanned(entries, sink, encoder.mediaType, encoding, writing, threads);
  } finally {
    await threads.end();
  }
}

async function writePlanned(
  entries: readonly PlannedEntry[],
  sink: BlobSink,
  mediaType: string,
  encoding: PieceEncoding,
  { mtime = 0, onBytes, memory }: EntryWriting,
  threads: PieceThreads,
): Promise<Layer> {
  const diffId = createDigester();
  const planned = planPieces(entries, mtime, pieceTargets[encoding.compression]);
  const pieces = madePieces(planned, encoding, makerFor(entries, encoding, threads), memory, (block) => {
    diffId.update(block);
    onBytes?.(block.length);
  });
  const { digest, size, blob } = await sink.write(joined(pieces, encoding.compression));
  return { descriptor: { mediaType, digest, size }, diffId: diffId.digest(), blob };
}

const isPlanned = (entry: LayerEntry): entry is PlannedEntry => entry.type !== 'file' || entry.source !== undefined;

interface Maker {
  readonly lanes: number;
  make: PieceThreads['make'];
}

function makerFor(entries: readonly LayerEntry[], { compression }: PieceEncoding, threads: PieceThreads): Maker {
  const total = entries.reduce((sum, { size = 0 }) => sum + size, 0);
  if (total > smallLayer || compression === 'zstd') return { lanes: 2 * threads.lanes, make: threads.make };
  return { lanes: 1, make: async (task) => makeHere(task) };
}

/** The pieces in their order, each shown to `see` when it is there. Its block's memory is used again for a later piece. */
async function* madePieces(
  planned: Iterable<PlannedPiece>,
  { compression, level }: PieceEncoding,
  { lanes, make }: Maker,
  memory: PieceMemory | undefined,
  see: (block: Uint8Array) => void,
): AsyncGenerator<Piece> {
  const spare: ArrayBuffer[] = [];
  const capacity = largestPiece(pieceTargets[compression]);
  const newMemory = () => spare.pop() ?? Buffer.allocUnsafeSlow(capacity).buffer;
  const isNamed = memory !== undefined && compression !== 'none';
  const job = async (plan: PlannedPiece) => {
    const { files, key } = plan;
    const block = fillPlanned(plan, newMemory());
    const piece = await make({ block, files, compression, level, isNamed, known: memory?.recall(key) });
    return { key, piece };
  };
  let start = compression === 'gzip' ? gzipStart : 0;
  for await (const { key, piece } of inOrder(planned, lanes, job)) {
    see(piece.block);
    yield piece;
    const { block, compressed, content, stored } = piece;
    if (compressed === undefined) continue;
    if (content !== undefined && stored !== undefined)
      memory?.learn(key, { content, stored, start, length: compressed.length });
    start += compressed.length;
    spare.push(block.buffer);
  }
}

function joined(pieces: AsyncIterable<Piece>, compression: Compression): Bytes {
  return compression === 'gzip' ? gzipMember(pieces as AsyncIterable<DeflatedBlock>) : contents(pieces);
}

async function* contents(pieces: AsyncIterable<Piece>): AsyncGenerator<Uint8Array> {
  for await (const { block, compressed } of pieces) yield compressed ?? block;
}
