import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Bytes, gunzip, type Image, readConfig, verified } from 'nx-oci';

/** What keeps this machine from running containers, if anything does. */
export const obstacle = findObstacle();

function findObstacle(): string | undefined {
  if (process.platform !== 'linux') return 'not on this system: it takes Linux';
  if (process.getuid?.() !== 0) return 'not as this user: it takes root';
  return spawnSync('runc', ['--version']).status === 0 ? undefined : 'not on this machine: it takes runc';
}

/** Runs an image, and returns what it printed. */
export async function runContainer(image: Image): Promise<string> {
  const bundle = mkdtempSync(join(tmpdir(), 'os-e2e-'));
  try {
    await unpack(image, bundle);
    return execFileSync('runc', ['run', '--bundle', bundle, `os-e2e-${process.pid}`], { encoding: 'utf8' });
  } finally {
    rmSync(bundle, { recursive: true });
  }
}

/** @see https://github.com/opencontainers/runtime-spec/blob/v1.0.2/bundle.md */
async function unpack(image: Image, bundle: string): Promise<void> {
  const rootfs = join(bundle, 'rootfs');
  mkdirSync(rootfs);
  for (const layer of image.manifest.layers) {
    await untar(gunzip(verified(image.blob(layer).open(), layer)), rootfs);
  }
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(await runtimeConfig(image)));
}

async function runtimeConfig(image: Image): Promise<object> {
  const { config } = await readConfig(image);
  const [uid, gid] = (config?.User ?? '0:0').split(':').map(Number);
  const args = [...(config?.Entrypoint ?? []), ...(config?.Cmd ?? [])];
  return {
    ociVersion: '1.0.2',
    process: { user: { uid, gid }, args, env: config?.Env ?? [], cwd: config?.WorkingDir || '/' },
    root: { path: 'rootfs', readonly: true },
    linux: { namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
    mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
  };
}

async function untar(tar: Bytes, directory: string): Promise<void> {
  const child = spawn('tar', ['-x', '-f', '-', '-C', directory], { stdio: ['pipe', 'ignore', 'inherit'] });
  const ended = once(child, 'close');
  await pipeline(Readable.from(tar), child.stdin);
  const [code] = await ended;
  if (code !== 0) throw new Error(`tar: expected exit code 0, found ${code}`);
}
