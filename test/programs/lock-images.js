/**
 * One of several processes that lock images at the same time. `node lock-images.js <directory> <reference>...` locks them
 * one after another, each as the image of a digest of its own.
 */
const { digestOf } = require('../../lib/src/digest.js');
const { updateLockFile } = require('../../lib/src/registry/lock-file.js');

async function main(directory, ...references) {
  for (const reference of references) {
    await updateLockFile(directory, (locked) => ({ ...locked, [reference]: digestOf(Buffer.from(reference)) }));
  }
}

main(...process.argv.slice(2));
