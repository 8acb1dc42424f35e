import { InvalidOptionError } from '../errors';
import type { Execution } from '../spec/documents';
import type { ImageOptions } from './image-options';

/**
 * What the options say of how containers are started, over what the base says, with the semantics of Dockerfiles: an
 * entrypoint clears the base's cmd; ports, volumes, labels and variables add to the base's.
 *
 * @throws {InvalidOptionError}
 */
export function executionOf(options: ImageOptions, base: Execution): Execution {
  const { entrypoint, cmd, env, user, workingDir, exposedPorts, volumes, labels, stopSignal } = options;
  const { Cmd: baseCmd, ...rest } = base;
  const keptCmd = entrypoint === undefined ? baseCmd : undefined;
  const Cmd = cmd ?? keptCmd;
  return {
    ...rest,
    ...(user !== undefined && { User: user }),
    ...(exposedPorts && { ExposedPorts: { ...base.ExposedPorts, ...emptyObjects(exposedPorts.flatMap(portNames)) } }),
    ...(env && { Env: mergeEnv(base.Env ?? [], env) }),
    ...(entrypoint !== undefined && { Entrypoint: entrypoint }),
    ...(Cmd && { Cmd }),
    ...(volumes && { Volumes: { ...base.Volumes, ...emptyObjects(volumes.map((path) => absolute(path, 'volumes'))) } }),
    ...(workingDir !== undefined && { WorkingDir: absolute(workingDir, 'workingDir') }),
    ...(labels && { Labels: { ...base.Labels, ...labels } }),
    ...(stopSignal !== undefined && { StopSignal: stopSignal }),
  };
}

/** The base's variables in their order, changed where they are set again, then the new ones. */
function mergeEnv(base: readonly string[], added: Readonly<Record<string, string>>): string[] {
  const variables = new Map(base.map((entry) => splitAtEquals(entry)));
  for (const [key, value] of Object.entries(added)) {
    if (!/^[^=\0]+$/.test(key)) {
      throw new InvalidOptionError(
        `option "env": expected a variable's name without "=", found ${JSON.stringify(key)}`,
        { found: key },
      );
    }
    variables.set(key, expand(value, variables));
  }
  return [...variables].map(([key, value]) => `${key}=${value}`);
}

function splitAtEquals(entry: string): [key: string, value: string] {
  const equals = entry.indexOf('=');
  return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
}

/** A variable that is not set is empty, as in a shell and in a Dockerfile. */
function expand(value: string, variables: ReadonlyMap<string, string>): string {
  return value.replace(/\\\$|\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))/g, (match, braced?: string, plain?: string) =>
    match === '\\$' ? '$' : (variables.get(braced ?? plain ?? '') ?? ''),
  );
}

/** As EXPOSE in a Dockerfile: a range stands for each of its ports. */
function portNames(port: string | number): string[] {
  const [range = '', protocol = 'tcp'] = String(port).split('/');
  const [first = 0, last = first] = range.split('-').map(Number);
  if (first < 1 || last > 65535 || first > last) {
    throw new InvalidOptionError(
      `option "exposedPorts": expected ports from 1 to 65535, found ${JSON.stringify(port)}`,
      { expected: '1 to 65535', found: String(port) },
    );
  }
  return Array.from({ length: last - first + 1 }, (_, offset) => `${first + offset}/${protocol}`);
}

function emptyObjects(keys: readonly string[]): Record<string, Record<string, never>> {
  return Object.fromEntries(keys.map((key) => [key, {}]));
}

function absolute(path: string, option: string): string {
  if (path.startsWith('/') && !path.includes('\0')) return path;
  throw new InvalidOptionError(
    `option "${option}": expected an absolute path in the image, found ${JSON.stringify(path)}`,
    {
      expected: 'an absolute path',
      found: path,
    },
  );
}
