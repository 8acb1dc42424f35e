import { writeRootfs } from './rootfs.js';

const [directory] = process.argv.slice(2);
if (directory === undefined) throw new Error('usage: build.js <directory>');
writeRootfs(directory);
