import { describe, expect, test } from '@jest/globals';
import {
  asImage,
  type Blobs,
  bytesBlob,
  createLayout,
  type Descriptor,
  type Digest,
  digestOf,
  emptyManifest,
  encodeJson,
  type Image,
  mediaTypes,
  newIndex,
  newRef,
  noBlobs,
  type Ref,
  SizeMismatchError,
} from '../../src';
import { collect, sampleImage, snapshot, temporaryDirectory } from '../fixtures';

/** Content by digest that counts what it is asked for. */
function countedBlobs(content: ReadonlyMap<Digest, Uint8Array>) {
  const calls = { blob: 0, manifest: 0, opened: 0 };
  const bytesAt = ({ digest }: Descriptor) => content.get(digest) ?? new Uint8Array();
  const blobs: Blobs = {
    blob: (descriptor) => {
      calls.blob++;
      const { size, open } = bytesBlob(bytesAt(descriptor));
      return {
        size,
        open: (range) => {
          calls.opened++;
          return open(range);
        },
      };
    },
    manifest: async (descriptor) => {
      calls.manifest++;
      return bytesAt(descriptor);
    },
    blobs: () => blobs,
  };
  return { blobs, calls };
}

function described(mediaType: string, bytes: Uint8Array): Descriptor {
  return { mediaType, digest: digestOf(bytes), size: bytes.length };
}

/** An image of `layers` layers that are not there: nothing may ask for their bytes. */
function wideImage(layers: number) {
  const diffIds = Array.from({ length: layers }, (_, position) => digestOf(Buffer.from(`tar ${position}`)));
  const config = encodeJson({ architecture: 'arm64', os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } });
  const manifest = encodeJson({
    schemaVersion: 2,
    mediaType: mediaTypes.imageManifest,
    config: described(mediaTypes.imageConfig, config),
    layers: diffIds.map((digest, position) => ({ mediaType: mediaTypes.layer, digest, size: position })),
  });
  return { config, manifest };
}

async function indexOf(tree: ReadonlyMap<string, { open(): AsyncIterable<Uint8Array> }>) {
  const content = tree.get('index.json');
  return JSON.parse((await collect(content?.open() ?? ([][Symbol.iterator]() as never))).toString());
}

const blobName = (digest: string) => `blobs/${digest.replace(':', '/')}`;

describe('M8: createLayout', () => {
  test('names the marker, index.json and every blob once', async () => {
    const image = await sampleImage(['one', 'two', 'one']);
    const tree = await createLayout(image);
    const digests = new Set([image.digest, ...image.descriptors().map(({ digest }) => digest)]);
    expect(image.manifest.layers).toHaveLength(3);
    expect([...tree.keys()].sort()).toEqual(['index.json', 'oci-layout', ...[...digests].map(blobName)].sort());
  });
});
