/**
 * Sessions with crun, where it works on this machine: on cgroup v2, or on v1 with the cgroup2 tree out of its sight, for
 * which the daemon is in a mount namespace of its own.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { endsClean, POD, processesWith, TestNode, until } from '../harness/pods.ts';
import { echoIn } from './in-pod.ts';
import { openSpdy, openWebSocket, type StreamFlags } from './sessions.ts';
import { SpdyClient } from './spdy-client.ts';

const hidden = 'umount -l /sys/fs/cgroup/unified && exec "$@"';
const hybrid = existsSync('/sys/fs/cgroup/unified/cgroup.controllers');
const node = await TestNode.start('stream-crun', {
  runtime: 'crun',
  ...(hybrid ? { wrapper: ['unshare', '-m', '--propagation', 'private', 'sh', '-c', hidden, 'sh'] } : {}),
});
const pod = await node.runPod({}, { network: POD });
const id = await node.run(pod);
const all: StreamFlags = { stdin: true, stdout: true, stderr: true };
const terminal: StreamFlags = { stdin: true, stdout: true, tty: true };
const flagsOf = (wishes: StreamFlags) => ({
  stdin: false,
  stdout: false,
  stderr: false,
  tty: false,
  ...wishes,
});
const exec = async (script: string, wishes: StreamFlags): Promise<string> =>
  (await node.client.Exec({ containerId: id, cmd: ['sh', '-c', script], ...flagsOf(wishes) })).url;

test('crun is the runtime of these sessions', () => {
  assert.match(readFileSync(node.daemon.logFile, 'utf8'), /"default":"crun"/);
});

for (const [name, open] of [
  ['SPDY', openSpdy],
  ['WebSocket v5', openWebSocket('v5.channel.k8s.io')],
] as const) {
  test(`${name}: exec with input and its end, outputs apart, exit code`, async () => {
    const session = await open(await exec('cat; echo err >&2; exit 3', all), all);
    await session.write('through cat');
    await session.endInput();
    const { stdout, stderr, exitCode } = await session.ended();
    assert.deepEqual([stdout, stderr, exitCode], ['through cat', 'err\n', 3]);
  });

  test(`${name}: exec in a terminal with its sizes`, async () => {
    // On a busy machine the first size may meet the command when it runs already: the runtime, too, sets it beside that.
    const script = 'tty; until [ "$(stty size)" = "22 77" ]; do stty size; sleep 0.05; done; exit 4';
    const session = await open(await exec(script, terminal), terminal);
    await session.resize(101, 31);
    await session.until('the first size is there', () => session.stdout().includes('31 101\r\n'));
    await session.resize(77, 22);
    const { stdout, exitCode } = await session.ended();
    assert.match(stdout, /^\/dev\/pts\/\d+\r\n/);
    assert.equal(exitCode, 4);
  });

  test(`${name}: a command dies with its client, with what it has forked`, async () => {
    const session = await open(
      await exec(`(setsid sleep 6551${process.pid} &); echo begun; sleep 6551${process.pid}`, all),
      all,
    );
    await session.until('it has begun', () => session.stdout() === 'begun\n');
    await until('both run', () => processesWith(`sleep 6551${process.pid}`).length >= 2);
    session.vanish();
    await until('they are gone', () => processesWith(`sleep 6551${process.pid}`).length === 0);
  });

  test(`${name}: attach, with and without a terminal`, async () => {
    for (const tty of [false, true]) {
      const shell = await node.run(pod, { command: ['sh'], stdin: true, stdinOnce: true, tty });
      const wishes = tty ? terminal : all;
      const { url } = await node.client.Attach({ containerId: shell, ...flagsOf(wishes) });
      const session = await open(url, wishes);
      await session.write('echo "hel""lo"; exit 6\n');
      assert.match((await session.ended()).stdout, tty ? /\r\nhello\r\n/ : /^hello\n$/);
      assert.equal((await node.exited(shell)).exitCode, 6);
      await node.remove(shell);
    }
  });
}

test('what cannot be executed is reported', async () => {
  const { url } = await node.client.Exec({
    containerId: id,
    cmd: ['/no/such/program'],
    ...flagsOf({ stdout: true }),
  });
  const { status } = await (await openSpdy(url, { stdout: true })).ended();
  assert.equal(status.status, 'Failure');
  assert.match(status.message ?? '', /no.such/i);
});

test('port-forward: bytes and half-closes both ways', async () => {
  await echoIn(node, pod, '127.0.0.1', 8080);
  const { url } = await node.client.PortForward({ podSandboxId: pod, port: [] });
  const client = await SpdyClient.open(url, 'portforward.k8s.io');
  await client.stream({ streamType: 'error', port: '8080', requestID: '0' });
  const data = await client.stream({ streamType: 'data', port: '8080', requestID: '0' });
  await data.write('hello');
  await data.end();
  await client.until('the end', () => data.ended);
  assert.equal(data.text, 'hello');
  await client.close();
});

endsClean(node);
