/**
 * Changes copies of a registry's storage again and again: for each fault at its first step, at its second ... until a
 * change meets none. Prints what became of each as a line of JSON, then dies. After a failure the same storage tries again;
 * a copy beside it, `<storage>-failed`, shows what the failure left.
 */
const { cpSync, writeSync } = require('node:fs');
const { join } = require('node:path');
const { under } = require('./faulty-file-system.js');
const { bytesBlob, fileBlob } = require('../../lib/src/blob.js');
const { digestOf } = require('../../lib/src/digest.js');
const { directoryStorage } = require('../../lib/src/registry/server/directory-storage.js');

const { change, storage: original, into, faults, file, manifest, old } = JSON.parse(process.argv[2]);

async function upload(storage, repository) {
  const content = Buffer.from('new blob');
  const taken = await storage.startUpload(repository);
  await taken.append(bytesBlob(content).open());
  await taken.complete(digestOf(content));
}

const put = (storage, repository, tag) =>
  storage.putManifest(repository, { ...manifest, bytes: Buffer.from(manifest.bytes) }, [tag]);

/** Each ends with what was acknowledged. */
const changes = {
  push: async (storage) => {
    await upload(storage, 'os/base');
    await put(storage, 'os/base', 'v2');
  },
  'push to a new repository': async (storage) => {
    await upload(storage, 'new/one');
    await put(storage, 'new/one', 'v2');
  },
  'move a tag': (storage) => put(storage, 'os/base', 'v1'),
  mount: (storage) => storage.mount('other', old.blob, 'os/base'),
  'add a blob': (storage) => storage.addBlob('os/base', file.digest, fileBlob(file.path, file.size)),
  untag: (storage) => storage.untag('os/base', 'v1'),
  'delete a manifest': (storage) => storage.deleteManifest('os/base', old.manifest),
  'delete a blob': (storage) => storage.deleteBlob('os/base', old.blob),
};

/** Of any one change, and more. */
const mostSteps = 100;

async function changeUnder(fault) {
  const path = join(into, `${fault.step}-${fault.at}`);
  cpSync(original, path, { recursive: true });
  const outcome = { path, step: fault.step, acknowledged: false };
  let storage;
  try {
    const result = await under(fault, async () => {
      storage = await directoryStorage(path);
      await changes[change](storage);
      outcome.acknowledged = true;
      await storage.close();
    });
    return { ...outcome, result: result === 'stopped' ? 'stopped' : 'changed' };
  } catch ({ name, code, message }) {
    cpSync(path, `${path}-failed`, { recursive: true });
    if (!outcome.acknowledged) {
      storage ??= await directoryStorage(path);
      await changes[change](storage);
      await storage.close();
    }
    return { ...outcome, result: 'failed', name, code, message };
  }
}

async function main() {
  for (const fault of faults) {
    for (let at = 1, result = ''; result !== 'changed'; at++) {
      const outcome = await changeUnder({ ...fault, at });
      writeSync(1, `${JSON.stringify(outcome)}\n`);
      ({ result } = outcome);
      if (at > mostSteps) throw new Error(`no change without a fault in ${at} changes`);
    }
  }
  process.kill(process.pid, 'SIGKILL');
}

main();
