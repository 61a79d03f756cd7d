/** The systemd driver on cgroup v2: the cgroups of pods, their limits as the kernel has them, and that all are removed. */
import assert from 'node:assert/strict';
import test, { after } from 'node:test';
import { RpcError } from '#api/cri/v1/client.ts';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { obstacle } from './cache.ts';
import { containerResources, expectedFiles, kubeletSlices, qosPods } from './kubelet.ts';
import { stopwatch, VirtualNode } from './virtual-node.ts';

const MIB = 1n << 20n;
const why = obstacle();
if (why) console.log(`# SKIPPED: no virtual machine here: ${why}`);

if (why) test('cgroups', { skip: why });
else {
  const node = await VirtualNode.installed('cgroups');
  after(() => node[Symbol.asyncDispose]());
  const timer = stopwatch('cgroups');

  test('the cgroup driver is systemd, and RuntimeConfig reports it', async () => {
    const { linux } = await node.client.RuntimeConfig({});
    assert.equal(linux?.cgroupDriver, cri.CgroupDriver.SYSTEMD);
    await node.pull('busybox');
  });

  test('two pods of each class and one without a parent have their limits at each level', async (t) => {
    const pods = qosPods();
    await node.sh(kubeletSlices(pods));
    const found: unknown[] = [];
    const wanted: unknown[] = [];
    for (const pod of pods) {
      const resources = containerResources(pod);
      const sandbox = await node.runPod({ cgroupParent: pod.cgroupParent, uid: pod.name, resources });
      const id = await node.run(sandbox, { resources });
      const scope = await scopeOf(node, id);
      const files = expectedFiles(pod);
      wanted.push({
        name: pod.name,
        scope: `${pod.cgroupParent}/crisp-${id}.scope`,
        slice: { ...files, 'pids.max': String(pod.pidsLimit) },
        container: { ...files, 'memory.oom.group': '1' },
      });
      const slice = await controlFiles(node, pod.cgroupParent, [
        'memory.max',
        'cpu.max',
        'cpu.weight',
        'pids.max',
      ]);
      const container = await controlFiles(node, scope, [
        'memory.max',
        'cpu.max',
        'cpu.weight',
        'memory.oom.group',
      ]);
      found.push({ name: pod.name, scope, slice, container });
    }
    assert.deepEqual(found, wanted);

    const resources = {
      memoryLimitInBytes: fromBigInt(80n * MIB),
      cpuShares: fromBigInt(1024n),
      cpuPeriod: fromBigInt(100_000n),
      cpuQuota: fromBigInt(150_000n),
    };
    const overhead = {
      memoryLimitInBytes: fromBigInt(16n * MIB),
      cpuPeriod: fromBigInt(100_000n),
      cpuQuota: fromBigInt(10_000n),
    };
    const own = await node.runPod({ resources, overhead });
    const scope = await scopeOf(node, await node.run(own, { resources }));
    assert.match(scope, new RegExp(`^/crisp.slice/crisp-pod${own}.slice/crisp-[0-9a-f]{64}.scope$`));
    assert.deepEqual(
      await controlFiles(node, `/crisp.slice/crisp-pod${own}.slice`, ['memory.max', 'cpu.max', 'cpu.weight']),
      {
        'memory.max': String(96n * MIB),
        'cpu.max': '160000 100000',
        'cpu.weight': '39',
      },
    );
    assert.deepEqual(await controlFiles(node, scope, ['memory.max', 'cpu.max']), {
      'memory.max': String(80n * MIB),
      'cpu.max': '150000 100000',
    });
    for (const line of await node.lines(
      'systemd-cgls --no-pager --xattr=no --cgroup-id=no /kubepods.slice /crisp.slice',
    ))
      t.diagnostic(line);
    assert.deepEqual(await inner(node), []);
    timer('limits of seven pods');
  });

  test('the unit of the daemon holds the daemon alone, beside ten pods', async (t) => {
    for (let n = 0; n < 3; n++) await node.run(await node.runPod());
    assert.equal((await node.client.ListPodSandbox({})).items.length, 10);
    const tree = await node.lines('systemd-cgls --no-pager --xattr=no --cgroup-id=no -u crisp.service');
    for (const line of tree) t.diagnostic(line);
    const main = await node.sh('systemctl show -P MainPID crisp');
    assert.equal(
      await node.sh(`find /sys/fs/cgroup/system.slice/crisp.service -name cgroup.procs -exec cat {} +`),
      main,
    );
    timer('ten pods');
  });

  test('slices of the kubelet keep what the kubelet gave them, and stay behind the pods', async () => {
    const slice = qosPods()[0]?.cgroupParent ?? '';
    const before = await node.sh(`cat /sys/fs/cgroup${slice}/{memory.max,cpu.max,cpu.weight,pids.max}`);
    await node.removePods();
    assert.equal(
      await node.sh(`cat /sys/fs/cgroup${slice}/{memory.max,cpu.max,cpu.weight,pids.max}`),
      before,
    );
    const left = (await node.leftovers()).filter((line) => !/kubepods/.test(line));
    assert.deepEqual(left, []);
    assert.deepEqual(
      await node.lines(`find /sys/fs/cgroup/kubepods.slice -mindepth 1 -type d -name '*.scope'`),
      [],
    );
    await node.sh(`systemctl stop kubepods.slice`);
    assert.deepEqual(await node.leftovers(), []);
    timer('removal');
  });

  test('an OOM kill is reported as OOMKilled', async (t) => {
    t.after(() => node.removePods());
    const pod = await node.runPod();
    const id = await node.run(pod, {
      command: ['sh', '-c', 'dd if=/dev/zero of=/dev/null bs=64M'],
      resources: {
        memoryLimitInBytes: fromBigInt(15n * MIB),
        unified: { 'memory.oom.group': '1', 'memory.swap.max': '0' },
      },
    });
    const { exitCode, reason } = await node.exited(id);
    assert.deepEqual([exitCode, reason], [137, 'OOMKilled']);
    timer('OOM kill');
  });

  test('a command that outlives its time is killed with all its children', async (t) => {
    t.after(() => node.removePods());
    const pod = await node.runPod();
    const id = await node.run(pod);
    const cmd = ['sh', '-c', 'trap "" TERM; sleep 4242 & sleep 4242 & wait'];
    await assert.rejects(
      node.client.ExecSync({ containerId: id, cmd, timeout: fromBigInt(3n) }),
      (error) => error instanceof RpcError && error.code === 'DeadlineExceeded',
    );
    assert.deepEqual(await node.lines(`ps -C sleep -o pid,args | grep 4242 || true`), []);
    assert.equal(await node.exec(id, ['echo', 'on']), 'on\n');
    timer('exec timeout');
  });

  test('a parent in the form of the other driver is refused with a remedy', async () => {
    await assert.rejects(
      node.runPod({ cgroupParent: '/kubepods/burstable/podx' }),
      (error) =>
        error instanceof RpcError && error.code === 'InvalidArgument' && /systemd/.test(error.message),
    );
    assert.deepEqual((await node.client.ListPodSandbox({})).items, []);
  });

  test('twenty pods, made and removed, leave nothing', async () => {
    const one = async () => {
      const pod = await node.runPod();
      await node.run(pod);
      await node.client.StopPodSandbox({ podSandboxId: pod });
      await node.client.RemovePodSandbox({ podSandboxId: pod });
    };
    for (let n = 0; n < 5; n++) await Promise.all([one(), one(), one(), one()]);
    assert.deepEqual(await node.leftovers(), []);
    timer('twenty pods');
  });
}

/** The cgroup of the container's first process. */
async function scopeOf(node: VirtualNode, container: string): Promise<string> {
  return node.sh(`sed -n 's/^0:://p' /proc/${await node.pid(container)}/cgroup`);
}

async function controlFiles(
  node: VirtualNode,
  group: string,
  files: readonly string[],
): Promise<Record<string, string>> {
  const values = await node.lines(`cd /sys/fs/cgroup${group} && cat ${files.join(' ')}`);
  return Object.fromEntries(files.map((file, n) => [file, values[n] ?? '']));
}

/** Groups of pods with processes of their own and with children that have controllers. */
const inner = (node: VirtualNode): Promise<string[]> =>
  node.lines(`for group in $(find /sys/fs/cgroup/kubepods.slice /sys/fs/cgroup/crisp.slice -type d); do
    if [ -s "$group/cgroup.procs" ] && [ -n "$(cat "$group/cgroup.procs")" ] && [ -n "$(cat "$group/cgroup.subtree_control")" ]; then echo "$group"; fi
  done`);
