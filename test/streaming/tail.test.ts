/** The last bytes of a command reach a client that reads nothing for a while after the command's end. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { describe } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as frames from '#cri/streaming/spdy/frames.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';
import { type Ended, openSpdy, openWebSocket, type StreamFlags } from './sessions.ts';
import { SpdyClient } from './spdy-client.ts';

/** Longer than a timeout of the server: it was 10 seconds once. */
const PAUSE_MS = 13_000;
const node = await TestNode.start('stream-tail');
const pod = await node.runPod();
const id = await node.run(pod);

const url = async (script: string, { stdin = false, tty = false }: StreamFlags): Promise<string> => {
  const wishes = { stdin, stdout: true, stderr: !tty, tty };
  return (await node.client.Exec({ containerId: id, cmd: ['sh', '-c', script], ...wishes })).url;
};
const inside = async (script: string): Promise<string> => (await node.exec(id, ['sh', '-c', script])).out;

/**
 * Writes until nothing more goes out, and ends; $1.count has a line for each block of 4095 letters and a newline that was
 * written, $1.ended is there at the end.
 */
const flood = (name: string): string => `
  block=$(head -c 4095 /dev/zero | tr '\\0' x)
  : > /tmp/${name}.count
  (while :; do echo "$block"; echo >> /tmp/${name}.count; done) &
  last=0
  while now=$(wc -l < /tmp/${name}.count); [ $now = 0 ] || [ $now != $last ]; do last=$now; sleep 1; done
  kill -9 $!
  wait
  touch /tmp/${name}.ended`;

/** All output was received, then success. */
async function whole(name: string, ended: Ended): Promise<void> {
  const written = Number(await inside(`wc -l < /tmp/${name}.count`));
  assert.ok(written > 10, `${written} blocks`);
  const blocks = ended.stdout.split(/\r?\n/).filter((line) => line.length === 4095).length;
  assert.ok(blocks >= written, `${blocks} blocks of ${written}`);
  assert.equal(ended.exitCode, 0);
}

const cases = [
  ['spdy', openSpdy, false],
  ['spdy-tty', openSpdy, true],
  ['v5', openWebSocket('v5.channel.k8s.io'), false],
  ['v5-tty', openWebSocket('v5.channel.k8s.io'), true],
] as const;

// Side by side: one pause is enough for all.
describe('a client that pauses', { concurrency: true }, () => {
  for (const [name, open, tty] of cases) {
    test(`${name}: nothing is lost, and the status is true`, async () => {
      const wishes = { stdout: true, stderr: !tty, tty };
      const session = await open(await url(flood(name), wishes), wishes);
      session.pause();
      await until('the command has ended', async () => (await inside(`ls /tmp/${name}.ended`)) !== '');
      await sleep(PAUSE_MS);
      session.resume();
      await whole(name, await session.ended());
    });
  }

  test('spdy with a window of 100 bytes: nothing is lost, and the status is true', async () => {
    const client = await SpdyClient.open(
      await url('head -c 1000 /dev/zero; touch /tmp/window.ended', {}),
      'v4.channel.k8s.io',
    );
    const window = frames.words(1, frames.SETTING_INITIAL_WINDOW, 100);
    await client.send(frames.controlFrame(frames.SETTINGS, 0, window));
    const [error, stdout] = [
      await client.stream({ streamType: 'error' }),
      await client.stream({ streamType: 'stdout' }),
    ];
    await client.stream({ streamType: 'stderr' });
    await client.until('the first bytes', () => stdout.text.length === 100);
    await until('the command has ended', async () => (await inside('ls /tmp/window.ended')) !== '');
    await sleep(PAUSE_MS);
    assert.equal(error.text, '', 'the status comes last');
    for (const stream of [error, stdout])
      await client.send(frames.controlFrame(frames.WINDOW_UPDATE, 0, frames.words(stream.id, 10_000)));
    await client.until('the connection ends', () => client.closed);
    assert.equal(stdout.text.length, 1000);
    assert.match(error.text, /"Success"/);
  });
});

test('spdy with a peer that tracks windows of streams, but not of the session: all of 2 MB arrive', async () => {
  const client = await SpdyClient.open(await url('head -c 2000000 /dev/zero', {}), 'v4.channel.k8s.io');
  const window = frames.words(1, frames.SETTING_INITIAL_WINDOW, 30_000);
  await client.send(frames.controlFrame(frames.SETTINGS, 0, window));
  let [bytes, status] = [0, ''];
  client.onData = (stream, data) => {
    if (stream.id === 1) status += data;
    else bytes += data.length;
    void client.send(frames.controlFrame(frames.WINDOW_UPDATE, 0, frames.words(stream.id, data.length)));
  };
  for (const streamType of ['error', 'stdout', 'stderr']) await client.stream({ streamType });
  await client.until('the connection ends', () => client.closed);
  assert.equal(bytes, 2_000_000);
  assert.match(status, /"Success"/);
});

test('a client that has disconnected is waited for no longer', async () => {
  const wishes = { stdout: true, stderr: true };
  for (const [name, open] of [
    ['gone-spdy', openSpdy],
    ['gone-v5', openWebSocket('v5.channel.k8s.io')],
  ] as const) {
    const session = await open(await url(flood(name), wishes), wishes);
    session.pause();
    await until('the command has ended', async () => (await inside(`ls /tmp/${name}.ended`)) !== '');
    session.vanish();
  }
  const log = () => readFileSync(node.daemon.logFile, 'utf8');
  await until('both sessions have ended', () => (log().match(/the client disconnected/g) ?? []).length >= 2);
});

endsClean(node);
