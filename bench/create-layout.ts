/**
 * Prints, as JSON, what `createLayout` costs per blob: `node create-layout.js <blobs in the index>`.
 *
 * Every size places the same number of blobs, in one large layout or in many small ones, after the same warm-up and
 * with as many blobs in memory: what differs is only how many there are in one layout.
 */
import { createHash } from 'node:crypto';
import { type Blobs, bytesBlob, createLayout, newRef, type Ref } from '../src/index';

const blobsPlaced = 100_000;
const layersPerImage = 8;
const blobsPerImage = layersPerImage + 2; // its manifest and its config

const mediaTypes = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
};

interface Stored {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** An index over images that share nothing. */
function indexOfImages(images: number): Ref {
  const contents = new Map<string, Uint8Array>();

  const store = (mediaType: string, content: string): Stored => {
    const bytes = Buffer.from(content);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    contents.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };

  const storeImage = (image: number): Stored => {
    const layers = Array.from({ length: layersPerImage }, (_, layer) =>
      store(mediaTypes.layer, `layer ${layer} of image ${image}`),
    );
    const rootfs = { type: 'layers', diff_ids: layers.map(({ digest }) => digest) };
    const config = store(mediaTypes.config, JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs }));
    return store(
      mediaTypes.manifest,
      JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.manifest, config, layers }),
    );
  };

  const manifests = Array.from({ length: images }, (_, image) => storeImage(image));
  const index = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests });
  return newRef(Buffer.from(index), mediaTypes.index, undefined, blobsInMemory(contents));
}

function blobsInMemory(contents: ReadonlyMap<string, Uint8Array>): Blobs {
  const bytesOf = (digest: string): Uint8Array => {
    const bytes = contents.get(digest);
    if (bytes === undefined) throw new Error(`${digest} is not in the index that was made`);
    return bytes;
  };
  const blobs: Blobs = {
    blob: ({ digest }) => bytesBlob(bytesOf(digest)),
    manifest: async ({ digest }) => bytesOf(digest),
    blobs: () => blobs,
  };
  return blobs;
}

async function nanosecondsPerBlob(blobs: number): Promise<number> {
  const refs = Array.from({ length: blobsPlaced / blobs }, () => indexOfImages(blobs / blobsPerImage));
  globalThis.gc?.(); // the garbage of making the indexes is not createLayout's
  const started = process.hrtime.bigint();
  for (const ref of refs) {
    const { size } = await createLayout(ref);
    if (size < blobs) throw new Error(`a layout of ${blobs} blobs has only ${size} files`);
  }
  return Number(process.hrtime.bigint() - started) / blobsPlaced;
}

async function main(): Promise<void> {
  const blobs = Number(process.argv[2]);
  await nanosecondsPerBlob(1_000); // warms up
  console.log(JSON.stringify({ nanosecondsPerBlob: await nanosecondsPerBlob(blobs) }));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
