import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { files as real } from '#linux/fs/files.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { RecordStore, type Versioned } from './record-store.ts';
import { VolatileCopies } from './volatile-copies.ts';

interface Pod extends Versioned {
  readonly name: string;
}
const pod = (name: string): Pod => ({ version: 1, name });
const LATER = { durable: false };
const NOW = { durable: true };

/** A disk that may be full, or slow: each write waits for the gate of the time when it began. */
function disk() {
  const state = {
    isFull: false,
    areCopiesRefused: false,
    gate: Promise.resolve(),
    writes: 0,
    onWrite: async () => {},
  };
  const files: Files = {
    ...real,
    async writeAtomic(path, data, options) {
      await state.gate;
      await state.onWrite();
      if (state.isFull) throw new Error('ENOSPC');
      state.writes++;
      await real.writeAtomic(path, data, options);
    },
  };
  return { state, files };
}

function ground(t: TestContext) {
  const place = mkdtempSync(join(tmpdir(), 'crisp-volatile-'));
  t.after(() => rmSync(place, { recursive: true }));
  const directory = join(place, 'disk');
  const copies = join(place, 'state');
  const { state, files } = disk();
  const late: string[] = [];
  const refused: unknown[] = [];
  class Copies extends VolatileCopies {
    override write(key: string, text: string): void {
      if (state.areCopiesRefused) throw new Error('no space for copies');
      super.write(key, text);
    }
  }
  /** Another daemon on the same files; `boot` is another boot. */
  const open = (boot = 'boot-1') =>
    new RecordStore<Pod>({
      directory,
      version: 1,
      files,
      volatile: new Copies(copies, boot),
      onLate: (key) => late.push(key),
      onRefused: (error) => refused.push(error),
    });
  const onDisk = (key: string) =>
    JSON.parse(readFileSync(join(directory, key, 'record.json'), 'utf8')) as Pod;
  const copied = (boot = 'boot-1') => readdirSync(join(copies, boot)).filter((name) => name[0] !== '.');
  const loaded = async (boot?: string) => {
    const { records } = await open(boot).load();
    return Object.fromEntries([...records].map(([key, { name }]) => [key, name]));
  };
  return { directory, copies, state, late, refused, open, onDisk, copied, loaded };
}

test('a change that is not durable is there for the next daemon before the disk has it', async (t) => {
  const { open, onDisk, loaded, copied } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), NOW);
  await store.write('a', pod('changed'), LATER);
  assert.equal(onDisk('a').name, 'made');
  assert.deepEqual(await loaded(), { a: 'changed' });
  await store.flush();
  assert.equal(onDisk('a').name, 'changed');
  assert.deepEqual(copied(), []);
});

test('of changes in a row the disk gets the last', async (t) => {
  const { open, onDisk, state } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('0'), NOW);
  for (let n = 1; n <= 5; n++) await store.write('a', pod(`${n}`), LATER);
  await store.flush();
  assert.deepEqual([onDisk('a').name, state.writes], ['5', 2]);
});

test('a durable change is on the disk when it resolves, and no older one comes after it', async (t) => {
  const { open, onDisk, copied, state } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), LATER);
  const { promise, resolve } = Promise.withResolvers<void>();
  state.gate = promise;
  await store.write('a', pod('older'), LATER);
  const flushed = store.flush(); // hangs in the disk
  const written = store.write('a', pod('durable'), NOW);
  resolve();
  await Promise.all([flushed, written]);
  await store.flush();
  assert.equal(onDisk('a').name, 'durable');
  assert.deepEqual(copied(), []);
});

test('a change that comes while a durable one is being written stays the newest', async (t) => {
  const { open, onDisk, loaded, state } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), LATER);
  const { promise, resolve } = Promise.withResolvers<void>();
  state.gate = promise;
  const written = store.write('a', pod('durable'), NOW);
  await store.write('a', pod('newest'), LATER);
  resolve();
  await written;
  assert.deepEqual(await loaded(), { a: 'newest' });
  await store.flush();
  assert.equal(onDisk('a').name, 'newest');
});

test('on a full disk changes are kept and published, a durable one is refused and changes nothing', async (t) => {
  const { open, onDisk, loaded, late, state } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), LATER);
  state.isFull = true;
  await assert.rejects(store.write('a', pod('durable'), NOW), /ENOSPC/);
  assert.deepEqual(await loaded(), { a: 'made' });
  await store.write('a', pod('running'), LATER);
  await assert.rejects(store.write('a', pod('durable'), NOW), /ENOSPC/);
  await store.flush();
  assert.deepEqual([late, await loaded()], [['a'], { a: 'running' }]);
  state.isFull = false;
  await store.flush();
  assert.equal(onDisk('a').name, 'running');
});

test('a copy that is cut short, of another boot, or of nothing does not count', async (t) => {
  const { open, loaded, copies, copied } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('disk'), NOW);
  writeFileSync(join(copies, 'boot-1', 'a'), '{"version":1,"na');
  writeFileSync(join(copies, 'boot-1', 'nobody'), JSON.stringify(pod('x')));
  mkdirSync(join(copies, 'boot-0'));
  writeFileSync(join(copies, 'boot-0', 'a'), JSON.stringify(pod('stale')));
  assert.deepEqual(await loaded(), { a: 'disk' });
  assert.deepEqual([copied(), existsSync(join(copies, 'boot-0'))], [[], false]);
  await store.write('a', pod('copy'), LATER);
  assert.deepEqual(await loaded('boot-2'), { a: 'disk' });
});

test('a removal keeps what only the copy has until its end', async (t) => {
  const { open, copied, directory } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('disk'), LATER);
  await store.write('a', pod('copy'), LATER);
  await store.markRemoved('a');
  const next = open();
  assert.deepEqual((await next.load()).removing, ['a']);
  assert.equal((await next.removed('a'))?.name, 'copy');
  await next.purge('a');
  assert.deepEqual([copied(), readdirSync(directory)], [[], []]);
  await store.flush();
  assert.deepEqual(readdirSync(directory), [], 'nothing comes back behind a removal');
});

test('an announced object is there for the next daemon, and on the disk once it is settled', async (t) => {
  const { open, onDisk, copied, loaded, directory, state } = ground(t);
  const store = open();
  await store.load();
  await store.createVolatile('a', pod('announced'));
  assert.deepEqual([readdirSync(join(directory, 'a')), await loaded()], [[], { a: 'announced' }]);
  state.isFull = true;
  await assert.rejects(store.persist('a', NOW), /ENOSPC/);
  assert.deepEqual(await loaded(), { a: 'announced' });
  state.isFull = false;
  await store.persist('a', NOW);
  assert.deepEqual([onDisk('a').name, copied()], ['announced', []]);
});

test('a disk that does not answer holds up the end for a limited time, and loses nothing', async (t) => {
  const { open, loaded, state, onDisk } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), LATER);
  const { promise, resolve } = Promise.withResolvers<void>();
  state.gate = promise;
  await store.write('a', pod('changed'), LATER);
  await assert.rejects(store.flush(20), { code: 'DeadlineExceeded' });
  assert.deepEqual(await loaded(), { a: 'changed' });
  resolve();
  await store.flush();
  assert.equal(onDisk('a').name, 'changed');
});

/** A gate for the writes that come now; those that come later pass. */
function hold(state: { gate: Promise<void> }): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  state.gate = promise;
  setImmediate(() => {
    state.gate = Promise.resolve();
  });
  return resolve;
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a durable write that the disk takes slowly does not land on a later change', async (t) => {
  const { open, onDisk, loaded, copied, state } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), NOW);
  const release = hold(state);
  const written = store.write('a', pod('durable'), NOW);
  await turn();
  await store.write('a', pod('newest'), LATER);
  const flushed = store.flush();
  await turn();
  release();
  await Promise.all([written, flushed]);
  await store.flush();
  assert.deepEqual([onDisk('a').name, copied(), await loaded()], ['newest', [], { a: 'newest' }]);
});

test('of two durable writes the later one stays, however long the first one takes', async (t) => {
  const { open, onDisk, state } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), NOW);
  const release = hold(state);
  const first = store.write('a', pod('first'), NOW);
  await turn();
  const second = store.write('a', pod('second'), NOW);
  await turn();
  release();
  await Promise.all([first, second]);
  assert.equal(onDisk('a').name, 'second');
});

test('a settlement that the disk takes slowly does not land on a later change, nor a later change on a removal', async (t) => {
  const { open, onDisk, state, directory, loaded } = ground(t);
  const store = open();
  await store.load();
  await store.createVolatile('a', pod('announced'));
  const release = hold(state);
  const settled = store.persist('a', NOW);
  await turn();
  const written = store.write('a', pod('ready'), NOW);
  await turn();
  release();
  await Promise.all([settled, written]);
  assert.equal(onDisk('a').name, 'ready');
  const again = hold(state);
  const last = store.write('a', pod('last'), NOW);
  await turn();
  const removed = store.remove('a');
  again();
  await Promise.all([last, removed]);
  assert.deepEqual([readdirSync(directory), await loaded()], [[], {}]);
});

test('concurrent calls on one object: the disk ends with the last requested one', async (t) => {
  const { open, onDisk, loaded, copied, state } = ground(t);
  const chances = (n: number) => Math.floor(Math.random() * n);
  for (let round = 0; round < 30; round++) {
    const store = open();
    await store.load();
    const key = `k${round}`;
    await store.create(key, pod('made'), NOW);
    state.onWrite = async () => {
      for (let wait = chances(4); wait > 0; wait--) await turn();
    };
    const calls: Promise<unknown>[] = [];
    for (let n = 0; n < 8; n++) {
      state.areCopiesRefused = chances(4) === 0;
      if (chances(4) === 0) calls.push(store.persist(key, NOW));
      if (chances(4) === 0) calls.push(store.flush());
      calls.push(store.write(key, pod(`${n}`), chances(2) ? NOW : LATER));
      if (chances(3) === 0) await turn();
    }
    await Promise.all(calls);
    state.areCopiesRefused = false;
    assert.equal((await loaded())[key], '7', `round ${round}`);
    await store.flush();
    assert.deepEqual([onDisk(key).name, copied()], ['7', []], `round ${round}`);
    await store.remove(key);
  }
});

test('where copies are refused changes go to the disk, which is reported once', async (t) => {
  const { open, onDisk, copied, state, refused, loaded } = ground(t);
  const store = open();
  await store.load();
  state.areCopiesRefused = true;
  await store.createVolatile('a', pod('announced'));
  assert.equal(onDisk('a').name, 'announced');
  await store.persist('a', NOW);
  await store.create('b', pod('made'), LATER);
  await store.write('a', pod('quick'), LATER);
  assert.equal(onDisk('a').name, 'quick');
  await store.write('a', pod('durable'), NOW);
  assert.deepEqual([onDisk('a').name, copied(), refused.length], ['durable', [], 1]);
  assert.deepEqual(await loaded(), { a: 'durable', b: 'made' });
});

for (const [kind, options] of [
  ['quick', LATER],
  ['durable', NOW],
] as const) {
  test(`a copy that cannot be replaced never hides a later ${kind} change, whenever the daemon dies`, async (t) => {
    const { open, onDisk, copied, state, loaded } = ground(t);
    const store = open();
    await store.load();
    await store.create('a', pod('made'), NOW);
    await store.write('a', pod('copied'), LATER);
    state.areCopiesRefused = true;
    const seen: unknown[] = [];
    state.onWrite = async () => void seen.push((await loaded())['a']);
    await store.write('a', pod('later'), options);
    assert.deepEqual([...new Set(seen)], ['copied']);
    assert.deepEqual([await loaded(), onDisk('a').name, copied()], [{ a: 'later' }, 'later', []]);
  });
}

test('where disk and copies are full nothing changes, and the copy stays', async (t) => {
  const { open, state, loaded } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), NOW);
  await store.write('a', pod('copied'), LATER);
  state.areCopiesRefused = true;
  state.isFull = true;
  for (const options of [LATER, NOW]) await assert.rejects(store.write('a', pod('later'), options), /ENOSPC/);
  assert.deepEqual(await loaded(), { a: 'copied' });
});
