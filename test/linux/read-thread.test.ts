/** Reads borrow the thread of the other requests; a stuck read or request costs the other kind a second thread, no more. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import { ReadThread } from '#linux/worker/read-thread.ts';
import { NamespaceWorker } from '#linux/worker/thread.ts';

const directory = mkdtempSync(join(tmpdir(), 'crisp-reads-'));
let fifos = 0;
after(() => {
  for (const name of readdirSync(directory)) release(join(directory, name));
  rmSync(directory, { recursive: true, force: true });
});

function fifo(): string {
  const path = join(directory, `fifo-${fifos++}`);
  assert.equal(spawnSync('mkfifo', [path]).status, 0);
  return path;
}

/** Wakes the thread that waits in open(2) of the FIFO; without one it does nothing. */
const release = (path: string) => closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const limit = Date.now() + 30_000; !holds(); await sleep(10))
    if (Date.now() > limit) assert.fail(`${what}: not so within 30 s`);
}

/** What a descriptor of this process refers to; empty where it is closed meanwhile. */
function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}

await stat('/'); // starts the thread pool
/** The threads of this process. */
const tasks = () => readdirSync('/proc/self/task').length;
const READ = { act: 'read', paths: ['/proc/self/stat'] } as const;

test('reads share the thread of the other requests', async () => {
  await using thread = new NamespaceWorker();
  await using reader = new ReadThread(thread, { loanMs: 60_000 });
  await thread.request(READ);
  const alone = tasks();
  await Promise.all([reader.request(READ), thread.request(READ), reader.request(READ)]);
  assert.equal(tasks(), alone);
});

test('while a read is stuck the other requests have a thread of their own, until it ends', async () => {
  await using thread = new NamespaceWorker({ requestMs: 60_000 });
  await using reader = new ReadThread(thread, { loanMs: 200, keepMs: 10, requestMs: 60_000 });
  const path = fifo();
  await thread.request(READ);
  const alone = tasks();
  const stuck = reader.request({ act: 'read', paths: [path] });
  await thread.request(READ); // possibly before the other
  await thread.request(READ);
  assert.equal(tasks(), alone + 1);
  await until('the read is free, and its thread has ended', () => {
    release(path);
    return tasks() === alone;
  });
  assert.equal((await stuck).length, 1);
});

test('while another request is stuck reads have a thread of their own, until it is not needed', async () => {
  await using thread = new NamespaceWorker({ requestMs: 60_000 });
  await using reader = new ReadThread(thread, { loanMs: 200, keepMs: 10, requestMs: 60_000 });
  const path = fifo();
  await thread.request(READ);
  const alone = tasks();
  const stuck = thread.request({ act: 'read', paths: [path] });
  assert.match((await reader.request(READ))[0] ?? '', /^\d+ /);
  await until('the request is free, and the second thread has ended', () => {
    release(path);
    return tasks() === alone;
  });
  assert.equal((await stuck).length, 1);
});

test('a walk that changes threads begins anew and leaves no directory open', async () => {
  await using thread = new NamespaceWorker({ requestMs: 60_000 });
  await using reader = new ReadThread(thread, { loanMs: 2000, keepMs: 100, requestMs: 60_000 });
  const path = fifo();
  const tree = join(import.meta.dirname, '../../node_modules'); // takes many slices
  const slice = (walk: number) => reader.request({ act: 'walk', walk, path: tree });
  const finish = async (walk: number) => {
    for (;;) {
      const { done, inodes } = await slice(walk);
      if (done) return inodes;
    }
  };
  const open = () => readdirSync('/proc/self/fd').filter((fd) => linkOf(fd).startsWith(tree)).length;
  assert.equal((await slice(1)).done, false);
  const first = open();
  assert.ok(first > 0);
  const stuck = thread.request({ act: 'read', paths: [path] });
  assert.equal((await slice(1)).done, false);
  const both = open();
  assert.ok(both > first);
  await until('the first thread is free', () => {
    release(path);
    return open() < both;
  });
  await stuck;
  const two = tasks();
  const inodes = await finish(1);
  assert.equal(open(), 0);
  await until('the second thread has ended', () => tasks() < two);
  assert.equal(await finish(2), inodes);
  await slice(3);
  assert.ok(open() > 0);
  await reader.request({ act: 'close walk', walk: 3 });
  assert.equal(open(), 0);
});

test('a read that is stuck keeps no other from being read', async () => {
  await using thread = new NamespaceWorker();
  await using reader = new ReadThread(thread, { requestMs: 500 });
  const path = fifo();
  const stuck = reader.request({ act: 'read', paths: [path] });
  const next = reader.request(READ);
  await assert.rejects(stuck, (error) => hasCode(error, 'DeadlineExceeded'));
  assert.match((await next)[0] ?? '', /^\d+ /);
  assert.deepEqual([reader.deadlines.stuck, reader.deadlines.trouble?.podsFail], [1, false]);
  await until('it is free', () => {
    release(path);
    return reader.deadlines.stuck === 0;
  });
});
