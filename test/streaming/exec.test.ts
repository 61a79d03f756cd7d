/** Exec with streams over both transports: output, input and its end, exit codes, terminals, and which processes end when. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { endsClean, processesWith, RUNNING, refused, TestNode, until } from '../harness/pods.ts';
import { openSpdy, openWebSocket, type StreamFlags } from './sessions.ts';

const node = await TestNode.start('stream-exec');
const pod = await node.runPod();
const id = await node.run(pod);
const url = async (cmd: string[], wishes: StreamFlags, containerId = id): Promise<string> => {
  const flags = { stdin: false, stdout: true, stderr: !wishes.tty, tty: false, ...wishes };
  return (await node.client.Exec({ containerId, cmd, ...flags })).url;
};
const sh = (script: string) => ['sh', '-c', script];
const all: StreamFlags = { stdin: true, stdout: true, stderr: true };

for (const [name, open, halfClose] of [
  ['SPDY', openSpdy, true],
  ['WebSocket v5', openWebSocket('v5.channel.k8s.io'), true],
  ['WebSocket v4', openWebSocket('v4.channel.k8s.io'), false],
  ['WebSocket v4 base64', openWebSocket('v4.base64.channel.k8s.io'), false],
] as const) {
  test(`${name}: outputs come apart and whole, with the exit code`, async () => {
    const session = await open(await url(sh('echo out; echo err >&2; exit 3'), all), all);
    const { stdout, stderr, exitCode, status } = await session.ended();
    assert.deepEqual([stdout, stderr, exitCode], ['out\n', 'err\n', 3]);
    assert.equal(status.reason, 'NonZeroExitCode');
  });

  test(`${name}: success is a status, too, and the last bytes are there`, async () => {
    const wishes = { stdout: true };
    for (let n = 0; n < 5; n++) {
      const session = await open(
        await url(sh('head -c 300000 /dev/zero | tr "\\0" x; echo end'), { stderr: false }),
        wishes,
      );
      const { stdout, exitCode } = await session.ended();
      assert.deepEqual([stdout.length, stdout.slice(-5), exitCode], [300_004, 'xend\n', 0]);
    }
  });

  test(`${name}: the session ends with the command though the input stays open`, async () => {
    const session = await open(await url(sh('read line; echo "got $line"'), all), all);
    await session.write('word\n');
    assert.deepEqual((await session.ended()).stdout, 'got word\n');
  });

  if (halfClose) {
    test(`${name}: the end of the input reaches the command`, async () => {
      const session = await open(await url(['cat'], all), all);
      await session.write('one ');
      await session.write('two');
      await session.endInput();
      const { stdout, exitCode } = await session.ended();
      assert.deepEqual([stdout, exitCode], ['one two', 0]);
    });
  }

  test(`${name}: a terminal with its sizes, signals and TERM`, async () => {
    const wishes = { stdin: true, stdout: true, tty: true };
    const script =
      'echo $TERM; tty; trap "stty size; exit 5" WINCH; echo ready; while :; do sleep 0.05; done';
    const session = await open(await url(sh(script), wishes), wishes);
    await session.until('the command is there', () => session.stdout().includes('ready'));
    assert.match(session.stdout(), /^xterm\r\n\/dev\/pts\/\d+\r\nready\r\n/);
    await session.resize(132, 43);
    const { stdout, exitCode } = await session.ended();
    assert.match(stdout, /43 132\r\n$/);
    assert.equal(exitCode, 5);
  });

  test(`${name}: an interrupt typed at a terminal ends the command`, async () => {
    const wishes = { stdin: true, stdout: true, tty: true };
    const session = await open(await url(sh('echo ready; sleep 1000'), wishes), wishes);
    await session.until('the command is there', () => session.stdout().includes('ready'));
    await session.write('\x03');
    assert.equal((await session.ended()).exitCode, 130);
  });

  test(`${name}: a command dies with its client, and all that it has forked`, async () => {
    const mark = `86${Math.floor(Math.random() * 1e9)}`;
    const session = await open(await url(sh(`sleep ${mark} & sleep ${mark}; echo never`), all), all);
    await until(
      'both sleep',
      () => processesWith(`sleep ${mark}`).filter((line) => /\d+ sleep/.test(line)).length === 2,
    );
    session.vanish();
    await until('both are gone', () => processesWith(`sleep ${mark}`).length === 0);
  });

  test(`${name}: what cannot be executed is reported`, async () => {
    const session = await open(await url(['/no/such/program'], all), all);
    const { status } = await session.ended();
    assert.equal(status.status, 'Failure');
    assert.equal(status.reason, 'InternalError');
    assert.match(status.message ?? '', /no such file or directory|not found/i);
  });
}

test('the oldest WebSocket protocol reports an exit code as text', async () => {
  const session = await openWebSocket('')(await url(sh('echo hi; exit 9'), all), all);
  const { stdout, status } = await session.ended();
  assert.equal(stdout, 'hi\n');
  assert.match(status.message ?? '', /exit code 9/);
});

test('what a command leaves in the background keeps running, and ends with its container', async () => {
  const other = await node.run(pod);
  const mark = `87${Math.floor(Math.random() * 1e9)}`;
  const session = await openSpdy(await url(sh(`sleep ${mark} & echo started`), all, other), all);
  assert.equal((await session.ended()).stdout, 'started\n');
  assert.ok(processesWith(`sleep ${mark}`).length > 0);
  await node.stop(other);
  assert.deepEqual(processesWith(`sleep ${mark}`), []);
  await node.remove(other);
});

test('a stop of the container ends its sessions, read or unread, and waits for none', async () => {
  const other = await node.run(pod);
  const wishes = { stdout: true, tty: true, stdin: true };
  const flood = ['sh', '-c', 'while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done'];
  const { SpdyClient } = await import('./spdy-client.ts');
  const deaf = await SpdyClient.open(await url(flood, wishes, other), 'v4.channel.k8s.io');
  for (const streamType of ['error', 'stdin', 'stdout', 'resize']) await deaf.stream({ streamType });
  await deaf.until('it has begun', () => deaf.received > 0);
  deaf.socket.pause();
  const quiet = await openSpdy(await url(['cat'], all, other), all);
  await node.stop(other);
  const { status } = await quiet.ended();
  assert.equal(status.status, 'Failure');
  await node.remove(other);
  await deaf.close();
});

test('invalid requests are refused at once', async () => {
  const none = { stdin: false, stdout: false, stderr: false, tty: false };
  const exec = (changes: object) =>
    node.client.Exec({ containerId: id, cmd: ['true'], ...none, stdout: true, ...changes });
  await refused(exec({ tty: true, stderr: true }), 'InvalidArgument', /tty and stderr/);
  await refused(exec({ stdout: false }), 'InvalidArgument', /one of stdin, stdout, stderr/);
  await refused(exec({ cmd: [] }), 'InvalidArgument', /cmd is empty/);
  await refused(exec({ containerId: 'feedfeed' }), 'NotFound');
  const created = await node.create(pod);
  await refused(exec({ containerId: created }), 'FailedPrecondition', /not running/);
  await node.remove(created);
  assert.equal((await node.status(id)).state, RUNNING);
});

endsClean(node);
