import { file, type Tree } from './tree.js';

/** A tar header holds an ASCII name of 100 bytes and a prefix of 155 bytes: each of these needs more care. */
const NAMES = [
  'a name with spaces.txt',
  'Ελληνικά/καλημέρα.txt',
  '日本語/こんにちは.txt',
  'emoji/🌍🚀.txt',
  `${'path-of-over-100-bytes/'.repeat(5)}file.txt`,
  `${'path-of-over-155-bytes/'.repeat(8)}file.txt`,
  `${'path-of-over-255-bytes/'.repeat(12)}file.txt`,
  `${'name-of-200-bytes'.padEnd(196, '-')}.txt`,
];

export function unusualNames(): Tree {
  return Object.fromEntries(NAMES.map((name) => [`share/names/${name}`, file(`${name}\n`)]));
}
