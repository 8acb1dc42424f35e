/**
 * `node stream-blob.js <registry> <bytes>` pushes a blob that is made as it goes, pulls it again with its digest checked, and
 * prints by how many bytes the memory of the process grew meanwhile at most.
 */
const { createDigester } = require('../../lib/src/digest.js');
const { verified } = require('../../lib/src/blob.js');
const { registryClient } = require('../../lib/src/registry/client.js');

const piece = Buffer.alloc(256 * 1024);

async function* generated({ start = 0, end }) {
  for (let at = start; at < end; at += piece.length) yield piece.subarray(0, Math.min(piece.length, end - at));
}

async function main(registry, size) {
  const digester = createDigester();
  for await (const chunk of generated({ end: size })) digester.update(chunk);
  const descriptor = { mediaType: 'application/octet-stream', digest: digester.digest(), size };
  const client = registryClient({ environment: {} });
  const repository = client.repository({ registry, repository: 'os' });
  const small = { ...descriptor, size: piece.length };
  await repository.hasBlob(small);

  global.gc();
  const before = process.memoryUsage().rss;
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss);
  }, 5);
  await repository.putBlob(descriptor, { size, open: ({ start, end = size } = {}) => generated({ start, end }) });
  for await (const _ of verified(repository.blobs.blob(descriptor).open(), descriptor));
  clearInterval(watch);
  await client.close();
  process.stdout.write(String(most - before));
}

main(process.argv[2], Number(process.argv[3]));
