import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  asImage,
  digestOf,
  newIndex,
  parsePlatform,
  pushRef,
  type Registry,
  readLayout,
  readOsImage,
  registryClient,
  startRegistry,
} from '../../src';
import type { BuiltOsImage } from '../../src/actions/build-os-image';
import {
  collect,
  commandFile,
  expectFailure,
  expectSuccess,
  type Finished,
  noise,
  nxOci,
  runAll,
  sampleOsImage,
  temporaryDirectory,
  writeFiles,
  writtenLayout,
} from '../fixtures';

const options = {
  payloads: [{ from: 'system' }, { name: 'kernel.efi', from: '{os}-{arch}/linux' }],
  productInfo: { id: 'os', name: 'OS', version: '1.0' },
  compressionLevel: 1,
};

/** A directory with an options file and what it names, and one beside it to run commands in. */
function workspace(change: object = {}): { here: string; elsewhere: string } {
  const root = writeFiles(temporaryDirectory(), {
    'here/os-image.json': JSON.stringify({ ...options, ...change }),
    'here/system': 'system',
    'here/linux-amd64/linux': 'amd64',
    'here/linux-arm64/linux': 'arm64',
    'elsewhere/file': '',
  });
  return { here: join(root, 'here'), elsewhere: join(root, 'elsewhere') };
}

describe('M17: nx-oci os-image', () => {
  const { here, elsewhere } = workspace();
  const args = ['os-image', '--options', '../here/os-image.json', '--output', 'out'];
  let finished: Finished[];
  beforeAll(async () => {
    finished = await runAll([
      () => nxOci([...args, '--platforms', 'linux/amd64,linux/arm64'], { cwd: elsewhere }),
      () =>
        nxOci(['os-image', '--options', 'os-image.json', '--output', 'one', '--platforms', 'linux/arm64', '--json'], {
          cwd: here,
        }),
      () => nxOci(['os-image', '--options', 'os-image.json', '--output', 'none'], { cwd: here }),
    ]);
  });

  test('builds what the options file says, with paths relative to it', async () => {
    expectSuccess(finished[0] as Finished);
    const { stdout } = finished[0] as Finished;
    const digest = readFileSync(join(elsewhere, 'out/digest'), 'utf8');
    expect(stdout).toContain(`out\n  digest ${digest}\n`);
    for (const architecture of ['amd64', 'arm64']) {
      const platform = parsePlatform(`linux/${architecture}`);
      const image = asImage(await readLayout(join(elsewhere, 'out'), { platform }));
      const { payload } = await readOsImage(image);
      expect((await collect(payload('kernel.efi').open())).toString()).toBe(architecture);
      const [system, kernel] = image.manifest.layers;
      for (const word of [
        `  linux/${architecture}  latest-linux-${architecture}  `,
        `    ${image.digest}\n`,
        `    system           6 B      15 B  ${system?.digest}`,
        `    kernel.efi       5 B      14 B  ${kernel?.digest}`,
      ]) {
        expect(stdout).toContain(word);
      }
    }
  });

  test('--platforms and --json', async () => {
    expectSuccess(finished[1] as Finished);
    const built = JSON.parse((finished[1] as Finished).stdout) as BuiltOsImage;
    expect(built).toMatchObject({ path: join(here, 'one'), images: [{ platform: 'linux/arm64', tag: 'latest' }] });
    expect(built.digest).toBe(readFileSync(join(here, 'one/digest'), 'utf8'));
  });

  test('says what is missing', () => {
    expectFailure(
      finished[2] as Finished,
      'option "productInfo": expected a variant without {machine}, or "platforms"',
    );
    expect(existsSync(join(here, 'none'))).toBe(false);
  });
});

describe('M16: nx-oci payload', () => {
  const mebibyte = 1024 * 1024;
  const system = noise(2 * mebibyte + 9);
  const cwd = temporaryDirectory();
  let registry: Registry;
  let rows: Record<string, Finished>;
  let digest: string;

  beforeAll(async () => {
    const amd64 = await sampleOsImage({ system, kernel: Buffer.from('amd64') }, 0);
    const arm64 = await sampleOsImage({ system, kernel: Buffer.from('arm64') }, 1);
    digest = arm64.digest;
    const index = newIndex([
      { ref: amd64, platform: parsePlatform('linux/amd64') },
      { ref: arm64, platform: parsePlatform('linux/arm64') },
    ]);
    const layout = await writtenLayout(index);
    registry = await startRegistry();
    const client = registryClient();
    await pushRef(index, client.repository({ registry: registry.host, repository: 'os' }), { tags: ['v1', 'bad'] });
    await client.close();
    // Only what is asked for by this name is damaged.
    const damaged = amd64.manifest.layers[0]?.digest as string;
    const reference = `docker://${registry.host}/os:v1`;
    const pick = ['--platform', 'linux/arm64'];
    const commands: Record<string, string[]> = {
      list: ['list', layout],
      json: ['list', reference, ...pick, '--json'],
      verify: ['verify', layout],
      one: ['verify', layout, 'kernel', ...pick, '--json'],
      extract: ['extract', layout, 'system', ...pick],
      remote: ['extract', reference, 'system', '--output', 'remote', ...pick],
      stdout: ['extract', layout, 'kernel', '--output', '-', ...pick],
      several: ['extract', layout, 'kernel'],
      unknown: ['extract', layout, 'initrd', ...pick],
    };
    const names = Object.keys(commands);
    const finished = await runAll(
      names.map((name) => () => nxOci(['payload', ...(commands[name] as string[])], { cwd })),
    );
    registry.misbehave({ digest: damaged, flipByte: mebibyte + 1 });
    const badRows = await runAll([
      () => nxOci(['payload', 'verify', reference], { cwd }),
      () => nxOci(['payload', 'extract', reference, 'system', '--output', 'bad', '--platform', 'linux/amd64'], { cwd }),
      () => nxOci(['payload', 'extract', reference, 'system', '--output', '-', '--platform', 'linux/amd64'], { cwd }),
    ]);
    rows = Object.fromEntries([
      ...names.map((name, position) => [name, finished[position]]),
      ...['badVerify', 'badExtract', 'badStdout'].map((name, position) => [name, badRows[position]]),
    ]);
  }, 60_000);
  afterAll(() => registry.close());

  const row = (name: string) => rows[name] as Finished;

  test('list', () => {
    expectSuccess(row('list'));
    expect(row('list').stdout).toContain(
      `linux/arm64  OS  1.0  x86_64\n    ${digest}\n    system    2.1 MB    2.1 MB  sha256:`,
    );
    expect(row('list').stdout).toContain('    kernel       5 B       5 B  sha256:');
    expectSuccess(row('json'));
    expect(JSON.parse(row('json').stdout)).toMatchObject([
      {
        digest,
        platform: 'linux/arm64',
        productInfo: { id: 'os' },
        payloads: [{ name: 'system', size: system.length }, { name: 'kernel' }],
      },
    ]);
  });

  test('verify', () => {
    expectSuccess(row('verify'));
    const lines = ['amd64', 'arm64'].flatMap((one) => [
      `✓ linux/${one}  system  2.1 MB`,
      `✓ linux/${one}  kernel  5 B`,
    ]);
    expect(row('verify').stdout).toBe(`${lines.join('\n')}\n`);
    expectSuccess(row('one'));
    expect(JSON.parse(row('one').stdout)).toEqual([
      { image: digest, platform: 'linux/arm64', name: 'kernel', size: 5 },
    ]);
  });

  test('verify of what is damaged: the payload, the chunk, and exit code 1', () => {
    const { code, stdout, stderr } = row('badVerify');
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout).toMatch(
      /^✗ linux\/amd64 {2}system {2}2.1 MB\n {2}payload system \(blob sha256:\w+\): chunk 2 of 3: expected digest sha256:/,
    );
    expect(stdout.match(/✓/g)).toHaveLength(3);
  });

  test('extract', () => {
    for (const name of ['extract', 'remote']) {
      expectSuccess(row(name));
      expect(row(name).stdout).toBe('');
    }
    expect(digestOf(readFileSync(join(cwd, 'system')))).toBe(digestOf(system));
    expect(digestOf(readFileSync(join(cwd, 'remote')))).toBe(digestOf(system));
    expect(readdirSync(cwd).sort()).toEqual(['remote', 'system']);
  });

  test('extract to standard output', () => {
    expectSuccess(row('stdout'));
    expect(row('stdout').stdout).toBe('arm64');
  });

  test('extract of what is damaged: no file, and on standard output no byte that was not verified', () => {
    expectFailure(row('badExtract'), 'chunk 2 of 3: expected digest');
    expect(existsSync(join(cwd, 'bad'))).toBe(false);
    const { code, stdout, stderr } = row('badStdout');
    expect(code).toBe(1);
    expect(stderr).toContain('chunk 2 of 3: expected digest');
    expect(stdout).toBe(system.subarray(0, mebibyte).toString('utf8'));
  });

  test('says what to pick from', () => {
    expectFailure(
      row('several'),
      'expected one OS image, found 2 (linux/amd64, linux/arm64); pick one by platform or tag',
    );
    expectFailure(row('unknown'), 'expected a payload "initrd", found system, kernel');
  });

  test('a reader that has seen enough is no failure', async () => {
    const layout = await writtenLayout(await sampleOsImage({ system: new Uint8Array(32 * mebibyte) }, 1));
    const child = spawn(process.execPath, [commandFile, 'payload', 'extract', layout, 'system', '--output', '-']);
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    await once(child.stdout, 'data');
    child.stdout.destroy();
    const [code] = await once(child, 'close');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
});
