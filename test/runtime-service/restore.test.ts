/** Containers that are restored from the archive of a checkpoint, by CRIU: where the machine has one that works. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { cri } from '#api/cri/v1/index.ts';
import {
  CONTAINER,
  EXITED,
  endsClean,
  makeDirectory,
  POD,
  RUNNING,
  refused,
  TestNode,
  until,
} from '../harness/pods.ts';

/** Debian's own does not know every kernel: another one may be named. */
const criu = process.env['CRISP_TEST_CRIU'] ?? 'criu';
const skip =
  (existsSync('/sys/fs/cgroup/cgroup.controllers') && 'refused on cgroup v2') ||
  (spawnSync(criu, ['check']).status !== 0 && 'no CRIU that works');
const node = await TestNode.start('restore', {
  runtime: 'runc',
  extra: `[runtime.handlers.with-criu]\npath = "runc"\n[runtime.handlers.with-criu.options]\ncriu = ${JSON.stringify(criu)}`,
});
const newPod = async (namespaces: cri.NamespaceOptionInit = {}) => {
  const config = node.podConfig({}, namespaces);
  return (await node.client.RunPodSandbox({ config, runtimeHandler: 'with-criu' })).podSandboxId;
};
const archives = makeDirectory(node, 'archives');
const mounted = makeDirectory(node, 'mounted');
const location = join(archives, 'one.tar');
const script = 'i=0; while :; do i=$((i+1)); echo $i > /c; mv /c /count; echo line $i; sleep 0.1; done';
const own = { namespaceOptions: { pid: CONTAINER } };
const mounts = [{ containerPath: '/mounted', hostPath: mounted }];
const restored = { image: { image: location }, command: ['false'], security: own, mounts, logPath: 'r.log' };
const parts = (id: string) => join(node.settings.directory, 'root/containers', id, 'restore');
const count = async (of: string) => Number((await node.exec(of, ['cat', '/count'])).out);
const runs = async (id: string) => {
  assert.equal((await node.status(id)).state, RUNNING);
  const at = await count(id);
  await until('it counts on', async () => (await count(id)) > at);
};
/** How far the first container had come. */
let reached = 0;

test('a container is restored in another pod: its processes, its files, what it had deleted, its log', {
  skip,
}, async () => {
  const id = await node.run(await newPod(), { command: ['sh', '-c', script], security: own, mounts });
  await node.exec(id, ['sh', '-c', 'rm /etc/group; echo own > /etc/own; rm -r /home; mkdir /home']);
  await until('it has counted', async () => (await count(id)) > 5);
  await node.client.CheckpointContainer({ containerId: id, location });
  reached = await count(id);
  await node.remove(id);
  const pod = await newPod();
  const again = await node.create(pod, restored);
  assert.ok(existsSync(join(parts(again), 'checkpoint/inventory.img')));
  await node.client.StartContainer({ containerId: again });
  const first = await until('it goes on logging', async () => (await node.logLines(again))[0]);
  assert.ok(Number(first.text.replace('line ', '')) > 1, `it has not begun anew: ${first.text}`);
  await runs(again);
  const seen = await node.exec(again, ['sh', '-c', 'cat /etc/own; ls -d /etc/group; ls -A /home']);
  assert.equal(seen.out, 'own\n');
  assert.ok(!existsSync(parts(again)), 'what CRIU had dumped is gone');
  assert.equal((await node.status(again)).imageId, node.image);
  await node.restart('kill');
  await runs(again);
  await node.stop(again);
  assert.equal((await node.exited(again)).exitCode, 137);
});

test('a daemon that was killed in between starts it; a second pod has its own copy', { skip }, async () => {
  const [one, two] = [await newPod(), await newPod()];
  const ids = [await node.create(one, restored), await node.create(two, restored)];
  await node.restart('kill');
  for (const containerId of ids) await node.client.StartContainer({ containerId });
  for (const id of ids) {
    await runs(id);
    assert.ok((await count(id)) >= reached - 5);
  }
  // A restored container is one as any: it can be dumped again.
  const location = join(archives, 'two.tar');
  await node.client.CheckpointContainer({ containerId: ids[0] ?? '', location });
  const third = await node.run(await newPod(), { ...restored, image: { image: location } });
  await runs(third);
});

test('one that is removed before its start leaves nothing', { skip }, async () => {
  const id = await node.create(await newPod(), restored);
  assert.ok(existsSync(parts(id)));
  await node.remove(id);
  await until('it is gone', () => !existsSync(join(parts(id), '..')));
});

test('a restore into a different container is refused, and leaves nothing', { skip }, async () => {
  const pod = await newPod();
  const create = (changes: object) => node.create(pod, { ...restored, ...changes });
  await refused(create({ mounts: [] }), 'FailedPrecondition', /mounts \/mounted are missing/);
  const shared = { ...restored, security: { namespaceOptions: { pid: POD } } };
  const wrong = node.create(await newPod({ pid: POD }), shared);
  await refused(wrong, 'FailedPrecondition', /pid namespace was own, this container's is joined/);
  const networked = node.create(await newPod({ network: POD }), restored);
  await refused(networked, 'FailedPrecondition', /network namespace was the node's/);
  await refused(create({ tty: true }), 'FailedPrecondition', /terminal/);
  assert.deepEqual((await node.client.ListContainers({ filter: { podSandboxId: pod } })).containers, []);
});

test('in pods with a network and processes of their own', { skip }, async () => {
  const shared = { network: POD, pid: POD };
  const changes = { command: ['sh', '-c', script], security: { namespaceOptions: { pid: POD } } };
  const id = await node.run(await newPod(shared), changes);
  const location = join(archives, 'shared.tar');
  await until('it has counted', async () => (await count(id)) > 1);
  await node.client.CheckpointContainer({ containerId: id, location });
  await node.remove(id);
  const pod = await newPod(shared);
  const again = await node.run(pod, { ...changes, image: { image: location } });
  await runs(again);
  const address = (await node.client.PodSandboxStatus({ podSandboxId: pod })).status?.network?.ip;
  assert.match((await node.exec(again, ['ip', 'addr'])).out, new RegExp(`inet ${address}/`));
  const other = await node.run(pod);
  const processes = (await node.exec(other, ['ps'])).out;
  assert.match(processes, /sh -c i=0/);
});

test('a dump that CRIU refuses is the error of the start, with its message', { skip }, async () => {
  const broken = join(archives, 'broken.tar');
  const directory = makeDirectory(node, 'broken');
  execFileSync('tar', ['-xf', location, '-C', directory]);
  truncateSync(join(directory, 'checkpoint/inventory.img'), 3);
  execFileSync('tar', ['-cf', broken, '-C', directory, '.']);
  const containerId = await node.create(await newPod(), { ...restored, image: { image: broken } });
  await refused(node.client.StartContainer({ containerId }), 'Internal', /OCI restore: .*Error/s);
  const { state, reason } = await node.status(containerId);
  assert.deepEqual([state, reason], [EXITED, 'StartError']);
});

endsClean(node);
