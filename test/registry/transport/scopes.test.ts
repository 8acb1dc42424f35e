import { describe, expect, test } from '@jest/globals';
import { coversScopes, repositoryOf, unionOfScopes } from '../../../src/registry/transport/scopes';

describe('M12: scopes', () => {
  test.each([
    [[], []],
    [['repository:os:pull'], ['repository:os:pull']],
    [['repository:os:push,pull', 'repository:os:pull'], ['repository:os:pull,push']],
    [
      ['repository:a:pull', 'repository:b:push', 'repository:a:push'],
      ['repository:a:pull,push', 'repository:b:push'],
    ],
    [
      ['repository:host:5000/a:pull', 'registry:catalog:*'],
      ['repository:host:5000/a:pull', 'registry:catalog:*'],
    ],
    [['odd'], ['odd']],
  ])('the union of %j is %j', (scopes, union) => expect(unionOfScopes(scopes)).toEqual(union));

  test.each([
    [['repository:os:pull,push'], ['repository:os:pull'], true],
    [['repository:os:pull'], ['repository:os:pull,push'], false],
    [['repository:os:pull'], ['repository:os2:pull'], false],
    [['repository:os:pull', 'repository:app:pull'], ['repository:app:pull', 'repository:os:pull'], true],
    [['repository:os:pull'], [], true],
    [[], ['repository:os:pull'], false],
  ])('%j covers %j: %s', (granted, wanted, expected) => expect(coversScopes(granted, wanted)).toBe(expected));

  test.each([
    [['repository:os/x:pull', 'repository:other:pull'], 'os/x'],
    [['registry:catalog:*', 'repository:os:pull'], 'os'],
    [['registry:catalog:*'], ''],
    [[], ''],
  ])('the repository of %j is %j', (scopes, expected) => expect(repositoryOf(scopes)).toBe(expected));
});
