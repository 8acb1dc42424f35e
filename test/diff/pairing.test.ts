import { describe, expect, test } from '@jest/globals';
import { counterparts, misplaced } from '../../src/diff/pairing';
import { seededRandom } from '../soak/random';

describe('counterparts', () => {
  interface Item {
    readonly id: string;
    readonly color?: string;
    readonly shape?: string;
  }
  const found = (from: Item[], to: Item[]) =>
    [...counterparts(from, to, [({ color }) => color, ({ shape }) => shape])].map(
      ([one, other]) => `${one.id}${other.id}`,
    );

  test.each<[string, Item[], Item[], string[]]>([
    [
      'the first with the first',
      [
        { id: 'a', color: 'r' },
        { id: 'b', color: 'r' },
      ],
      [
        { id: 'x', color: 'r' },
        { id: 'y', color: 'r' },
      ],
      ['ax', 'by'],
    ],
    [
      'each once',
      [
        { id: 'a', color: 'r' },
        { id: 'b', color: 'r' },
      ],
      [{ id: 'x', color: 'r' }],
      ['ax'],
    ],
    ['what has no key with nothing', [{ id: 'a' }], [{ id: 'x' }], []],
    [
      'by the first key before the second',
      [
        { id: 'a', color: 'r', shape: 's' },
        { id: 'b', shape: 's' },
      ],
      [
        { id: 'x', shape: 's' },
        { id: 'y', color: 'r' },
      ],
      ['ay', 'bx'],
    ],
  ])('%s', (_, from, to, pairs) => {
    expect(found(from, to)).toEqual(pairs);
  });
});

describe('misplaced', () => {
  test.each<[number[], number[]]>([
    [[], []],
    [[0, 1, 2], []],
    [[1, 2, 0], [2]],
    [[2, 0, 1], [0]],
    [[10, 20, 15, 30], [1]],
  ])('of %j are %j', (places, moved) => {
    expect([...misplaced(places)]).toEqual(moved);
  });

  test.each(Array.from({ length: 20 }, (_, seed) => seed))('leaves the longest run there is (seed %i)', (seed) => {
    const random = seededRandom(seed);
    const places = Array.from({ length: 10 }, (_, at) => at).sort(() => random.next() - 0.5);
    let longest = 0;
    for (let subset = 0; subset < 2 ** places.length; subset++) {
      const run = places.filter((_, index) => (subset >> index) & 1);
      if (run.every((place, index) => index === 0 || (run[index - 1] as number) < place))
        longest = Math.max(longest, run.length);
    }
    const moved = misplaced(places);
    const rest = places.filter((_, index) => !moved.has(index));
    expect(rest).toEqual([...rest].sort((a, b) => a - b));
    expect(rest).toHaveLength(longest);
  });
});
