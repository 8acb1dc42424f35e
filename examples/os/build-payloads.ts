import { writePayloads } from './payloads.js';

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: build-payloads.js <directory>');
writePayloads(directory);
