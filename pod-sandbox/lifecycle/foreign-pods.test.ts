import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { newSandboxId } from '#core/ids.ts';
import { cachedAttachments, idsWithNamespace } from './foreign-pods.ts';

test('attachments that libcni has a file for, of this network alone', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'crisp-results-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const [one, two] = [newSandboxId(), newSandboxId()];
  for (const name of [`net-${one}-eth0`, `net-1-${two}-eth1`, 'net-short-eth0', `other-${two}-eth0`])
    await writeFile(join(directory, name), '');
  const alloc = '0e5bd2ad-7c36-1f0e-3e6a-9d0a5e8b6c11';
  const entry = { kind: 'cniCacheV1', containerId: alloc, ifName: 'eth0', networkName: 'net' };
  await writeFile(join(directory, `net-${alloc}-eth0`), JSON.stringify(entry));
  const ids = [one, 'short', alloc].map((containerID) => ({ containerID, ifname: 'eth0' }));
  assert.deepEqual(new Set(await cachedAttachments('net', directory)), new Set(ids));
  assert.deepEqual(await cachedAttachments('net-1', directory), [{ containerID: two, ifname: 'eth1' }]);
  assert.deepEqual(await cachedAttachments('net', join(directory, 'none')), []);
});

test('files that cannot be read are an error, not an absence of pods', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'crisp-results-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await writeFile(join(directory, 'file'), '');
  await assert.rejects(cachedAttachments('net', join(directory, 'file')), /ENOTDIR/);
  await mkdir(join(directory, `net-${newSandboxId()}-eth0`));
  await assert.rejects(cachedAttachments('net', directory), /EISDIR/);
});

test('owners whose network namespace is there, by either field of libcni', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'crisp-results-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const netns = join(directory, 'netns');
  await writeFile(netns, '');
  const interfaces = [{ name: 'veth0' }, { name: 'eth0', sandbox: netns }];
  const entries = {
    noted: { netns },
    result: { result: { interfaces } },
    both: { netns, result: { interfaces } },
    gone: { netns: join(directory, 'none'), result: { interfaces: [{ sandbox: `${netns}/below` }] } },
    silent: { result: { interfaces: 7 } },
    broken: { netns: `${netns}\0`, result: null },
  };
  for (const [containerId, more] of Object.entries(entries)) {
    const entry = { containerId, ifName: 'eth0', networkName: 'net', ...more };
    await writeFile(join(directory, `net-${containerId}-eth0`), JSON.stringify(entry));
  }
  assert.deepEqual(await idsWithNamespace('net', directory), new Set(['noted', 'result', 'both']));
  assert.deepEqual(await idsWithNamespace('other', directory), new Set());
});
