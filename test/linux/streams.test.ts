/** Attended commands and ports of pods, on the real kernel. Runs as root. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import test, { type TestContext } from 'node:test';
import { openKernel } from '#linux/index.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { endProcesses } from '../harness/processes.ts';
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

test('a detached command: its pipes are its own, its exit code arrives, whatever stays in the background', async (t) => {
  const kernel = await open(t);
  const directory = scratch(t);
  const pidFile = join(directory, 'pid');
  // The command outlives its runtime: a shell would wait for it, and keep its exit code to itself.
  const outlive = 'while kill -0 $$ 2>/dev/null; do sleep 0.01; done';
  const runtime = `(echo out; sleep 1000 & echo $! > bg; ${outlive}; exec sh -c 'exit 7') & echo $! > pid`;
  const { child } = await kernel.streams.runDetached({
    argv: ['/bin/sh', '-c', runtime],
    env: { PATH: '/usr/bin:/bin' },
    directory,
    pidFile,
    terminal: undefined,
    stdio: { stdin: 'null', stdout: 'pipe', stderr: 'null' },
  });
  const output: Buffer[] = [];
  child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
  assert.deepEqual(await child.exited, { code: 7, signal: undefined });
  assert.equal(Buffer.concat(output).toString(), 'out\n');
  process.kill(Number(readFileSync(join(directory, 'bg'), 'utf8')));
  child.stdout?.destroy();
});

test('a command that its runtime has waited for is an unknown end, not an endless wait', async (t) => {
  const kernel = await open(t);
  const directory = scratch(t);
  const { child } = await kernel.streams.runDetached({
    argv: ['/bin/sh', '-c', 'true & echo $! > pid; wait; sleep 1000 & echo $! > bg'],
    env: { PATH: '/usr/bin:/bin' },
    directory,
    pidFile: join(directory, 'pid'),
    terminal: undefined,
    stdio: { stdin: 'null', stdout: 'null', stderr: 'null' },
  });
  assert.deepEqual(await child.exited, { code: 255, signal: undefined });
  process.kill(Number(readFileSync(join(directory, 'bg'), 'utf8')));
});

test("a runtime's own failure is reported by its exit code", async (t) => {
  const kernel = await open(t);
  const { child, terminal } = await kernel.streams.runDetached({
    argv: ['/bin/sh', '-c', 'exit 9'],
    env: {},
    directory: scratch(t),
    pidFile: '/nowhere',
    terminal: 'socket',
    stdio: { stdin: 'null', stdout: 'null', stderr: 'null' },
  });
  assert.equal(await terminal(AbortSignal.timeout(DEADLINE)), undefined);
  assert.equal((await child.exited).code, 9);
});

test('at SIGTERM the shim kills all that a running runtime has started, and is found by its pid file', async (t) => {
  const kernel = await open(t);
  const directory = scratch(t);
  const pidFile = join(directory, 'pid');
  const mark = `sleep 88${Math.floor(Math.random() * 1e9)}`;
  // A child of its own session whose parent has gone, one whose parent waits, and a runtime that ignores SIGTERM.
  const runtime = `trap '' TERM; (setsid ${mark} & ); sh -c 'trap "" TERM; ${mark}; :' & echo started; ${mark}; :`;
  const { child } = await kernel.streams.runDetached({
    argv: ['/bin/sh', '-c', runtime],
    env: { PATH: '/usr/bin:/bin' },
    directory,
    pidFile,
    terminal: undefined,
    stdio: { stdin: 'null', stdout: 'pipe', stderr: 'null' },
  });
  assert.ok(child.stdout);
  await once(child.stdout, 'data');
  assert.deepEqual(kernel.streams.execShims(pidFile), [child.process]);
  assert.deepEqual(kernel.streams.execShims(`${pidFile}2`), []);
  kernel.processes.signal(child.process, 15);
  assert.deepEqual(await child.exited, { code: 137, signal: undefined });
  const left = readdirSync('/proc').filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').includes(mark);
    } catch {
      return false;
    }
  });
  assert.deepEqual(left, []);
  assert.deepEqual(kernel.streams.execShims(pidFile), []);
  child.stdout.destroy();
});

test('an exec shim that an earlier version of crisp has started, as "attend", is found too', async (t) => {
  const kernel = await open(t);
  const pidFile = join(scratch(t), 'pid');
  const child = await kernel.processes.spawn({
    argv: ['/bin/sh', '-c', 'echo started; read line; :', 'attend', pidFile, '-', '--', '/bin/runtime'],
    env: { PATH: '/usr/bin:/bin' },
    stdin: 'pipe', // the shell reads by itself: a child would have the same arguments until its exec
    stdout: 'pipe',
  });
  t.after(async () => {
    endProcesses([-child.process.pid]); // a session of its own
    await child.exited;
  });
  assert.ok(child.stdout);
  await once(child.stdout, 'data'); // until its exec it has the arguments of what has spawned it
  assert.deepEqual(kernel.streams.execShims(pidFile), [child.process]);
});

test('a runtime that fails leaves nothing behind', async (t) => {
  const kernel = await open(t);
  const { child } = await kernel.streams.runDetached({
    argv: ['/bin/sh', '-c', 'sleep 1000 & echo $!; exit 9'],
    env: { PATH: '/usr/bin:/bin' },
    directory: scratch(t),
    pidFile: '/nowhere',
    terminal: undefined,
    stdio: { stdin: 'null', stdout: 'pipe', stderr: 'null' },
  });
  let output = '';
  child.stdout?.on('data', (chunk) => {
    output += chunk;
  });
  assert.equal((await child.exited).code, 9);
  assert.equal(kernel.processes.reference(Number(output)), undefined);
});

test('a port of a pod is reached through its namespace, IPv4 before IPv6, and a closed one is refused', async (t) => {
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
