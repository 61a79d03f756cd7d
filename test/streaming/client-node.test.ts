/** The JavaScript client of Kubernetes over WebSocket, versions 4 and 5, through the front. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import test, { after } from 'node:test';
import { Attach, Exec, KubeConfig, PortForward, type V1Status } from '@kubernetes/client-node';
import { endsClean, POD, TestNode, until } from '../harness/pods.ts';
import { startFront } from './api-front.ts';
import { echoIn } from './in-pod.ts';

const node = await TestNode.start('stream-client-node');
const pod = await node.runPod({}, { network: POD });
const container = await node.run(pod);
const cat = await node.run(pod, {
  command: ['sh', '-c', 'while read line; do echo "got $line"; done'],
  stdin: true,
});
await echoIn(node, pod, '127.0.0.1', 8080);
const front = await startFront(node.client, {
  web: { pod, container, tty: false },
  cat: { pod, container: cat, tty: false },
});
after(() => front[Symbol.asyncDispose]());
const older = await startFront(
  node.client,
  { web: { pod, container, tty: false } },
  { withhold: 'v5.channel.k8s.io' },
);
after(() => older[Symbol.asyncDispose]());
const config = configOf(front.url);

function configOf(server: string): KubeConfig {
  const made = new KubeConfig();
  made.loadFromClusterAndUser({ name: 'test', server, skipTLSVerify: true }, { name: 'test' });
  return made;
}

function sink(): { stream: PassThrough; text: () => string } {
  const chunks: Buffer[] = [];
  const stream = new PassThrough().on('data', (chunk: Buffer) => chunks.push(chunk));
  return { stream, text: () => Buffer.concat(chunks).toString() };
}

interface Running {
  readonly out: () => string;
  readonly err: () => string;
  readonly input: PassThrough;
  readonly status: Promise<V1Status>;
  readonly socket: Awaited<ReturnType<Exec['exec']>>;
}

async function exec(server: string, script: string): Promise<Running> {
  const [out, err, input] = [sink(), sink(), new PassThrough()];
  const status = Promise.withResolvers<V1Status>();
  const command = ['sh', '-c', script];
  const client = new Exec(configOf(server));
  const streams = [out.stream, err.stream, input] as const;
  const socket = await client.exec('default', 'web', 'main', command, ...streams, false, status.resolve);
  return { out: out.text, err: err.text, input, status: status.promise, socket };
}

test('exec: outputs, input with its end where the protocol has one, and the status', async () => {
  const { out, err, input, status, socket } = await exec(front.url, 'cat; echo err >&2; exit 3');
  input.end('through cat');
  const { reason, details } = await status;
  assert.deepEqual([out(), err()], ['through cat', 'err\n']);
  assert.deepEqual([reason, details?.causes?.[0]?.message], ['NonZeroExitCode', '3']);
  if (socket.readyState !== socket.CLOSED) await once(socket as never, 'close');
});

test('exec over version 4: the input has no end, but the command ends', async () => {
  const { out, err, input, status } = await exec(older.url, 'read line; echo "got $line"; exit 5');
  input.write('word\n');
  const { details } = await status;
  assert.deepEqual([out(), err(), details?.causes?.[0]?.message], ['got word\n', '', '5']);
});

test('attach: input gets its reply', async () => {
  const [out, input] = [sink(), new PassThrough()];
  const socket = await new Attach(config).attach('default', 'cat', 'main', out.stream, null, input, false);
  input.write('word\n');
  await until('the answer', () => out.text() === 'got word\n');
  socket.close();
});

test('port-forward: a connection through channels', async () => {
  const [out, err, input] = [sink(), sink(), new PassThrough()];
  const made = await new PortForward(config).portForward(
    'default',
    'web',
    [8080],
    out.stream,
    err.stream,
    input,
  );
  input.write('hello');
  await until('the answer', () => out.text() === 'hello');
  assert.equal(err.text(), '');
  (typeof made === 'function' ? made() : made)?.close();
});

endsClean(node);
