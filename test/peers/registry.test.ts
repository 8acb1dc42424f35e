import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { commandFile, expectFailure, nxOci } from '../fixtures';
import { newPath } from './makers';
import { succeed } from './programs';
import { accesses, type OurChoice, type Running, reach, startDockerRegistry, startOurs } from './registries';
import { type Contents, configsOf, makeContents, rootOf } from './registry-content';
import { named, programs, type Reached, type RegistryProgram, skopeo, user } from './registry-programs';

/**
 * Every program with every registry, both ways: what it pushes we pull, with the credentials that its login left, and what
 * we push it pulls. What one registry or the other can do besides is in registry-server.test.ts and registry-client.test.ts.
 */
const ours: readonly OurChoice[] = [
  { storage: 'memory', scheme: 'http', access: 'open' },
  { storage: 'memory', scheme: 'https', access: 'basic' },
  { storage: 'memory', scheme: 'http', access: 'token' },
  { storage: 'directory', scheme: 'https', access: 'open' },
  { storage: 'directory', scheme: 'http', access: 'basic' },
  { storage: 'directory', scheme: 'https', access: 'token' },
];

const registries = [
  ...ours.map((choice) => ({
    ...choice,
    proved: 'M14',
    registry: `ours (${choice.storage}, ${choice.scheme}, ${choice.access})`,
    start: () => startOurs(choice),
  })),
  ...accesses.map((access) => ({
    access,
    proved: access === 'open' ? 'M9' : 'M9, M12',
    registry: `docker-registry (${access})`,
    start: () => startDockerRegistry(access),
  })),
];

let contents: Contents;
beforeAll(async () => {
  contents = await makeContents();
});

describe.each(registries)('$proved: $registry', ({ registry, access, start }) => {
  let running: Running;
  beforeAll(async () => {
    running = await start();
  });
  afterAll(() => running.close());

  const loggedIn = async (program: RegistryProgram): Promise<Reached> => {
    const reached = reach(running);
    if (access !== 'open') await program.login(reached);
    return reached;
  };

  for (const program of programs) {
    const testHere = program.isHere ? test : test.skip;
    const login = access === 'open' ? '' : 'login, ';

    testHere(`${program.name} → ${registry} → nx-oci: ${login}an index`, async () => {
      const reached = await loggedIn(program);
      const name = `from/${program.name}:v1`;
      await program.push(reached, contents.index, name);
      const layout = newPath();
      await nxOciIn(program, reached, 'pull', named(reached, name), `${layout}:latest`);
      await expectSame(layout, program);
    });

    testHere(`nx-oci → ${registry} → ${program.name}: ${login}an index`, async () => {
      const reached = await loggedIn(program);
      const name = `for/${program.name}:v1`;
      await nxOciIn(program, reached, 'push', contents.index.layout, named(reached, name));
      await expectSame(await program.pull(reached, name, 'index'), program);
    });

    if (access !== 'open') {
      testHere(`${program.name} → ${registry}: nothing without a login`, async () => {
        const push = program.push(reach(running), contents.index, `from/${program.name}:refused`);
        await expect(push).rejects.toThrow(/unauthorized|authentication required|credential not found/i);
      });
    }
  }

  if (access !== 'open') {
    test(`nx-oci → ${registry}: nothing without a login, nor with another password`, async () => {
      const reached = reach(running);
      const target = named(reached, 'from/nobody:v1');
      const push = (env: NodeJS.ProcessEnv) => nxOci(['push', contents.index.layout, target], { env });
      const nobody = skopeo.environment(reached);
      const unknown = await push(nobody);
      expectFailure(unknown, reached.host);
      expect(unknown.stderr).toMatch(/401|unauthorized/i);
      const wrong = { NX_OCI_REGISTRY: reached.host, NX_OCI_USERNAME: user.username, NX_OCI_PASSWORD: 'another' };
      const refused = await push({ ...nobody, ...wrong });
      expectFailure(refused, reached.host);
      expect(refused.stderr).not.toContain('another');
    });
  }
});

/** Runs `nx-oci` with nothing but what the program's login left. */
function nxOciIn(program: RegistryProgram, reached: Reached, ...args: string[]): Promise<string> {
  return succeed(process.execPath, [commandFile, ...args], { env: program.environment(reached) });
}

/** The same index, to the byte where the program does not pack it anew. */
async function expectSame(layout: string, { keepsManifests }: RegistryProgram): Promise<void> {
  const { index } = contents;
  if (keepsManifests) expect(await rootOf(layout)).toBe(index.root.digest);
  expect(await configsOf(layout)).toEqual(await configsOf(index.layout));
}
