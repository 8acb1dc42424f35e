/**
 * One of several processes that edit a layout at the same time. `node edit-layout.js <edit> <layout> ...`:
 *
 * - `insert <tag>...` makes the layout if it is missing, and inserts a manifest of its own under each tag.
 * - `hold` takes the lock, says so on standard output, and keeps it until standard input ends.
 */
const { randomUUID } = require('node:crypto');
const { once } = require('node:events');
const { annotate, emptyImage, sealImage } = require('../../lib/src/image.js');
const { ensureLayout } = require('../../lib/src/layout/directory.js');
const { withLayoutLock } = require('../../lib/src/layout/lock.js');

const edits = {
  async insert(path, ...tags) {
    const layout = await ensureLayout(path);
    for (const tag of tags) {
      const draft = emptyImage({ os: 'linux', architecture: 'amd64' });
      await layout.insert(sealImage(annotate(draft, { id: randomUUID() })), { tag });
    }
  },
  hold: (path) =>
    withLayoutLock(path, async () => {
      process.stdout.write('held');
      await once(process.stdin.resume(), 'end');
    }),
};

const [edit, ...rest] = process.argv.slice(2);
edits[edit](...rest);
