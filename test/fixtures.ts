import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect } from '@jest/globals';
import { type Pack, pack } from 'tar-stream';
import {
  appendLayer,
  type ByteRange,
  type Bytes,
  bytesBlob,
  createLayout,
  type Digest,
  digestOf,
  emptyImage,
  type Image,
  layerEncoder,
  MissingBlobError,
  newOsImage,
  type OciError,
  type PayloadCompression,
  parsePlatform,
  type Ref,
  sealImage,
  tarOf,
  writeLayer,
  writePayload,
  writeTree,
} from '../src';
import type { BlobSink, Blobs } from '../src/blob';
import { parseLayoutReference } from '../src/layout/reference';
import { type ImageSource, layoutSource } from '../src/layout/source';
import { refNameAnnotation } from '../src/spec/documents';

export const repository = join(__dirname, '..');

const temporary: string[] = [];
afterAll(() => {
  for (const path of temporary.splice(0)) rmSync(path, { recursive: true, force: true });
});

/** A new directory that goes away with the test file. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'nx-oci-test-'));
  temporary.push(path);
  return path;
}

/** Writes files, given by relative path, and returns the directory. */
export function writeFiles(directory: string, files: Readonly<Record<string, string | Uint8Array>>): string {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), content);
  }
  return directory;
}

/** Every file below a directory with its content, to see that nothing changed. */
export function snapshot(directory: string): Record<string, string> {
  const entries = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  return Object.fromEntries(
    entries
      .filter((name) => statSync(join(directory, name), { throwIfNoEntry: false })?.isFile())
      .map((name) => [name, readFileSync(join(directory, name)).toString('base64')]),
  );
}

/** Keeps blobs in memory. */
export const memorySink: BlobSink = {
  write: async (content, algorithm) => {
    const bytes = await collect(content);
    return { digest: digestOf(bytes, algorithm), size: bytes.length, blob: bytesBlob(bytes) };
  },
};

export async function collect(content: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A real image in memory with one layer per text, each a file. */
export async function sampleImage(texts: readonly string[] = ['hello'], platform = 'linux/amd64'): Promise<Image> {
  let draft = emptyImage(parsePlatform(platform));
  for (const [position, text] of texts.entries()) {
    const content = Buffer.from(text);
    const entry = {
      name: `file-${position}`,
      type: 'file' as const,
      mode: 0o644,
      uid: 0,
      gid: 0,
      size: content.length,
      content: () => content,
    };
    const layer = await writeLayer(tarOf([entry]), memorySink, layerEncoder('gzip'));
    draft = appendLayer(draft, layer, { created_by: 'test' });
  }
  return sealImage(draft);
}

/** What a process left: its exit code (or signal) and output. */
export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a real process to its end. */
export function run(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
}

/** The compiled command, which `npm test` builds first. */
export const commandFile = join(repository, 'lib/src/cli.js');

/** Runs `nx-oci` with arguments. */
export function nxOci(
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Finished> {
  return run(process.execPath, [commandFile, ...args], options);
}

/** A layout on disk, as `createLayout` makes it. */
export async function writtenLayout(root: Parameters<typeof createLayout>[0]): Promise<string> {
  const path = join(temporaryDirectory(), 'layout');
  await writeTree(await createLayout(root), path);
  return path;
}

/** What GNU tar lists of a tar file: mode, owner, size, UTC time and name, a line for each entry. */
export async function tarListing(tar: Bytes): Promise<string[]> {
  const file = join(temporaryDirectory(), 'listed.tar');
  writeFileSync(file, await collect(tar));
  const options = ['--numeric-owner', '--full-time', '--quoting-style=literal', '--no-wildcards'];
  const { code, stdout, stderr } = await run('tar', ['-tvf', file, ...options], {
    env: { LC_ALL: 'C.UTF-8', TZ: 'UTC' },
  });
  if (code !== 0 || stderr !== '') throw new Error(`tar: ${stderr}`);
  return stdout.split('\n').slice(0, -1);
}

/** A source in memory that remembers every digest that it was read for. */
export function countingBlobs(...contents: readonly Uint8Array[]): Blobs & { readonly read: readonly Digest[] } {
  const byDigest = new Map(contents.map((bytes) => [digestOf(bytes), bytes]));
  const read: Digest[] = [];
  const take = (digest: Digest) => {
    read.push(digest);
    const bytes = byDigest.get(digest);
    if (bytes === undefined) throw new MissingBlobError(digest, 'a test');
    return bytes;
  };
  const blobs = {
    read,
    blob: ({ digest, size }: { digest: Digest; size: number }) => ({
      size,
      open: (range?: ByteRange) => bytesBlob(take(digest)).open(range),
    }),
    manifest: async ({ digest }: { digest: Digest }) => take(digest),
    blobs: () => blobs,
  };
  return blobs;
}

/** The error that an action ends with, which must be of this class. */
export async function failureOf<E extends OciError>(
  type: new (...facts: never[]) => E,
  action: () => unknown,
): Promise<E> {
  try {
    await action();
  } catch (error) {
    if (error instanceof type) return error;
    throw error;
  }
  throw new Error(`expected a ${type.name}, found success`);
}

/** Runs commands side by side, because the time of each is that of starting Node; gives them in their order. */
export async function runAll(commands: readonly (() => Promise<Finished>)[]): Promise<Finished[]> {
  const finished: Finished[] = [];
  const queue = commands.entries();
  const lane = async () => {
    for (const [position, command] of queue) finished[position] = await command();
  };
  await Promise.all([lane(), lane(), lane()]);
  return finished;
}

/** A command that failed, and said why without a stack trace. */
export function expectFailure({ code, stdout, stderr }: Finished, message: string): void {
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toContain(message);
  expect(stderr).not.toMatch(/^ {4}at /m);
}

/** A command that had nothing to complain of. */
export function expectSuccess({ code, stderr }: Finished): void {
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
}

/** A layout whose index.json lists images or indexes by these tags. */
export async function taggedLayout(refs: Readonly<Record<string, Ref>>): Promise<string> {
  const entries = Object.entries(refs).map(([tag, ref]) => ({ ref, annotations: { [refNameAnnotation]: tag } }));
  return writtenLayout(entries);
}

/** The layout as an uncompressed tar file, such as skopeo's `oci-archive:`. */
export async function archiveOf(layout: string): Promise<string> {
  const file = join(temporaryDirectory(), 'archive.tar');
  const { code, stderr } = await run('tar', ['-cf', file, '-C', layout, 'oci-layout', 'index.json', 'blobs']);
  if (code !== 0) throw new Error(`tar: ${stderr}`);
  return file;
}

/** A new directory on another device, which goes away with the test file; none where there is no other one. */
export function directoryOnOtherDevice(): string | undefined {
  const device = '/dev/shm';
  if (!existsSync(device) || statSync(device).dev === statSync(tmpdir()).dev) return undefined;
  const path = mkdtempSync(join(device, 'nx-oci-test-'));
  temporary.push(path);
  return path;
}

/** Whether temporary files can share their bytes without being one file. */
export function canReflink(): boolean {
  const directory = writeFiles(temporaryDirectory(), { from: 'bytes' });
  try {
    copyFileSync(join(directory, 'from'), join(directory, 'to'), constants.COPYFILE_FICLONE_FORCE);
    return true;
  } catch {
    return false;
  }
}

/** The manifests of a layout or archive, named as on the command line. */
export function sourceOf(reference: string): ImageSource {
  return layoutSource(parseLayoutReference(reference));
}

/** The code in a language that a page of the repository shows. */
export function codeBlocks(page: string, language: string): string[] {
  const text = readFileSync(join(repository, page), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms'))].map(([, code]) => code as string);
}

/** Bytes that do not compress, the same for each seed. */
export function noise(size: number, seed = ''): Buffer {
  return createHash('shake256', { outputLength: size }).update(seed).digest();
}

/** A real OS image in memory, of payloads by their names. */
export async function sampleOsImage(
  payloads: Readonly<Record<string, Uint8Array>>,
  level?: PayloadCompression,
): Promise<Image> {
  const written = await Promise.all(
    Object.entries(payloads).map(([name, bytes]) => writePayload(name, bytesBlob(bytes), memorySink, level)),
  );
  return newOsImage(written, { id: 'os', name: 'OS', version: '1.0', variant: 'x86_64' });
}

/** What a header of a tar file may say. */
export type TarHeader = Parameters<Pack['entry']>[0];

/** A tar file of headers as they are, hostile ones too; the time of each is the beginning of 1970 unless it says another. */
export async function tarWith(entries: readonly (readonly [header: TarHeader, text?: string])[]): Promise<Buffer> {
  const stream = pack();
  for (const [header, text] of entries) {
    if (text === undefined) stream.entry({ mtime: new Date(0), ...header });
    else stream.entry({ mtime: new Date(0), ...header }, text);
  }
  stream.finalize();
  return collect(stream as Bytes);
}

/** Runs as a user whom the file system can refuse something; the files of this process are none of theirs. */
export async function asOrdinaryUser<T>(action: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return action();
  process.seteuid?.(65534);
  try {
    return await action();
  } finally {
    process.seteuid?.(0);
  }
}
