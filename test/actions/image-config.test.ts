import { describe, expect, test } from '@jest/globals';
import { type Execution, InvalidOptionError } from '../../src';
import { executionOf } from '../../src/actions/image-config';
import type { ImageOptions } from '../../src/actions/image-options';

describe('entrypoint and cmd', () => {
  const base: Execution = { Entrypoint: ['/base'], Cmd: ['--base'] };

  test.each<[ImageOptions, Execution, Execution]>([
    [{}, base, base],
    [{ entrypoint: ['/own'] }, base, { Entrypoint: ['/own'] }],
    [{ cmd: ['--own'] }, base, { Entrypoint: ['/base'], Cmd: ['--own'] }],
    [{ entrypoint: ['/own'], cmd: ['--own'] }, base, { Entrypoint: ['/own'], Cmd: ['--own'] }],
    [{ entrypoint: [] }, base, { Entrypoint: [] }],
    [{ cmd: [] }, base, { Entrypoint: ['/base'], Cmd: [] }],
    [{ entrypoint: ['/own'] }, {}, { Entrypoint: ['/own'] }],
    [{ cmd: ['sh', '-c', 'echo "$HOME"; rm -rf /'] }, {}, { Cmd: ['sh', '-c', 'echo "$HOME"; rm -rf /'] }],
    [{}, { Entrypoint: null, Cmd: null }, { Entrypoint: null }],
  ])('%j on %j', (options, from, expected) => {
    expect(executionOf(options, from)).toEqual(expected);
  });
});

describe('env', () => {
  const base = ['PATH=/usr/bin:/bin', 'HOME=/root', 'EMPTY=', 'EQUATION=a=b'];

  test.each<[string, Record<string, string>, string[]]>([
    ['new ones come last', { NEW: '1' }, [...base, 'NEW=1']],
    ['known ones keep their place', { HOME: '/home' }, ['PATH=/usr/bin:/bin', 'HOME=/home', 'EMPTY=', 'EQUATION=a=b']],
    ['$KEY of the base', { P: '/opt:$PATH' }, [...base, 'P=/opt:/usr/bin:/bin']],
    ['${KEY} of the base', { P: '${HOME}dir' }, [...base, 'P=/rootdir']],
    ['a variable in itself', { HOME: '$HOME/me' }, [...base.with(1, 'HOME=/root/me')]],
    ['earlier entries', { A: '1', B: '${A}2', C: '$B$A' }, [...base, 'A=1', 'B=12', 'C=121']],
    ['no later entries', { B: '[$A]', A: '1' }, [...base, 'B=[]', 'A=1']],
    ['what is not set is empty', { A: '<$NOPE${NOPE}>' }, [...base, 'A=<>']],
    ['what is set to nothing is empty', { A: '<$EMPTY>' }, [...base, 'A=<>']],
    ['a value with =', { A: '$EQUATION' }, [...base, 'A=a=b']],
    ['\\$ is a plain $', { A: '\\$HOME \\${HOME} \\\\n' }, [...base, 'A=$HOME ${HOME} \\\\n']],
    ['what was expanded is not expanded again', { A: '\\$HOME', B: '$A' }, [...base, 'A=$HOME', 'B=$HOME']],
    ['other dollars stay', { A: '$ $1 $$ ${} ${A:-b} 5$' }, [...base, 'A=$ $1 $$ ${} ${A:-b} 5$']],
    ['the longest name counts', { A: '$HOMEDIR' }, [...base, 'A=']],
    ['names are case-sensitive', { home: 'x', A: '$home$HOME' }, [...base, 'home=x', 'A=x/root']],
    ['names of objects are not special', { A: '$constructor$toString$__proto__' }, [...base, 'A=']],
    ['shell syntax is inert', { A: '`id` $(id) ; & | > x' }, [...base, 'A=`id` $(id) ; & | > x']],
    ['new lines stay', { A: 'a\nb' }, [...base, 'A=a\nb']],
  ])('%s', (_, env, expected) => {
    expect(executionOf({ env }, { Env: base }).Env).toEqual(expected);
  });

  test.each([undefined, null])('a base with Env %p has none', (Env) => {
    expect(executionOf({ env: { A: '$PATH' } }, { Env }).Env).toEqual(['A=']);
  });

  test.each(['', 'A=B', 'A\0'])('a variable named %j is refused', (name) => {
    const refused = () => executionOf({ env: { [name]: 'x' } }, {});
    expect(refused).toThrow(InvalidOptionError);
    expect(refused).toThrow(`option "env": expected a variable's name without "=", found ${JSON.stringify(name)}`);
  });
});

describe('what adds to the base', () => {
  test.each<[ImageOptions, Execution, Execution]>([
    [
      { exposedPorts: [8080, '53/udp', '80/tcp', '9000/sctp'] },
      { ExposedPorts: { '80/tcp': {}, '22/tcp': {} } },
      { ExposedPorts: { '80/tcp': {}, '22/tcp': {}, '8080/tcp': {}, '53/udp': {}, '9000/sctp': {} } },
    ],
    [
      { exposedPorts: ['7000-7002', '10-10/udp'] },
      {},
      { ExposedPorts: { '7000/tcp': {}, '7001/tcp': {}, '7002/tcp': {}, '10/udp': {} } },
    ],
    [{ exposedPorts: [] }, { ExposedPorts: null }, { ExposedPorts: {} }],
    [{ volumes: ['/data', '/cache'] }, { Volumes: { '/data': {} } }, { Volumes: { '/data': {}, '/cache': {} } }],
    [{ labels: { a: '1', b: '2' } }, { Labels: { b: 'base', c: '3' } }, { Labels: { a: '1', b: '2', c: '3' } }],
    [{ labels: { a: '1' } }, { Labels: null }, { Labels: { a: '1' } }],
    [
      {},
      { ExposedPorts: { '1/tcp': {} }, Volumes: { '/v': {} }, Labels: { l: '' }, Env: ['A=1'] },
      { ExposedPorts: { '1/tcp': {} }, Volumes: { '/v': {} }, Labels: { l: '' }, Env: ['A=1'] },
    ],
  ])('%j on %j', (options, base, expected) => {
    expect(executionOf(options, base)).toEqual(expected);
  });

  test('ACCEPTANCE 11: a label named __proto__ is a label', () => {
    const labels = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
    const execution = executionOf({ labels, env: labels }, { Labels: { a: '1' } });
    expect(JSON.stringify(execution)).toBe(
      '{"Labels":{"a":"1","__proto__":"x","constructor":"y"},"Env":["__proto__=x","constructor=y"]}',
    );
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });

  test.each(['0', '65536', '99999/udp', '80-79', '0-10', '1-65536'])('port %j is refused', (port) => {
    const refused = () => executionOf({ exposedPorts: [port] }, {});
    expect(refused).toThrow(InvalidOptionError);
    expect(refused).toThrow(`option "exposedPorts": expected ports from 1 to 65535, found ${JSON.stringify(port)}`);
  });
});

describe('what replaces the base', () => {
  const base: Execution = { User: 'root', WorkingDir: '/', StopSignal: 'SIGTERM', Healthcheck: { Test: ['NONE'] } };

  test.each<[ImageOptions, Execution]>([
    [{}, base],
    [{ user: '1000:1000' }, { ...base, User: '1000:1000' }],
    [{ user: '' }, { ...base, User: '' }],
    [{ workingDir: '/app' }, { ...base, WorkingDir: '/app' }],
    [{ stopSignal: 'SIGINT' }, { ...base, StopSignal: 'SIGINT' }],
  ])('%j', (options, expected) => {
    expect(executionOf(options, base)).toEqual(expected);
  });

  test.each<[ImageOptions, string, string]>([
    [{ workingDir: 'app' }, 'workingDir', 'app'],
    [{ workingDir: '' }, 'workingDir', ''],
    [{ workingDir: '/a\0' }, 'workingDir', '/a\0'],
    [{ volumes: ['/ok', 'data'] }, 'volumes', 'data'],
  ])('%j is refused', (options, option, found) => {
    const refused = () => executionOf(options, {});
    expect(refused).toThrow(InvalidOptionError);
    expect(refused).toThrow(
      `option "${option}": expected an absolute path in the image, found ${JSON.stringify(found)}`,
    );
  });
});

test('the base is not changed', () => {
  const base: Execution = { Env: ['A=1'], Labels: { a: '1' }, ExposedPorts: {}, Volumes: {}, Cmd: ['x'] };
  const before = JSON.stringify(base);
  executionOf({ env: { A: '2' }, labels: { a: '2' }, exposedPorts: [1], volumes: ['/v'], entrypoint: ['e'] }, base);
  expect(JSON.stringify(base)).toBe(before);
});
