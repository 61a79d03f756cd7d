import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import test, { type TestContext } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { hasCode } from '#core/errors.ts';
import type { WorkerReply, WorkerRequest } from './messages.ts';
import { DownloadThread } from './thread.ts';

const PING_MS = 1000;
const SILENT_PINGS = 10;
const never = new AbortController().signal;

/** A worker that says only what a test has it say. */
class SilentWorker extends EventEmitter {
  readonly requests: WorkerRequest[] = [];
  terminated = false;

  postMessage(request: WorkerRequest): void {
    this.requests.push(request);
  }

  says(reply: WorkerReply): void {
    this.emit('message', reply);
  }

  async terminate(): Promise<number> {
    this.terminated = true;
    this.emit('exit', 1);
    return 1;
  }

  ref(): void {}
  unref(): void {}
}

function calling(t: TestContext) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const worker = new SilentWorker();
  const thread = new DownloadThread(worker as unknown as Worker, () => {}, PING_MS);
  const answer = thread.call(1, { act: 'manifest', tagOrDigest: 'v1' }, () => {}, never);
  const pass = (pings: number) => {
    for (let n = 0; n < pings; n++) t.mock.timers.tick(PING_MS);
  };
  answer.catch(() => {});
  return { worker, thread, answer, pass };
}

test('a thread that has hardly any CPU time is not taken for dead: any message counts', async (t) => {
  const { worker, answer, pass } = calling(t);
  pass(SILENT_PINGS); // it starts
  worker.says({ kind: 'pong' });
  pass(SILENT_PINGS);
  worker.says({ kind: 'progress', id: 1, received: 1 });
  pass(SILENT_PINGS);
  assert.equal(worker.terminated, false);
  const value = { bytes: Buffer.of(1) };
  worker.says({ kind: 'done', id: 1, value: value as never });
  assert.equal(await answer, value);
  const asked = worker.requests.length;
  pass(2 * SILENT_PINGS);
  assert.equal(worker.requests.length, asked, 'without calls it is not asked');
  assert.equal(worker.terminated, false);
});

test('a thread with calls that is silent for long is reported, until it sends anything', (t) => {
  const { worker, thread, pass } = calling(t);
  pass(3);
  assert.equal(thread.isMute, false);
  pass(1);
  assert.equal(thread.isMute, true);
  worker.says({ kind: 'pong' });
  assert.equal(thread.isMute, false);
});

test('a thread that stays silent is terminated, and its calls fail by name', async (t) => {
  const { worker, answer, pass } = calling(t);
  pass(SILENT_PINGS + 1);
  assert.equal(worker.terminated, true);
  await assert.rejects(
    answer,
    (error) => hasCode(error, 'Unavailable') && /not answered for 10 s/.test(`${error}`),
  );
});
