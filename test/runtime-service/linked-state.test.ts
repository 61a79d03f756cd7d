/** A daemon whose directories lie behind links, as /var/run is one to /run. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { busy, endsClean, TestNode } from '../harness/pods.ts';

const real = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'real-'));
symlinkSync(real, `${real}-link`);
const node = await TestNode.start('linked', {
  runtime: 'runc',
  state: `${real}-link/state`,
  prepare: (directory) => {
    mkdirSync(join(directory, 'real-root'), { recursive: true });
    symlinkSync('real-root', join(directory, 'root'));
  },
});

test('containers start where root and state are symlinks, and the next daemon finds them', async () => {
  const pod = await node.runPod();
  const id = await node.run(pod, { command: busy });
  assert.equal((await node.exec(id, ['echo', 'here'])).out, 'here\n');
  await node.restart('kill');
  assert.equal((await node.exec(id, ['echo', 'still'])).out, 'still\n');
  await node.remove(id);
});

endsClean(node);
