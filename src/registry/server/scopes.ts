import type { Route } from './routes';

/**
 * What a request needs to be allowed to do, each as `repository:<name>:<action>`.
 *
 * @see https://distribution.github.io/distribution/spec/auth/scope/
 */
export function scopesNeeded(route: Route, method: string, query: URLSearchParams): readonly string[] {
  if (route.endpoint === 'catalog') return ['registry:catalog:*'];
  if (!('repository' in route)) return [];
  const own = actionsOf(route.endpoint, method).map((action) => `repository:${route.repository}:${action}`);
  const from = route.endpoint === 'uploads' ? query.get('from') : null;
  return from === null ? own : [...own, `repository:${from}:pull`];
}

/** The scopes that a `scope` parameter asks for, with one action each. */
export function singleScopes(parameter: string): readonly string[] {
  return parameter
    .split(' ')
    .filter((scope) => scope !== '')
    .flatMap((scope) => {
      const { resource, actions } = splitScope(scope);
      return actions.map((action) => `${resource}:${action}`);
    });
}

/** The same scopes with all actions of a resource together: `repository:os:pull,push`. */
export function joinedScopes(scopes: readonly string[]): string {
  const actions = new Map<string, string[]>();
  for (const scope of scopes) {
    const { resource, actions: own } = splitScope(scope);
    actions.set(resource, [...(actions.get(resource) ?? []), ...own]);
  }
  return [...actions].map(([resource, own]) => `${resource}:${own.join(',')}`).join(' ');
}

export function isGranted(scope: string, granted: ReadonlySet<string>): boolean {
  return granted.has(scope) || granted.has(`${splitScope(scope).resource}:*`);
}

export const isPull = (scope: string): boolean => scope.startsWith('repository:') && scope.endsWith(':pull');

function actionsOf(endpoint: Route['endpoint'], method: string): readonly string[] {
  if (endpoint === 'uploads' || endpoint === 'upload' || method === 'PUT') return ['pull', 'push'];
  return method === 'DELETE' ? ['delete'] : ['pull'];
}

function splitScope(scope: string): { resource: string; actions: readonly string[] } {
  const colon = scope.lastIndexOf(':');
  return { resource: scope.slice(0, colon), actions: scope.slice(colon + 1).split(',') };
}
