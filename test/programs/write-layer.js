/**
 * Writes a layer of a directory to a layout on two threads, and never ends them:
 * `node write-layer.js <end> <compression> <source> <output>`, where the end is
 *
 * - `whole`: all of it is written.
 * - `stopped`: what takes it stops after the first bytes.
 * - `failed`: what takes it fails after the first bytes.
 * - any file of the source, which changes before it is read.
 *
 * Prints as JSON the size of the layer or the failure, how many threads were started, and how many of them were still
 * there when the process ended by itself. One that does not is ended with code 9.
 */
const { appendFileSync } = require('node:fs');
const { join } = require('node:path');
const { pieceThreads } = require('../../lib/src/compression.js');
const { listFiles } = require('../../lib/src/layer/files.js');
const { layerEncoder } = require('../../lib/src/layer/layer.js');
const { writeEntries } = require('../../lib/src/layer/write-entries.js');
const { layoutWriter } = require('../../lib/src/layout/write.js');

const [end, compression, source, output] = process.argv.slice(2);

const report = { threads: { started: 0, left: 0 } };
process.on('worker', (thread) => {
  report.threads.started++;
  report.threads.left++;
  thread.on('exit', () => report.threads.left--);
});
process.on('exit', () => process.stdout.write(JSON.stringify(report)));
setTimeout(() => process.exit(9), 20_000).unref();

/** Takes the first bytes of a layer, and no more. */
const impatient = {
  write: async (content) => {
    for await (const { length } of content) {
      if (end === 'failed') throw new Error('the disk burns');
      return { digest: 'sha256:', size: length };
    }
  },
};

async function main() {
  const entries = await listFiles({ from: [source] });
  const isSink = end === 'stopped' || end === 'failed';
  if (!isSink && end !== 'whole') appendFileSync(join(source, end), '+');
  const writer = await layoutWriter(output);
  const threads = pieceThreads(2);
  try {
    const sink = isSink ? impatient : writer;
    const { descriptor } = await writeEntries(entries, sink, layerEncoder(compression, { level: 1 }), { threads });
    report.size = descriptor.size;
  } catch ({ name, message }) {
    report.failure = { name, message };
  } finally {
    await writer.close();
  }
}

main();
