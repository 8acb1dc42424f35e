export type { ArtifactFile, ArtifactOptions } from './artifact';
export { newArtifact, titleAnnotation } from './artifact';
export type { Blob, BlobSink, Blobs, ByteRange, FileBlob, WrittenBlob } from './blob';
export { bytesBlob, fileBlob, noBlobs, readVerified, verified } from './blob';
export type { Bytes, Compression } from './compression';
export { defaultGzipLevel, defaultZstdLevel, gunzip, gzip, unzstd, zstd } from './compression';
export type { ManifestFormat } from './convert';
export { convertRef } from './convert';
export type { Credential, Credentials } from './credentials/credential';
export type { EntryChange, EntryDifference } from './diff/entries';
export type { DiffOptions, ManifestDifference, ManifestFacts } from './diff/images';
export { diffImages } from './diff/images';
export type { ValueChange, ValuePath } from './diff/json';
export type { LayerDifference, LayerFacts } from './diff/layers';
export type { Listed, ListedFacts } from './diff/lists';
export type { Digest, DigestAlgorithm, Digester } from './digest';
export { asDigest, createDigester, digestAlgorithms, digestOf, isDigest, parseDigest } from './digest';
export * from './errors';
export type { ImageDraft } from './image';
export {
  annotate,
  appendLayer,
  draftFrom,
  emptyImage,
  emptyManifest,
  sealImage,
  withCreated,
  withExecution,
} from './image';
export type { IndexChange, IndexEntry, Instance } from './image-index';
export {
  addToIndex,
  annotateInIndex,
  asIndex,
  configPlatform,
  describeIndex,
  findPlatform,
  instancesOf,
  newIndex,
  platformOf,
  removeFromIndex,
} from './image-index';
export type { LayerEntry } from './layer/entry';
export type { FileSources } from './layer/files';
export { listFiles } from './layer/files';
export type { Layer, LayerEncoder, PieceEncoding } from './layer/layer';
export { layerEncoder, writeLayer } from './layer/layer';
export type { LayerContent, LayerLimits, LayerListing, ListedEntry } from './layer/listing';
export { listLayer, maxListingSize } from './layer/listing';
export type { NodeGroup, NodeLayer, NodeSources } from './layer/split-node';
export { splitNode } from './layer/split-node';
export { tarOf } from './layer/tar';
export { maxUnpackedSize, writeTarFile } from './layer/tar-file';
export type { EntryWriting } from './layer/write-entries';
export { writeEntries } from './layer/write-entries';
export { readArchive } from './layout/archive';
export { createLayout, layoutTree, reachableBlobs } from './layout/create';
export type { Collected, InsertOptions, LayoutDirectory } from './layout/directory';
export { ensureLayout, openLayout } from './layout/directory';
export { tagOf } from './layout/find';
export type { LayoutParts, LayoutSelection } from './layout/read';
export { hasBlob, hasManifest, layoutBlobs, readJsonBlob, readLayout, readLayoutIndex } from './layout/read';
export type { Problem, Verification, VerifyOptions } from './layout/verify';
export { verifyLayout } from './layout/verify';
export type { LayoutWriter } from './layout/write';
export { layoutWriter, writeTree } from './layout/write';
export type { OsImage } from './os-image/read';
export { readOsImage } from './os-image/read';
export type { Payload, PayloadCompression } from './os-image/write';
export { defaultPayloadCompression, newOsImage, writePayload } from './os-image/write';
export type { RecompressOptions } from './recompress';
export { addZstdInstances, recompressRef, zstdAnnotation } from './recompress';
export type { Image, Index, Ref, WalkOptions } from './ref';
export {
  artifactTypeOf,
  asImage,
  descriptorOf,
  emptyDescriptor,
  maxDepth,
  newRef,
  readConfig,
  readRef,
  walkRefs,
} from './ref';
export type { ClientOptions, RegistryClient } from './registry/client';
export { findCredentials, registryClient, startRegistry } from './registry/on-demand';
export type { Pushed, PushOptions, PushProgress } from './registry/push';
export { planPush, pushRef } from './registry/push';
export type { RegistryReference, RepositoryName } from './registry/reference';
export { formatRegistryReference, parseRegistryReference } from './registry/reference';
export type { ManifestName, Repository } from './registry/repository';
export type { Authentication, BasicAuthentication, BearerAuthentication } from './registry/server/authentication';
export type { Fault, FaultHandle, Misbehaviour } from './registry/server/faults';
export type { ServedLayout } from './registry/server/layouts';
export { memoryStorage } from './registry/server/memory-storage';
export type { Users } from './registry/server/passwords';
export type { RegistryRequest } from './registry/server/requests';
export type { Registry, RegistryOptions } from './registry/server/start-registry';
export type { BlobUpload, RegistryStorage, StoredManifest } from './registry/server/storage';
export type { Timeouts } from './registry/transport/http';
export type { OnRetry, Retry, RetryPolicy } from './registry/transport/retries';
export { defaultRetryPolicy } from './registry/transport/retries';
export type { UploadOptions, UploadOutcome } from './registry/upload';
export type {
  Descriptor,
  Execution,
  History,
  ImageConfig,
  ImageIndex,
  ImageManifest,
  Platform,
} from './spec/documents';
export { encodeJson, maxDocumentSize } from './spec/json';
export { mediaTypes } from './spec/media-types';
export type { OsImageConfig, PayloadInfo, ProductInfo } from './spec/os-image';
export { osImageTypes } from './spec/os-image';
export { formatPlatform, normalizePlatform, parsePlatform, platformDistance, thisPlatform } from './spec/platform';
export type { Tree } from './tree';
