import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import type { ByteSource } from '../byte-source.ts';
import { decompress } from './decompress.ts';

const never = new AbortController().signal;
const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
/** Some that compress, some that do not. */
const content = Buffer.concat(
  Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? randomBytes(100_000) : Buffer.alloc(200_000, n))),
);

/** Gives pieces at once or later; their memory is used anew. */
function source(bytes: Buffer, size: number): ByteSource {
  const memory = Buffer.alloc(size);
  let at = 0;
  const next = (): Buffer | undefined => {
    memory.fill(0xff);
    const piece = memory.subarray(0, bytes.copy(memory, 0, at));
    at += piece.length;
    return piece.length > 0 ? piece : undefined;
  };
  return {
    begin() {},
    peek: async (length) => bytes.subarray(0, length),
    next: () => (at % 3 === 0 ? next() : turn().then(next)),
  };
}

for (const [name, packed] of [
  ['zstd', zstdCompressSync(content)],
  ['gzip', gzipSync(content)],
] as const) {
  test(`${name}: memory is not used anew before it is released, and no piece comes before the sink is ready`, async () => {
    const hash = createHash('sha256');
    let [isReady, seen, held, mostHeld] = [true, false, 0, 0];
    const second = Promise.withResolvers<void>();
    const sink = (piece: Buffer) => {
      assert.ok(isReady);
      isReady = false;
      hash.update(piece);
      const before = sum(piece);
      mostHeld = Math.max(mostHeld, ++held);
      const isFirst = !seen;
      if (seen) second.resolve();
      seen = true;
      const ready = (async () => {
        for (let n = 0; n < 10; n++) await turn();
        isReady = true;
      })();
      const used = (async () => {
        for (let n = 0; n < 20; n++) await turn();
        if (isFirst) await second.promise; // the next piece does not wait for the use of this one
        assert.equal(sum(piece), before);
        held--;
      })();
      return { ready, used };
    };
    await decompress(source(packed, 65_536), sink, { isVerified: false, signal: never });
    assert.equal(hash.digest('hex'), sum(content));
    assert.equal(held, 0);
    assert.ok(mostHeld > 1);
  });

  test(`${name}: an error of the sink, or of what it does later, ends the decompression`, async () => {
    const failing = [
      () => {
        throw new Error('refused');
      },
      () => ({ ready: Promise.reject(new Error('refused')), used: Promise.resolve() }),
      () => ({ ready: Promise.resolve(), used: turn().then(() => Promise.reject(new Error('refused'))) }),
    ];
    for (const sink of failing) {
      const ended = decompress(source(packed, 65_536), sink, { isVerified: false, signal: never });
      await assert.rejects(ended, /refused/);
    }
  });
}
