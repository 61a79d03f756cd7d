/** Hostile requests: each ends with a status or a closed connection, and the next session works. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import test from 'node:test';
import { WebSocket } from 'ws';
import * as frames from '#cri/streaming/spdy/frames.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';
import { asInstalled } from './as-installed.ts';
import { openSpdy, type StreamFlags } from './sessions.ts';
import { type ClientStream, SpdyClient, spdyHeaders, upgrade, webSocketHeaders } from './spdy-client.ts';

const node = await TestNode.start('stream-hostile', asInstalled);
const pod = await node.runPod();
const id = await node.run(pod);
const all: StreamFlags = { stdin: true, stdout: true, stderr: true };
const url = async (cmd = ['cat']): Promise<string> =>
  (await node.client.Exec({ containerId: id, cmd, stdin: true, stdout: true, stderr: true })).url;
const descriptors = () => readdirSync(`/proc/${node.daemon.pid}/fd`).length;
const logged = (text: RegExp) => text.test(readFileSync(node.daemon.logFile, 'utf8'));

async function works(): Promise<void> {
  const session = await openSpdy(await url(), all);
  await session.write('still here');
  await session.endInput();
  assert.equal((await session.ended()).stdout, 'still here');
}

await works();
const before = descriptors();
/** A session whose client opens one stream of four: it takes half a minute, beside the other tests. */
const halfOpen = await SpdyClient.open(await url(), 'v4.channel.k8s.io');
await halfOpen.stream({ streamType: 'stdin' });

async function raw(bytes: Buffer | string): Promise<string> {
  const { hostname, port } = new URL(await url());
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  let output = '';
  socket.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1');
  });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(bytes);
  await closed;
  return output;
}

test('garbage on the port gets 400 or a closed connection', async () => {
  assert.match(await raw('garbage\r\n\r\n'), /^HTTP\/1.1 400/);
  assert.match(await raw(Buffer.concat([randomBytes(4096), Buffer.from('\r\n\r\n')])), /^(HTTP\/1.1 400|$)/);
  assert.match(await raw(`GET / HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(100_000)}\r\n\r\n`), /^HTTP\/1.1 431/);
});

test('unknown, used and foreign tokens are 404, and so is any other path', async () => {
  const used = await url(['true']);
  await (await openSpdy(used, all)).ended();
  const other = (await url()).replace('/exec/', '/attach/');
  const { origin } = new URL(used);
  for (const wrong of [
    used,
    other,
    `${origin}/exec/nosuchtoken`,
    `${origin}/exec/`,
    `${origin}/`,
    `${origin}/../..`,
  ]) {
    const { status, body } = await upgrade(wrong, spdyHeaders('v4.channel.k8s.io'));
    assert.equal(status, 404, wrong);
    assert.match(body, /request a new one/);
  }
});

test('a request without an upgrade, or with the wrong method, is 400', async () => {
  assert.equal((await fetch(await url())).status, 400);
  assert.equal((await upgrade(await url(), spdyHeaders('v4.channel.k8s.io'), 'GET')).status, 400);
  assert.equal((await upgrade(await url(), webSocketHeaders(), 'POST')).status, 400);
  const { 'X-Stream-Protocol-Version': _none, ...without } = spdyHeaders('');
  assert.equal((await upgrade(await url(), without)).status, 400);
});

test('no common protocol is 403, with those that are known', async () => {
  const spdy = await upgrade(await url(), spdyHeaders('v9.channel.k8s.io'));
  assert.equal(spdy.status, 403);
  assert.match(String(spdy.headers['x-accepted-stream-protocol-versions']), /v4\.channel\.k8s\.io/);
  const headers = { ...webSocketHeaders(), 'Sec-WebSocket-Protocol': 'v9.channel.k8s.io' };
  assert.equal((await upgrade(await url(), headers, 'GET')).status, 403);
});

test('more than 1000 unused tokens are refused, until some are used', async () => {
  const urls: string[] = [];
  await assert.rejects(
    async () => {
      for (let n = 0; n < 1100; n++) urls.push(await url());
    },
    { code: 'ResourceExhausted' },
  );
  await Promise.all(urls.map((one) => upgrade(one, {}, 'POST')));
  await works();
});

for (const [what, act] of [
  [
    'a stream of a type that it must not open',
    (client: SpdyClient) => client.stream({ streamType: 'resize' }),
  ],
  [
    'the same stream twice',
    async (client: SpdyClient) => {
      await client.stream({ streamType: 'stdin' });
      await client.stream({ streamType: 'stdin' });
    },
  ],
  [
    'a frame of another version',
    (client: SpdyClient) => client.send(Buffer.from('80020001000000080000000000000000', 'hex')),
  ],
  ['a control frame of 16 MB', (client: SpdyClient) => client.send(Buffer.from('8003000100ffffff', 'hex'))],
  [
    'data for a stream that it has not opened',
    (client: SpdyClient) => client.send(frames.dataHeader(99, 0, false)),
  ],
  [
    'a header block that is no zlib stream',
    (client: SpdyClient) =>
      client.send(
        frames.controlFrame(frames.SYN_STREAM, 0, frames.words(1, 0), Buffer.alloc(2), randomBytes(64)),
      ),
  ],
  [
    'headers of 10 MB that pack well',
    (client: SpdyClient) => client.stream({ streamType: 'x'.repeat(10_000_000) }),
  ],
  [
    '200 headers',
    (client: SpdyClient) =>
      client.stream(Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`h${n}`, '']))),
  ],
  [
    'a stream with an even number',
    async (client: SpdyClient) =>
      client.send(
        frames.controlFrame(
          frames.SYN_STREAM,
          0,
          frames.words(2, 0),
          Buffer.alloc(2),
          await client.pack({ streamType: 'stdin' }),
        ),
      ),
  ],
] as const) {
  test(`a session in which a client sends ${what} is closed`, async () => {
    const client = await SpdyClient.open(await url(), 'v4.channel.k8s.io');
    await act(client);
    await client.until('the connection is closed', () => client.closed);
    await works();
  });
}

test('pings are answered, and a flood of them from a client that does not read is not kept', async () => {
  const client = await SpdyClient.open(await url(), 'v4.channel.k8s.io');
  for (let n = 1; n < 20; n += 2) await client.send(frames.controlFrame(frames.PING, 0, frames.words(n)));
  await client.until('ten answers', () => client.pongs.length === 10);
  client.socket.pause();
  const many = Buffer.concat(
    Array.from({ length: 5000 }, () => frames.controlFrame(frames.PING, 0, frames.words(21))),
  );
  const rss = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${node.daemon.pid}/status`, 'utf8'))?.[1]);
  const start = rss();
  for (let n = 0; n < 1500; n++) client.socket.write(many); // 90 MB
  await new Promise((resolve) => setTimeout(resolve, 1500));
  // Seven and a half million answers that were kept would be more than a gigabyte; uncollected garbage was 9 MB at most.
  assert.ok(rss() - start < 40_000, `${start} kB, then ${rss()} kB`);
  await client.close();
});

test('more streams than a session has are refused one by one', async () => {
  const client = await SpdyClient.open(await url(), 'v4.channel.k8s.io');
  for (const streamType of ['error', 'stdin', 'stdout', 'stderr']) await client.stream({ streamType });
  const more: ClientStream[] = [];
  for (let n = 0; n < 40; n++) more.push(await client.stream({ streamType: 'stdin' }));
  await client.until('they are reset', () => more.every(({ reset }) => reset !== undefined));
  await client.close();
});

test('a WebSocket message of 20 MB, unmasked bytes, and unknown channels end or do nothing', async () => {
  const large = new WebSocket((await url()).replace('http', 'ws'), ['v5.channel.k8s.io']);
  await once(large, 'open');
  large.on('error', () => {});
  large.send(Buffer.alloc(20 << 20));
  const [code] = (await once(large, 'close')) as [number];
  assert.equal(code, 1009);
  const { socket } = await upgrade(
    await url(),
    { ...webSocketHeaders(), 'Sec-WebSocket-Protocol': 'v5.channel.k8s.io' },
    'GET',
  );
  socket?.write(Buffer.from('820161', 'hex'));
  socket?.resume();
  await once(socket as NonNullable<typeof socket>, 'close');
  const odd = new WebSocket((await url()).replace('http', 'ws'), ['v5.channel.k8s.io']);
  await once(odd, 'open');
  for (const bytes of [[], [9, 1], [1, 2], [4, 1], [255], [255, 9]]) odd.send(Buffer.from(bytes));
  odd.send(Buffer.from([255, 0]));
  assert.deepEqual(await once(odd, 'close').then(([ended]) => ended), 1000);
  await works();
});

test('streams that do not come are waited for, for half a minute', async () => {
  await halfOpen.until('the connection is closed', () => halfOpen.closed, 120_000);
  await until('it is logged', () => logged(/did not open its streams error, stdout, stderr/));
});

test('tokens are unknown after a restart of the daemon', async () => {
  const old = await url();
  await node.restart('stop');
  const { pathname } = new URL(old);
  const { status, body } = await upgrade(
    new URL(pathname, await url()).href,
    spdyHeaders('v4.channel.k8s.io'),
  );
  assert.equal(status, 404);
  assert.match(body, /issued before the daemon was restarted/);
  await works();
});

test('none of these sessions stays open', async () => {
  await until('the descriptors are as few as before', () => descriptors() <= before + 2);
});

endsClean(node);
