/** Checkpoints of containers: with CRIU where the machine has one that works, and the refusals without. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { endsClean, makeDirectory, refused, TestNode, until } from '../harness/pods.ts';

/** Debian's own does not know every kernel: another one may be named. */
const criu = process.env['CRISP_TEST_CRIU'] ?? 'criu';
const works = spawnSync(criu, ['check']).status === 0;
const node = await TestNode.start('checkpoint', {
  runtime: 'runc',
  extra: `[runtime.handlers.with-criu]\npath = "runc"\n[runtime.handlers.with-criu.options]\ncriu = ${JSON.stringify(criu)}`,
});
const { podSandboxId: pod } = await node.client.RunPodSandbox({
  config: node.podConfig(),
  runtimeHandler: 'with-criu',
});
const archives = makeDirectory(node, 'archives');
const checkpoint = (containerId: string, location: string, timeout = 0n) =>
  node.client.CheckpointContainer({ containerId, location, timeout: fromBigInt(timeout) });
const leftovers = (id: string) =>
  readdirSync(join(node.settings.directory, 'root/containers', id)).filter((name) =>
    name.startsWith('checkpoint'),
  );

test('an archive of processes, specification and writable layer; the container runs on', {
  skip: !works && 'no CRIU that works',
}, async () => {
  const script = 'i=0; while :; do i=$((i+1)); echo $i > /c; mv /c /count; sleep 0.1; done';
  const id = await node.run(pod, { command: ['sh', '-c', script] });
  assert.equal(
    (await node.exec(id, ['sh', '-c', 'rm /etc/group; echo own > /etc/own; rm -r /home; mkdir /home'])).code,
    0,
  );
  const location = join(archives, 'one.tar');
  await checkpoint(id, location);
  assert.equal(statSync(location).mode & 0o777, 0o600);
  const list = (file: string) => execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).trim().split('\n');
  const members = list(location);
  for (const name of ['config.dump', 'spec.dump', 'rootfs-diff.tar', 'dump.log', 'checkpoint/inventory.img'])
    assert.ok(members.includes(name), `${name} in ${members}`);
  assert.ok(members.some((name) => name.startsWith('checkpoint/pages-')));
  execFileSync('tar', ['-xf', location, '-C', archives, 'rootfs-diff.tar', 'config.dump']);
  const layer = list(join(archives, 'rootfs-diff.tar'));
  for (const name of ['count', 'etc/own', 'etc/.wh.group', 'home/.wh..wh..opq'])
    assert.ok(layer.includes(name), `${name} in ${layer}`);
  const count = async () => Number((await node.exec(id, ['cat', '/count'])).out);
  const before = await count();
  await until('it counts on', async () => (await count()) > before);
  assert.deepEqual(leftovers(id), []);
  await node.remove(id);
});

test('a second checkpoint of the same container, and one that is interrupted, are refused and leave nothing', {
  skip: !works && 'no CRIU that works',
}, async () => {
  const id = await node.run(pod);
  const location = join(archives, 'two.tar');
  const outcomes = await Promise.allSettled([checkpoint(id, location), checkpoint(id, location)]);
  const failed = outcomes.flatMap((outcome) =>
    outcome.status === 'rejected' ? [String(outcome.reason)] : [],
  );
  assert.match(failed.join(), /already/);
  assert.equal(failed.length, 1);
  assert.deepEqual(leftovers(id), []);
  assert.ok(!existsSync(`${location}.part`));
  await node.remove(id);
});

test('a checkpoint under way does not outlive the daemon that made it', {
  skip: !works && 'no CRIU that works',
}, async () => {
  const id = await node.run(pod);
  const cut = checkpoint(id, join(archives, 'three.tar')).catch(() => {});
  await until('it has begun', () => leftovers(id).length > 0);
  await node.restart('kill');
  await cut;
  await until('its directory is gone', () => leftovers(id).length === 0);
  assert.equal((await node.exec(id, ['true'])).code, 0);
  await node.remove(id);
});

test('what cannot be checkpointed is refused', async () => {
  const id = await node.create(pod);
  await refused(checkpoint(id, join(archives, 'x.tar')), 'FailedPrecondition', /created, not running/);
  await refused(checkpoint('0'.repeat(64), join(archives, 'x.tar')), 'NotFound');
  await node.client.StartContainer({ containerId: id });
  await refused(checkpoint(id, 'x.tar'), 'InvalidArgument', /absolute/);
  await refused(checkpoint(id, join(archives, 'none/x.tar')), 'InvalidArgument', /is not in a directory/);
  await refused(checkpoint(id, `${archives}/../x.tar`), 'InvalidArgument', /absolute/);
  await refused(checkpoint(id, join(archives, 'x.tar'), -1n), 'InvalidArgument', /negative/);
  assert.deepEqual(
    readdirSync(archives).filter((name) => name.startsWith('x')),
    [],
  );
  await node.remove(id);
});

test('without CRIU the error names it', {
  skip: spawnSync('criu', ['--version']).status === 0 && 'CRIU is installed',
}, async () => {
  const plain = await node.runPod();
  const id = await node.run(plain);
  await refused(checkpoint(id, join(archives, 'x.tar')), 'Unimplemented', /CRIU is not on this node/);
  assert.deepEqual(leftovers(id), []);
  await node.remove(id);
});

endsClean(node);
