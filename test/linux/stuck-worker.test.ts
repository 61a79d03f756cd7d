/** A system call that does not return: a real one, open(2) of a FIFO whose other end is never opened. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, hasCode } from '#core/errors.ts';
import { openKernel } from '#linux/index.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';

const warnings: string[] = [];
const kernel = await openKernel({
  log: { warn: (fields, message) => void warnings.push(`${message} ${JSON.stringify(fields)}`) },
  workers: { requestMs: 1000 },
});
const directory = mkdtempSync(join(tmpdir(), 'crisp-stuck-'));
const fifos: string[] = [];
const soon = () => AbortSignal.timeout(60_000);
const self: ProcessRef = kernel.processes.reference(process.pid) ?? assert.fail();

function fifo(): string {
  const path = join(directory, `fifo-${fifos.length}`);
  assert.equal(spawnSync('mkfifo', [path]).status, 0);
  fifos.push(path);
  return path;
}

/** Wakes the process that waits in open(2) of the FIFO; without one it does nothing. */
function release(path: string): void {
  try {
    closeSync(openSync(path, constants.O_RDWR | constants.O_NONBLOCK));
  } catch (error) {
    // It went on already: its pin is mounted on the FIFO, or was removed with it.
    if (!['EPERM', 'ENOENT', 'EACCES'].includes(errnoOf(error) ?? '')) throw error;
  }
}

async function released(): Promise<void> {
  for (const limit = Date.now() + 30_000; kernel.troubles().length > 0 && Date.now() < limit; await sleep(10))
    for (const path of fifos) release(path);
  assert.deepEqual(kernel.troubles(), []);
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const limit = Date.now() + 30_000; !holds(); await sleep(10))
    if (Date.now() > limit) assert.fail(`${what}: not so within 30 s`);
}

after(async () => {
  await kernel.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A pod's namespaces, made and let go of. */
async function makesPods(): Promise<void> {
  const pins = mkdtempSync(join(directory, 'pins-'));
  const held = await kernel.namespaces.hold(
    { kinds: ['net', 'ipc'], pins, sysctls: {}, oomScoreAdj: 0 },
    soon(),
  );
  await held.abandon();
  await kernel.namespaces.unpin(pins);
}
const reads = async () => assert.equal((await kernel.usage.openFiles([self])).length, 1);

test('a stuck act ends with an error that names it; pods are made by another thread, and stats are read meanwhile', async () => {
  const path = fifo();
  const stuck = kernel.namespaces.pinEmptyNetwork(path);
  await Promise.all([
    reads(), // they wait for no writer
    assert.rejects(stuck, (error) => {
      assert.ok(hasCode(error, 'DeadlineExceeded'));
      assert.match(error.message, /empty network .*fifo-0.* 1\.0 s/);
      assert.match(error.hint, /\/proc\/\d+\/task\/\d+\/stack/);
      return true;
    }),
    makesPods(), // behind it in the queue
  ]);
  await reads();
  const [trouble] = kernel.troubles();
  assert.deepEqual([trouble?.reason, trouble?.podsFail], ['KernelCallStuck', false]);
  assert.match(trouble?.message ?? '', /empty network .*fifo-0/);
  assert.equal(warnings.length, 1);
  await assert.rejects(kernel.namespaces.pinEmptyNetwork(path), /still/); // costs no second thread
  await released();
  await makesPods();
});

test('threads that are stuck are few: then acts are refused at once, until one is free', async () => {
  const descriptors = readdirSync('/proc/self/fd').length;
  const stuck = Array.from({ length: 4 }, () => kernel.namespaces.pinEmptyNetwork(fifo()));
  for (const act of stuck) await assert.rejects(act, (error) => hasCode(error, 'DeadlineExceeded'));
  await assert.rejects(makesPods(), (error) => {
    assert.ok(hasCode(error, 'Unavailable'));
    assert.match(error.message, /4 .*stuck.*empty network/);
    return true;
  });
  assert.equal(kernel.troubles()[0]?.podsFail, true);
  await reads();
  await released();
  await makesPods();
  await until('no descriptor of a thread is left', () => readdirSync('/proc/self/fd').length <= descriptors);
});

test('a daemon with a stuck thread ends all the same', () => {
  const path = fifo();
  const argv = [join(import.meta.dirname, 'stuck-child.ts'), path];
  const { status, stderr } = spawnSync(process.execPath, argv, {
    encoding: 'utf8',
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  assert.equal(status, 7, stderr);
});
