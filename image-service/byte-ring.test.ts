import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { clearRing, RingReader, RingWriter, ringMemory, waitedMs } from './byte-ring.ts';
import { Restarted } from './byte-source.ts';

const never = new AbortController().signal;
const pattern = (length: number, seed = 0): Buffer =>
  Buffer.from(Array.from({ length }, (_, n) => ((n + seed) * 2654435761) >>> 24));

async function readAll(reader: RingReader): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let piece = await reader.next(never); piece; piece = await reader.next(never))
    pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces);
}

test('what is written in pieces of any size is read, in order, through a small window', async () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(pieces, fc.constantFrom(1, 16, 64, 4096), fc.nat(20), async (parts, window, first) => {
      const memory = ringMemory(window);
      const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
      const writing = (async () => {
        for (const part of parts) await writer.write(part, never);
        writer.complete();
      })();
      const all = Buffer.concat(parts);
      const count = Math.min(first, window);
      assert.deepEqual(await reader.peek(count, never), all.subarray(0, count));
      assert.deepEqual(await readAll(reader), all);
      await writing;
    }),
    { numRuns: 60 },
  );
});

test('a restart discards what was sent, read or not, and the memory can be used again', async () => {
  const memory = ringMemory(1024);
  for (const read of [false, true]) {
    const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
    await writer.write(pattern(1000), never);
    if (read) assert.ok(reader.next(never) instanceof Buffer); // without a promise: it is there
    const restarted = writer.restart(never);
    await assert.rejects(async () => reader.next(never), Restarted);
    await assert.rejects(async () => reader.next(never), Restarted);
    reader.begin();
    await restarted;
    const again = pattern(5000, 7);
    const writing = writer.write(again, never).then(() => writer.complete());
    assert.deepEqual(await readAll(reader), again);
    await writing;
    clearRing(memory);
  }
});

test('both sides wait until their signal is aborted', async () => {
  const memory = ringMemory(64);
  const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
  const cancel = new AbortController();
  const reading = Promise.resolve(reader.next(cancel.signal));
  cancel.abort(new Error('enough'));
  await assert.rejects(reading, /enough/);
  const stop = new AbortController();
  const writing = writer.write(pattern(65), stop.signal);
  stop.abort(new Error('stopped'));
  await assert.rejects(writing, /stopped/);
  await assert.rejects(writer.restart(stop.signal), /stopped/);
  assert.ok(waitedMs(memory) >= 0);
});

test('positions wrap around', async () => {
  const memory = ringMemory(4096);
  const cells = new Int32Array(memory, 0, 16);
  // Both positions shortly before 2^32: of a stream that has sent 4 GiB.
  cells[0] = cells[1] = -1000;
  const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
  const sent = pattern(100_000);
  const writing = writer.write(sent, never).then(() => writer.complete());
  assert.deepEqual(await readAll(reader), sent);
  await writing;
});
