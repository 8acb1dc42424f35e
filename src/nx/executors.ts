/** What the executors run. It is packed into one file, which is loaded in a fraction of the time of many. */
export { runArtifact } from './artifact';
export { runImage } from './image';
export { runIndex } from './image-index';
export { runOsImage } from './os-image';
export { runPush } from './push';
export { runRegistry } from './registry';
export { runReleasePublish } from './release-publish';
export { reported } from './reported';
