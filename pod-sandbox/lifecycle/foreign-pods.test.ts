import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { newSandboxId } from '#core/ids.ts';
import { cachedAttachments } from './foreign-pods.ts';

test('attachments that libcni has a file for, of this network alone', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'crisp-results-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const [one, two] = [newSandboxId(), newSandboxId()];
  for (const name of [`net-${one}-eth0`, `net-1-${two}-eth1`, `net-short-eth0`, `other-${two}-eth0`])
    await writeFile(join(directory, name), '');
  assert.deepEqual(await cachedAttachments('net', directory), [{ containerID: one, ifname: 'eth0' }]);
  assert.deepEqual(await cachedAttachments('net-1', directory), [{ containerID: two, ifname: 'eth1' }]);
  assert.deepEqual(await cachedAttachments('net', join(directory, 'none')), []);
});
