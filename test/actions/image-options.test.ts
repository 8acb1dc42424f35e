import { describe, expect, test } from '@jest/globals';
import { InvalidDocumentError } from '../../src';
import { imageOptionsSchema } from '../../src/actions/image-options';
import { checkDocument } from '../../src/spec/json';

const check = (options: unknown) => checkDocument(options, imageOptionsSchema, 'image.json');

test('all options together', () => {
  const options = {
    base: 'base:1.0',
    platforms: ['linux/amd64', 'linux/arm/v7'],
    layers: [
      { name: 'app', from: 'dist/{arch}', include: ['**'], exclude: ['*.map'], to: '/app', mode: '0640', owner: '1:2' },
      { from: ['a', 'b'], mode: 'preserve', owner: '1000', followSymlinks: true },
      { from: 'dist/app', to: '/app', split: 'node' },
      { tar: 'layer.tar.gz', name: 'ready' },
    ],
    entrypoint: ['/app'],
    cmd: [],
    env: { A: '$B' },
    user: '1000',
    workingDir: '/app',
    exposedPorts: [8080, '53/udp', '8000-8010', '1/sctp'],
    volumes: ['/data'],
    labels: { a: 'b' },
    annotations: { c: 'd' },
    stopSignal: 'SIGRTMIN+3',
    created: '2026-01-01T00:00:00Z',
    tag: '1.0',
    compression: 'gzip',
    compressionLevel: 9,
  };
  expect(check(options)).toBe(options);
  expect(check({})).toEqual({});
});

describe('what is refused, and where', () => {
  test.each<[unknown, string, string]>([
    [{ entrypont: ['x'] }, '$', 'entrypont'],
    [{ layers: [{ from: 'a', too: '/' }] }, '$.layers[0]', 'too'],
    [{ layers: [{ from: 'a' }, { from: 1 }] }, '$.layers[1].from', '1'],
    [{ layers: { from: 'a' } }, '$.layers', 'array'],
    [{ layers: [{ from: 'a', mode: '0999' }] }, '$.layers[0].mode', '"0999"'],
    [{ layers: [{ from: 'a', mode: 644 }] }, '$.layers[0].mode', '644'],
    [{ layers: [{ from: 'a', mode: '644\n' }] }, '$.layers[0].mode', '"644\\n"'],
    [{ layers: [{ from: 'a', owner: 'root' }] }, '$.layers[0].owner', '"root"'],
    [{ layers: [{ from: 'a', owner: '0:0:0' }] }, '$.layers[0].owner', '"0:0:0"'],
    [{ layers: [{ from: 'a', owner: '-1' }] }, '$.layers[0].owner', '"-1"'],
    [{ layers: [{ from: 'a', split: true }] }, '$.layers[0].split', 'true'],
    [{ layers: [{ from: 'a', split: 'java' }] }, '$.layers[0].split', '"java"'],
    [{ platforms: [] }, '$.platforms', 'at least one platform'],
    [{ platforms: 'linux/amd64' }, '$.platforms', 'array'],
    [{ entrypoint: '/app --flag' }, '$.entrypoint', 'array'],
    [{ env: { A: 1 } }, '$.env.A', '1'],
    [{ env: ['A=1'] }, '$.env', 'A=1'],
    [{ exposedPorts: [0] }, '$.exposedPorts[0]', '0'],
    [{ exposedPorts: [70000] }, '$.exposedPorts[0]', '70000'],
    [{ exposedPorts: ['http'] }, '$.exposedPorts[0]', '"http"'],
    [{ exposedPorts: ['80/icmp'] }, '$.exposedPorts[0]', '"80/icmp"'],
    [{ stopSignal: 'TERM; id' }, '$.stopSignal', '"TERM; id"'],
    [{ created: -1 }, '$.created', '-1'],
    [{ created: 1.5 }, '$.created', '1.5'],
    [{ compression: 'zip' }, '$.compression', '"zip"'],
    [{ compressionLevel: 0 }, '$.compressionLevel', '0'],
    [{ compressionLevel: 20 }, '$.compressionLevel', '20'],
    [[], '$', '[]'],
    ['image', '$', '"image"'],
  ])('%j', (options, path, found) => {
    expect(() => check(options)).toThrow(InvalidDocumentError);
    expect(() => check(options)).toThrow(`image.json: ${path}: expected`);
    expect(() => check(options)).toThrow(found);
  });
});
