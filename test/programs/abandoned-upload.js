/** `node abandoned-upload.js <storage>` puts a manifest, begins an upload, and dies. */
const { bytesBlob } = require('../../lib/src/blob.js');
const { digestOf } = require('../../lib/src/digest.js');
const { directoryStorage } = require('../../lib/src/registry/server/directory-storage.js');

async function main(path) {
  const storage = await directoryStorage(path);
  const bytes = Buffer.from('{}');
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  await storage.putManifest('a', { mediaType, digest: digestOf(bytes), bytes }, ['v1']);
  const upload = await storage.startUpload('a');
  await upload.append(bytesBlob(Buffer.from('never complete')).open());
  process.kill(process.pid, 'SIGKILL');
}

main(process.argv[2]);
