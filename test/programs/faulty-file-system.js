/**
 * A file system that fails as it is told to. A fault is `{ step, at, end }`: when `step` is reached for the `at`-th time
 * (`change`: any step that others can see), its end is
 *
 * - `SIGKILL`: the process dies, a write half done.
 * - `stop`: the job ends there and cleans nothing up, as if its process had died. One process can stop many jobs.
 * - a code such as `ENOSPC`: the step does nothing and fails with it.
 *
 * As a module it puts jobs under faults. `node --require` this file puts a program under the fault in FAULT, as JSON.
 */
const { AsyncLocalStorage } = require('node:async_hooks');
const { writeSync } = require('node:fs');
const fs = require('node:fs/promises');

const changes = ['mkdir', 'mkdtemp', 'create', 'write', 'rename', 'link', 'copyFile', 'rm', 'rmdir'];
const jobs = new AsyncLocalStorage();

/** Runs a job under a fault; resolves to its result, or to `stopped`. */
exports.under = (fault, run) =>
  new Promise((resolve, reject) => {
    const stop = () => resolve('stopped');
    jobs.run({ ...fault, calls: 0, stop }, () => run().then(resolve, reject));
  });

if (process.env.FAULT) jobs.enterWith({ ...JSON.parse(process.env.FAULT), calls: 0 });

async function before(step, path, doHalf) {
  const job = jobs.getStore();
  if (job === undefined) return;
  const isMeant = step === job.step || (job.step === 'change' && changes.includes(step));
  if (isMeant && ++job.calls === job.at) {
    const { end: code } = job;
    if (code !== 'SIGKILL' && code !== 'stop') {
      throw Object.assign(new Error(`${code}: injected, ${step} '${path}'`), { code, syscall: step, path });
    }
    doHalf?.();
    if (code === 'SIGKILL') process.kill(process.pid, code);
    job.stopped = true;
    job.stop();
  }
  // What else the job has under way goes no further either.
  if (job.stopped) await new Promise(() => undefined);
}

for (const step of changes.filter((name) => name in fs)) {
  const real = fs[step];
  fs[step] = async (path, ...rest) => {
    await before(step, path);
    return real(path, ...rest);
  };
}

const { open } = fs;
fs.open = async (path, flags, ...rest) => {
  await before(String(flags).startsWith('wx') ? 'create' : 'open', path);
  const file = await open(path, flags, ...rest);
  const { appendFile, writev, sync } = file;
  file.writev = async (chunks) => {
    const bytes = Buffer.concat(chunks);
    await before('write', path, () => writeSync(file.fd, bytes, 0, bytes.length >> 1));
    return writev.call(file, chunks);
  };
  file.appendFile = async (bytes) => {
    await before('write', path, () => writeSync(file.fd, bytes, 0, bytes.length >> 1));
    return appendFile.call(file, bytes);
  };
  file.sync = async () => {
    await before('sync', path);
    return sync.call(file);
  };
  return file;
};
