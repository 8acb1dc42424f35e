import { describe, expect, test } from '@jest/globals';
import type { z } from 'zod';
import { digestOf, encodeJson, InvalidDocumentError, mediaTypes } from '../../src';
import { configSchema, indexSchema, layoutMarkerSchema, manifestSchema } from '../../src/spec/documents';
import { parseDocument } from '../../src/spec/json';
import { failureOf } from '../fixtures';

const digest = digestOf(Buffer.from('content'));
const descriptor = { mediaType: 'application/x', digest, size: 7 };
const manifest = { schemaVersion: 2, mediaType: mediaTypes.imageManifest, config: descriptor, layers: [descriptor] };
const index = { schemaVersion: 2, mediaType: mediaTypes.imageIndex, manifests: [descriptor] };
const config = { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [digest] } };

type Kind = 'manifest' | 'index' | 'config' | 'marker';

const schemas: Readonly<Record<Kind, z.ZodType>> = {
  manifest: manifestSchema,
  index: indexSchema,
  config: configSchema,
  marker: layoutMarkerSchema,
};

const read = (kind: Kind, text: string | Uint8Array) => parseDocument(Buffer.from(text), schemas[kind], kind);

describe('ACCEPTANCE 4: a size that is none', () => {
  const size = /"size":7/;
  test.each([
    ['-1', '"size":-1', 'found -1'],
    ['1.5', '"size":1.5', 'found 1.5'],
    ['"2"', '"size":"2"', 'found "2"'],
    ['2^53', '"size":9007199254740992', 'found 9007199254740992'],
    ['2^53 + 1', '"size":9007199254740993', 'found 9007199254740992'],
    ['1e999', '"size":1e999', 'found Infinity'],
    ['-1e999', '"size":-1e999', 'found -Infinity'],
    ['null', '"size":null', 'found null'],
    ['missing', '"length":7', 'found nothing'],
  ])('%s', async (_, written, found) => {
    for (const [kind, document, path] of [
      ['manifest', { ...manifest, layers: [] }, '$.config.size'],
      ['manifest', { ...manifest, config: { ...descriptor, size: 1 } }, '$.layers[0].size'],
      ['index', index, '$.manifests[0].size'],
    ] as const) {
      const text = Buffer.from(encodeJson(document)).toString().replace(size, written);
      const { message } = await failureOf(InvalidDocumentError, () => read(kind, text));
      expect(message).toContain(`${kind}: ${path}: expected `);
      expect(message).toContain(found);
    }
  });
});

test.each(['0', '7', '7.0', '7e0', '9007199254740991'])('a size of %s is one', (size) => {
  const text = Buffer.from(encodeJson(index)).toString().replace('"size":7', `"size":${size}`);
  expect(read('index', text)).toHaveProperty('manifests.0.size', Number(size));
});

test.each<[string, Kind, unknown, string, string]>([
  ['schema version 1', 'manifest', { ...manifest, schemaVersion: 1 }, '$.schemaVersion', 'expected 2, found 1'],
  ['no schema version', 'index', { manifests: [] }, '$.schemaVersion', 'expected 2, found nothing'],
  ['no config', 'manifest', { ...manifest, config: undefined }, '$.config', 'expected object, found nothing'],
  ['no layers', 'manifest', { ...manifest, layers: undefined }, '$.layers', 'expected array, found nothing'],
  ['layers that are no list', 'manifest', { ...manifest, layers: {} }, '$.layers', 'expected array, found {}'],
  ['a layer that is none', 'manifest', { ...manifest, layers: [null] }, '$.layers[0]', 'expected object, found null'],
  ['no manifests', 'index', { schemaVersion: 2 }, '$.manifests', 'expected array, found nothing'],
  ['no digest', 'index', { ...index, manifests: [{ ...descriptor, digest: '' }] }, '$.manifests[0].digest', 'found ""'],
  [
    'ACCEPTANCE 1: a digest that leads out',
    'manifest',
    { ...manifest, config: { ...descriptor, digest: 'sha256:../../x' } },
    '$.config.digest',
    'found "sha256:../../x"',
  ],
  [
    'ACCEPTANCE 2: a digest of md5',
    'manifest',
    { ...manifest, subject: { ...descriptor, digest: 'md5:00' } },
    '$.subject.digest',
    'found "md5:00"',
  ],
  [
    'ACCEPTANCE 1: a diffID with a newline',
    'config',
    { ...config, rootfs: { type: 'layers', diff_ids: [`${digest}\n`] } },
    '$.rootfs.diff_ids[0]',
    `found "${digest}\\n"`,
  ],
  [
    'a media type without a slash',
    'manifest',
    { ...manifest, mediaType: 'x' },
    '$.mediaType',
    'expected a media type (RFC 6838), found "x"',
  ],
  [
    'a media type with a newline',
    'manifest',
    { ...manifest, artifactType: 'a/b\n' },
    '$.artifactType',
    'expected a media type (RFC 6838)',
  ],
  [
    'an annotation that is a number',
    'index',
    { ...index, annotations: { a: 1 } },
    '$.annotations.a',
    'expected string, found 1',
  ],
  [
    'no architecture',
    'config',
    { ...config, architecture: undefined },
    '$.architecture',
    'expected string, found nothing',
  ],
  [
    'a root file system of another type',
    'config',
    { ...config, rootfs: { type: 'x', diff_ids: [] } },
    '$.rootfs.type',
    'expected "layers", found "x"',
  ],
  [
    'an environment that is a map',
    'config',
    { ...config, config: { Env: { A: 'b' } } },
    '$.config.Env',
    'found {"A":"b"}',
  ],
  [
    'a version that is a number',
    'marker',
    { imageLayoutVersion: 1 },
    '$.imageLayoutVersion',
    'expected string, found 1',
  ],
])('refused: %s', async (_, kind, document, path, message) => {
  const error = await failureOf(InvalidDocumentError, () => read(kind, encodeJson(document)));
  expect(error.message).toContain(`${kind}: ${path}: expected `);
  expect(error.message).toContain(message);
});

test.each<[string, Kind, unknown]>([
  ['lists that Go never made', 'manifest', { ...manifest, layers: null, annotations: null }],
  ['an index of nothing', 'index', { ...index, manifests: null, annotations: null }],
  [
    'a config of nothing',
    'config',
    { ...config, config: null, history: null, rootfs: { type: 'layers', diff_ids: null } },
  ],
  [
    'an execution of nothing',
    'config',
    { ...config, config: { Env: null, Cmd: null, Entrypoint: null, Volumes: null, ExposedPorts: null, Labels: null } },
  ],
  ['no media type in the body', 'index', { schemaVersion: 2, manifests: [] }],
  [
    'unknown fields everywhere',
    'manifest',
    { ...manifest, x: 1, config: { ...descriptor, x: [] }, layers: [{ ...descriptor, x: { y: null } }] },
  ],
  [
    'unknown fields of a platform',
    'index',
    { ...index, manifests: [{ ...descriptor, platform: { architecture: '', os: '', features: ['sse4'] } }] },
  ],
  [
    'unknown fields of a config',
    'config',
    { ...config, x: 1, config: { OnBuild: ['RUN'], Healthcheck: { Test: [] } }, history: [{ x: 1 }] },
  ],
])('ACCEPTANCE 16: accepted as it is: %s', (_, kind, document) => {
  const bytes = encodeJson(document);
  expect(Buffer.from(encodeJson(read(kind, bytes)))).toEqual(bytes);
});
