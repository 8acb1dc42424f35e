import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { FileSystemError, InvalidOptionError, type LayerEntry, LayerSourceError, listFiles, tarOf } from '../../src';
import { collect, run, temporaryDirectory, writeFiles } from '../fixtures';

const files = (content: Readonly<Record<string, string | Uint8Array>>) => writeFiles(temporaryDirectory(), content);

const namesOf = (entries: readonly LayerEntry[]) =>
  entries.map(({ name, type }) => (type === 'directory' ? `${name}/` : name));

const modesOf = (entries: readonly LayerEntry[]) =>
  Object.fromEntries(entries.map(({ name, mode }) => [name, mode.toString(8)]));

async function contentsOf(entries: readonly LayerEntry[]): Promise<Record<string, string>> {
  const contents: Record<string, string> = {};
  for (const { name, content } of entries) {
    const bytes = content?.();
    if (bytes) contents[name] = (bytes instanceof Uint8Array ? Buffer.from(bytes) : await collect(bytes)).toString();
  }
  return contents;
}

describe('what is taken', () => {
  const source = files({
    'app/main.js': '1',
    'app/main.js.map': '2',
    'app/deep/er/x.js': '3',
    '.env': '4',
    '.git/HEAD': '5',
    'logs/a.log': '6',
    'logs/old/b.log': '7',
    'a-b': '8',
    'a.b': '9',
    'we[i]rd': '10',
  });
  mkdirSync(join(source, 'empty'));

  const app = ['app/', 'app/deep/', 'app/deep/er/', 'app/deep/er/x.js', 'app/main.js', 'app/main.js.map'];
  const logs = ['logs/', 'logs/a.log', 'logs/old/', 'logs/old/b.log'];
  const git = ['.git/', '.git/HEAD'];

  test.each<{ include?: string[]; exclude?: string[]; taken: string[] }>([
    { taken: ['.env', ...git, 'a-b', 'a.b', ...app, 'empty/', ...logs, 'we[i]rd'] },
    { include: ['**/*.js'], taken: ['app/', 'app/deep/', 'app/deep/er/', 'app/deep/er/x.js', 'app/main.js'] },
    { include: ['*'], taken: ['.env', '.git/', 'a-b', 'a.b', 'app/', 'empty/', 'logs/', 'we[i]rd'] },
    { include: ['.env', 'logs/**'], taken: ['.env', ...logs] },
    { include: ['./logs/**', 'logs/**'], taken: logs },
    { include: ['logs/old/b.log'], taken: ['logs/', 'logs/old/', 'logs/old/b.log'] },
    { include: ['empty'], taken: ['empty/'] },
    { include: ['we[i]rd'], taken: ['we[i]rd'] },
    { include: ['**', '!logs/**', '!app/**'], taken: ['.env', ...git, 'a-b', 'a.b', 'empty/', 'we[i]rd'] },
    { exclude: ['app', '.*', 'logs/old'], taken: ['a-b', 'a.b', 'empty/', 'logs/', 'logs/a.log', 'we[i]rd'] },
    { exclude: ['app/', './.git', '.env', 'logs/'], taken: ['a-b', 'a.b', 'empty/', 'we[i]rd'] },
    {
      exclude: ['**/*.{log,map,js}', '.git/**'],
      include: ['{app,logs,.git}/**'],
      taken: ['app/', 'app/deep/', 'app/deep/er/', 'logs/', 'logs/old/'],
    },
    {
      include: ['app/**', 'logs/a.log'],
      exclude: ['app/deep', 'logs'],
      taken: ['app/', 'app/main.js', 'app/main.js.map'],
    },
    { exclude: ['**'], taken: [] },
  ])('include $include, exclude $exclude', async ({ include, exclude, taken }) => {
    expect(namesOf(await listFiles({ from: [source], include, exclude }))).toEqual(taken);
  });

  test.each([
    [{ include: ['nothing/**'] }, '"nothing/**"'],
    [{ include: ['app/deep/er/*.js'], exclude: ['**/deep'] }, '"app/deep/er/*.js"'],
  ])('%j matches nothing, which is a slip and no empty layer', async (patterns, named) => {
    const refused = listFiles({ from: [source], ...patterns });
    await expect(refused).rejects.toThrow(LayerSourceError);
    await expect(refused).rejects.toThrow(`${source}: expected files that match ${named}, found none`);
  });

  test('the output of the build is no part of its source', async () => {
    const output = join(source, 'app/deep');
    expect(namesOf(await listFiles({ from: [source], include: ['app/**'], leftOut: [output] }))).toEqual([
      'app/',
      'app/main.js',
      'app/main.js.map',
    ]);
    expect(namesOf(await listFiles({ from: [source], include: ['app/*.js'], leftOut: [`${source}-beside`] }))).toEqual([
      'app/',
      'app/main.js',
    ]);
  });

  test.each<[what: string, files: Record<string, string>, names: string[]]>([
    ['a directory that was made for it', { 'app/main.js': 'x', 'out/deep/image/x': 'x' }, ['app/', 'app/main.js']],
    ['no directory that holds more', { 'out/other': 'x', 'out/deep/image/x': 'x' }, ['out/', 'out/other']],
    [
      'no directory with a longer name',
      { 'out/deeper/file': 'x', 'out/deep/image/x': 'x' },
      ['out/', 'out/deeper/', 'out/deeper/file'],
    ],
  ])('with what is left out goes %s', async (_, files, names) => {
    const from = writeFiles(temporaryDirectory(), files);
    expect(namesOf(await listFiles({ from: [from], leftOut: [join(from, 'out/deep/image')] }))).toEqual(names);
  });

  test.each([
    ['include', '../*.js'],
    ['include', '/etc/host*'],
    ['include', 'app/../../x'],
    ['include', ''],
    ['exclude', '..'],
    ['exclude', './'],
  ])('the option %s with %j is refused', async (option, pattern) => {
    const refused = listFiles({ from: [source], [option]: [pattern] });
    await expect(refused).rejects.toThrow(InvalidOptionError);
    await expect(refused).rejects.toThrow(`option "${option}"`);
    await expect(refused).rejects.toThrow(`found ${JSON.stringify(pattern)}`);
  });
});

describe('where it lies', () => {
  const source = files({ 'bin/tool': 'x' });
  const file = join(source, 'bin/tool');

  test.each<[kind: 'directory' | 'file', to: string | undefined, names: string[]]>([
    ['directory', undefined, ['bin/', 'bin/tool']],
    ['directory', '/', ['bin/', 'bin/tool']],
    ['directory', '/opt/app', ['opt/', 'opt/app/', 'opt/app/bin/', 'opt/app/bin/tool']],
    ['directory', 'opt//./app/', ['opt/', 'opt/app/', 'opt/app/bin/', 'opt/app/bin/tool']],
    ['file', undefined, ['tool']],
    ['file', '/', ['tool']],
    ['file', '/usr/bin/', ['usr/', 'usr/bin/', 'usr/bin/tool']],
    ['file', '/usr/bin/.', ['usr/', 'usr/bin/', 'usr/bin/tool']],
    ['file', '/usr/bin/renamed', ['usr/', 'usr/bin/', 'usr/bin/renamed']],
  ])('a %s to %s', async (kind, to, names) => {
    const from = kind === 'file' ? file : source;
    expect(namesOf(await listFiles({ from: [from], to }))).toEqual(names);
  });

  test('each entry comes after the directory it lies in, and by the bytes of its name', async () => {
    const from = files({ 'a/b': '', 'a-b': '', 'a.b': '', é: '', f: '', '🌍': '', 'Ａ/x': '', Z: '' });
    expect(namesOf(await listFiles({ from: [from] }))).toEqual([
      'Z',
      'a/',
      'a-b',
      'a.b',
      'a/b',
      'f',
      'é',
      'Ａ/',
      'Ａ/x',
      '🌍',
    ]);
  });

  test('several sources share directories', async () => {
    const entries = await listFiles({ from: [files({ 'etc/a': 'A' }), files({ 'etc/b': 'B' })], to: '/app' });
    expect(namesOf(entries)).toEqual(['app/', 'app/etc/', 'app/etc/a', 'app/etc/b']);
    expect(await contentsOf(entries)).toEqual({ 'app/etc/a': 'A', 'app/etc/b': 'B' });
  });

  test.each(['../x', '/a/../../x', 'C:\\x', 'a\\..\\b'])('ACCEPTANCE 23: to %j is refused', async (to) => {
    for (const from of [source, file]) {
      const refused = listFiles({ from: [from], to });
      await expect(refused).rejects.toThrow(LayerSourceError);
      await expect(refused).rejects.toThrow(`option "to": expected a path inside the image`);
    }
  });

  test.each([['a\\..\\b'], ['C:\\x']])('ACCEPTANCE 23: a file named %j is refused', async (name) => {
    const from = files({ [name]: '' });
    const refused = listFiles({ from: [from] });
    await expect(refused).rejects.toThrow(LayerSourceError);
    await expect(refused).rejects.toThrow(JSON.stringify(name));
  });

  test.each([
    [{ '.wh.passwd': '' }, '', '/'],
    [{ 'etc/.wh..wh..opq': '' }, '', '/'],
    [{ '.wh.d/x': '' }, '', '/'],
    [{ '.wh.x': '' }, '.wh.x', '/etc/'],
    [{ x: '' }, 'x', '/etc/.wh.passwd'],
    [{ x: '' }, '', '/.wh.etc/deep'],
  ])('ACCEPTANCE 24: %j (%j) to %s is refused', async (content, path, to) => {
    const refused = listFiles({ from: [join(files(content), path)], to });
    await expect(refused).rejects.toThrow(LayerSourceError);
    await expect(refused).rejects.toThrow(/expected a file name that does not begin with "\.wh\.".*found "\.wh\./);
  });

  test('ACCEPTANCE 24: an excluded whiteout is none', async () => {
    expect(namesOf(await listFiles({ from: [files({ '.wh.x': '', y: '' })], exclude: ['.wh.*'] }))).toEqual(['y']);
  });

  test.each<[string, Record<string, string>, Record<string, string>, string]>([
    ['two files', { 'a/x': '1' }, { 'a/x': '1' }, 'a/x'],
    ['a file and a directory', { a: '1' }, { 'a/x': '1' }, 'a'],
    ['a directory and a file', { 'a/x': '1' }, { a: '1' }, 'a'],
  ])('ACCEPTANCE 29: %s with one target are refused', async (_, one, other, name) => {
    const sources = [files(one), files(other)];
    const refused = listFiles({ from: sources });
    await expect(refused).rejects.toThrow(LayerSourceError);
    await expect(refused).rejects.toThrow(`${name}: expected one source for each path in the image, found two`);
    for (const source of sources) await expect(refused).rejects.toThrow(join(source, name));
  });

  test('ACCEPTANCE 29: a link and a directory with one target are refused', async () => {
    const linked = temporaryDirectory();
    symlinkSync('elsewhere', join(linked, 'a'));
    const refused = listFiles({ from: [linked, files({ 'a/x': '' })] });
    await expect(refused).rejects.toThrow(LayerSourceError);
    await expect(refused).rejects.toThrow('a: expected one source');
  });

  test('ACCEPTANCE 29: two single files with one target are refused', async () => {
    const refused = listFiles({ from: [join(files({ x: '' }), 'x'), join(files({ y: '' }), 'y')], to: '/etc/z' });
    await expect(refused).rejects.toThrow('etc/z: expected one source for each path in the image, found two');
  });
});

describe('modes and owners', () => {
  const source = files({ 'bin/tool': 'x', 'etc/conf': 'x', 'etc/secret': 'x', etc2: 'x' });
  chmodSync(join(source, 'bin'), 0o2750);
  chmodSync(join(source, 'bin/tool'), 0o4711);
  chmodSync(join(source, 'etc'), 0o700);
  chmodSync(join(source, 'etc/conf'), 0o664);
  chmodSync(join(source, 'etc/secret'), 0o600);
  chmodSync(join(source, 'etc2'), 0o654);
  symlinkSync('etc2', join(source, 'link'));

  const link = { link: '777' };
  test.each<[mode: 'normalized' | 'preserve' | number | undefined, modes: Record<string, string>]>([
    [undefined, { bin: '755', 'bin/tool': '755', etc: '755', 'etc/conf': '644', 'etc/secret': '644', etc2: '644' }],
    ['normalized', { bin: '755', 'bin/tool': '755', etc: '755', 'etc/conf': '644', 'etc/secret': '644', etc2: '644' }],
    ['preserve', { bin: '2750', 'bin/tool': '4711', etc: '700', 'etc/conf': '664', 'etc/secret': '600', etc2: '654' }],
    [0o640, { bin: '750', 'bin/tool': '640', etc: '750', 'etc/conf': '640', 'etc/secret': '640', etc2: '640' }],
    [0o444, { bin: '555', 'bin/tool': '444', etc: '555', 'etc/conf': '444', 'etc/secret': '444', etc2: '444' }],
    [0o4755, { bin: '4755', 'bin/tool': '4755', etc: '4755', 'etc/conf': '4755', 'etc/secret': '4755', etc2: '4755' }],
    [0, { bin: '0', 'bin/tool': '0', etc: '0', 'etc/conf': '0', 'etc/secret': '0', etc2: '0' }],
  ])('mode %s', async (mode, modes) => {
    expect(modesOf(await listFiles({ from: [source], mode }))).toEqual({ ...modes, ...link });
  });

  test('a directory that no pattern matches keeps its mode, one that only "to" names gets 0755', async () => {
    const entries = await listFiles({ from: [source], include: ['bin/tool'], to: '/opt/app', mode: 'preserve' });
    expect(modesOf(entries)).toMatchObject({ opt: '755', 'opt/app/bin': '2750', 'opt/app/bin/tool': '4711' });
  });

  test('the owner is 0:0, or what is asked for of all that comes from the source', async () => {
    const owners = (entries: readonly LayerEntry[]) =>
      Object.fromEntries(entries.map(({ name, uid, gid }) => [name, `${uid}:${gid}`]));
    expect(new Set(Object.values(owners(await listFiles({ from: [source] }))))).toEqual(new Set(['0:0']));
    const owned = { from: [source], include: ['bin/tool'], to: '/opt/app', owner: { uid: 1000, gid: 2_097_152 } };
    expect(owners(await listFiles(owned))).toEqual({
      opt: '0:0',
      'opt/app': '1000:2097152',
      'opt/app/bin': '1000:2097152',
      'opt/app/bin/tool': '1000:2097152',
    });
  });

  test('hard links are kept by "preserve" only', async () => {
    const linked = files({ 'b/first': 'content', other: 'x' });
    linkSync(join(linked, 'b/first'), join(linked, 'c'));
    linkSync(join(linked, 'b/first'), join(linked, 'a'));
    const kept = await listFiles({ from: [linked], mode: 'preserve' });
    expect(kept.map(({ name, type, linkname }) => [name, type, linkname])).toEqual([
      ['a', 'file', undefined],
      ['b', 'directory', undefined],
      ['b/first', 'link', 'a'],
      ['c', 'link', 'a'],
      ['other', 'file', undefined],
    ]);
    expect(await contentsOf(kept)).toEqual({ a: 'content', other: 'x' });
    const copied = await listFiles({ from: [linked] });
    expect(await contentsOf(copied)).toEqual({ a: 'content', 'b/first': 'content', c: 'content', other: 'x' });
  });
});

describe('symbolic links', () => {
  function linkedSource(): string {
    const outside = files({ secret: 'secret', 'deep/er': 'deeper' });
    const source = files({ 'dir/file': 'x' });
    symlinkSync(join(outside, 'secret'), join(source, 'absolute'));
    symlinkSync('../../../../../../etc', join(source, 'up'));
    symlinkSync(join(outside, 'deep'), join(source, 'outside'));
    symlinkSync('dir', join(source, 'inside'));
    symlinkSync('nowhere', join(source, 'dangling'));
    return source;
  }

  test('ACCEPTANCE 26: a link that leaves the source is kept as a link', async () => {
    const entries = await listFiles({ from: [linkedSource()] });
    expect(entries.map(({ name, type, linkname }) => [name, type, linkname?.replace(/^\/.*\//, '…/')])).toEqual([
      ['absolute', 'symlink', '…/secret'],
      ['dangling', 'symlink', 'nowhere'],
      ['dir', 'directory', undefined],
      ['dir/file', 'file', undefined],
      ['inside', 'symlink', 'dir'],
      ['outside', 'symlink', '…/deep'],
      ['up', 'symlink', '../../../../../../etc'],
    ]);
  });

  test.each(['outside/**', 'outside/er', 'outside/*', 'inside/**', 'up/*'])(
    'ACCEPTANCE 26: no pattern leads through a link (%s)',
    async (pattern) => {
      const refused = listFiles({ from: [linkedSource()], include: [pattern] });
      await expect(refused).rejects.toThrow(LayerSourceError);
      await expect(refused).rejects.toThrow(`${pattern.split('/')[0]}: expected a directory`);
      await expect(refused).rejects.toThrow('found a symlink');
    },
  );

  test('ACCEPTANCE 26: followSymlinks takes what links point to', async () => {
    const source = linkedSource();
    const entries = await listFiles({ from: [source], exclude: ['up', 'dangling'], followSymlinks: true });
    expect(namesOf(entries)).toEqual([
      'absolute',
      'dir/',
      'dir/file',
      'inside/',
      'inside/file',
      'outside/',
      'outside/er',
    ]);
    expect(await contentsOf(entries)).toEqual({
      absolute: 'secret',
      'dir/file': 'x',
      'inside/file': 'x',
      'outside/er': 'deeper',
    });
  });

  test.each(['dangling', 'loop'])('followSymlinks names a link that leads nowhere (%s)', async (name) => {
    const source = temporaryDirectory();
    symlinkSync(name === 'loop' ? 'loop' : 'nowhere', join(source, name));
    const refused = listFiles({ from: [source], followSymlinks: true });
    await expect(refused).rejects.toThrow(FileSystemError);
    await expect(refused).rejects.toThrow(join(source, name));
  });

  test('a single file that is a link stays one unless followed', async () => {
    const link = join(linkedSource(), 'absolute');
    expect((await listFiles({ from: [link] })).map(({ type }) => type)).toEqual(['symlink']);
    expect(await contentsOf(await listFiles({ from: [link], followSymlinks: true }))).toEqual({ absolute: 'secret' });
  });

  test('a source that is a link to a directory is that directory', async () => {
    const link = join(temporaryDirectory(), 'link');
    symlinkSync(files({ x: '' }), link);
    expect(namesOf(await listFiles({ from: [link] }))).toEqual(['x']);
  });
});

describe('what no layer can hold', () => {
  async function refusedSoon(from: string, path: string, kind: string): Promise<void> {
    const started = performance.now();
    const refused = listFiles({ from: [from] });
    await expect(refused).rejects.toThrow(LayerSourceError);
    await expect(refused).rejects.toThrow(`${path}: expected a file, a directory or a symbolic link, found a ${kind}`);
    expect(performance.now() - started).toBeLessThan(1000);
  }

  test('ACCEPTANCE 25: a FIFO', async () => {
    const source = files({ a: '' });
    const fifo = join(source, 'fifo');
    expect((await run('mkfifo', [fifo])).code).toBe(0);
    await refusedSoon(source, fifo, 'FIFO');
    await refusedSoon(fifo, fifo, 'FIFO');
    expect(namesOf(await listFiles({ from: [source], exclude: ['fifo'] }))).toEqual(['a']);
  });

  test('ACCEPTANCE 25: a socket', async () => {
    const source = temporaryDirectory();
    const socket = join(source, 'socket');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    try {
      await refusedSoon(source, socket, 'socket');
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });

  test('ACCEPTANCE 25: a device', () => refusedSoon('/dev/null', '/dev/null', 'device'));

  test('ACCEPTANCE 25: a FIFO in the place of a file that was listed', async () => {
    const source = files({ a: 'x' });
    const entries = await listFiles({ from: [source] });
    rmSync(join(source, 'a'));
    expect((await run('mkfifo', [join(source, 'a')])).code).toBe(0);
    const started = performance.now();
    await expect(collect(tarOf(entries))).rejects.toThrow(join(source, 'a'));
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('a source that is not there', async () => {
    const missing = join(temporaryDirectory(), 'missing');
    const refused = listFiles({ from: [missing] });
    await expect(refused).rejects.toThrow(LayerSourceError);
    await expect(refused).rejects.toThrow(`${missing}: expected a file or directory for the layer, found none`);
  });

  test('names and links that are no UTF-8', async () => {
    const bytes = (name: string) => Buffer.concat([Buffer.from(`${source}/${name}`), Buffer.of(0xff)]);
    let source = temporaryDirectory();
    writeFileSync(bytes('name'), '');
    await expect(listFiles({ from: [source] })).rejects.toThrow(/name.*expected a file name in UTF-8/);
    source = temporaryDirectory();
    symlinkSync(bytes('target'), join(source, 'link'));
    await expect(listFiles({ from: [source] })).rejects.toThrow(`${join(source, 'link')}: expected a symbolic link`);
  });
});

/** Read at once, read in one piece, and read in many. */
const sizes = [10, 1024 * 1024, 1024 * 1024 + 1, 5 * 1024 * 1024];

const changes: Record<string, (path: string, size: number) => void> = {
  grows: (path) => appendFileSync(path, '+'),
  'grows much': (path, size) => appendFileSync(path, Buffer.alloc(size)),
  shrinks: (path, size) => truncateSync(path, size - 1),
  'is emptied': (path) => truncateSync(path, 0),
  'is replaced by one of its size and time': (path, size) => {
    writeFileSync(`${path}.new`, Buffer.alloc(size, 'y'));
    utimesSync(`${path}.new`, 1, 1);
    renameSync(`${path}.new`, path);
  },
  'is rewritten in its place': (path, size) => writeFileSync(path, Buffer.alloc(size, 'y')),
  'is removed': (path) => rmSync(path),
  'becomes a link': (path, size) => {
    writeFileSync(`${path}.new`, Buffer.alloc(size, 'y'));
    rmSync(path);
    symlinkSync(`${path}.new`, path);
  },
  'becomes a directory': (path) => {
    rmSync(path);
    mkdirSync(path);
  },
};

function changingFile(size: number): { source: string; path: string } {
  const source = files({ file: Buffer.alloc(size, 'x') });
  const path = join(source, 'file');
  utimesSync(path, 1, 1);
  return { source, path };
}

describe.each(Object.entries(changes))('ACCEPTANCE 27: a file that %s', (_, change) => {
  test.each(sizes)('between listing and reading, of %i bytes', async (size) => {
    const { source, path } = changingFile(size);
    const entries = await listFiles({ from: [source] });
    change(path, size);
    const failure = await collect(tarOf(entries)).catch((error: unknown) => error);
    expect(failure instanceof LayerSourceError || failure instanceof FileSystemError).toBe(true);
    expect(String(failure)).toContain(`${path}: `);
  });

  test('between two pieces of it', async () => {
    const size = 5 * 1024 * 1024;
    const { source, path } = changingFile(size);
    const tar = tarOf(await listFiles({ from: [source] }));
    let read = 0;
    const failure = await (async () => {
      for await (const chunk of tar) {
        if (read <= 1024 * 1024 && read + chunk.length > 1024 * 1024) change(path, size);
        read += chunk.length;
      }
    })().catch((error: unknown) => error);
    expect(read).toBeGreaterThan(1024 * 1024);
    expect(failure instanceof LayerSourceError || failure instanceof FileSystemError).toBe(true);
    expect(String(failure)).toContain(`${path}: `);
  });
});

test('ACCEPTANCE 27: the message says what changed', async () => {
  const { source, path } = changingFile(10);
  const entries = await listFiles({ from: [source] });
  appendFileSync(path, '+++');
  await expect(collect(tarOf(entries))).rejects.toThrow(
    `${path}: expected a file that stays as it is while it is read (10 bytes), found it changed (11 bytes read, 13 bytes now)`,
  );
});

test('ACCEPTANCE 27: a file that is longer than the file system says', async () => {
  const refused = collect(tarOf(await listFiles({ from: ['/proc/version'] })));
  await expect(refused).rejects.toThrow(LayerSourceError);
  await expect(refused).rejects.toThrow('/proc/version: expected a file that stays as it is');
});

test.each(sizes)('a file of %i bytes is read as it is, again and again', async (size) => {
  const { source } = changingFile(size);
  const [entry] = await listFiles({ from: [source] });
  for (const _ of [1, 2]) {
    const content = entry?.content?.() ?? new Uint8Array();
    const bytes = content instanceof Uint8Array ? content : await collect(content);
    expect(Buffer.from(bytes).equals(Buffer.alloc(size, 'x'))).toBe(true);
  }
});

test('an empty file is an entry like others', async () => {
  const [entry] = await listFiles({ from: [files({ empty: '' })] });
  expect(entry).toMatchObject({ name: 'empty', type: 'file', size: 0 });
  expect(await contentsOf(entry ? [entry] : [])).toEqual({ empty: '' });
});
