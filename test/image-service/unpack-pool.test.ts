/** The threads that unpack: what they hold for layers that wait, and what one leaves that is terminated during its work. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import { CrispError, hasCode } from '#core/errors.ts';
import { ringMemory } from '#image-service/byte-ring.ts';
import { defaultImageOptions } from '#image-service/index.ts';
import { threadTroubles } from '#image-service/thread-troubles.ts';
import { type Below, UnpackPool } from '#image-service/unpack/unpack-pool.ts';
import { makeTar } from '../harness/tar.ts';
import { testDirectory } from './service.ts';

/** What this process has open below a directory. */
const openBelow = (directory: string): string[] =>
  readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(directory) ? [target] : [];
    } catch {
      return [];
    }
  });

/** Starts to unpack a large layer; resolves when the thread is unpacking. */
async function midway(base: string, pool: UnpackPool, signal: AbortSignal) {
  const files = Array.from({ length: 3000 }, (_, n) => ({
    name: `d${n % 300}/f${n}`,
    content: Buffer.alloc(30_000),
  }));
  const archive = join(base, 'archive');
  writeFileSync(archive, makeTar([{ name: './' }, ...files]));
  const directory = join(realpathSync(base), 'layer');
  mkdirSync(directory);
  const { limits } = defaultImageOptions;
  const request = { archive, compressedSize: 1 << 30, directory, diffId: undefined, limits, redirects: [] };
  const done = pool.unpack(request, signal);
  done.catch(() => {});
  while (openBelow(directory).length === 0) await sleep(1);
  return { done, directory, archive };
}

/** Of a layer that is complete. */
const report = {
  rootDeclared: true,
  rootOpaque: false,
  implied: '',
  links: '',
  bytes: 0,
  inodes: 0,
  dropped: [],
};

test('a terminated thread leaves no descriptor open', async () => {
  using base = testDirectory();
  const pool = new UnpackPool(1, 1000);
  const { done, directory, archive } = await midway(base.path, pool, new AbortController().signal);
  await pool[Symbol.asyncDispose]();
  await assert.rejects(done, (error) => hasCode(error, 'Internal'));
  assert.deepEqual(openBelow(directory), []);
  assert.deepEqual(openBelow(archive), []);
});

test('a cancelled unpack ends by itself, and its thread is reused', async () => {
  using base = testDirectory();
  await using pool = new UnpackPool(1, 1000);
  const cancel = new AbortController();
  const { done, directory } = await midway(base.path, pool, cancel.signal);
  cancel.abort(new CrispError('Cancelled', 'not wanted'));
  await assert.rejects(done, (error) => hasCode(error, 'Cancelled'));
  assert.deepEqual(openBelow(directory), []);
  const completion = await pool.complete(directory, [], report, new AbortController().signal);
  assert.deepEqual(completion.redirects, []);
});

test('a thread that was prepared takes the next job, and ends where there is none', async (t) => {
  using base = testDirectory();
  const started: Worker[] = [];
  const count = (worker: Worker): unknown => started.push(worker);
  process.on('worker', count);
  t.after(() => process.off('worker', count));
  {
    await using pool = new UnpackPool(1, 60_000);
    pool.prepare();
    pool.prepare();
    const { done } = await midway(base.path, pool, new AbortController().signal);
    pool.prepare();
    await done;
    assert.equal(started.length, 1);
  }
  await using idle = new UnpackPool(2, 1);
  const begun = once(process, 'worker') as Promise<[Worker]>;
  idle.prepare();
  const [worker] = await begun;
  worker.ref();
  await once(worker, 'exit');
  assert.equal(started.length, 2);
});

test('an image that waits for the layers below ends when these have, and its thread works for another meanwhile', async () => {
  using base = testDirectory();
  await using pool = new UnpackPool(1, 1000);
  const archive = join(base.path, 'upper');
  writeFileSync(archive, makeTar([{ name: 'its/parent/is/below', content: '' }]));
  const { limits } = defaultImageOptions;
  const image = join(base.path, 'upper.erofs');
  const request = { archive, image, compressedSize: 1 << 30, diffId: undefined, limits, redirects: [] };
  const cancel = new AbortController();
  const [asked, aborted] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const below = Promise.withResolvers<string[]>();
  const ask = (signal: AbortSignal) => {
    signal.addEventListener('abort', () => aborted.resolve());
    asked.resolve();
    return below.promise;
  };
  let isOver = false;
  const writing = pool.writeImage(request, ask, cancel.signal).finally(() => {
    isOver = true;
  });
  writing.catch(() => {});
  await asked.promise;
  cancel.abort(new CrispError('Cancelled', 'not wanted'));
  await aborted.promise;
  const { done } = await midway(base.path, pool, new AbortController().signal);
  assert.equal(isOver, false);
  below.reject(new CrispError('Cancelled', 'the layer below has ended'));
  await assert.rejects(writing, /not wanted/);
  assert.equal((await done).inodes, 3301);
});

test('a closed pool starts no thread: what waits and what comes later fails', async () => {
  using base = testDirectory();
  const pool = new UnpackPool(1, 1000);
  const never = new AbortController().signal;
  const { done, directory } = await midway(base.path, pool, never);
  const waiting = pool.complete(directory, [], report, never);
  waiting.catch(() => {});
  await pool[Symbol.asyncDispose]();
  await assert.rejects(done, (error) => hasCode(error, 'Internal'));
  await assert.rejects(waiting, (error) => hasCode(error, 'Unavailable'));
  await assert.rejects(pool.complete(directory, [], report, never), (error) => hasCode(error, 'Unavailable'));
});

for (const late of ['found', 'lost'] as const) {
  test(`layers below that are ${late} after their layer was given up reach no other layer`, async () => {
    using base = testDirectory();
    await using pool = new UnpackPool(1, 1000);
    const archive = join(base.path, 'archive');
    // Its directory comes from the layers below.
    writeFileSync(archive, makeTar([{ name: 'd/file', content: 'x' }]));
    const [first, second] = ['first', 'second'].map((name, n) => {
      mkdirSync(join(base.path, name, 'd'), { recursive: true });
      chmodSync(join(base.path, name, 'd'), 0o700 + n);
      return [join(base.path, name)];
    });
    let images = 0;
    const write = (below: Below, signal = new AbortController().signal) => {
      const image = join(base.path, `image-${images++}`);
      const { limits } = defaultImageOptions;
      const about = { compressedSize: 1 << 20, diffId: undefined, limits, redirects: [] };
      return pool.writeImage({ ...about, archive, image }, below, signal);
    };
    const expected = await write(async () => second ?? []);
    /** Layers below that are awaited, and then given. */
    const layers = () => {
      const asked = Promise.withResolvers<void>();
      const given = Promise.withResolvers<readonly string[]>();
      const below: Below = () => {
        asked.resolve();
        return given.promise;
      };
      return { asked: asked.promise, given, below };
    };
    const [one, two] = [layers(), layers()];
    const cancel = new AbortController();
    const abandoned = write(one.below, cancel.signal);
    abandoned.catch(() => {});
    await one.asked;
    cancel.abort(new CrispError('Cancelled', 'not wanted'));
    while (openBelow(join(realpathSync(base.path), 'image-1')).length > 0) await sleep(1);
    await sleep(100); // until the thread is free: sooner, another one would write the next
    const written = write(two.below);
    await two.asked;
    if (late === 'found') one.given.resolve(first ?? []);
    else one.given.reject(new CrispError('Cancelled', 'all callers have cancelled'));
    await assert.rejects(abandoned, (error) => hasCode(error, 'Cancelled'));
    two.given.resolve(second ?? []);
    assert.deepEqual(await written, expected);
  });
}

test('what waits for a thread has no window of memory yet', async () => {
  using base = testDirectory();
  await using pool = new UnpackPool(1, 1000);
  const { limits } = defaultImageOptions;
  const begun: string[] = [];
  const start = (name: string) => {
    const directory = join(base.path, name);
    mkdirSync(directory);
    const archive = () => {
      begun.push(name);
      return ringMemory(1 << 16); // no byte ever arrives
    };
    const request = { archive, compressedSize: 1, directory, diffId: undefined, limits, redirects: [] };
    const cancel = new AbortController();
    const done = assert.rejects(pool.unpack(request, cancel.signal), (error) => hasCode(error, 'Cancelled'));
    return { done, cancel: () => cancel.abort(new CrispError('Cancelled', 'not wanted')) };
  };
  const [one, two, three] = [start('one'), start('two'), start('three')];
  assert.deepEqual(begun, ['one']);
  three.cancel();
  await three.done;
  one.cancel();
  await one.done;
  assert.deepEqual(begun, ['one', 'two']);
  two.cancel();
  await two.done;
});

/** Writes an image that waits for the layers below it, until `given`. */
function waiting(base: string, pool: UnpackPool, name: string) {
  const archive = join(base, `${name}.tar`);
  writeFileSync(archive, makeTar([{ name: 'd/file', content: name }]));
  const { limits } = defaultImageOptions;
  const image = join(base, `${name}.erofs`);
  const request = { archive, image, compressedSize: 1 << 20, diffId: undefined, limits, redirects: [] };
  const asked = Promise.withResolvers<void>();
  const given = Promise.withResolvers<readonly string[]>();
  const below: Below = () => {
    asked.resolve();
    return given.promise;
  };
  const written = pool.writeImage(request, below, new AbortController().signal);
  return { asked: asked.promise, given, written };
}

/** A job that does not end by itself: no byte of its archive ever arrives. Calls when it begins. */
function endless(base: string, pool: UnpackPool, name: string, begins: (name: string) => void) {
  const directory = join(base, name);
  mkdirSync(directory);
  const archive = () => {
    begins(name);
    return ringMemory(1 << 16);
  };
  const { limits } = defaultImageOptions;
  const request = { archive, compressedSize: 1, directory, diffId: undefined, limits, redirects: [] };
  const cancel = new AbortController();
  const done = assert.rejects(pool.unpack(request, cancel.signal), (error) => hasCode(error, 'Cancelled'));
  return { done, cancel: () => cancel.abort(new CrispError('Cancelled', 'not wanted')) };
}

test('any number of images waits beside the jobs of the threads, up to a limit of memory', async () => {
  using base = testDirectory();
  const begun: string[] = [];
  for (const [held, expected] of [
    [1 << 30, ['one', 'two']],
    [1, ['one']],
  ] as const) {
    await using pool = new UnpackPool(2, 1000, held);
    begun.length = 0;
    const images = [];
    for (let n = 0; n < 8; n++) {
      const image = waiting(base.path, pool, `image-${held}-${n}`);
      await image.asked;
      images.push(image);
    }
    const [one, two] = ['one', 'two'].map((name) =>
      endless(base.path, pool, `${name}-${held}`, () => begun.push(name)),
    );
    assert.deepEqual(begun, expected, 'beyond it only what runs alone');
    one?.cancel();
    await one?.done;
    assert.deepEqual(begun, ['one', 'two']);
    for (const { given } of images) given.resolve([]);
    for (const { written } of images) assert.equal((await written)?.completed, true);
    two?.cancel();
    await two?.done;
  }
});

test('a thread that does not end its job is given up with it; an image that it holds is to be written again', async () => {
  using base = testDirectory();
  await using pool = new UnpackPool(1, 1000);
  const image = waiting(base.path, pool, 'image');
  await image.asked;
  const archive = join(base.path, 'fifo');
  execFileSync('mkfifo', [archive]); // opened for reading it blocks the thread
  const directory = join(base.path, 'stuck');
  mkdirSync(directory);
  const { limits } = defaultImageOptions;
  const request = { archive, compressedSize: 1, directory, diffId: undefined, limits, redirects: [] };
  const cancel = new AbortController();
  const stuck = pool.unpack(request, cancel.signal);
  stuck.catch(() => {});
  cancel.abort(new CrispError('Cancelled', 'not wanted'));
  await assert.rejects(stuck, (error) => hasCode(error, 'Cancelled'));
  image.given.resolve([]);
  assert.equal(await image.written, undefined);
  const again = waiting(base.path, pool, 'again');
  again.given.resolve([]);
  assert.equal((await again.written)?.completed, true, 'another thread has taken its place');
  assert.equal(pool.stuck, 1);
  const [trouble] = threadTroubles({ unpack: pool, downloads: { mute: 0 } });
  assert.deepEqual([trouble?.reason, trouble?.podsFail], ['PullThreadStuck', false]);
  assert.match(trouble?.message ?? '', /1 that unpack do not return from a system call$/);
  writeFileSync(archive, ''); // lets the thread end
  while (pool.stuck > 0) await sleep(5);
  assert.deepEqual(threadTroubles({ unpack: pool, downloads: { mute: 0 } }), []);
});
