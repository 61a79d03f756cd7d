/** Terminals, packets and ports of pods, on the real kernel. Runs as root. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import test, { type TestContext } from 'node:test';
import { openKernel } from '#linux/index.ts';
import type { Kernel } from '#linux/kernel.ts';
import { scratch } from './scratch.ts';

const DEADLINE = 10_000;

async function open(t: TestContext): Promise<Kernel> {
  const kernel = await openKernel();
  t.after(() => kernel.close());
  return kernel;
}

async function text(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

test('a child has the terminal as its controlling one, with sizes and signals, and its last words arrive', async (t) => {
  const kernel = await open(t);
  const terminal = kernel.streams.openTerminal();
  terminal.resize(99, 33);
  const side = { path: terminal.path };
  const script = 'trap "stty size; exit 7" WINCH; stty size < /dev/tty; echo up; while :; do sleep .05; done';
  const child = await kernel.processes.spawn({
    argv: ['/bin/bash', '-c', script],
    env: { PATH: '/usr/bin:/bin' },
    stdin: side,
    stdout: side,
    stderr: side,
  });
  const said: Buffer[] = [];
  terminal.stream.on('data', (chunk: Buffer) => {
    said.push(chunk);
    if (chunk.includes('up')) terminal.resize(120, 40);
  });
  await once(terminal.stream, 'end');
  assert.equal((await child.exited).code, 7);
  assert.equal(Buffer.concat(said).toString(), '33 99\nup\n40 120\n');
  terminal.stream.destroy();
});

test('a terminal is raw from the start and passes more than its buffer holds, both ways', async (t) => {
  const kernel = await open(t);
  const terminal = kernel.streams.openTerminal();
  const side = { path: terminal.path };
  const child = await kernel.processes.spawn({
    argv: ['/usr/bin/head', '-c', '300000'],
    env: {},
    stdin: side,
    stdout: side,
  });
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, n) => n % 251));
  terminal.stream.write(bytes);
  const chunks: Buffer[] = [];
  for await (const chunk of terminal.stream) chunks.push(chunk as Buffer);
  assert.ok(Buffer.concat(chunks).equals(bytes));
  assert.equal((await child.exited).code, 0);
  terminal.stream.destroy();
});

test('a port of a pod is reached through its namespace, IPv4 before IPv6, and a closed one is told', async (t) => {
  const kernel = await open(t);
  const directory = scratch(t, kernel.mounts);
  const netns = join(directory, 'net');
  await kernel.namespaces.pinEmptyNetwork(netns);
  t.after(() => kernel.namespaces.unpin(directory));
  const signal = AbortSignal.timeout(DEADLINE);
  await assert.rejects(kernel.streams.connectPort(netns, 8080, signal), { code: 'Unavailable' });
  const server = createServer((socket) => socket.end(`from ${socket.remoteFamily}`));
  t.after(() => server.close());
  for (const [host, family] of [
    ['::1', 'IPv6'],
    ['127.0.0.1', 'IPv4'],
  ] as const) {
    server.listen(0, host);
    await once(server, 'listening');
    const address = server.address();
    assert.ok(typeof address === 'object' && address);
    const socket = await kernel.streams.connectPort(undefined, address.port, signal);
    assert.equal(await text(socket), `from ${family}`);
    socket.destroy();
    server.close();
    await once(server, 'close');
  }
});
