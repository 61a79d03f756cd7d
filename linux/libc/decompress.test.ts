import assert from 'node:assert/strict';
import test from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { type Decompressor, GzipDecompressor, ZstdDecompressor } from './decompress.ts';

/** What comes out of a stream that is given in pieces of these lengths, and whether it may end there. */
async function decompressed(
  through: Decompressor,
  stream: Buffer,
  cuts: readonly number[],
  room: number,
): Promise<{ readonly bytes: Buffer; readonly isComplete: boolean }> {
  const out: Buffer[] = [];
  const output = Buffer.alloc(room);
  for (let [at, n] = [0, 0]; at < stream.length; n++) {
    const end = at + (cuts[n % cuts.length] ?? 1);
    // In memory of its own, which is overwritten once it counts as used up.
    const piece = Buffer.from(stream.subarray(at, end));
    through.feed(piece);
    while (!through.isHungry) out.push(Buffer.from(output.subarray(0, await through.fill(output))));
    piece.fill(0xff);
    at = end;
  }
  return { bytes: Buffer.concat(out), isComplete: through.isComplete };
}

const contents = fc.array(
  fc.record({ data: fc.uint8Array({ maxLength: 3000 }), repeat: fc.integer({ min: 1, max: 200 }) }),
  { minLength: 1, maxLength: 4 },
);
const cuts = fc.array(fc.integer({ min: 1, max: 997 }), { minLength: 1, maxLength: 8 });
const room = fc.integer({ min: 1, max: 70_000 });
const whole = ({ data, repeat }: { readonly data: Uint8Array; readonly repeat: number }): Buffer =>
  Buffer.concat(new Array(repeat).fill(data));

test('all members of a gzip stream come out, however it is cut, and zeros behind them do not', async () => {
  const members = fc.asyncProperty(contents, cuts, room, fc.boolean(), async (parts, at, size, padded) => {
    const packed = Buffer.concat([
      ...parts.map((part) => gzipSync(whole(part))),
      Buffer.alloc(padded ? 700 : 0),
    ]);
    using through = new GzipDecompressor({ checks: true });
    const { bytes, isComplete } = await decompressed(through, packed, at, Math.max(size, 512));
    assert.ok(isComplete);
    assert.ok(bytes.equals(Buffer.concat(parts.map(whole))));
    using cut = new GzipDecompressor({ checks: true });
    const last = gzipSync(whole(parts[0] as (typeof parts)[number]));
    assert.equal((await decompressed(cut, last.subarray(0, -1), at, 65_536)).isComplete, false);
  });
  await fc.assert(members, { numRuns: 40 });
});

test('all frames of a zstd stream come out, however it is cut, and skippable ones do not', async () => {
  const skipped = Buffer.concat([Buffer.from('502a4d1805000000', 'hex'), Buffer.from('inert')]);
  const frames = fc.asyncProperty(contents, cuts, room, async (parts, at, size) => {
    const packed = Buffer.concat(parts.flatMap((part) => [skipped, zstdCompressSync(whole(part)), skipped]));
    using through = new ZstdDecompressor();
    const { bytes, isComplete } = await decompressed(through, packed, at, Math.max(size, 512));
    assert.ok(isComplete);
    assert.ok(bytes.equals(Buffer.concat(parts.map(whole))));
    using cut = new ZstdDecompressor();
    const last = zstdCompressSync(whole(parts[0] as (typeof parts)[number]));
    assert.equal((await decompressed(cut, last.subarray(0, -1), at, 65_536)).isComplete, false);
  });
  await fc.assert(frames, { numRuns: 40 });
});

test('damage is named by the code of the library', async () => {
  const packed = gzipSync('content');
  packed.writeUInt32LE(0, packed.length - 8); // the sum
  using strict = new GzipDecompressor({ checks: true });
  await assert.rejects(decompressed(strict, packed, [1000], 100), {
    code: 'Z_DATA_ERROR',
    message: /data check/,
  });
  using lenient = new GzipDecompressor({ checks: false });
  const members = Buffer.concat([packed, packed]);
  assert.equal((await decompressed(lenient, members, [1000], 100)).bytes.toString(), 'contentcontent');
  using garbage = new GzipDecompressor({ checks: false });
  const trailing = Buffer.concat([packed, Buffer.from('garbage')]);
  await assert.rejects(decompressed(garbage, trailing, [1000], 100), { code: 'Z_DATA_ERROR' });

  const window = Buffer.from('28b52ffd00f80000000000', 'hex'); // a window of 2^41 bytes
  using wide = new ZstdDecompressor();
  const refused = { code: 'ZSTD_error_frameParameter_windowTooLarge' };
  await assert.rejects(decompressed(wide, window, [1000], 100), refused);
  using other = new ZstdDecompressor();
  await assert.rejects(decompressed(other, Buffer.from('not zstd at all'), [1000], 100), {
    code: /^ZSTD_error/,
  });
});
