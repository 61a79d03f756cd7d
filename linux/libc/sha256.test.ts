import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import test from 'node:test';
import { Sha256 } from './sha256.ts';

const reference = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('pieces of any length give the digest that node:crypto has, also in shared memory', async () => {
  const shared = Buffer.from(new SharedArrayBuffer(1 << 20));
  randomBytes(shared.length).copy(shared);
  for (const bytes of [
    Buffer.alloc(0),
    randomBytes(1),
    randomBytes(55),
    randomBytes(64),
    randomBytes(3 << 20),
    shared,
  ]) {
    const hash = new Sha256();
    const added: Promise<void>[] = [];
    for (let at = 0, step = 1; at < bytes.length; at += step, step = step * 3 + 1)
      added.push(hash.add(bytes.subarray(at, at + step)));
    await Promise.all(added);
    assert.equal(hash.digest().toString('hex'), reference(bytes));
  }
});

test('a digest on the way leaves the rest to come, and none is made of half a piece', async () => {
  const [one, other] = [randomBytes(100_000), randomBytes(100_000)];
  const hash = new Sha256();
  await hash.add(one);
  assert.equal(hash.digest().toString('hex'), reference(one));
  const adding = hash.add(other);
  assert.throws(() => hash.digest(), /still being added/);
  await adding;
  assert.equal(hash.digest().toString('hex'), reference(Buffer.concat([one, other])));
});
