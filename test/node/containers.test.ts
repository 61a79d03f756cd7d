/** Limits that change while pods run, a pod with a user namespace, cgroups of a container's own: on cgroup v2, under systemd. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { RpcError } from '#api/cri/v1/client.ts';
import { cri, fromBigInt, toBigInt } from '#api/cri/v1/index.ts';
import { obstacle } from './cache.ts';
import { stopwatch, until, VirtualNode } from './virtual-node.ts';

const MIB = 1n << 20n;
const FILES = ['cpu.weight', 'cpu.max', 'memory.max', 'memory.high', 'memory.swap.max', 'pids.max'];
/** Allocates 20 MiB that only swap could take, and reports it. */
const HOLDING = 'dd if=/dev/zero of=/dev/shm/held bs=1M count=20; echo ready; sleep 100000';
const HOST = 300_000;
const ids = [{ containerId: 0, hostId: HOST, length: 65_536 }];
const why = obstacle();
if (why) console.log(`# SKIPPED: no virtual machine here: ${why}`);

type Unified = Readonly<Record<string, string>>;
type Limits = Partial<
  Record<
    'cpuShares' | 'cpuQuota' | 'cpuPeriod' | 'memoryLimitInBytes' | 'memorySwapLimitInBytes',
    bigint | number
  >
>;
const limits = (of: Limits, unified: Unified = {}): cri.LinuxContainerResourcesInit => ({
  ...Object.fromEntries(Object.entries(of).map(([name, value]) => [name, fromBigInt(BigInt(value))])),
  unified,
});
const START = limits(
  { cpuShares: 512, cpuPeriod: 100_000, cpuQuota: 20_000, memoryLimitInBytes: 64n * MIB },
  { 'memory.swap.max': '0' },
);

async function refused(call: Promise<unknown>, code: string, text: RegExp): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof RpcError);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  });
}

if (why) test('containers', { skip: why });
else {
  const node = await VirtualNode.installed('containers');
  after(() => node[Symbol.asyncDispose]());
  const timer = stopwatch('containers');
  await node.pull('busybox');

  const filesOf = (group: string) => node.lines(`cd /sys/fs/cgroup${group} && cat ${FILES.join(' ')}`);
  const groupOf = async (id: string) => node.sh(`sed -n 's/^0:://p' /proc/${await node.pid(id)}/cgroup`);
  const update = (containerId: string, linux: cri.LinuxContainerResourcesInit) =>
    node.client.UpdateContainerResources({ containerId, linux });
  const shown = async (id: string) => {
    const linux = (await node.status(id)).resources?.linux;
    return [toBigInt(linux?.cpuQuota), toBigInt(linux?.memoryLimitInBytes), { ...linux?.unified }];
  };

  test('an update changes processor, memory, swap and numbers of processes, and outlives a reload', async (t) => {
    t.after(() => node.removePods());
    const id = await node.run(await node.runPod(), { resources: START });
    const group = await groupOf(id);
    assert.deepEqual((await filesOf(group)).slice(0, 5), ['20', '20000 100000', `${64n * MIB}`, 'max', '0']);
    const unified = {
      'memory.swap.max': `${16n * MIB}`,
      'memory.high': `${96n * MIB}`,
      'pids.max': '77',
    };
    await update(id, limits({ cpuShares: 1024, cpuQuota: 50_000, memoryLimitInBytes: 128n * MIB }, unified));
    const wanted = ['39', '50000 100000', `${128n * MIB}`, `${96n * MIB}`, `${16n * MIB}`, '77'];
    assert.deepEqual(await filesOf(group), wanted);
    assert.deepEqual(await shown(id), [50_000n, 128n * MIB, unified]);
    await node.sh('systemctl daemon-reload');
    await until('the limits are in force after a reload', async () => {
      const found = await filesOf(group);
      return found.join() === wanted.join();
    });
    await update(
      id,
      limits(
        { cpuQuota: -1, memoryLimitInBytes: 48n * MIB },
        { 'memory.high': 'max', 'memory.swap.max': '0' },
      ),
    );
    assert.deepEqual(await filesOf(group), ['39', 'max 100000', `${48n * MIB}`, 'max', '0', '77']);
    timer('updates of a container');
  });

  test('the typed limit of swap is a sum, and becomes the file of version 2; named files win over typed limits', async (t) => {
    t.after(() => node.removePods());
    const pod = await node.runPod();
    const both = { memoryLimitInBytes: 64n * MIB, memorySwapLimitInBytes: 96n * MIB };
    const group = await groupOf(await node.run(pod, { resources: limits(both) }));
    assert.deepEqual((await filesOf(group)).slice(2, 5), [`${64n * MIB}`, 'max', `${32n * MIB}`]);
    const named = limits({ cpuShares: 512, memoryLimitInBytes: 64n * MIB }, { 'memory.max': `${80n * MIB}` });
    const other = await groupOf(await node.run(pod, { resources: named }));
    assert.deepEqual([(await filesOf(other))[0], (await filesOf(other))[2]], ['20', `${80n * MIB}`]);
  });

  test('an update that cannot be, or fails on the way, changes nothing', async (t) => {
    t.after(() => node.removePods());
    const id = await node.run(await node.runPod(), { resources: START, command: ['sh', '-c', HOLDING] });
    const { logPath } = await node.status(id);
    await node.sh(`until grep -q ready ${logPath}; do sleep 0.2; done`);
    const group = await groupOf(id);
    const before = [await filesOf(group), await shown(id)];
    const low = limits({ memoryLimitInBytes: 8n * MIB, cpuQuota: 90_000 });
    await refused(update(id, low), 'FailedPrecondition', /below the \d+ bytes/);
    const named = limits({ cpuQuota: 90_000 }, { 'memory.max': `${8n * MIB}` });
    await refused(update(id, named), 'FailedPrecondition', /below the \d+ bytes/);
    const unknown = limits({ cpuQuota: 90_000 }, { 'memory.no_such': '1' });
    await refused(update(id, unknown), 'InvalidArgument', /memory\.no_such/);
    const noController = limits({ cpuQuota: 90_000 }, { 'nosuch.max': '1' });
    await refused(update(id, noController), 'FailedPrecondition', /nosuch/);
    await refused(update(id, limits({}, { '../x.y': '1' })), 'InvalidArgument', /\.\.\/x\.y/);
    await refused(update(id, limits({}, { 'cgroup.kill': '1' })), 'InvalidArgument', /cgroup\.kill/);
    // The kernel takes the first two of these and refuses the last one.
    const late = limits(
      { cpuShares: 2048, cpuQuota: 90_000, memoryLimitInBytes: 80n * MIB },
      { 'memory.high': `${72n * MIB}`, 'pids.max': 'many' },
    );
    await refused(update(id, late), 'Internal', /pids\.max/);
    const absent = { ...limits({ memoryLimitInBytes: 80n * MIB }), cpusetCpus: '4000' };
    await refused(update(id, absent), 'Internal', /update/);
    assert.deepEqual([await filesOf(group), await shown(id)], before);
    await update(id, limits({ memoryLimitInBytes: 80n * MIB }));
    assert.equal((await filesOf(group))[2], `${80n * MIB}`, 'the next update works');
    timer('refused updates');
  });

  test('control files that there are not, and values that the kernel refuses, make no container and no pod', async (t) => {
    t.after(() => node.removePods());
    const pod = await node.runPod();
    const run = (unified: Unified) => node.run(pod, { resources: limits({}, unified) });
    await refused(run({ 'memory.no_such': '1' }), 'InvalidArgument', /memory\.no_such/);
    await refused(run({ 'nosuch.max': '1' }), 'FailedPrecondition', /no nosuch controller/);
    assert.deepEqual((await node.client.ListContainers({})).containers, []);
    await refused(run({ 'pids.max': 'many' }), 'Internal', /StartContainer/);
    const { containers } = await node.client.ListContainers({});
    assert.equal((await node.status(containers[0]?.id ?? '')).reason, 'StartError');
    const resources = limits({}, { 'memory.no_such': '1' });
    await refused(node.runPod({ resources }), 'FailedPrecondition', /memory\.no_such/);
    assert.equal((await node.client.ListPodSandbox({})).items.length, 1);
  });

  test('limits of a pod: in force in a slice of crisp’s own, in the kubelet’s only shown', async (t) => {
    t.after(() => node.removePods());
    const pod = await node.runPod({ resources: limits({ memoryLimitInBytes: 96n * MIB }) });
    const id = await node.run(pod, { command: ['sh', '-c', HOLDING] });
    const { logPath } = await node.status(id);
    await node.sh(`until grep -q ready ${logPath}; do sleep 0.2; done`);
    const own = `/crisp.slice/crisp-pod${pod}.slice`;
    const updatePod = (podSandboxId: string, memory: bigint, unified: Unified = {}) =>
      node.client.UpdatePodSandboxResources({
        podSandboxId,
        overhead: limits({ memoryLimitInBytes: 16n * MIB }),
        resources: limits({ cpuPeriod: 100_000, cpuQuota: 70_000, memoryLimitInBytes: memory }, unified),
      });
    await updatePod(pod, 128n * MIB, { 'pids.max': '500' });
    const inForce = ['70000 100000', `${144n * MIB}`, 'max', 'max', '500'];
    assert.deepEqual((await filesOf(own)).slice(1), inForce);
    await refused(updatePod(pod, 1n * MIB), 'FailedPrecondition', /below the \d+ bytes/);
    await refused(updatePod(pod, 256n * MIB, { 'memory.no_such': '1' }), 'InvalidArgument', /no_such/);
    assert.deepEqual((await filesOf(own)).slice(1), inForce);

    const cgroupParent = '/kubepods.slice/kubepods-podlimits.slice';
    const kubelets = await node.runPod({ cgroupParent });
    const before = await filesOf(cgroupParent);
    await updatePod(kubelets, 128n * MIB);
    assert.deepEqual(await filesOf(cgroupParent), before);
    const reply = await node.client.PodSandboxStatus({ podSandboxId: kubelets, verbose: true });
    const info = JSON.parse(reply.info['info'] ?? '{}') as { resources?: { memoryLimitBytes?: number } };
    assert.equal(info.resources?.memoryLimitBytes, Number(128n * MIB));
    timer('limits of pods');
  });

  test('a user namespace: mapped ids and volumes, the pod’s own network, its own links in /sys', async (t) => {
    t.after(() => node.removePods());
    const { POD, CONTAINER } = cri.NamespaceMode;
    const usernsOptions = { mode: POD, uids: ids, gids: ids };
    const pod = await node.runPod({
      securityContext: { namespaceOptions: { network: POD, pid: CONTAINER, ipc: POD, usernsOptions } },
    });
    await node.sh('mkdir -p /srv/volume && echo of the host >/srv/volume/file && chmod 600 /srv/volume/file');
    const volume = { containerPath: '/volume', hostPath: '/srv/volume', uidMappings: ids, gidMappings: ids };
    const id = await node.run(pod, { mounts: [volume], capabilities: ['NET_ADMIN'] });
    const sh = (script: string) => node.exec(id, ['sh', '-c', script]);

    assert.equal(await node.sh(`stat -c %u:%g /proc/${await node.pid(id)}`), `${HOST}:${HOST}`);
    assert.equal(
      await sh('id -u; cat /proc/self/uid_map | tr -s " "; stat -c %u:%g /bin'),
      `0\n 0 ${HOST} 65536\n0:0\n`,
    );
    const seen = await sh('stat -c %u /volume/file; cat /volume/file; echo of the pod >/volume/new');
    assert.equal(seen, '0\nof the host\n');
    assert.equal(await node.sh('stat -c %u:%g /srv/volume/new; cat /srv/volume/new'), '0:0\nof the pod');
    const forward = 'echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward';
    assert.equal(await sh(forward), '1\n');
    assert.deepEqual((await sh('ls /sys/class/net')).trim().split(/\s+/).sort(), ['eth0', 'lo']);
    assert.equal(await sh('cat /proc/1/cgroup'), '0::/\n');
    assert.match(await sh('cat /proc/mounts'), / \/dev\/mqueue mqueue /);
    timer('a user namespace');
  });

  const reloadWith = (lines: readonly string[]) =>
    node.machine.run(
      `printf '%s\\n' ${lines.map((line) => `'${line}'`).join(' ')} >/etc/crisp/crisp.toml.d/70-containers.toml; systemctl reload crisp`,
    );

  test('cgroup_writable: root of a container has cgroups of its own below the container’s, within its limits', async (t) => {
    t.after(() => node.removePods());
    const reloaded = await reloadWith([
      '[runtime.handlers.writable]',
      'path = "crun"',
      'cgroup_writable = true',
    ]);
    assert.equal(reloaded.code, 0, reloaded.output);
    const script = `cd /sys/fs/cgroup && mkdir own && echo $$ >own/cgroup.procs && cat /proc/self/cgroup
      echo +pids >cgroup.subtree_control && echo 7 >own/pids.max && cat own/pids.max
      echo max >memory.max || echo kept; echo done; exec sleep 100000`;
    const id = await node.run(await node.runPod({ runtimeHandler: 'writable' }), {
      command: ['sh', '-c', script],
      resources: limits({ memoryLimitInBytes: 64n * MIB }),
    });
    const { logPath } = await node.status(id);
    await node.sh(`until grep -q ' done$' ${logPath}; do sleep 0.2; done`);
    const out = await node.sh(`sed -n 's/^[^ ]* stdout F //p' ${logPath}`);
    assert.deepEqual(out.split('\n'), ['0::/own', '7', 'kept', 'done']);
    const group = (await groupOf(id)).replace(/\/own$/, '');
    assert.equal((await filesOf(group))[2], `${64n * MIB}`);
    assert.equal(await node.sh(`cat /sys/fs/cgroup${group}/own/pids.max`), '7');
    assert.equal(
      await node.exec(id, ['cat', '/sys/fs/cgroup/own/pids.max']),
      '7\n',
      'commands run beside it',
    );
    const other = await node.run(await node.runPod());
    const denied = 'mkdir /sys/fs/cgroup/own 2>&1 || true';
    assert.match(await node.exec(other, ['sh', '-c', denied]), /Read-only file system/);
    await node.removePods();
    assert.equal(await node.sh(`ls -d /sys/fs/cgroup${group} 2>/dev/null || true`), '');
    timer('writable cgroups');
  });

  test('an AppArmor profile that is not loaded is refused by a reload; unconfined is not', async (t) => {
    const enabled = await node.sh('cat /sys/module/apparmor/parameters/enabled 2>/dev/null || true');
    if (enabled !== 'Y') return t.skip('the kernel of the machine has no AppArmor enabled');
    t.diagnostic('not shown: a container under a loaded profile; the machine has no apparmor_parser');
    const missing = await reloadWith(['[container]', 'apparmor_profile = "of-nobody"']);
    assert.notEqual(missing.code, 0, missing.output);
    assert.match(
      await node.log(),
      /70-containers\.toml:2: container\.apparmor_profile: .*of-nobody.* is not loaded/,
    );
    assert.match(
      await node.sh('crisp check || true'),
      /failure +apparmor .*of-nobody \(container\.apparmor_profile\)/,
    );
    const off = await reloadWith(['[container]', 'apparmor_profile = "unconfined"']);
    assert.equal(off.code, 0, off.output);
    t.after(() => node.removePods());
    const id = await node.run(await node.runPod());
    assert.match(await node.exec(id, ['cat', '/proc/1/attr/current']), /^unconfined/);
    timer('AppArmor');
  });

  test('nothing is left of all this', async () => {
    await node.removePods();
    assert.deepEqual(await node.leftovers(), []);
  });
}
