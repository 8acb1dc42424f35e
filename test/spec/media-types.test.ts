import { expect, test } from '@jest/globals';
import { type Compression, mediaTypes, UnexpectedMediaTypeError } from '../../src';
import {
  isForeignLayer,
  isImageConfigType,
  isIndexType,
  isManifestType,
  layerCompression,
  layerTypeFor,
  withoutParameters,
} from '../../src/spec/media-types';
import { failureOf } from '../fixtures';

test.each<[keyof typeof mediaTypes, string]>([
  ['imageManifest', 'manifest'],
  ['dockerManifest', 'manifest'],
  ['imageIndex', 'index'],
  ['dockerManifestList', 'index'],
  ['imageConfig', 'config'],
  ['dockerConfig', 'config'],
  ['layerGzip', 'none'],
  ['dockerLayerGzip', 'none'],
  ['empty', 'none'],
])('%s is of the kind %s', (name, kind) => {
  const type = mediaTypes[name];
  expect({ manifest: isManifestType(type), index: isIndexType(type), config: isImageConfigType(type) }).toEqual({
    manifest: kind === 'manifest',
    index: kind === 'index',
    config: kind === 'config',
  });
});

test.each<[string, string | undefined]>([
  [mediaTypes.layer, 'none'],
  [mediaTypes.layerGzip, 'gzip'],
  [mediaTypes.layerZstd, 'zstd'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar', 'none'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'gzip'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+zstd', 'zstd'],
  [mediaTypes.dockerLayer, 'none'],
  [mediaTypes.dockerLayerGzip, 'gzip'],
  [mediaTypes.dockerLayerForeign, 'gzip'],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'zstd'],
  ['application/vnd.oci.image.layer.v1.tar+xz', undefined],
  ['application/vnd.oci.image.layer.v1.tar+gzip ', undefined],
  ['application/vnd.oci.image.layer.v2.tar', undefined],
  ['x/application/vnd.oci.image.layer.v1.tar', undefined],
  ['application/octet-stream', undefined],
  ['', undefined],
])('the layer type %j is compressed with %s', (mediaType, compression) => {
  expect(layerCompression(mediaType)).toBe(compression);
});

test.each<[string, Compression, string]>([
  [mediaTypes.imageManifest, 'gzip', mediaTypes.layerGzip],
  [mediaTypes.imageManifest, 'zstd', mediaTypes.layerZstd],
  [mediaTypes.imageManifest, 'none', mediaTypes.layer],
  [mediaTypes.dockerManifest, 'gzip', mediaTypes.dockerLayerGzip],
  [mediaTypes.dockerManifest, 'none', mediaTypes.dockerLayer],
])('below %s a layer of compression %s is %s', (manifestType, compression, mediaType) => {
  expect(layerTypeFor(manifestType, compression)).toBe(mediaType);
  expect(layerCompression(mediaType)).toBe(compression);
});

test('below a manifest of Docker there is no media type for zstd', async () => {
  const error = await failureOf(UnexpectedMediaTypeError, () => layerTypeFor(mediaTypes.dockerManifest, 'zstd'));
  expect(error).toMatchObject({ expected: mediaTypes.imageManifest, found: mediaTypes.dockerManifest });
  expect(error.message).toContain('zstd');
});

test.each([
  [mediaTypes.layerGzip, false],
  [mediaTypes.dockerLayerGzip, false],
  [mediaTypes.dockerLayerForeign, true],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar', true],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+zstd', true],
])('%s is not for distribution: %p', (mediaType, expected) => {
  expect(isForeignLayer(mediaType)).toBe(expected);
});

test.each([
  ['application/json', 'application/json'],
  ['application/json; charset=utf-8', 'application/json'],
  ['Application/JSON ;charset="a;b"', 'application/json'],
  [' application/json', 'application/json'],
  ['', ''],
])('%j without parameters is %j', (header, mediaType) => {
  expect(withoutParameters(header)).toBe(mediaType);
});
