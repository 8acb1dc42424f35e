import { rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  asImage,
  bytesBlob,
  DigestMismatchError,
  digestOf,
  EmptyIndexError,
  FileSystemError,
  fileSystemStep,
  hasSystemCode,
  MissingIndexError,
  NoMatchingPlatformError,
  newIndex,
  OciError,
  parseDigest,
  parsePlatform,
  readLayout,
  readVerified,
  SizeMismatchError,
  UnexpectedMediaTypeError,
  UnknownTagError,
  UnsupportedDigestAlgorithmError,
} from '../src';
import { failureOf, sampleImage, temporaryDirectory, writtenLayout } from './fixtures';

const bytes = Buffer.from('content');
const digest = digestOf(bytes);

describe('O18: each failure has a class of its own, with its facts', () => {
  test.each<[new (...facts: never[]) => OciError, () => unknown, Partial<OciError>]>([
    [
      DigestMismatchError,
      () => readVerified(bytesBlob(Buffer.from('CONTENT')), { digest, size: 7 }),
      { expected: digest, found: digestOf(Buffer.from('CONTENT')) },
    ],
    [SizeMismatchError, () => readVerified(bytesBlob(bytes), { digest, size: 8 }), { expected: '8', found: '7' }],
    [UnsupportedDigestAlgorithmError, () => parseDigest('md5:00'), { found: 'md5' }],
    [MissingIndexError, async () => readLayout(await layoutWithout('index.json')), {}],
    [EmptyIndexError, async () => readLayout(await writtenLayout([])), {}],
    [UnknownTagError, async () => readLayout(await writtenLayout([]), { tag: 'v9' }), { expected: 'v9' }],
    [
      NoMatchingPlatformError,
      async () => readLayout(await sampleLayout(), { platform: parsePlatform('linux/arm64') }),
      { expected: 'linux/arm64', found: 'linux/amd64' },
    ],
    [UnexpectedMediaTypeError, () => asImage(newIndex([])), { found: 'application/vnd.oci.image.index.v1+json' }],
  ])('%p', async (type, action, facts) => {
    const error = await failureOf(type, action);
    expect(error).toMatchObject({ ...facts, name: type.name });
    expect(error).toBeInstanceOf(OciError);
    for (const fact of Object.values(facts)) expect(error.message).toContain(String(fact));
  });
});

const sampleLayout = async () => writtenLayout(await sampleImage());

async function layoutWithout(file: string): Promise<string> {
  const path = await sampleLayout();
  rmSync(join(path, file));
  return path;
}

describe('a step of the file system', () => {
  test('that fails names action, path, code and reason once each', async () => {
    const path = join(temporaryDirectory(), 'missing');
    const error = await failureOf(FileSystemError, () => fileSystemStep('read', path, () => readFile(path)));
    expect(error.message).toBe(`${path}: could not read (ENOENT: no such file or directory)`);
    expect(error.code).toBe('ENOENT');
    expect(hasSystemCode(error.cause, 'EACCES', 'ENOENT')).toBe(true);
    expect(hasSystemCode(error.cause, 'EACCES')).toBe(false);
  });

  test('that fails for another reason fails with that', async () => {
    const reason = new TypeError('no file at all');
    await expect(fileSystemStep('read', 'x', () => Promise.reject(reason))).rejects.toBe(reason);
  });

  test('that succeeds gives its value', async () => {
    const path = join(temporaryDirectory(), 'file');
    writeFileSync(path, 'text');
    expect(await fileSystemStep('read', path, () => readFile(path, 'utf8'))).toBe('text');
  });
});

test('an error without facts has no properties for them', () => {
  expect(Object.keys(new OciError('only words'))).toEqual(['name']);
  expect(new OciError('with a cause', { cause: 1 }).cause).toBe(1);
});
