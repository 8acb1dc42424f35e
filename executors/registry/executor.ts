/** See docs/registry.md. */
export { runRegistry as default } from '../../src/nx/executors';
