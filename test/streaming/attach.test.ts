/** Attach through conmon: fan-out, input and its end, terminals, and clients that affect only themselves. */
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import test from 'node:test';
import { endsClean, RUNNING, refused, TestNode, until } from '../harness/pods.ts';
import { openSpdy, openWebSocket, type StreamFlags } from './sessions.ts';
import { SpdyClient } from './spdy-client.ts';

const node = await TestNode.start('stream-attach');
const pod = await node.runPod();
const all: StreamFlags = { stdin: true, stdout: true, stderr: true };
const url = async (containerId: string, wishes: StreamFlags): Promise<string> => {
  const flags = { stdin: false, stdout: false, stderr: false, tty: false, ...wishes };
  return (await node.client.Attach({ containerId, ...flags })).url;
};
const sh = (script: string) => ['sh', '-c', script];
const flood = sh(
  'read go; while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done',
);

for (const [name, open, halfClose] of [
  ['SPDY', openSpdy, true],
  ['WebSocket v5', openWebSocket('v5.channel.k8s.io'), true],
  ['WebSocket v4', openWebSocket('v4.channel.k8s.io'), false],
] as const) {
  test(`${name}: a shell replies to its input, and with stdin_once it ends with its client`, async () => {
    const id = await node.run(pod, { command: ['sh'], stdin: true, stdinOnce: true });
    const session = await open(await url(id, all), all);
    await session.write('echo hello; echo oops >&2\n');
    await session.until('the answer', () => session.stdout() === 'hello\n');
    if (halfClose) {
      await session.endInput();
      const { stdout, stderr, status } = await session.ended();
      assert.deepEqual([stdout, stderr, status.status], ['hello\n', 'oops\n', 'Success']);
    } else session.vanish();
    await node.exited(id);
    await node.remove(id);
  });

  test(`${name}: without stdin_once the input outlives its client, and the end of the container ends the session`, async () => {
    const id = await node.run(pod, {
      command: sh('while read line; do echo "got $line"; done'),
      stdin: true,
    });
    const first = await open(await url(id, all), all);
    await first.write('one\n');
    await first.until('the answer', () => first.stdout() === 'got one\n');
    first.vanish();
    const second = await open(await url(id, all), all);
    await second.write('two\n');
    await second.until('the answer, and nothing older', () => second.stdout() === 'got two\n');
    assert.equal((await node.status(id)).state, RUNNING);
    await node.stop(id);
    await second.ended();
    await node.remove(id);
  });
}

test('every client sees the whole output', async () => {
  const script =
    'while read go && [ "$go" = ping ]; do echo ping; done; n=0; while [ $n -lt 2000 ]; do echo "line $n"; n=$((n+1)); done; echo last >&2';
  const id = await node.run(pod, { command: sh(script), stdin: true });
  const clients = await Promise.all([
    openSpdy(await url(id, all), all),
    openWebSocket('v5.channel.k8s.io')(await url(id, { stdout: true, stderr: true }), {}),
    openWebSocket('v4.channel.k8s.io')(await url(id, { stdout: true }), {}),
  ]);
  // conmon does not report when it has accepted a client: each has received a reply.
  await until('all are attached', async () => {
    await clients[0].write('ping\n');
    return clients.every((client) => client.stdout().includes('ping\n'));
  });
  await clients[0].write('go\n');
  const expected = Array.from({ length: 2000 }, (_, n) => `line ${n}\n`).join('');
  for (const [n, client] of clients.entries()) {
    const { stdout, stderr } = await client.ended();
    assert.equal(stdout.replace(/^(?:ping\n)+/, ''), expected, `client ${n}`);
    assert.equal(stderr, n === 2 ? '' : 'last\n', `client ${n}`);
  }
  await node.remove(id);
});

test('a terminal gets its size from any attached client', async () => {
  const script = 'trap "stty size; exit 0" WINCH; while :; do echo ready; sleep 0.05; done';
  const id = await node.run(pod, { command: sh(script), stdin: true, tty: true });
  const wishes = { stdin: true, stdout: true, tty: true };
  const session = await openSpdy(await url(id, wishes), wishes);
  await session.until('it is there', () => session.stdout().includes('ready'));
  await session.resize(91, 17);
  assert.match((await session.ended()).stdout, /17 91\r\n$/);
  await node.remove(id);
});

/** A client that counts what comes and keeps nothing. */
async function counting(id: string, wishes: StreamFlags): Promise<SpdyClient> {
  const client = await SpdyClient.open(await url(id, wishes), 'v4.channel.k8s.io');
  client.onData = () => {};
  for (const type of ['error', 'stdin', 'stdout', 'stderr'] as const) {
    if (type === 'error' || wishes[type]) await client.stream({ streamType: type });
  }
  await client.until('it is served', () => [...client.streams.values()].every((stream) => stream.replied));
  return client;
}

test('a client that reads nothing blocks neither the container nor other clients nor a stop', async () => {
  const id = await node.run(pod, { command: flood, stdin: true });
  const deaf = await counting(id, all);
  const other = await counting(id, { stdout: true });
  await deaf.streams.get(3)?.write('go\n');
  await deaf.until('it has begun', () => deaf.received > 0);
  deaf.socket.pause();
  const log = await node.logPath(id);
  const { size } = statSync(log);
  await until('the log grows by 20 MB', () => statSync(log).size > size + 20e6);
  const { received } = other;
  await other.until('the other client sees more', () => other.received > received + 1e6);
  const again = await counting(id, { stdout: true });
  await again.until('it has begun', () => again.received > 0);
  again.socket.pause();
  other.socket.pause();
  await new Promise((resolve) => setTimeout(resolve, 500));
  await node.stop(id);
  await Promise.all([deaf.close(), again.close(), other.close()]);
  await node.remove(id);
});

test('invalid requests are refused at once', async () => {
  const id = await node.create(pod);
  await refused(url(id, { stdout: true }), 'FailedPrecondition', /not running/);
  await refused(url('feedfeed', { stdout: true }), 'NotFound');
  await refused(url(id, {}), 'InvalidArgument', /one of stdin/);
  await refused(url(id, { tty: true, stdout: true, stderr: true }), 'InvalidArgument', /tty and stderr/);
});

endsClean(node);
