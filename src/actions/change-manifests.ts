import { tmpdir } from 'node:os';
import type { BlobSink } from '../blob';
import { type Compression, checkLevel } from '../compression';
import { convertRef, type ManifestFormat } from '../convert';
import { InvalidOptionError } from '../errors';
import type { SourcedRef } from '../layout/source';
import { openStage } from '../layout/stage';
import { addZstdInstances, recompressRef } from '../recompress';
import type { Ref } from '../ref';

/** How what is copied or pushed is changed on the way. */
export interface ManifestChanges {
  /** Converts manifests to these media types; layers keep their bytes. */
  readonly format?: ManifestFormat;
  /** Compresses all layers like this; those that are so already keep their bytes. */
  readonly forceCompression?: Compression;
  /** Adds an instance with this compression for each image of an index. */
  readonly addCompression?: readonly 'zstd'[];
  /** Of what is compressed anew: from 1 to 9 for gzip, to 19 for zstd. */
  readonly compressionLevel?: number;
}

/**
 * Does something with manifests in their changed form. New layers lie in a temporary directory until it is done, because
 * no layer has a name before its last byte is there.
 *
 * @throws {InvalidOptionError} for changes that do not go together, before anything is read.
 * @throws what {@link convertRef}, {@link recompressRef} and {@link addZstdInstances} throw.
 */
export async function withChanges<T>(
  manifests: readonly SourcedRef[],
  changes: ManifestChanges,
  use: (changed: readonly SourcedRef[]) => Promise<T>,
): Promise<T> {
  checkChanges(manifests, changes);
  const stage = compressionsOf(changes).length > 0 ? await openStage(tmpdir()) : undefined;
  try {
    const changed: SourcedRef[] = [];
    for (const { ref, descriptor } of manifests) {
      changed.push({ descriptor, ref: await changedRef(ref, changes, stage) });
    }
    return await use(changed);
  } finally {
    await stage?.close();
  }
}

async function changedRef(ref: Ref, changes: ManifestChanges, sink: BlobSink | undefined): Promise<Ref> {
  const { format, forceCompression, addCompression = [], compressionLevel: level } = changes;
  // Docker's format has no zstd layers, so it is the last to come and the first to go.
  let changed = format === 'oci' ? await convertRef(ref, 'oci') : ref;
  if (sink && forceCompression) changed = await recompressRef(changed, forceCompression, sink, { level });
  if (sink && addCompression.length > 0 && changed.kind === 'index') {
    changed = await addZstdInstances(changed, sink, { level });
  }
  return format === 'docker' ? convertRef(changed, 'docker') : changed;
}

function compressionsOf({ forceCompression, addCompression = [] }: ManifestChanges): readonly Compression[] {
  return [...(forceCompression === undefined ? [] : [forceCompression]), ...addCompression];
}

function checkChanges(manifests: readonly SourcedRef[], changes: ManifestChanges): void {
  const compressions = compressionsOf(changes);
  const { format, addCompression = [], compressionLevel } = changes;
  for (const compression of compressions) checkLevel(compression, compressionLevel);
  if (compressionLevel !== undefined && compressions.length === 0) {
    throw new InvalidOptionError(
      'compression level: expected a compression to force or to add beside it, found none; layers keep their bytes',
    );
  }
  if (format === 'docker' && compressions.includes('zstd')) {
    throw new InvalidOptionError(
      "format: expected oci for zstd, which Docker's has no media type for, found docker; force gzip, or leave the format",
      { expected: 'oci', found: 'docker' },
    );
  }
  const image = addCompression.length > 0 && manifests.find(({ ref }) => ref.kind === 'image');
  if (image) {
    throw new InvalidOptionError(
      `manifest ${image.ref.digest}: expected an index to add instances with ${addCompression} to, found an image; force the compression instead, or make an index`,
      { expected: 'an index', found: 'an image' },
    );
  }
}
