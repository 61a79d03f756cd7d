import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import test from 'node:test';
import fc from 'fast-check';
import { ResponseBody } from './response-body.ts';

/** Writes in memory that is used anew, waits where it should, and takes copies of the pieces. */
async function passed(bytes: Buffer, length: number | undefined, cuts: readonly number[]): Promise<Buffer> {
  const body = new ResponseBody(length);
  const memory = Buffer.alloc(Math.max(...cuts));
  const writing = (async () => {
    for (let at = 0, n = 0; at < bytes.length; n++) {
      const piece = memory.subarray(0, bytes.copy(memory, 0, at, at + (cuts[n % cuts.length] as number)));
      at += piece.length;
      const more = body.write(piece);
      piece.fill(0xff);
      if (!more) await once(body, 'drain');
    }
    body.end();
  })();
  const pieces: Buffer[] = [];
  for await (const piece of body) pieces.push(Buffer.from(piece));
  await writing;
  return Buffer.concat(pieces);
}

test('all bytes come out, whatever becomes of the memory that they came in', async () => {
  const size = fc.integer({ min: 1, max: 900_000 });
  const cut = fc.array(fc.integer({ min: 500, max: 300_000 }), { minLength: 1 });
  const bodies = fc.asyncProperty(size, fc.boolean(), cut, async (n, known, cuts) => {
    const bytes = randomBytes(n);
    assert.ok((await passed(bytes, known ? n : undefined, cuts)).equals(bytes));
  });
  await fc.assert(bodies, { numRuns: 40 });
});

test('a piece stays as it is until the next one is requested', async () => {
  const body = new ResponseBody(1 << 20);
  const pieces = body[Symbol.asyncIterator]();
  body.write(Buffer.alloc(300_000, 'a'));
  const { value: first } = await pieces.next();
  body.write(Buffer.alloc(300_000, 'b'));
  assert.ok(first?.equals(Buffer.alloc(300_000, 'a')));
  const { value: second } = await pieces.next();
  body.write(Buffer.alloc(300_000, 'c'));
  assert.ok(second?.equals(Buffer.alloc(300_000, 'b')));
});

test('it asks the writer to wait while it holds a window, until that is taken', async () => {
  const body = new ResponseBody(undefined);
  let drained = 0;
  body.on('drain', () => drained++);
  assert.equal(body.write(Buffer.alloc(200_000)), true);
  assert.equal(body.write(Buffer.alloc(200_000)), false);
  const pieces = body[Symbol.asyncIterator]();
  assert.equal((await pieces.next()).value?.length, 400_000);
  assert.equal(drained, 1);
  assert.equal(body.write(Buffer.alloc(1)), true);
  await pieces.next();
  assert.equal(drained, 1);
});

test('an error comes behind the bytes before it; a body that is left early is destroyed, one that has ended is not', async () => {
  const failing = new ResponseBody(10);
  const pieces = failing[Symbol.asyncIterator]();
  failing.write(Buffer.from('some'));
  failing.destroy(new Error('other side closed'));
  assert.equal(String((await pieces.next()).value), 'some');
  await assert.rejects(pieces.next(), /other side closed/);

  const left = new ResponseBody(10);
  left.write(Buffer.from('some'));
  for await (const _ of left) break;
  assert.ok(left.destroyed && !left.writableEnded);

  const ended = new ResponseBody(4);
  ended.write(Buffer.from('some'));
  ended.end();
  for await (const _ of ended) break;
  await once(ended, 'finish');
});

test('a body in chunks of one byte is not copied anew for each', async (t) => {
  const body = new ResponseBody(undefined);
  const { mock } = t.mock.method(Buffer, 'allocUnsafeSlow');
  for (let n = 0; n < 50_000; n++) body.write(Buffer.of(n & 0xff));
  assert.ok(mock.callCount() < 30, `${mock.callCount()} allocations`);
  body.end();
  let length = 0;
  for await (const piece of body) length += piece.length;
  assert.equal(length, 50_000);
});
