import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import { WorkerThread } from './worker-thread.ts';

const MODULE = JSON.stringify(new URL('worker-thread.ts', import.meta.url).href);
const script = (source: string): URL => new URL(`data:text/javascript,${encodeURIComponent(source)}`);
/** Loads for as long as `gate[0]` is 0; then `gate[1]` is 1. */
const LOADS = script(`import { workerData } from 'node:worker_threads';
  const { threadLoaded } = await import(${MODULE});
  Atomics.wait(workerData, 0, 0);
  Atomics.store(workerData, 1, 1);
  threadLoaded();
  setInterval(() => {}, 1000);`);

const gate = (): Int32Array<SharedArrayBuffer> => new Int32Array(new SharedArrayBuffer(8));

test('a thread is ended once it has loaded, and not before', async () => {
  const state = gate();
  const listeners = process.listenerCount('exit');
  const thread = new WorkerThread(LOADS, { workerData: state });
  await once(thread, 'online');
  const ended = thread.terminate();
  Atomics.store(state, 0, 1);
  Atomics.notify(state, 0);
  await ended;
  assert.equal(state[1], 1, 'it had loaded');
  assert.equal(process.listenerCount('exit'), listeners);
});

test('a thread that fails to load can be ended', async () => {
  const thread = new WorkerThread(script('throw new Error("no such module")'));
  const [error] = await once(thread, 'error');
  assert.match(String(error), /no such module/);
  await thread.terminate();
});

test('who ends a thread that keeps no process alive is kept until it has ended', () => {
  const source = `import { WorkerThread } from ${MODULE};
    const thread = new WorkerThread(new URL(${JSON.stringify(script(`import ${MODULE}`).href)}));
    thread.unref();
    setTimeout(() => thread.terminate().then(() => process._rawDebug('ended')), 1);`;
  const ended = spawnSync(process.execPath, ['--input-type=module', '--eval', source], { encoding: 'utf8' });
  assert.match(ended.stderr, /ended/);
});

test('the process can end when a thread has failed to load', () => {
  const source = `import { WorkerThread } from ${MODULE};
    const thread = new WorkerThread(new URL(${JSON.stringify(script('throw new Error("none")').href)}));
    const started = performance.now();
    process.once('exit', () => process._rawDebug('waited', performance.now() - started > 9000));
    thread.on('error', () => process.exit(3));`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', source], {
    encoding: 'utf8',
  });
  assert.equal(status, 3, stderr);
  assert.match(stderr, /waited false/);
});

test('the end of the process waits for a thread that loads', () => {
  const source = `import { WorkerThread } from ${MODULE};
    const state = new Int32Array(new SharedArrayBuffer(8));
    const thread = new WorkerThread(new URL(${JSON.stringify(LOADS.href)}), { workerData: state });
    thread.once('online', () => {
      process.once('exit', () => process._rawDebug('loaded before the end:', state[1]));
      Atomics.store(state, 0, 1);
      Atomics.notify(state, 0);
      process.exit(7);
    });`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', source], {
    encoding: 'utf8',
  });
  assert.match(stderr, /loaded before the end: 1/);
  assert.equal(status, 7);
});
