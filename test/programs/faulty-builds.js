/**
 * Builds one image again and again: for each fault at its first step, at its second ... until a build meets none. Prints
 * what became of each build as a line of JSON, then dies.
 */
const { cpSync, writeSync } = require('node:fs');
const { join } = require('node:path');
const { under } = require('./faulty-file-system.js');
const { buildImage } = require('../../lib/src/actions/build-image.js');

const { options, root, over, into, faults } = JSON.parse(process.argv[2]);

/** Of any one build, and more. */
const mostSteps = 100;

async function build(fault) {
  const parent = join(into, `${fault.step}-${fault.at}`);
  const output = join(parent, 'output');
  if (over) cpSync(over, output, { recursive: true });
  const outcome = { parent, output, step: fault.step };
  try {
    const result = await under(fault, () => buildImage({ options, root, output }));
    return { ...outcome, result: result === 'stopped' ? 'stopped' : 'built' };
  } catch ({ name, code, message }) {
    return { ...outcome, result: 'failed', name, code, message };
  }
}

async function main() {
  for (const fault of faults) {
    for (let at = 1, result = ''; result !== 'built'; at++) {
      const outcome = await build({ ...fault, at });
      writeSync(1, `${JSON.stringify(outcome)}\n`);
      ({ result } = outcome);
      if (at > mostSteps) throw new Error(`no build without a fault in ${at} builds`);
    }
  }
  process.kill(process.pid, 'SIGKILL');
}

main();
