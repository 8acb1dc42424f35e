import { ENTRY, executable } from './elf.js';
import { type Architecture, processors } from './processors.js';

const STANDARD_OUTPUT = 1;

/** A static Linux executable that prints which architecture it is for. */
export function hello(architecture: Architecture): Buffer {
  const processor = processors[architecture];
  const message = Buffer.from(`Hello from linux/${architecture}\n`);
  const assemble = (address: number) =>
    Buffer.concat([
      processor.systemCall(processor.write, STANDARD_OUTPUT, address, message.length),
      processor.systemCall(processor.exit),
    ]);
  // The message follows the code, whose length does not depend on the address it holds.
  const code = assemble(ENTRY + assemble(0).length);
  return executable(processor.machine, Buffer.concat([code, message]));
}
