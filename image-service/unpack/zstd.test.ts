import assert from 'node:assert/strict';
import test from 'node:test';
import { constants, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { hasCode } from '#core/errors.ts';
import { ZstdFrames } from './zstd.ts';

function skippable(bytes: Uint8Array, kind: number): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50 + kind, 0);
  head.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
}

const part = fc.oneof(
  fc.record({
    data: fc.uint8Array({ maxLength: 3000 }),
    checksum: fc.boolean(),
    repeat: fc.integer({ min: 1, max: 200 }),
  }),
  fc.record({ skip: fc.uint8Array({ maxLength: 300 }), kind: fc.integer({ min: 0, max: 15 }) }),
);

test('however a stream is split into chunks, its frames are passed on whole and separately', () => {
  fc.assert(
    fc.property(
      fc.array(part, { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 997 }), { minLength: 1, maxLength: 8 }),
      (parts, cuts) => {
        const frames = parts.map((one) => {
          if ('skip' in one) return { frame: skippable(one.skip, one.kind), kept: false };
          const params = { [constants.ZSTD_c_checksumFlag]: one.checksum ? 1 : 0 };
          const data = Buffer.concat(new Array(one.repeat).fill(one.data));
          return { frame: zstdCompressSync(data, { params }), kept: true };
        });
        const stream = Buffer.concat(frames.map(({ frame }) => frame));
        const wanted = frames.filter(({ kept }) => kept).map(({ frame }) => frame);
        const ends = new Set<number>();
        let sum = 0;
        for (const frame of wanted) {
          sum += frame.length;
          ends.add(sum);
        }
        const walker = new ZstdFrames();
        const pieces: Buffer[] = [];
        for (let at = 0, n = 0; at < stream.length; n++) {
          const next = at + (cuts[n % cuts.length] ?? 1);
          pieces.push(...walker.push(stream.subarray(at, next)));
          at = next;
        }
        assert.ok(walker.complete);
        assert.deepEqual(Buffer.concat(pieces), Buffer.concat(wanted));
        let from = 0;
        for (const piece of pieces) {
          for (const end of ends)
            assert.ok(!(from < end && end < from + piece.length), 'a piece spans two frames');
          from += piece.length;
        }
      },
    ),
    { numRuns: 150 },
  );
});

test('a truncated stream is not complete, other data is refused', () => {
  const frame = zstdCompressSync(Buffer.from('some text'));
  for (let length = 1; length < frame.length; length++) {
    const walker = new ZstdFrames();
    walker.push(frame.subarray(0, length));
    assert.equal(walker.complete, false, `truncated at ${length}`);
  }
  assert.throws(
    () => new ZstdFrames().push(Buffer.from('no zstd at all')),
    (error) => hasCode(error, 'DataLoss'),
  );
});
