import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { processTree } from './memory.ts';

const STARTS_PROCESS = `
const { spawn } = require('node:child_process');
const { parentPort } = require('node:worker_threads');
const child = spawn('sleep', ['1000']);
child.once('spawn', () => parentPort.postMessage(child.pid));
child.once('exit', () => parentPort.close());
parentPort.once('message', () => child.kill('SIGKILL'));
`;

// containerd forks mkfs.erofs and unpigz from any of its threads.
test('a process that was started by another thread than the first counts', async () => {
  const worker = new Worker(STARTS_PROCESS, { eval: true });
  const [child] = (await once(worker, 'message')) as [number];
  const members = processTree(process.pid);
  worker.postMessage('end');
  await once(worker, 'exit');
  assert.deepEqual([members[0], members.includes(child)], [process.pid, true]);
});
