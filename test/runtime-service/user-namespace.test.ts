/** Pods with a user namespace, under crun, which obeys id maps of mounts; Debian's runc does not, and is refused. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname as nodeName } from 'node:os';
import { dirname, join } from 'node:path';
import test, { after } from 'node:test';
import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
import {
  CONTAINER,
  endsClean,
  makeDirectory,
  NODE,
  POD,
  type Result,
  refused,
  type Settings,
  TARGET,
  TestNode,
} from '../harness/pods.ts';

import { crunWrapper } from './crun-ground.ts';

const HOST = 200_000;
const ids = [{ containerId: 0, hostId: HOST, length: 65_536 }];
const userns = (changes: cri.UserNamespaceInit = {}) => ({ mode: POD, uids: ids, gids: ids, ...changes });

/** The pod's root is an unprivileged user of the host: all on the way to the daemon's state lets it pass. */
const passable: NonNullable<Settings['prepare']> = (directory) => {
  chmodSync(dirname(directory), 0o711);
  chmodSync(dirname(dirname(directory)), 0o711);
};
/** Another OCI runtime in crun's place: newer than Debian's, in crun's words or runc's. */
const newer = process.env['CRISP_TEST_RUNTIME'];
const wrapper = await crunWrapper();
const node = await TestNode.start('userns', {
  runtime: 'crun',
  ...(newer ? { extra: `[runtime.handlers.crun]\npath = ${JSON.stringify(newer)}` } : {}),
  prepare: passable,
  wrapper,
});
const pod = await node.runPod({}, { network: POD, pid: CONTAINER, usernsOptions: userns() });
const shared = await node.runPod({}, { network: POD, pid: POD, usernsOptions: userns() });
const sh = (id: string, script: string): Promise<Result> => node.exec(id, ['sh', '-c', script]);

test('ids are mapped, root of the pod is an unprivileged user of the host', async () => {
  const id = await node.run(pod);
  const { out, err } = await sh(
    id,
    'cat /proc/self/uid_map /proc/self/gid_map; id -u; stat -c %u:%g /bin /proc/1',
  );
  assert.deepEqual(
    [out.trim().split(/\s+/), err],
    [['0', `${HOST}`, '65536', '0', `${HOST}`, '65536', '0', '0:0', '0:0'], ''],
  );
  const { pid } = await node.facts(id);
  assert.equal(statSync(`/proc/${pid}`).uid, HOST);
  await node.remove(id);
});

test('every group of the pod may ping', async () => {
  const id = await node.run(pod);
  const { out } = await sh(id, 'cat /proc/sys/net/ipv4/ping_group_range');
  assert.deepEqual(out.trim().split(/\s+/), ['0', '65535']);
  await node.remove(id);
});

test('the root file system belongs to the pod: its root may change all of it, and the layers stay as they were', async () => {
  const id = await node.run(pod);
  const script =
    'touch /new && chown 7:8 /new && stat -c %u:%g /new && echo x >> /etc/passwd && rm /bin/vi 2>&1; ls -ln /etc/passwd';
  const { code, out } = await sh(id, script);
  assert.equal(code, 0, out);
  assert.match(out, /^7:8\n/);
  const upper = join(node.settings.directory, 'root/containers', id, 'upper');
  const made = lstatSync(join(upper, 'new'));
  assert.deepEqual([made.uid, made.gid], [HOST + 7, HOST + 8]);
  assert.equal(lstatSync(join(upper, 'etc/passwd')).uid, HOST);
  const layers = join(node.settings.directory, 'root/images/layers');
  for (const layer of readdirSync(layers)) {
    const form = existsSync(join(layers, layer, 'fs')) ? 'fs' : 'layer.erofs';
    assert.equal(lstatSync(join(layers, layer, form)).uid, 0);
  }
  await node.remove(id);
});

test('a user whom the image does not have gets its entries, as an id of the pod, under a read-only root, too', async () => {
  const id = { value: fromBigInt(4321n) };
  const command = ['sh', '-c', 'id -un; id -gn; stat -c %u:%g:%a /etc/passwd /etc/group'];
  for (const readonlyRootfs of [false, true]) {
    const security = { runAsUser: id, runAsGroup: id, readonlyRootfs };
    const { out, err } = await node.output(pod, command, { security });
    assert.equal(`${out}${err}`, '4321\n4321\n0:0:644\n0:0:644');
  }
});

test("the pod's namespaces belong to its root: ip_forward, host name, links, proc and message queues", async () => {
  for (const sandbox of [pod, shared]) {
    const id = await node.run(sandbox, {
      security: { capabilities: { addCapabilities: ['SYS_ADMIN', 'NET_ADMIN'] } },
    });
    const forward = 'echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward';
    assert.deepEqual(await sh(id, forward), { code: 0, out: '1\n', err: '' });
    assert.equal((await sh(id, 'ls /sys/class/net')).out.trim().split(/\s+/).sort().join(' '), 'eth0 lo');
    assert.equal((await sh(id, 'hostname other && hostname')).out, 'other\n');
    assert.match((await sh(id, 'cat /proc/mounts')).out, / \/dev\/mqueue mqueue /);
    assert.equal((await sh(id, 'touch /sys/x 2>&1')).code, 1);
    assert.equal((await sh(id, 'mkdir /m && mount -t tmpfs t /m')).code, 0);
    await node.remove(id);
  }
});

test('a pid namespace of the pod is shared, and a target is joined', async () => {
  const one = await node.run(shared);
  const two = await node.run(shared);
  assert.match((await sh(two, 'ps')).out, /sleep 1000[\s\S]*sleep 1000/);
  const alone = await node.run(pod, { command: ['sh', '-c', 'exec sleep 4242'] });
  const beside = await node.run(pod, { security: { namespaceOptions: { pid: TARGET, targetId: alone } } });
  assert.match((await sh(beside, 'ps')).out, /sleep 4242/);
  await Promise.all([one, two, alone, beside].map((id) => node.remove(id)));
});

test("id-mapped mounts: the host's owners are the pod's, in both directions", async () => {
  const data = makeDirectory(node, 'data');
  writeFileSync(join(data, 'file'), 'host\n', { mode: 0o600 });
  const mount = { hostPath: data, uidMappings: ids, gidMappings: ids };
  const mounts = [
    { ...mount, containerPath: '/mapped' },
    { containerPath: '/plain', hostPath: data },
  ];
  const id = await node.run(pod, { mounts });
  const { out, err } = await sh(
    id,
    'stat -c %u /mapped/file /plain/file; cat /mapped/file && touch /mapped/new',
  );
  assert.deepEqual([out, err], ['0\n65534\nhost\n', '']);
  assert.equal(lstatSync(join(data, 'new')).uid, 0);
  const reported = (await node.status(id)).mounts[0];
  assert.deepEqual(
    reported?.uidMappings.map(({ hostId, length }) => [hostId, length]),
    [[HOST, 65_536]],
  );
  await node.remove(id);
});

test('mounts below the source of an id-mapped one are mapped too, or the mount is refused', async () => {
  const source = makeDirectory(node, 'tree');
  const below = makeDirectory(node, 'tree/below');
  const inDaemon = ['-t', `${node.daemon.pid}`, '-m'];
  execFileSync('nsenter', [...inDaemon, 'mount', '-t', 'tmpfs', 'below', below]);
  const mount = { containerPath: '/tree', hostPath: source, uidMappings: ids, gidMappings: ids };
  if (newer) {
    const id = await node.run(pod, { mounts: [mount] });
    assert.equal((await sh(id, 'touch /tree/below/x && stat -c %u /tree/below/x')).out, '0\n');
    await node.remove(id);
  } else {
    const why = /tree\/below, which crun version 1\.8/;
    await refused(node.create(pod, { mounts: [mount] }), 'FailedPrecondition', why);
  }
  execFileSync('nsenter', [...inDaemon, 'umount', below]);
});

test('user, read-only root, image volume and privileged in one pod', async () => {
  const volume = { containerPath: '/image', readonly: true, image: { image: node.image } };
  const id = await node.run(pod, {
    mounts: [volume],
    security: { runAsUser: { value: fromBigInt(1000n) }, readonlyRootfs: true },
  });
  const { out } = await sh(id, 'id -u; stat -c %u /image/bin; touch /image/x 2>&1; touch /x 2>&1');
  assert.match(out, /^1000\n0\n.*Read-only file system\n.*Read-only file system\n$/);
  await node.remove(id);
});

test('id maps of mounts that make no sense are refused, and leave nothing', async () => {
  const plain = await node.runPod();
  const mount = { containerPath: '/m', hostPath: makeDirectory(node, 'data') };
  const create = (sandbox: string, more: cri.MountInit) =>
    node.create(sandbox, { mounts: [{ ...mount, ...more }] });
  await refused(
    create(plain, { uidMappings: ids, gidMappings: ids }),
    'InvalidArgument',
    /no user namespace/,
  );
  await refused(create(pod, { uidMappings: ids }), 'InvalidArgument', /users or groups alone/);
  const twice = [...ids, { containerId: 5, hostId: 5, length: 1 }];
  await refused(create(pod, { uidMappings: twice, gidMappings: ids }), 'InvalidArgument', /overlap/);
  const empty = [{ containerId: 0, hostId: HOST, length: 0 }];
  await refused(create(pod, { uidMappings: empty, gidMappings: ids }), 'InvalidArgument', /0 ids/);
});

test('the refusals of the contract: modes, several mappings, no root, namespaces of the node', async () => {
  const run = (changes: cri.UserNamespaceInit, more: cri.NamespaceOptionInit = {}) =>
    node.runPod({}, { network: POD, ...more, usernsOptions: userns(changes) });
  await refused(run({ mode: CONTAINER }), 'InvalidArgument', /CONTAINER/);
  await refused(run({ mode: TARGET }), 'InvalidArgument', /TARGET/);
  await refused(run({ uids: [...ids, ...ids] }), 'InvalidArgument', /2 mappings/);
  await refused(run({ gids: [] }), 'InvalidArgument', /0 mappings/);
  await refused(run({ uids: [{ containerId: 1, hostId: HOST, length: 10 }] }), 'InvalidArgument', /id 1/);
  await refused(run({ uids: [{ containerId: 0, hostId: HOST, length: 0 }] }), 'InvalidArgument', /0 ids/);
  await refused(run({ uids: [{ containerId: 0, hostId: 4294967295, length: 2 }] }), 'InvalidArgument');
  await refused(run({}, { pid: NODE }), 'InvalidArgument', /pid NODE/);
  await refused(run({}, { ipc: NODE }), 'InvalidArgument', /ipc NODE/);
});

test("on the node's network: its interfaces, without rights over them, and its /sys read-only with all below", async () => {
  const below = '/sys/kernel/debug';
  execFileSync(wrapper[0] ?? 'env', [...wrapper.slice(1), 'mount', '-t', 'tmpfs', 'below', below]);
  after(() => execFileSync(wrapper[0] ?? 'env', [...wrapper.slice(1), 'umount', below]));
  for (const hostname of ['', 'own-name']) {
    const onNode = await node.runPod({ hostname }, { network: NODE, usernsOptions: userns() });
    const id = await node.run(onNode, {
      security: { capabilities: { addCapabilities: ['NET_ADMIN', 'SYS_ADMIN', 'NET_BIND_SERVICE'] } },
    });
    const { pid } = await node.facts(id);
    const of = (which: number | 'self', kind: string) => readlinkSync(`/proc/${which}/ns/${kind}`);
    assert.equal(of(pid, 'net'), of('self', 'net'));
    assert.notEqual(of(pid, 'user'), of('self', 'user'));
    const { out } = await sh(id, 'id -u; hostname; cat /proc/self/uid_map');
    assert.match(out, new RegExp(`^0\n${hostname || nodeName()}\n +0 +${HOST} +65536\n$`));
    const denied = await sh(id, 'ip link add crisp-test type dummy; nc -l -p 1 -w 1');
    assert.equal(denied.err.match(/not permitted|ermission denied/g)?.length, 2, denied.err);
    const mounts = (await sh(id, 'cat /proc/self/mounts')).out.split('\n').map((line) => line.split(' '));
    const optionsAt = (path: string) => mounts.findLast(([, target]) => target === path)?.[3]?.split(',');
    const options = optionsAt('/sys') ?? [];
    for (const option of ['ro', 'nosuid', 'nodev', 'noexec'])
      assert.ok(options.includes(option), `${options}`);
    // In a user namespace crun 1.8.1 binds the top mount alone.
    assert.ok(optionsAt(below)?.includes('ro') ?? !newer);
    await node.remove(id);
    await node.client.StopPodSandbox({ podSandboxId: onNode });
    await node.client.RemovePodSandbox({ podSandboxId: onNode });
  }
});

test('a handler that ignores id maps is refused, and Status shows which ones do', async () => {
  const config = node.podConfig({}, { network: POD, usernsOptions: userns() });
  await refused(
    node.client.RunPodSandbox({ config, runtimeHandler: 'runc' }),
    'FailedPrecondition',
    /runc version 1\.1.*id maps/,
  );
  // Whether the node can is tried beside the start; a pod of this file has waited for it.
  const { runtimeHandlers } = await node.client.Status({});
  const features = Object.fromEntries(runtimeHandlers.map((one) => [one.name, one.features?.userNamespaces]));
  assert.deepEqual(features, { '': true, crun: true, runc: false });
  assert.ok(runtimeHandlers.every((one) => one.features?.recursiveReadOnlyMounts));
});

test('containers live through a restart of the daemon, and new ones join their pod', async () => {
  const id = await node.run(pod);
  await node.restart('kill');
  assert.equal((await sh(id, 'id -u')).out, '0\n');
  const next = await node.run(pod);
  assert.equal((await sh(next, 'stat -c %u /bin')).out, '0\n');
  await Promise.all([id, next].map((container) => node.remove(container)));
});

endsClean(node);
