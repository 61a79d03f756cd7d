/** What the service manager hears of the daemon, from its start to its end (sd_notify(3)). */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { NotifySocket } from '../harness/notify-socket.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';

const directory = join(process.env['CRISP_TEST_DIR'] ?? '', 'notify');
mkdirSync(directory);
const path = join(directory, 'socket');
const manager = new NotifySocket(path);
after(() => manager[Symbol.dispose]());
const node = await TestNode.start('notify', {
  environment: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '3000000' },
});
const states = (from = 0) => manager.states.slice(from).filter((state) => state !== 'WATCHDOG=1');

test('READY with the socket when it serves, and WATCHDOG again and again', async () => {
  await until('READY', () => states().includes('READY=1'));
  assert.deepEqual(manager.received.find(([state]) => state === 'READY=1')?.slice(1), [
    `STATUS=serving ${node.daemon.socket}`,
  ]);
  await until(
    'the watchdog is fed',
    () => manager.states.filter((state) => state === 'WATCHDOG=1').length > 2,
  );
});

test('RELOADING with the clock, then READY, at a reload', async () => {
  const from = manager.received.length;
  process.kill(node.daemon.pid, 'SIGHUP');
  await until('READY again', () => states(from).includes('READY=1'));
  assert.deepEqual(states(from), ['RELOADING=1', 'READY=1']);
  const [, clock = ''] = manager.received.slice(from).find(([state]) => state === 'RELOADING=1') ?? [];
  assert.match(clock, /^MONOTONIC_USEC=\d+$/);
});

test('STOPPING while it still serves the calls that run, and nothing after it', async () => {
  const from = manager.received.length;
  const pod = await node.runPod();
  const container = await node.run(pod);
  const root = `/proc/${(await node.facts(container)).pid}/root`;
  const command = 'touch /begun; while ! test -e /go; do sleep 0.02; done; echo done';
  const running = node.exec(container, ['sh', '-c', command], 0);
  await until('the command runs', () => existsSync(`${root}/begun`));
  let ended = false;
  void node.daemon.ended.then(() => {
    ended = true;
  });
  process.kill(node.daemon.pid, 'SIGTERM');
  await until('STOPPING', () => states(from).includes('STOPPING=1'));
  assert.equal(ended, false);
  writeFileSync(`${root}/go`, '');
  assert.equal((await running).out, 'done\n');
  assert.equal(await node.daemon.ended, 0);
  assert.deepEqual(manager.received.at(-1), ['STOPPING=1', 'STATUS=stopping: pods and containers run on']);
  assert.deepEqual(states(from), ['STOPPING=1']);
  await node.restart('kill');
  await until('READY of the next', () => states(from).includes('READY=1'));
});

endsClean(node);
