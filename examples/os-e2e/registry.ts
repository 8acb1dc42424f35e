/**
 * `host:port` of the test registry, where Nx says that it is: to each target that waits for one that is ready.
 *
 * @throws {Error} where nobody waited.
 */
export function registryHost(): string {
  const url = process.env.NX_READY_URL;
  if (url) return new URL(url).host;
  throw new Error('NX_READY_URL: expected the URL of the test registry, found none; run "npx nx run os-e2e:e2e"');
}
