/** StopContainer: the signal, the grace, the kill, and calls that meet. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { busyboxImage } from '../harness/images.ts';
import { busy, CREATED, EXITED, endsClean, polite, RUNNING, TestNode, until } from '../harness/pods.ts';

const node = await TestNode.start('stop');
const pod = await node.runPod();
const stubborn = ['sh', '-c', 'trap "echo heard" TERM; echo ready; while :; do sleep 0.05; done'];

/** Runs a script that prints `ready` when its traps are set. */
async function ready(changes: Parameters<typeof node.run>[1]): Promise<string> {
  const id = await node.run(pod, changes);
  await until('the traps are set', async () =>
    (await node.logLines(id)).some(({ text }) => text === 'ready'),
  );
  return id;
}

const trapping = (signal: string, code: number) => [
  'sh',
  '-c',
  `trap "exit ${code}" ${signal}; echo ready; while :; do sleep 0.05; done`,
];

test('SIGTERM is sent first, and the exit code of a process that handles it is kept', async () => {
  const id = await ready({ command: trapping('TERM', 7) });
  await node.stop(id, 60);
  const { state, exitCode, reason } = await node.status(id);
  assert.deepEqual([state, exitCode, reason], [EXITED, 7, 'Error']);
  await node.remove(id);
});

test('after the grace comes the kill, and the call returns when the container is EXITED', async () => {
  const id = await ready({ command: stubborn });
  await node.stop(id, 1);
  const { state, exitCode } = await node.status(id);
  assert.deepEqual([state, exitCode], [EXITED, 137]);
  assert.equal((await node.logLines(id)).filter(({ text }) => text === 'heard').length, 1);
  await node.remove(id);
});

test('timeout 0 kills without a signal before', async () => {
  const id = await ready({ command: stubborn });
  await node.stop(id, 0);
  assert.equal((await node.status(id)).exitCode, 137);
  assert.ok(!(await node.logLines(id)).some(({ text }) => text === 'heard'));
  await node.remove(id);
});

test("the image's StopSignal is used, and the config's wins over it", async () => {
  const image = await node.addImage('usr1', busyboxImage({ config: { StopSignal: 'SIGUSR1' } }));
  const id = await ready({ image: { image }, command: trapping('USR1', 11) });
  assert.equal((await node.status(id)).stopSignal, cri.Signal.SIGNAL_SIGUSR1);
  await node.stop(id, 60);
  assert.equal((await node.status(id)).exitCode, 11);
  const stopSignal = cri.Signal.SIGNAL_SIGRTMINPLUS3;
  const other = await ready({ image: { image }, command: trapping('37', 12), stopSignal });
  assert.equal((await node.status(other)).stopSignal, stopSignal);
  await node.stop(other, 60);
  assert.equal((await node.status(other)).exitCode, 12);
  await Promise.all([node.remove(id), node.remove(other)]);
});

test('a second call with timeout 0 shortens the first, and the signal is sent once', async () => {
  const id = await ready({ command: stubborn });
  const first = node.stop(id, 600);
  await until('the signal has come', async () =>
    (await node.logLines(id)).some(({ text }) => text === 'heard'),
  );
  await node.stop(id, 0);
  await first;
  assert.equal((await node.status(id)).exitCode, 137);
  assert.equal((await node.logLines(id)).filter(({ text }) => text === 'heard').length, 1);
  await node.remove(id);
});

test('a second call with a longer grace does not delay the first', async () => {
  const id = await ready({ command: stubborn });
  await Promise.all([node.stop(id, 1), node.stop(id, 600)]);
  assert.equal((await node.status(id)).exitCode, 137);
  await node.remove(id);
});

test('a stop continues when its client has disconnected', async () => {
  const id = await ready({ command: stubborn });
  const client = new AbortController();
  const call = node.client.StopContainer(
    { containerId: id, timeout: fromBigInt(1n) },
    { signal: client.signal },
  );
  await until('the signal has come', async () =>
    (await node.logLines(id)).some(({ text }) => text === 'heard'),
  );
  client.abort();
  await assert.rejects(call);
  assert.equal((await node.exited(id)).exitCode, 137);
  await node.remove(id);
});

test('created, exited and unknown containers are stopped already', async () => {
  const created = await node.create(pod);
  await node.stop(created, 5);
  assert.equal((await node.status(created)).state, CREATED);
  const exited = await node.run(pod, { command: ['sh', '-c', 'exit 5'] });
  await node.exited(exited);
  await node.stop(exited, 5);
  assert.equal((await node.status(exited)).exitCode, 5);
  await node.stop('d'.repeat(64), 5);
  await node.stop('', 5);
  await Promise.all([node.remove(created), node.remove(exited)]);
});

test('all processes of the container end, also in sessions of their own', async () => {
  const id = await ready({
    command: ['sh', '-c', 'setsid sleep 1000 & setsid sleep 1000 & echo ready; sleep 1000'],
  });
  const { cgroup } = await node.facts(id);
  await until('three run', async () => (await node.exec(id, ['ps'])).out.split('sleep 1000').length > 3);
  await node.stop(id, 0);
  assert.deepEqual(node.processesIn(cgroup), []);
  await node.remove(id);
});

test('a paused-looking process tree (stopped by SIGSTOP) is killed as well', async () => {
  const id = await node.run(pod, { command: busy });
  process.kill((await node.facts(id)).pid, 'SIGSTOP');
  await node.stop(id, 1);
  assert.equal((await node.status(id)).exitCode, 137);
  await node.remove(id);
});

test('8 stops and removes at once all succeed', async () => {
  const ids = await Promise.all(Array.from({ length: 4 }, () => node.run(pod, { command: polite })));
  assert.equal((await node.status(ids[0] ?? '')).state, RUNNING);
  await Promise.all(ids.flatMap((id) => [node.stop(id, 10), node.stop(id, 0), node.remove(id)]));
  const { containers } = await node.client.ListContainers({});
  assert.deepEqual(
    containers.filter(({ id }) => ids.includes(id)),
    [],
  );
});

endsClean(node);
