/** Tests that need the registry of this project's target `registry`: `npx nx run os-e2e:e2e`. */
module.exports = {
  ...require('../../jest.config.js'),
  rootDir: '../..',
  roots: ['<rootDir>/examples/os-e2e'],
  testPathIgnorePatterns: ['/node_modules/'],
  // So that a test that is skipped is named.
  verbose: true,
};
