/**
 * Edits copies of a layout again and again: for each fault at its first step, at its second ... until an edit meets none.
 * Prints what became of each edit as a line of JSON, then dies.
 */
const { cpSync, writeSync } = require('node:fs');
const { join } = require('node:path');
const { under } = require('./faulty-file-system.js');
const { addToIndex } = require('../../lib/src/image-index.js');
const { openLayout } = require('../../lib/src/layout/directory.js');
const { readLayout } = require('../../lib/src/layout/read.js');

const { edit, layout, source, into, faults } = JSON.parse(process.argv[2]);

const edits = {
  insert: async (directory) => directory.insert(await readLayout(source), { tag: 'new' }),
  tag: (directory) => directory.tag('v1', 'new'),
  edit: (directory) => directory.edit('list', async (index) => addToIndex(index, [{ ref: await readLayout(source) }])),
  collect: (directory) => directory.collect(),
};

/** Of any one edit, and more. */
const mostSteps = 100;

async function editUnder(fault) {
  const output = join(into, `${fault.step}-${fault.at}`);
  cpSync(layout, output, { recursive: true });
  const outcome = { output, step: fault.step };
  try {
    const result = await under(fault, async () => edits[edit](await openLayout(output)));
    return { ...outcome, result: result === 'stopped' ? 'stopped' : 'edited' };
  } catch ({ name, code, message }) {
    return { ...outcome, result: 'failed', name, code, message };
  }
}

async function main() {
  for (const fault of faults) {
    for (let at = 1, result = ''; result !== 'edited'; at++) {
      const outcome = await editUnder({ ...fault, at });
      writeSync(1, `${JSON.stringify(outcome)}\n`);
      ({ result } = outcome);
      if (at > mostSteps) throw new Error(`no edit without a fault in ${at} edits`);
    }
  }
  process.kill(process.pid, 'SIGKILL');
}

main();
