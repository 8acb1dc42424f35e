import { expect, test } from '@jest/globals';
import { digestOf, OciError } from '../../src';
import { failureReport } from '../../src/terminal/failure';
import {
  imageReport,
  inspectReport,
  lockReport,
  pushReport,
  registryReport,
  retryReport,
  tagsReport,
  verifyReport,
} from '../../src/terminal/reports';

const digests = ['a', 'b', 'c', 'd'].map((text) => digestOf(Buffer.from(text)));
const [manifest = '', config = '', layer = '', index = ''] = digests;
const hostile = 'RUN\n\tcurl \u001b[2J\u202Ehidden';

const image = {
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  digest: manifest,
  size: 400,
  tag: 'v1',
  platform: 'linux/amd64',
  config: { mediaType: 'application/vnd.oci.image.config.v1+json', digest: config, size: 300 },
  layers: [
    { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: layer, size: 2_000_000, createdBy: hostile },
  ],
};

test('the tree of a layout', () => {
  const nested = { mediaType: 'application/vnd.oci.image.index.v1+json', digest: index, size: 500, manifests: [image] };
  expect(inspectReport({ path: 'out', manifests: [nested, image] }).split('\n')).toEqual([
    'out',
    '├─ index',
    `│     500 B  ${index}  application/vnd.oci.image.index.v1+json`,
    '│  └─ image  v1  linux/amd64',
    `│        400 B  ${manifest}  application/vnd.oci.image.manifest.v1+json`,
    `│     ├─ config     300 B  ${config}  application/vnd.oci.image.config.v1+json`,
    `│     └─ layer     2.0 MB  ${layer}  application/vnd.oci.image.layer.v1.tar+gzip  RUN curl  [2J hidden`,
    '└─ image  v1  linux/amd64',
    `      400 B  ${manifest}  application/vnd.oci.image.manifest.v1+json`,
    `   ├─ config     300 B  ${config}  application/vnd.oci.image.config.v1+json`,
    `   └─ layer     2.0 MB  ${layer}  application/vnd.oci.image.layer.v1.tar+gzip  RUN curl  [2J hidden`,
  ]);
});

test('an artifact shows its type, and a config without layers ends the tree', () => {
  const artifact = { ...image, artifactType: 'application/x.thing', layers: [] };
  expect(inspectReport({ path: 'out', manifests: [artifact] }).split('\n')).toEqual([
    'out',
    '└─ artifact  v1  linux/amd64  application/x.thing',
    expect.stringContaining(manifest),
    expect.stringContaining(`   └─ config     300 B  ${config}`),
  ]);
});

test('what a build made', () => {
  const layers = [
    { digest: layer, size: 2_000_000 },
    { name: 'app', digest: config, size: 10 },
  ];
  const built = { platform: 'linux/arm64', tag: 'v1', digest: manifest, size: 2_000_010, layers } as const;
  const report = imageReport({ digest: index, path: '/out', images: [built] } as never, 'out');
  expect(report.split('\n')).toEqual([
    'out',
    `  digest ${index}`,
    '  linux/arm64  v1  2.0 MB',
    `    ${manifest}`,
    `    (base)    2.0 MB  ${layer}`,
    `    app         10 B  ${config}`,
  ]);
});

test('what a verification found', () => {
  const found = { problems: [], manifests: 1, blobs: 2, bytes: 1500, uncheckedDiffIds: [digests[2]] } as const;
  expect(verifyReport(found as never, 'out').split('\n')).toEqual([
    `- layer ${layer}: its diffID was not compared (unknown media type)`,
    '✓ out: 1 manifest and 2 blobs (1.5 kB) read, all as they should be',
  ]);
  const problems = [
    { digest: config, referrer: manifest, message: `blob ${config}: expected 3 bytes` },
    { digest: layer, referrer: 'index.json', message: hostile },
  ];
  expect(verifyReport({ ...found, problems, uncheckedDiffIds: [] } as never, 'out').split('\n')).toEqual([
    `✗ blob ${config}: expected 3 bytes`,
    `  referred to by ${manifest}`,
    `✗ ${layer}: RUN curl  [2J hidden`,
    '  referred to by index.json',
    '✗ out: 2 problems; 1 manifest and 2 blobs (1.5 kB) read',
  ]);
});

test('what was pushed, and what would be', () => {
  const reference = `registry.example/os:v1@${index}`;
  const blobs = { uploaded: 1, mounted: 2, present: 3 };
  const pushed = [{ reference, digest: index, manifests: 1, blobs, bytes: 1500 }] as never;
  const lines = (isDryRun: boolean) => pushReport(pushed, isDryRun).split('\n');
  expect(lines(false)).toEqual([
    reference,
    `  digest ${index}`,
    '  1 manifest, 1 blob sent (1.5 kB), 2 mounted, 3 there already',
  ]);
  expect(lines(true)[2]).toBe('  1 manifest, 1 blob (1.5 kB) at most would be sent');
});

test('what a registry serves, what is locked, and tags', () => {
  expect(registryReport('http://127.0.0.1:5000', ['127.0.0.1:5000/os:v1'])).toBe(
    'registry http://127.0.0.1:5000\n  127.0.0.1:5000/os:v1',
  );
  expect(lockReport({ 'registry.example/os:v1': index, 'registry.example/os:v2': layer })).toBe(
    `registry.example/os:v1@${index}\nregistry.example/os:v2@${layer}`,
  );
  expect(tagsReport(['v1', hostile])).toBe('v1\nRUN curl  [2J hidden');
  expect(tagsReport([])).toBe('');
});

test('what is tried again', () => {
  expect(retryReport({ reason: hostile, delayMs: 1234 })).toBe('RUN curl  [2J hidden; trying again in 1.2 s');
});

test.each([
  [new OciError('out: expected one\u001b[2J, found none'), 'out: expected one [2J, found none'],
  [new TypeError('our fault'), expect.stringMatching(/^TypeError: our fault\n {4}at /)],
  ['text', 'text'],
])('a failure: %s', (error, report) => {
  expect(failureReport(error)).toEqual(report);
});
