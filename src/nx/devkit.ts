/** Nx's own library, which takes longer to load than most images take to build: only what needs it asks for it. */
export const devkit = () => require('@nx/devkit') as typeof import('@nx/devkit');
