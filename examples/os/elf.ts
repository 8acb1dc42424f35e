import { uint16, uint32, uint64 } from './little-endian.js';

const FILE_HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const HEADERS_SIZE = FILE_HEADER_SIZE + PROGRAM_HEADER_SIZE;

/** Where the file's first byte is mapped. */
const BASE = 0x400000;
/** The largest page of any AArch64 kernel, and a multiple of the pages of x86-64. */
const PAGE_SIZE = 0x10000;

/** The address of the first instruction, right after the headers. */
export const ENTRY = BASE + HEADERS_SIZE;

/** An ELF64 executable of one segment, readable and executable: the headers, then `code`. */
export function executable(machine: number, code: Buffer): Buffer {
  return Buffer.concat([fileHeader(machine), programHeader(HEADERS_SIZE + code.length), code]);
}

function fileHeader(machine: number): Buffer {
  return Buffer.concat([
    Buffer.from('\x7fELF', 'latin1'),
    Buffer.of(2, 1, 1, 0), // ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_NONE
    Buffer.alloc(8), // the rest of e_ident
    uint16(2), // e_type: ET_EXEC
    uint16(machine), // e_machine
    uint32(1), // e_version: EV_CURRENT
    uint64(ENTRY), // e_entry
    uint64(FILE_HEADER_SIZE), // e_phoff
    uint64(0), // e_shoff: no sections
    uint32(0), // e_flags
    uint16(FILE_HEADER_SIZE), // e_ehsize
    uint16(PROGRAM_HEADER_SIZE), // e_phentsize
    uint16(1), // e_phnum
    uint16(0), // e_shentsize
    uint16(0), // e_shnum
    uint16(0), // e_shstrndx
  ]);
}

function programHeader(size: number): Buffer {
  return Buffer.concat([
    uint32(1), // p_type: PT_LOAD
    uint32(4 | 1), // p_flags: PF_R | PF_X
    uint64(0), // p_offset
    uint64(BASE), // p_vaddr
    uint64(BASE), // p_paddr
    uint64(size), // p_filesz
    uint64(size), // p_memsz
    uint64(PAGE_SIZE), // p_align
  ]);
}
