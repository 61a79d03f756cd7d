/** Port-forward into a pod's network and the node's, over SPDY, its tunnel in WebSocket, and channels. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import test, { after } from 'node:test';
import { WebSocket } from 'ws';
import { endsClean, NODE, POD, refused, TestNode, until } from '../harness/pods.ts';
import { echoIn } from './in-pod.ts';
import { type ClientStream, openTunnel, SpdyClient } from './spdy-client.ts';

const node = await TestNode.start('stream-ports');
const pod = await node.runPod({}, { network: POD });
const hostPod = await node.runPod({}, { network: NODE });
await echoIn(node, pod, '127.0.0.1', 8080);
await echoIn(node, pod, '::1', 8081);
const url = async (podSandboxId = pod, port: number[] = []) =>
  (await node.client.PortForward({ podSandboxId, port })).url;

interface Forwarded {
  readonly data: ClientStream;
  readonly error: ClientStream;
}

let requests = 0;
async function open(client: SpdyClient, port: number): Promise<Forwarded> {
  const requestID = String(requests++);
  const error = await client.stream({ streamType: 'error', port: String(port), requestID });
  await error.end();
  const data = await client.stream({ streamType: 'data', port: String(port), requestID });
  return { data, error };
}

for (const [name, connect] of [
  ['SPDY', (to: string) => SpdyClient.open(to, 'portforward.k8s.io')],
  ['SPDY in WebSocket', openTunnel],
] as const) {
  test(`${name}: bytes and half-closes pass both ways, on IPv4 and on IPv6`, async () => {
    const client = await connect(await url());
    for (const port of [8080, 8081]) {
      const { data, error } = await open(client, port);
      await data.write('hello ');
      await data.write(`port ${port}`);
      await data.end();
      await client.until('the end', () => data.ended && error.ended);
      assert.deepEqual([data.text, error.text], [`hello port ${port}`, '']);
    }
    await client.close();
  });

  test(`${name}: a refused connection is reported on its error stream, and the session continues`, async () => {
    const client = await connect(await url());
    const closed = await open(client, 9);
    await client.until('the error', () => closed.error.ended);
    assert.match(closed.error.text, /error forwarding port 9 .*ECONNREFUSED/);
    await client.until('the data stream is reset', () => closed.data.reset !== undefined);
    const { data } = await open(client, 8080);
    await data.write('x');
    await data.end();
    await client.until('the answer', () => data.ended);
    assert.equal(data.text, 'x');
    await client.close();
  });

  test(`${name}: 200 connections at once in one session`, async () => {
    const client = await connect(await url());
    const connections = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const one = await open(client, 8080);
        await one.data.write(`connection ${n} `.repeat(1000));
        return one;
      }),
    );
    await Promise.all(connections.map(({ data }) => data.end()));
    await client.until('all have ended', () =>
      connections.every(({ data, error }) => data.ended && error.ended),
    );
    for (const [n, { data, error }] of connections.entries()) {
      assert.equal(data.text, `connection ${n} `.repeat(1000));
      assert.equal(error.text, '');
    }
    await client.close();
  });
}

test('channels: one connection for each port, after its number', async () => {
  const socket = new WebSocket((await url(pod, [8080, 8081, 9])).replace('http', 'ws'), [
    'v4.channel.k8s.io',
  ]);
  const texts = Array.from({ length: 6 }, () => '');
  socket.on('message', (bytes: Buffer) => {
    texts[bytes[0] ?? 0] += bytes.toString('latin1', 1);
  });
  await once(socket, 'open');
  socket.send(Buffer.from('\x00one'));
  socket.send(Buffer.from('\x02two'));
  const number = (port: number) => String.fromCharCode(port & 255, port >> 8);
  await until(
    'the answers',
    () => texts[0]?.endsWith('one') && texts[2]?.endsWith('two') && (texts[5]?.length ?? 0) > 2,
  );
  assert.deepEqual(texts.slice(0, 5), [
    `${number(8080)}one`,
    number(8080),
    `${number(8081)}two`,
    number(8081),
    number(9),
  ]);
  assert.match(texts[5] ?? '', /ECONNREFUSED/);
  socket.terminate();
});

test('a pod on the network of the node has its ports', async () => {
  const server = createServer((socket) => socket.end('from the node'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === 'object' && address);
  const client = await SpdyClient.open(await url(hostPod), 'portforward.k8s.io');
  const { data } = await open(client, address.port);
  await client.until('the answer', () => data.ended);
  assert.equal(data.text, 'from the node');
  await client.close();
});

test('invalid streams are reset, the others of the session continue', async () => {
  const client = await SpdyClient.open(await url(), 'portforward.k8s.io');
  const wrong = [
    await client.stream({ streamType: 'other', port: '8080', requestID: 'a' }),
    await client.stream({ streamType: 'data', port: '0', requestID: 'b' }),
    await client.stream({ streamType: 'data', port: '70000', requestID: 'c' }),
    await client.stream({ streamType: 'data', requestID: 'd' }),
  ];
  const first = await client.stream({ streamType: 'data', port: '8080', requestID: 'e' });
  const twice = await client.stream({ streamType: 'data', port: '8080', requestID: 'e' });
  await client.until('they are reset', () => [...wrong, twice].every(({ reset }) => reset !== undefined));
  assert.equal(first.reset, undefined);
  const { data } = await open(client, 8080);
  await data.write('still here');
  await client.until('the answer', () => data.text === 'still here');
  await client.close();
});

test('the end of the pod ends the session', async () => {
  const other = await node.runPod({}, { network: POD });
  await echoIn(node, other, '127.0.0.1', 8080);
  const client = await SpdyClient.open(await url(other), 'portforward.k8s.io');
  const { data } = await open(client, 8080);
  await data.write('x');
  await client.until('the answer', () => data.text === 'x');
  await node.client.StopPodSandbox({ podSandboxId: other });
  await client.until('the session ends', () => client.closed);
  await refused(url(other), 'FailedPrecondition', /not ready/);
});

test('invalid requests are refused at once', async () => {
  await refused(url('feedfeed'), 'NotFound');
  await refused(url(pod, [0]), 'InvalidArgument', /port 0/);
  await refused(url(pod, [70_000]), 'InvalidArgument', /port 70000/);
});

endsClean(node);
