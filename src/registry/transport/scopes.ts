/**
 * What a token allows, by what it allows it on: `repository:os:pull,push` is `pull` and `push` on `repository:os`.
 *
 * @see https://distribution.github.io/distribution/spec/auth/scope/
 */
type Actions = ReadonlyMap<string, ReadonlySet<string>>;

function actionsOf(scopes: readonly string[]): Actions {
  const actions = new Map<string, Set<string>>();
  for (const scope of scopes) {
    const colon = scope.lastIndexOf(':');
    const resource = scope.slice(0, Math.max(colon, 0));
    const known = actions.get(resource) ?? new Set();
    for (const action of scope.slice(colon + 1).split(',')) known.add(action);
    actions.set(resource, known);
  }
  return actions;
}

/** The scopes that allow what any of these do, one for each resource, with sorted actions. */
export function unionOfScopes(scopes: readonly string[]): readonly string[] {
  return [...actionsOf(scopes)].map(([resource, actions]) => {
    const sorted = [...actions].sort().join(',');
    return resource === '' ? sorted : `${resource}:${sorted}`;
  });
}

/** Whether what has these scopes allows all that is wanted. */
export function coversScopes(granted: readonly string[], wanted: readonly string[]): boolean {
  const known = actionsOf(granted);
  return [...actionsOf(wanted)].every(([resource, actions]) =>
    [...actions].every((action) => known.get(resource)?.has(action)),
  );
}

/** The repository that the first scope of one is about, or none. */
export function repositoryOf(scopes: readonly string[]): string {
  const name = scopes.find((scope) => scope.startsWith('repository:')) ?? '';
  return name.slice(name.indexOf(':') + 1, Math.max(name.lastIndexOf(':'), 0));
}
