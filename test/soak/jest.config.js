/** The long test of client and registry together: `npm run soak`. SOAK_OPERATIONS and SOAK_SEED change it. */
module.exports = {
  ...require('../../jest.config.js'),
  rootDir: '../..',
  roots: ['<rootDir>/test/soak'],
  testPathIgnorePatterns: ['/node_modules/'],
  testTimeout: 1_800_000,
};
