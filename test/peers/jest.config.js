/** Tests against other programs (skopeo, umoci, buildah, oras, crane, docker-registry, runc, qemu), which a bare machine does not have. CI runs them. */
module.exports = {
  ...require('../../jest.config.js'),
  rootDir: '../..',
  roots: ['<rootDir>/test/peers'],
  testPathIgnorePatterns: ['/node_modules/'],
  testTimeout: 600_000,
};
