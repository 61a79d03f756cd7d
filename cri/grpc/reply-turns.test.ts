import assert from 'node:assert/strict';
import test from 'node:test';
import { ReplyTurns } from './reply-turns.ts';
import { RequestMessage } from './request.ts';

test('so many replies are encoded at a time, and none while the client takes none', async () => {
  let queued = 0;
  const turns = new ReplyTurns(() => queued);
  const begun: number[] = [];
  const wait = (at: number) => {
    const turn = turns.next();
    if (!turn) begun.push(at);
    else void turn.then(() => begun.push(at));
  };
  for (let at = 0; at < 12; at += 1) wait(at);
  assert.equal(begun.length, 8);
  turns.done();
  await Promise.resolve();
  assert.deepEqual(begun.slice(8), [8]);
  queued = 65 << 20;
  turns.done();
  turns.done();
  await Promise.resolve();
  assert.equal(begun.length, 9);
  queued = 0;
  turns.proceed();
  await Promise.resolve();
  assert.deepEqual(begun.slice(9), [9, 10]);
});

test('a request in small pieces holds its own bytes, not the reads that they came in', () => {
  const message = new RequestMessage(1 << 20);
  const sent = Buffer.concat([Buffer.from([0, 0, 0, 1, 0]), Buffer.alloc(256, 'x')]);
  for (const [at, byte] of sent.entries()) {
    const read = Buffer.alloc(1 << 16, byte);
    assert.equal(message.add(read.subarray(7, 8), at === sent.length - 1), undefined);
  }
  const request = message.take(undefined);
  assert.ok(Buffer.isBuffer(request) && request.equals(Buffer.alloc(256, 'x')));
  assert.ok(request.buffer.byteLength < 4096 || request.buffer.byteLength === Buffer.poolSize);
});

test('a request is refused as soon as its length is known, or is exceeded', () => {
  const prefix = (length: number) => {
    const bytes = Buffer.alloc(5);
    bytes.writeUInt32BE(length, 1);
    return bytes;
  };
  assert.match(new RequestMessage(100).add(prefix(101), false)?.details ?? '', /101 bytes/);
  const message = new RequestMessage(100);
  assert.equal(message.add(prefix(2), false), undefined);
  assert.match(message.add(Buffer.alloc(3), false)?.details ?? '', /more than one message/);
  assert.ok(message.size > 0);
  message.clear();
  assert.equal(message.size, 0);
});
