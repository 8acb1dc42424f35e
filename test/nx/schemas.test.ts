import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { validateOptsAgainstSchema } from 'nx/src/utils/params';
import { executorSchemas, optionTable, schemaText } from '../../src/nx/schemas';
import { repository } from '../fixtures';

interface Executor {
  readonly implementation: string;
  readonly schema: string;
  readonly description: string;
}

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

const read = (path: string) => readFileSync(join(repository, path), 'utf8');
const { executors } = JSON.parse(read('executors.json')) as { executors: Record<string, Executor> };
const names = Object.keys(executorSchemas);

test('executors.json lists the executors that there are', () => {
  const folders = readdirSync(join(repository, 'executors'), { withFileTypes: true });
  expect(Object.keys(executors).sort()).toEqual([...names].sort());
  expect(folders.flatMap((entry) => (entry.isDirectory() ? entry.name : [])).sort()).toEqual([...names].sort());
});

describe.each(names)('executor %s', (name) => {
  const schema = JSON.parse(schemaText(name)) as Schema;

  test('is described where Nx looks for it', () => {
    const { implementation, schema: path, description } = executors[name] as Executor;
    expect(path).toBe(`./executors/${name}/schema.json`);
    expect(implementation).toBe(`./lib/executors/${name}/executor.js`);
    expect(existsSync(join(repository, implementation))).toBe(true);
    expect(description).toBe(executorSchemas[name]?.description);
  });

  test('its schema.json is the one that `npm run schemas` writes', () => {
    const written = JSON.parse(read(`executors/${name}/schema.json`)) as Schema;
    // The order of the options is the one in which Nx shows them.
    expect(JSON.stringify(written, null, 2)).toBe(JSON.stringify(schema, null, 2));
  });

  test('its page in docs/ has the table of its options', () => {
    // The formatter aligns the columns.
    const aligned = (text: string) => text.replace(/ +/g, ' ');
    const page = aligned(read(`docs/${name}.md`));
    const [, , ...rows] = optionTable(name).split('\n');
    expect(rows).not.toEqual([]);
    for (const row of rows) expect(page).toContain(aligned(row));
  });

  test('each of its options is described', () => {
    const described = options(schema, '');
    expect(described.length).toBeGreaterThan(1);
    for (const [option, description] of described) {
      expect({ option, description }).toEqual({ option, description: expect.stringMatching(/^["A-Z].{10,}\.$/) });
    }
  });
});

/** Each option with its description, those of a list's items too. */
function options({ properties = {} }: Schema, prefix: string): [option: string, description: string | undefined][] {
  return Object.entries(properties).flatMap(([name, option]) => [
    [`${prefix}${name}`, option.description],
    ...(option.items ? options(option.items, `${prefix}${name}[].`) : []),
  ]);
}

describe("Nx's own validation of the options of image", () => {
  const schema = JSON.parse(schemaText('image')) as Parameters<typeof validateOptsAgainstSchema>[1];
  const outputPath = 'dist/image';

  test.each([
    [{ outputPath }],
    [{ outputPath, base: 'os-base:image', platforms: ['linux/amd64'], tag: 'v1', created: 0 }],
    [{ outputPath, layers: [{ from: 'dist' }, { from: ['a', 'b'], to: '/app', mode: '0640', owner: '1:1' }] }],
    [{ outputPath, layers: [{ tar: 'layer.tar' }], compression: 'none', created: '2026-01-31T12:00:00Z' }],
    [{ outputPath, env: { PATH: '/bin' }, exposedPorts: [8080, '53/udp'], volumes: ['/data'], stopSignal: 'SIGTERM' }],
  ])('accepts %j', (given) => {
    expect(() => validateOptsAgainstSchema(given, schema)).not.toThrow();
  });

  test.each([
    [{}, 'outputPath'],
    [{ outputPath, layer: [] }, "'layer' is not found in schema"],
    [{ outputPath, layers: [{ form: 'dist' }] }, "'form' is not found in schema"],
    [{ outputPath, layers: {} }, 'layers'],
    [{ outputPath, cmd: 'run' }, 'cmd'],
    [{ outputPath, compression: 'zip' }, 'compression'],
    [{ outputPath, stopSignal: 'TERM' }, 'stopSignal'],
  ])('refuses %j', (given, message) => {
    expect(() => validateOptsAgainstSchema(given, schema)).toThrow(message);
  });
});
