/**
 * Hashes files side by side: `node hash-files.js <end> <file>...`. It then lets the process end (`quietly`), or ends it at
 * the first bytes (`early`). Prints as JSON the digests, how many threads were started, how many of them were still there
 * when the process ended, and by how many bytes its memory grew.
 */
const { statSync } = require('node:fs');
const { hashFile } = require('../../lib/src/hashing.js');

const [end, ...files] = process.argv.slice(2);
const threads = { started: 0, left: 0 };
process.on('worker', (thread) => {
  threads.started++;
  threads.left++;
  thread.on('exit', () => threads.left--);
});

async function main() {
  const before = process.memoryUsage.rss();
  let most = before;
  const onRead = () => {
    if (end === 'early') process.exit(7);
    most = Math.max(most, process.memoryUsage.rss());
  };
  const hashed = await Promise.all(files.map((file) => hashFile(file, statSync(file).size, 'sha256', onRead)));
  process.on('exit', () => {
    process.stdout.write(
      JSON.stringify({ digests: hashed.map(({ digest }) => digest), threads, grown: most - before }),
    );
  });
}

main();
