/** `crisp top` against a real daemon: one sample as text and as JSON, the view that goes on, other sockets. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import type { Sample } from '../../cli/top/sample.ts';
import { busy, endsClean, POD, TestNode, until } from '../harness/pods.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const node = await TestNode.start('top');
const pod = await node.runPod({}, { network: POD });
const id = await node.run(pod, { command: ['sh', '-c', 'while :; do :; done'] });
const idle = await node.run(pod, { command: busy });
const { socket } = node.daemon;
const adminSocket = join(node.settings.directory, 'state/admin.sock');
const ENDPOINTS = ['-r', `unix://${socket}`, '--admin-socket', adminSocket];

interface Running {
  readonly child: ChildProcess;
  readonly out: () => string;
  readonly end: Promise<{ code: number | null; out: string; err: string }>;
}

function start(...args: readonly string[]): Running {
  const child = spawn(process.execPath, [MAIN, 'top', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (piece) => (out += piece));
  child.stderr.on('data', (piece) => (err += piece));
  const end = new Promise<{ code: number | null; out: string; err: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, out, err })),
  );
  return { child, out: () => out, end };
}

test('one sample as JSON: the share of the CPU, memory, processes, and the daemon', async () => {
  const { code, out, err } = await start('-o', 'json', '-s', '1', ...ENDPOINTS).end;
  assert.deepEqual([code, err], [0, '']);
  const { daemon, pods } = JSON.parse(out) as Sample;
  assert.deepEqual([daemon?.pid, pods.length, pods[0]?.id], [node.daemon.pid, 1, pod]);
  const of = (wanted: string) => pods[0]?.containers.find((container) => container.id === wanted);
  assert.ok((of(id)?.cpuPercent ?? 0) > (of(idle)?.cpuPercent ?? Infinity), out);
  assert.deepEqual([of(id)?.state, of(id)?.restarts], ['running', 0]);
  assert.ok((pods[0]?.processes ?? 0) >= 2 && (pods[0]?.memoryBytes ?? 0) > 0, out);
});

test('one sample as text; a container that is stopped stays with its state', async () => {
  await node.stop(idle);
  const { code, out } = await start('--once', '-s', '0', ...ENDPOINTS).end;
  assert.equal(code, 0);
  assert.match(out, /^Daemon: crisp \S+, pid \d+, up .*, \d+ pulls, .*B$/m);
  assert.match(out, /^Pods: 1 ready, containers: 1 running, 1 not, CPU - %/m);
  assert.match(out, new RegExp(`^- +- +- +0 +\\S+ +exited +${idle.slice(0, 13)}$`, 'm'));
});

test('the view goes on until it is interrupted, which is no failure', async () => {
  const view = start('-s', '1', '--pods', ...ENDPOINTS);
  await until('two samples', () => view.out().split('Daemon: ').length > 2);
  view.child.kill('SIGINT');
  const { code, err } = await view.end;
  assert.deepEqual([code, err], [0, '']);
});

test('the view stays while the daemon is restarted, and goes on with the new one', async () => {
  const view = start('-s', '1', ...ENDPOINTS);
  await until('a sample', () => view.out().includes('Daemon: crisp'));
  await node.restart('kill', async () => {
    await until('the failure is shown', () => view.out().includes('No reply: '));
  });
  await until('the new daemon', () => view.out().includes(`pid ${node.daemon.pid}, `));
  view.child.kill('SIGTERM');
  assert.equal((await view.end).code, 0);
});

test('no daemon is a failure, no admin socket is not; 0 seconds are for one sample', async () => {
  const none = await start('--once', '-s', '0', '-r', 'unix:///nonexistent/s').end;
  assert.equal(none.code, 1);
  assert.match(none.err, /\/nonexistent\/s/);
  const other = await start('--once', '-s', '0', '-r', `unix://${socket}`, '--admin-socket', '/none').end;
  assert.equal(other.code, 0);
  assert.match(other.out, /^Daemon: no reply from the admin socket\n/);
  assert.equal((await start('-s', '0', ...ENDPOINTS).end).code, 2);
});

endsClean(node);
