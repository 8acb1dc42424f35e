import { file, type Tree } from './tree.js';

const STATIONS = 30;
const DAYS = 100;
const HOURS = 24;

/** 3,000 small files in 30 directories: the hourly temperatures of imaginary weather stations. */
export function readings(): Tree {
  const tree: Tree = {};
  for (let station = 0; station < STATIONS; station++) {
    const random = randomNumbers(station);
    for (let day = 0; day < DAYS; day++) {
      tree[`share/readings/station-${pad(station, 2)}/day-${pad(day, 3)}.csv`] = file(temperatures(random));
    }
  }
  return tree;
}

function temperatures(random: () => number): string {
  const rows = Array.from({ length: HOURS }, (_, hour) => `${pad(hour, 2)}:00,${(random() * 40 - 10).toFixed(1)}\n`);
  return `time,celsius\n${rows.join('')}`;
}

/** Numbers from 0 up to 1, the same on every run (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function pad(number: number, width: number): string {
  return String(number).padStart(width, '0');
}
