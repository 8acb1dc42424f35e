import type { Exchange } from './exchange';
import type { Route } from './routes';
import type { Sessions } from './sessions';
import type { RegistryStorage } from './storage';

/** What a registry answers with. */
export interface Registered {
  readonly storage: RegistryStorage;
  readonly sessions: Sessions;
  /** Whether a manifest may come before what it refers to. */
  readonly sparse: boolean;
  /** How many entries a list has at most before it goes on elsewhere. */
  readonly pageSize: number;
}

/** Answers a request, or throws a refusal. */
export type Handler<Endpoint extends Route['endpoint']> = (
  exchange: Exchange,
  route: Extract<Route, { readonly endpoint: Endpoint }>,
  registry: Registered,
) => Promise<void> | undefined;
