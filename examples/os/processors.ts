import { uint8, uint32 } from './little-endian.js';

export const architectures = ['amd64', 'arm64'] as const;
export type Architecture = (typeof architectures)[number];

interface Processor {
  /** `e_machine` of the ELF header. */
  readonly machine: number;
  /** The numbers of the Linux system calls. */
  readonly write: number;
  readonly exit: number;
  readonly systemCall: (number: number, first?: number, second?: number, third?: number) => Buffer;
}

export const processors: Readonly<Record<Architecture, Processor>> = {
  amd64: { machine: 62, write: 1, exit: 60, systemCall: systemCallX86 },
  arm64: { machine: 183, write: 64, exit: 93, systemCall: systemCallArm },
};

const EAX = 0;
const EDX = 2;
const ESI = 6;
const EDI = 7;

function systemCallX86(number: number, first = 0, second = 0, third = 0): Buffer {
  const syscall = Buffer.of(0x0f, 0x05);
  return Buffer.concat([loadX86(EAX, number), loadX86(EDI, first), loadX86(ESI, second), loadX86(EDX, third), syscall]);
}

/** `mov r32, imm32`: the opcode B8 plus the register, then the value. It clears the register's upper half. */
function loadX86(register: number, value: number): Buffer {
  return Buffer.concat([uint8(0xb8 + register), uint32(value)]);
}

function systemCallArm(number: number, first = 0, second = 0, third = 0): Buffer {
  const svc = uint32(0xd4000001);
  return Buffer.concat([loadArm(8, number), loadArm(0, first), loadArm(1, second), loadArm(2, third), svc]);
}

/** `movz x, #low` and `movk x, #high, lsl #16`: bits 0 to 4 are the register, bits 5 to 20 half of the value. */
function loadArm(register: number, value: number): Buffer {
  const low = value & 0xffff;
  const high = value >>> 16;
  return Buffer.concat([uint32(0xd2800000 + (low << 5) + register), uint32(0xf2a00000 + (high << 5) + register)]);
}
