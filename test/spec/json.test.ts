import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { encodeJson, InvalidDocumentError, LimitError, maxDocumentSize } from '../../src';
import { parseDocument, parseJson } from '../../src/spec/json';
import { failureOf } from '../fixtures';

const parse = (text: string) => parseJson(Buffer.from(text), 'x.json');
const mebibyte = 1024 * 1024;

describe('the text', () => {
  test.each<[string, Uint8Array | string, string]>([
    ['nothing', '', 'expected JSON'],
    ['blanks', ' \n', 'expected JSON'],
    ['an object that is cut', '{"a":1', 'expected JSON'],
    ['a string that is cut', '{"a":"b', 'expected JSON'],
    ['an escape that is cut', '{"a\\', 'expected JSON'],
    ['a key that is cut behind its escape', '["\\u00":', 'expected JSON'],
    ['an array that is cut', '[[[', 'expected JSON'],
    ['brackets that do not match', '}}{"a":1,', 'expected JSON'],
    ['a key outside of every object', '"a":"a":', 'expected JSON'],
    ['a comma too many', '{"a":1,}', 'expected JSON'],
    ['a comment', '{"a":1} // one', 'expected JSON'],
    ['two documents', '{}{}', 'expected JSON'],
    ['a bad escape in a key', '{"\\x":1}', 'expected JSON'],
    ['a byte order mark', '\ufeff{}', 'expected JSON'],
    ['UTF-16', Buffer.from('{"a":1}', 'utf16le'), 'expected JSON'],
    ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'expected JSON in UTF-8'],
    ['an overlong encoding', Buffer.from([0x22, 0xc0, 0xaf, 0x22]), 'expected JSON in UTF-8'],
    ['a surrogate in UTF-8', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), 'expected JSON in UTF-8'],
    ['a character that is cut', Buffer.from('"é"').subarray(0, 2), 'expected JSON in UTF-8'],
  ])('ACCEPTANCE 10: %s', async (_, content, expected) => {
    const { message } = await failureOf(InvalidDocumentError, () => parseJson(Buffer.from(content), 'x.json'));
    expect(message).toContain(`x.json: ${expected}, found `);
  });

  test.each(['{}', '[]', 'null', '"a"', '0', ' {"a" : [1, {"b" : null}]}\n', '"\\ud800"', '"é\u2028🚀"'])(
    '%s is JSON',
    (text) => {
      expect(parse(text)).toEqual(JSON.parse(text));
    },
  );
});

describe('the keys', () => {
  test.each([
    ['at the top', '{"a":1,"a":1}', 'a'],
    ['with another between', '{"a":1,"b":2,"a":3}', 'a'],
    ['deep in objects and arrays', '{"x":[{"y":[0,{"z":{"k":1,"k":2}}]}]}', 'k'],
    ['behind an object with the same key', '{"a":{"a":1},"b":[{"a":1}],"a":2}', 'a'],
    ['in the second of two objects', '[{"a":1},{"b":1,"b":2}]', 'b'],
    ['spelled with an escape', '{"a":1,"\\u0061":2}', 'a'],
    ['spelled with two escapes', '{"\\u0061":1,"\\u0061":2}', 'a'],
    ['an escaped slash', '{"a/b":1,"a\\/b":2}', 'a/b'],
    ['an escaped quote', '{"\\"":1,"\\u0022":2}', '"'],
    ['of nothing', '{"":1,"":2}', ''],
    ['with blanks before the colon', '{"a" \t\r\n:1,"a"\n:2}', 'a'],
    ['with a value that looks like JSON', '{"a":"}{\\"b\\":1,","a":2}', 'a'],
    ['named __proto__', '{"__proto__":1,"__proto__":2}', '__proto__'],
    ['with brackets in it', '{"]}":1,"]}":2}', ']}'],
  ])('ACCEPTANCE 9: twice in one object: %s', async (_, text, key) => {
    const error = await failureOf(InvalidDocumentError, () => parse(text));
    expect(error.message).toBe(`x.json: expected each key once in an object, found ${JSON.stringify(key)} twice`);
    expect(error.found).toBe(key);
  });

  test.each([
    ['in two objects', '[{"a":1},{"a":2}]'],
    ['in an object and the one inside it', '{"a":{"a":{"a":1}}}'],
    ['in an object behind the one inside it', '{"b":{"a":1},"a":2}'],
    ['as a key and as values', '{"a":"a","b":["a","a"],"c":"a"}'],
    ['in upper case', '{"a":1,"A":2}'],
    ['composed and decomposed', '{"\u00e9":1,"e\u0301":2}'],
    ['inside a string', '{"a":"{\\"b\\":1,\\"b\\":2}"}'],
    ['behind a backslash that escapes a backslash', '{"a":"\\\\","b":"\\\\\\"a\\":"}'],
    ['next to __proto__', '{"__proto__":1,"constructor":2,"toString":3}'],
  ])('the same is fine %s', (_, text) => {
    expect(JSON.stringify(parse(text))).toBe(JSON.stringify(JSON.parse(text)));
  });

  test('ACCEPTANCE 11: __proto__ is a key like another', () => {
    const value = parse('{"annotations":{"__proto__":"x"}}') as { annotations: object };
    expect(Object.keys(value.annotations)).toEqual(['__proto__']);
    expect(Object.hasOwn(Object.prototype, 'x')).toBe(false);
    expect(Buffer.from(encodeJson(value)).toString()).toBe('{"annotations":{"__proto__":"x"}}');
  });
});

describe('the size', () => {
  test.each([
    ['plain', 'x'.repeat(4 * mebibyte)],
    ['all escapes', '\\n'.repeat(2 * mebibyte)],
    ['all escaped quotes', '\\"'.repeat(2 * mebibyte)],
    ['all backslashes', '\\\\'.repeat(2 * mebibyte)],
    ['all brackets', '[{'.repeat(2 * mebibyte)],
    ['no ASCII', 'é'.repeat(2 * mebibyte)],
    ['as long as a document may be', '\\n'.repeat(25 * mebibyte - 16)],
  ])('ACCEPTANCE 12: a long string: %s', (_, content) => {
    const value = parse(`{"a":"${content}"}`) as { a: string };
    expect(value.a.length).toBe((JSON.parse(`"${content}"`) as string).length);
  });

  test('ACCEPTANCE 12: a document at the limit is read, one byte more is not', async () => {
    const bytes = Buffer.alloc(maxDocumentSize + 1, ' ');
    bytes.write('{}');
    expect(parseJson(bytes.subarray(0, maxDocumentSize), 'x.json')).toEqual({});
    const error = await failureOf(LimitError, () => parseJson(bytes, 'x.json'));
    expect(error.message).toContain(`x.json: expected at most ${maxDocumentSize} bytes, found ${maxDocumentSize + 1}`);
  });
});

describe('the depth', () => {
  const nested = (depth: number) => '{"a":['.repeat(depth / 2) + ']}'.repeat(depth / 2);

  test('ACCEPTANCE 10: brackets a thousand deep are read and written', () => {
    expect(Buffer.from(encodeJson(parse(nested(1000)))).toString()).toBe(nested(1000));
  });

  test.each([
    ['one pair more', nested(1002)],
    ['a document full of brackets', '['.repeat(maxDocumentSize)],
  ])('ACCEPTANCE 10: %s', async (_, text) => {
    const { message } = await failureOf(InvalidDocumentError, () => parse(text));
    expect(message).toBe('x.json: expected at most 1000 arrays and objects inside one another, found more');
  });

  test('brackets in strings and side by side have none', () => {
    const text = `["${'['.repeat(2000)}",${'[],{},'.repeat(2000)}0]`;
    expect(parse(text)).toHaveLength(4002);
  });
});

describe('the shape', () => {
  const schema = z.looseObject({
    name: z.string(),
    list: z.array(z.looseObject({ size: z.int('a whole number') })).optional(),
    choice: z.union([z.string(), z.looseObject({ from: z.array(z.string()) })]).optional(),
    'a-b': z.string().optional(),
  });
  const read = (value: unknown) => parseDocument(encodeJson(value), schema, 'x.json');

  test.each<[string, unknown, string]>([
    ['an array', [], 'x.json: $: expected object, found []'],
    ['null', null, 'x.json: $: expected object, found null'],
    ['a number', 1, 'x.json: $: expected object, found 1'],
    ['a missing key', {}, 'x.json: $.name: expected string, found nothing'],
    ['a key that is inherited', { toString: 1 }, 'x.json: $.name: expected string, found nothing'],
    ['a wrong value', { name: 1 }, 'x.json: $.name: expected string, found 1'],
    [
      'one in a list',
      { name: '', list: [{ size: 1 }, { size: 1.5 }] },
      'x.json: $.list[1].size: expected a whole number, found 1.5',
    ],
    ['a name with a dash', { name: '', 'a-b': 1 }, 'x.json: $["a-b"]: expected string, found 1'],
    ['two', { name: 1, list: 2 }, 'x.json: $.name: expected string, found 1 (and 1 more)'],
    [
      'the branch that got furthest',
      { name: '', choice: { from: [1] } },
      'x.json: $.choice.from[0]: expected string, found 1',
    ],
    ['a long one', { name: ['x'.repeat(1e6)] }, `x.json: $.name: expected string, found ["${'x'.repeat(78)}…`],
  ])('ACCEPTANCE 10: %s', async (_, value, message) => {
    expect(await failureOf(InvalidDocumentError, () => read(value))).toMatchObject({ message });
  });

  test('ACCEPTANCE 16: what the schema does not name stays as it was, in its order', () => {
    const text = '{"z":{"__proto__":[]},"name":"n","list":[{"y":null,"size":1,"x":2.5}],"a":1}';
    const value = parseDocument(Buffer.from(text), schema, 'x.json');
    expect(Buffer.from(encodeJson(value)).toString()).toBe(text);
  });
});

describe('O7: the one encoding', () => {
  test.each<[unknown, string]>([
    [{ b: 1, a: [true, null, { d: undefined, c: '' }] }, '{"b":1,"a":[true,null,{"c":""}]}'],
    [{ text: 'é🚀<&>\u2028' }, '{"text":"é🚀<&>\u2028"}'],
    [{ text: '\ud800"\\\n\u0001' }, '{"text":"\\ud800\\"\\\\\\n\\u0001"}'],
    [{}, '{}'],
  ])('%j', (value, text) => {
    expect(Buffer.from(encodeJson(value)).toString('utf8')).toBe(text);
  });
});
