/** Section 6 of the kubelet's contract, as far as other suites do not test it: pods without logs, and names in the directory. */
import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import test from 'node:test';
import { endsClean, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('contract-logs');

test('without a log directory there is no log, and the container runs', async () => {
  const pod = await node.runPod({ logDirectory: '' });
  const id = await node.run(pod, { command: ['sh', '-c', 'seq 10000; echo over >&2; exit 4'] });
  assert.equal((await node.exited(id)).exitCode, 4);
  assert.equal(await node.logPath(id), '');
});

test('the log is the only file of its directory, and others cannot read it', async () => {
  const pod = await node.runPod();
  const id = await node.run(pod, { command: ['echo', 'x'], logPath: 'name/3.log' });
  await node.exited(id);
  const path = await node.logPath(id);
  assert.deepEqual(readdirSync(dirname(path)), ['3.log']);
  assert.equal(statSync(path).mode & 0o137, 0, (statSync(path).mode & 0o777).toString(8));
});

endsClean(node);
