/**
 * `node limited-upload.js <storage>` uploads more than its largest file may hold, then completes the upload with what is
 * there. Prints as JSON how the first went, and how large the upload, its file and the blob are.
 */
const { readdirSync, statSync } = require('node:fs');
const { join } = require('node:path');
const { digestOf } = require('../../lib/src/digest.js');
const { directoryStorage } = require('../../lib/src/registry/server/directory-storage.js');

const chunk = Buffer.alloc(300_000, 'x');

async function* chunks() {
  for (let count = 0; count < 10; count++) yield chunk;
}

async function main(path) {
  const storage = await directoryStorage(path);
  const upload = await storage.startUpload('a');
  const { name, code } = await upload.append(chunks()).catch((error) => error);
  const { size } = upload;
  const stage = join(
    path,
    readdirSync(path).find((entry) => entry.startsWith('.nx-oci-')),
  );
  const [file] = readdirSync(stage);
  const onDisk = statSync(join(stage, file)).size;
  const digest = digestOf(Buffer.alloc(size, 'x'));
  await upload.complete(digest);
  const blob = (await storage.blob('a', digest))?.size;
  process.stdout.write(JSON.stringify({ name, code, size, onDisk, blob }));
  await storage.close();
}

// The system asks with a signal whether to go on, and takes silence for no.
process.on('SIGXFSZ', () => undefined);
main(process.argv[2]);
