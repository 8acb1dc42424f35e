import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BuiltImage } from '../../src/actions/build-image';
import type { ImageOptions } from '../../src/actions/image-options';
import { type Finished, nxOci, run, temporaryDirectory, writeFiles } from '../fixtures';

/** Waits for a program that must succeed, and returns what it printed. A program that is missing fails the test. */
export async function succeed(
  command: string,
  args: readonly string[],
  options?: Parameters<typeof run>[2],
): Promise<string> {
  return outputOf([command, ...args], await run(command, args, options));
}

// Some distributions ship skopeo without the policy that lets it copy anything at all.
export const skopeo = (...args: string[]) => succeed('skopeo', ['--insecure-policy', ...args]);
export const umoci = (...args: string[]) => succeed('umoci', args);
export const oras = (...args: string[]) => succeed('oras', args);
/** Where oras can't be had, `.ci/run` says so, and so does each test that is skipped for it. */
export const hasOras = process.env.NX_OCI_WITHOUT_ORAS !== '1';
/** The same of crane. */
export const hasCrane = process.env.NX_OCI_WITHOUT_CRANE !== '1';

/** buildah with a storage of its own, which needs neither mounts nor a user namespace. */
export function newBuildah({ cwd, env }: Parameters<typeof run>[2] = {}): (...args: string[]) => Promise<string> {
  const room = temporaryDirectory();
  const storage = ['--root', join(room, 'root'), '--runroot', join(room, 'runroot'), '--storage-driver', 'vfs'];
  const options = { ...(cwd !== undefined && { cwd }), env: { BUILDAH_ISOLATION: 'chroot', ...env } };
  return (...args) => succeed('buildah', [...storage, ...args], options);
}

export const tar = (...args: string[]) => succeed('tar', args);

/** Runs `nx-oci`, which must succeed, and returns what it printed. */
export async function ours(...args: string[]): Promise<string> {
  return outputOf(['nx-oci', ...args], await nxOci(args));
}

/** Builds an image by the command line, from options whose paths are relative to a directory of their own. */
export async function buildImage(
  options: ImageOptions,
  files: Parameters<typeof writeFiles>[1] = {},
): Promise<BuiltImage> {
  const directory = writeFiles(temporaryDirectory(), { ...files, 'image.json': JSON.stringify(options) });
  const args = ['image', '--options', join(directory, 'image.json'), '--output', join(directory, 'layout'), '--json'];
  return JSON.parse(await ours(...args));
}

/** Lets `nx-oci verify` read everything in a layout; throws if it finds a problem. */
export async function verify(layout: string): Promise<void> {
  await ours('verify', layout);
}

/** What umoci makes of an image: a root file system and the config of a runtime. */
export interface Bundle {
  readonly path: string;
  readonly rootfs: string;
  readonly config: {
    readonly process: { user: { uid: number; gid: number }; args: string[]; env: string[]; cwd: string };
    readonly mounts: readonly { destination: string }[];
    readonly annotations?: Readonly<Record<string, string>>;
  };
}

export async function unpack(image: string): Promise<Bundle> {
  const path = join(temporaryDirectory(), 'bundle');
  await umoci('unpack', '--image', image, path);
  const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
  return { path, rootfs: join(path, 'rootfs'), config };
}

let containers = 0;

/** Runs a bundle as a container, and returns what it printed. */
export async function runContainer({ path, config }: Bundle): Promise<string> {
  const withoutTerminal = { ...config, process: { ...config.process, terminal: false } };
  writeFileSync(join(path, 'config.json'), JSON.stringify(withoutTerminal));
  return succeed('runc', ['run', '--bundle', path, `nx-oci-test-${process.pid}-${containers++}`]);
}

function outputOf(command: readonly string[], { code, signal, stdout, stderr }: Finished): string {
  if (code === 0) return stdout;
  throw new Error(`${command.join(' ')}: expected exit code 0, found ${signal ?? code}\n${stdout}${stderr}`);
}
