/** Jest on Node 20 cannot `require` an ES module, so those that we load are transformed as our own TypeScript is. */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testPathIgnorePatterns: ['/node_modules/', '/test/peers/', '/test/soak/'],
  transform: { '^.+\\.[tj]s$': ['@swc/jest', { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } }] },
  transformIgnorePatterns: ['/node_modules/(?!@noble/|@cloudpss/)'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  testTimeout: 30_000,
  // Jest would leave one core to its watch mode: of two, half.
  maxWorkers: '100%',
};
