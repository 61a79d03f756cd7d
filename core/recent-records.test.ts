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
import { files as real } from '#linux/files.ts';
import type { Files } from '#linux/kernel.ts';
import { RecentRecords } from './recent-records.ts';
import { RecordStore, type Versioned } from './record-store.ts';

interface Pod extends Versioned {
  readonly name: string;
}
const pod = (name: string): Pod => ({ version: 1, name });
const LATER = { durable: false };
const NOW = { durable: true };

/** A disk that may be full, or slow. */
function disk() {
  const state = { isFull: false, gate: Promise.resolve(), writes: 0 };
  const files: Files = {
    ...real,
    async writeAtomic(path, data, options) {
      await state.gate;
      if (state.isFull) throw new Error('ENOSPC');
      state.writes++;
      await real.writeAtomic(path, data, options);
    },
  };
  return { state, files };
}

function ground(t: TestContext) {
  const place = mkdtempSync(join(tmpdir(), 'crisp-recent-'));
  t.after(() => rmSync(place, { recursive: true }));
  const directory = join(place, 'disk');
  const copies = join(place, 'state');
  const { state, files } = disk();
  const late: string[] = [];
  /** Another daemon on the same files; `boot` is another boot. */
  const open = (boot = 'boot-1') =>
    new RecordStore<Pod>({
      directory,
      version: 1,
      files,
      recent: new RecentRecords(copies, boot),
      onLate: (key) => late.push(key),
    });
  const onDisk = (key: string) =>
    JSON.parse(readFileSync(join(directory, key, 'record.json'), 'utf8')) as Pod;
  const copied = (boot = 'boot-1') => readdirSync(join(copies, boot)).filter((name) => name[0] !== '.');
  const loaded = async (boot?: string) => {
    const { records } = await open(boot).load();
    return Object.fromEntries([...records].map(([key, { name }]) => [key, name]));
  };
  return { directory, copies, state, late, open, onDisk, copied, loaded };
}

test('a change that is not durable is there for the next daemon before the disk has it', async (t) => {
  const { open, onDisk, loaded, copied } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('made'), LATER);
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
  await store.create('a', pod('0'), LATER);
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

test('on a full disk changes are kept and told, a durable one is refused and changes nothing', async (t) => {
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
  await store.create('a', pod('disk'), LATER);
  writeFileSync(join(copies, 'boot-1', 'a'), '{"version":1,"na');
  writeFileSync(join(copies, 'boot-1', 'nobody'), JSON.stringify(pod('x')));
  mkdirSync(join(copies, 'boot-0'));
  writeFileSync(join(copies, 'boot-0', 'a'), JSON.stringify(pod('stale')));
  assert.deepEqual(await loaded(), { a: 'disk' });
  assert.deepEqual([copied(), existsSync(join(copies, 'boot-0'))], [[], false]);
  await store.write('a', pod('copy'), LATER);
  assert.deepEqual(await loaded('boot-2'), { a: 'disk' });
});

test('a removal keeps what only the copy says until its end', async (t) => {
  const { open, copied, directory } = ground(t);
  const store = open();
  await store.load();
  await store.create('a', pod('disk'), LATER);
  await store.write('a', pod('copy'), LATER);
  await store.retire('a');
  const next = open();
  assert.deepEqual((await next.load()).removing, ['a']);
  assert.equal((await next.retired('a'))?.name, 'copy');
  await next.discard('a');
  assert.deepEqual([copied(), readdirSync(directory)], [[], []]);
  await store.flush();
  assert.deepEqual(readdirSync(directory), [], 'nothing comes back behind a removal');
});

test('an announced object is there for the next daemon, and on the disk once it is settled', async (t) => {
  const { open, onDisk, copied, loaded, directory, state } = ground(t);
  const store = open();
  await store.load();
  await store.announce('a', pod('announced'));
  assert.deepEqual([readdirSync(join(directory, 'a')), await loaded()], [[], { a: 'announced' }]);
  state.isFull = true;
  await assert.rejects(store.settle('a', NOW), /ENOSPC/);
  assert.deepEqual(await loaded(), { a: 'announced' });
  state.isFull = false;
  await store.settle('a', NOW);
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
