import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { goText, isText } from './go-text.ts';

test('UTF-8 is kept, with its byte order mark', () => {
  fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => goText(Buffer.from(text)) === text));
  assert.equal(goText(Buffer.from('\ufeffx')), '\ufeffx');
  assert.ok(isText(Buffer.from('ä')));
});

test('any bytes: each character is kept, each other byte replaced', () => {
  const naive = (bytes: Buffer): string => {
    if (bytes.length === 0) return '';
    const length = [1, 2, 3, 4].find((count) => count <= bytes.length && isText(bytes.subarray(0, count)));
    const first = length === undefined ? '\ufffd' : bytes.toString('utf8', 0, length);
    return first + naive(bytes.subarray(length ?? 1));
  };
  // Few values, of each kind of byte, so that sequences are nearly right.
  const byte = fc.constantFrom(
    0x41,
    0x80,
    0x8f,
    0x90,
    0x9f,
    0xa0,
    0xbf,
    0xc1,
    0xc2,
    0xe0,
    0xed,
    0xef,
    0xf0,
    0xf4,
    0xf5,
    0xff,
  );
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 12 }), (values) => {
      assert.equal(goText(Buffer.from(values)), naive(Buffer.from(values)));
    }),
    { numRuns: 2000 },
  );
});

/** What a container of runc 1.1.5 gets, counted by od(1); each is between two bars there. */
const RUNC: readonly [bytes: number[], text: string][] = [
  [[0xe2, 0x82], '??'],
  [[0xf0, 0x9f, 0x98], '???'],
  [[0xed, 0xa0, 0x80], '???'],
  [[0xc0, 0x80], '??'],
  [[0xf4, 0x90, 0x80, 0x80], '????'],
  [[0x80], '?'],
  [[0xe2, 0x28, 0xa1], '?(?'],
  [[0xf0, 0x9f, 0x98, 0x80], '😀'],
  [[0xf8, 0x88, 0x80, 0x80, 0x80], '?????'],
  [[0xe0, 0x9f, 0xbf], '???'],
  [[0xc3], '?'],
];

test('each byte that is not of UTF-8 is one replacement character, as with Go', () => {
  for (const [bytes, text] of RUNC) {
    const around = Buffer.from([0x7c, ...bytes, 0x7c]);
    assert.equal(goText(around), `|${text.replaceAll('?', '\ufffd')}|`, around.toString('hex'));
    assert.equal(isText(around), text === '😀');
  }
});
