import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { digestOf, InvalidDocumentError, LayoutLockedError } from '../../src';
import { lockFileName, readLockFile, updateLockFile } from '../../src/registry/lock-file';
import { failureOf, repository, run, temporaryDirectory, writeFiles } from '../fixtures';

const [one, two] = ['one', 'two'].map((text) => digestOf(Buffer.from(text))) as [
  `sha256:${string}`,
  `sha256:${string}`,
];

describe('a lock file', () => {
  test('is read as it was written, by people too', async () => {
    const directory = temporaryDirectory();
    const locked = { 'localhost:5000/b:v1': two, 'docker.io/library/a:latest': one };
    expect(await updateLockFile(directory, () => locked)).toEqual(locked);
    expect(readFileSync(join(directory, lockFileName), 'utf8')).toBe(`{
  "lockfileVersion": 1,
  "images": {
    "docker.io/library/a:latest": {
      "digest": "${one}"
    },
    "localhost:5000/b:v1": {
      "digest": "${two}"
    }
  }
}
`);
    expect(await readLockFile(directory)).toEqual(locked);
    expect(readdirSync(directory)).toEqual([lockFileName]);
  });

  test('that is missing locks nothing', async () => {
    expect(await readLockFile(temporaryDirectory())).toEqual({});
  });

  test('keeps a name that is none of an object', async () => {
    const directory = temporaryDirectory();
    const text = `{"lockfileVersion":1,"images":{"__proto__":{"digest":"${one}"}}}`;
    writeFileSync(join(directory, lockFileName), text);
    expect(Object.entries(await readLockFile(directory))).toEqual([['__proto__', one]]);
    expect(({} as Record<string, unknown>).digest).toBeUndefined();
  });

  test.each([
    ['', 'expected JSON'],
    ['{', 'expected JSON'],
    ['[]', 'expected object'],
    ['{"images":{}}', '$.lockfileVersion: expected 1, found nothing'],
    ['{"lockfileVersion":2,"images":{}}', '$.lockfileVersion: expected 1, found 2'],
    ['{"lockfileVersion":1,"images":{"a":{}}}', '$.images.a.digest: expected string, found nothing'],
    ['{"lockfileVersion":1,"images":{"a":{"digest":"sha256:../../x"}}}', '$.images.a.digest: expected a digest'],
    ['{"lockfileVersion":1,"images":{},"images":{}}', 'found "images" twice'],
    ['{"lockfileVersion":1,"images":{},"more":1}', 'found "more"'],
    ['<<<<<<< HEAD\n', 'expected JSON'],
  ])('that is damaged is refused, and stays as it is: %j', async (text, words) => {
    const directory = writeFiles(temporaryDirectory(), { [lockFileName]: text });
    for (const use of [() => readLockFile(directory), () => updateLockFile(directory, () => ({}))]) {
      const { message } = await failureOf(InvalidDocumentError, use);
      expect(message).toContain(join(directory, lockFileName));
      expect(message).toContain(words);
    }
    expect(readFileSync(join(directory, lockFileName), 'utf8')).toBe(text);
    expect(readdirSync(directory)).toEqual([lockFileName]);
  });

  test('stays as it is when a change fails', async () => {
    const directory = temporaryDirectory();
    await updateLockFile(directory, () => ({ 'docker.io/library/a:latest': one }));
    const change = updateLockFile(directory, async () => Promise.reject(new Error('no registry')));
    await expect(change).rejects.toThrow('no registry');
    expect(await readLockFile(directory)).toEqual({ 'docker.io/library/a:latest': one });
    expect(readdirSync(directory)).toEqual([lockFileName]);
  });

  test('stays as it is when the lock is lost before the change is complete', async () => {
    const directory = temporaryDirectory();
    await updateLockFile(directory, () => ({ 'docker.io/library/a:latest': one }));
    const { message } = await failureOf(LayoutLockedError, () =>
      updateLockFile(directory, () => {
        rmSync(join(directory, '.nx-oci.lock'), { recursive: true });
        return {};
      }),
    );
    expect(message).toContain('found that the lock was lost');
    expect(await readLockFile(directory)).toEqual({ 'docker.io/library/a:latest': one });
    expect(readdirSync(directory)).toEqual([lockFileName]);
  });

  test('loses nothing of two processes at once', async () => {
    const directory = temporaryDirectory();
    const program = join(repository, 'test/programs/lock-images.js');
    const names = ['a', 'b'].map((process) =>
      Array.from({ length: 5 }, (_, at) => `registry.example/${process}:${at}`),
    );
    const ended = await Promise.all(names.map((own) => run(process.execPath, [program, directory, ...own])));
    expect(ended.map(({ code, stderr }) => [code, stderr])).toEqual([
      [0, ''],
      [0, ''],
    ]);
    expect(Object.keys(await readLockFile(directory))).toEqual(names.flat());
    expect(existsSync(join(directory, '.nx-oci.lock'))).toBe(false);
  });
});
