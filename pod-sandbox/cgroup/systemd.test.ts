/** The systemd driver on the fake kernel: names, what is asked of systemd, and whose slices are stopped. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import { newContainerId, newSandboxId } from '#core/ids.ts';
import { type FakeKernel, fakeKernel } from '#linux/fake/index.ts';
import { sampleResources } from '#test/fixtures/sandbox-config.ts';
import { defaultLinux, type SandboxLinux } from '../config.ts';
import { openCgroupDriver } from './cgroupfs.ts';
import type { CgroupDriver, PodCgroup } from './driver.ts';

const POD_SLICE = 'kubepods-burstable-podu1.slice';
const PARENT = `/kubepods.slice/kubepods-burstable.slice/${POD_SLICE}`;
const soon = () => AbortSignal.timeout(20_000);

interface Stand {
  readonly kernel: FakeKernel;
  readonly driver: CgroupDriver;
  /** The places in records. */
  readonly recorded: PodCgroup[];
  run(parent: string, linux?: Partial<SandboxLinux>): Promise<PodCgroup>;
  end(cgroup: PodCgroup): Promise<void>;
}

function stand(limit = 10_000): Stand {
  const kernel = fakeKernel({ cgroupVersion: 2 });
  const recorded: PodCgroup[] = [];
  const options = {
    driver: 'systemd',
    prefix: '/crisp',
    limit: () => limit,
    recorded: () => recorded,
  } as const;
  const driver = openCgroupDriver(options, kernel);
  return {
    kernel,
    driver,
    recorded,
    async run(parent, changes = {}) {
      const linux = { ...defaultLinux, ...changes };
      const cgroup = driver.place(newSandboxId(), parent);
      recorded.push(cgroup);
      await driver.create(cgroup, linux);
      const child = await kernel.processes.spawn({ argv: ['pause'], env: {} });
      await driver.join(cgroup, linux, child.process.pid, soon());
      return cgroup;
    },
    async end(cgroup) {
      await driver.remove(cgroup, soon());
      recorded.splice(recorded.indexOf(cgroup), 1);
    },
  };
}

test('names are those of the slice, whichever way it is written', () => {
  const { driver } = stand();
  const sandbox = newSandboxId();
  const container = newContainerId();
  for (const parent of [PARENT, `${PARENT}/`, POD_SLICE, `/${POD_SLICE}`]) {
    const cgroup = driver.place(sandbox, parent);
    assert.equal(cgroup.parent, PARENT);
    assert.equal(cgroup.monitor, `${PARENT}/crisp-pod-${sandbox}.scope`);
    assert.deepEqual(driver.container(cgroup, container), {
      oci: `${POD_SLICE}:crisp:${container}`,
      path: `${PARENT}/crisp-${container}.scope`,
    });
  }
  assert.equal(driver.place(sandbox, '').parent, `/crisp.slice/crisp-pod${sandbox}.slice`);
});

test('a parent in the other form, or not at the path of its slice, is refused with the remedy', () => {
  const { driver } = stand();
  for (const parent of [
    '/kubepods/burstable/pod1',
    '/',
    'pod1',
    '/a.slice/b-c.slice',
    '/a.slice/../b.slice',
  ]) {
    assert.throws(
      () => driver.checkParent(parent),
      (error) => hasCode(error, 'InvalidArgument') && /driver|path/.test(error.hint),
      parent,
    );
  }
  for (const parent of ['', '/test.slice', 'test.slice', PARENT]) driver.checkParent(parent);
});

test("the kubelet's slice gets one call, no property, and outlives its pods", async () => {
  const { kernel, run, end } = stand();
  await kernel.cgroups.create(PARENT);
  const pod = await run(PARENT, { resources: sampleResources({ memoryLimitBytes: 1n << 20n }) });
  const second = await run(PARENT);
  assert.deepEqual([...kernel.units.keys()], [pod.units?.scope, second.units?.scope]);
  assert.deepEqual(pod.units?.makes, []);
  assert.equal(kernel.cgroups.processes(pod.monitor).length, 1);
  await end(pod);
  assert.equal(kernel.cgroups.exists(second.monitor), true);
  await end(second);
  assert.equal(kernel.cgroups.exists(PARENT), true);
});

test('a slice of its own has the limits and the overhead of the pod, and goes with it', async () => {
  const { kernel, run, end } = stand();
  const limits = sampleResources({
    memoryLimitBytes: 100n,
    cpuQuota: 30_000n,
    cpuPeriod: 100_000n,
    cpuShares: 1024n,
    cpusetCpus: '0-1,9',
    unified: { 'pids.max': '99', 'memory.swap.max': 'max', 'memory.oom.group': '1' },
  });
  const pod = await run('', {
    resources: limits,
    overhead: sampleResources({ memoryLimitBytes: 20n, cpuQuota: 5000n }),
  });
  const slice = kernel.units.get(pod.units?.slice ?? '') ?? [];
  assert.deepEqual(Object.fromEntries(slice.map(({ name, value }) => [name, value])), {
    CPUWeight: 39n,
    CPUQuotaPerSecUSec: 350_000n,
    CPUQuotaPeriodUSec: 100_000n,
    MemoryMax: 120n,
    AllowedCPUs: [3, 2],
    TasksMax: 99n,
    MemorySwapMax: 2n ** 64n - 1n,
  });
  assert.equal(kernel.cgroups.read(pod.parent, 'memory.oom.group'), '1');
  const other = await run('');
  await end(pod);
  assert.equal(kernel.cgroups.exists(pod.parent), false);
  assert.equal(kernel.cgroups.exists(other.monitor), true);
  await end(other);
  assert.equal(kernel.cgroups.exists('/crisp.slice'), false);
  assert.deepEqual([...kernel.units], []);
});

test('pods that are removed at one time remove their slice, though their records still list it', async () => {
  const { kernel, driver, run } = stand();
  const pods = [await run(''), await run(''), await run('')];
  const stays = await run('');
  await Promise.all(pods.map((pod) => driver.remove(pod, soon())));
  assert.equal(kernel.cgroups.exists(stays.monitor), true);
  await driver.remove(stays, soon());
  assert.equal(kernel.cgroups.exists('/crisp.slice'), false);
  assert.deepEqual([...kernel.units], []);
});

test('a shared slice that came with the first pod goes with the last one, in any order', async () => {
  for (const firstEnds of [true, false]) {
    const { kernel, run, end } = stand();
    const first = await run('/test.slice');
    const second = await run('/test.slice');
    assert.deepEqual([first.units?.makes, second.units?.makes], [['test.slice'], ['test.slice']]);
    await end(firstEnds ? first : second);
    assert.equal(kernel.cgroups.exists('/test.slice'), true);
    await end(firstEnds ? second : first);
    assert.equal(kernel.cgroups.exists('/test.slice'), false);
  }
});

test('a slice with a process of another program is not stopped', async () => {
  const { kernel, run, end } = stand();
  const pod = await run('/test.slice');
  await kernel.cgroups.create('/test.slice/stranger.service');
  const stranger = await kernel.processes.spawn({ argv: ['stranger'], env: {} });
  await kernel.cgroups.join('/test.slice/stranger.service', stranger.process.pid);
  await end(pod);
  assert.equal(kernel.processes.alive(stranger.process), true);
});

test('removal is idempotent, also where nothing was made', async () => {
  const { driver, run } = stand();
  await driver.remove(driver.place(newSandboxId(), ''), soon());
  const pod = await run('');
  await driver.remove(pod, soon());
  await driver.remove(pod, soon());
});

test('a unit that already has the name is replaced', async () => {
  const { kernel, driver, recorded } = stand();
  const cgroup = driver.place(newSandboxId(), '');
  recorded.push(cgroup);
  for (let n = 0; n < 2; n++) {
    const { process } = await kernel.processes.spawn({ argv: ['pause'], env: {} });
    await driver.join(cgroup, defaultLinux, process.pid, soon());
    assert.deepEqual(kernel.cgroups.processes(cgroup.monitor), [process.pid]);
  }
});

test('a controller that is not there is an error before anything is made', async () => {
  const { kernel, driver } = stand();
  const cgroup = driver.place(newSandboxId(), '');
  const linux = { ...defaultLinux, resources: sampleResources({ unified: { 'hugetlb.2MB.max': '0' } }) };
  await assert.rejects(driver.create(cgroup, linux), (error) => {
    assert.ok(hasCode(error, 'FailedPrecondition'));
    assert.match(
      error.message,
      /crisp-pod[0-9a-f]{64}\.slice: hugetlb\.2MB\.max = 0: .* no hugetlb controller/,
    );
    return true;
  });
  assert.deepEqual([...kernel.units], []);
});

test('a systemd that does not answer is an error that names unit and remedy', async () => {
  const { kernel, run, driver, recorded } = stand(50);
  kernel.faults.hold('systemd.startScope', new Promise(() => {}));
  await assert.rejects(run('/test.slice'), (error) => {
    assert.ok(hasCode(error, 'DeadlineExceeded'));
    assert.match(error.message, /start crisp-pod-[0-9a-f]{64}\.scope in test\.slice/);
    assert.match(error.hint, /dbus\.service/);
    return true;
  });
  const [cgroup] = recorded;
  assert.ok(cgroup);
  await driver.remove(cgroup, soon());
});

test('what systemd refuses leaves nothing behind', async () => {
  const { kernel, run, recorded, driver } = stand();
  kernel.faults.fail('systemd.startScope', new CrispError('RuntimeFailed', 'systemd: start …: InvalidArgs'));
  await assert.rejects(run(''), (error) => hasCode(error, 'RuntimeFailed'));
  const [cgroup] = recorded;
  assert.ok(cgroup);
  await driver.remove(cgroup, soon());
  assert.deepEqual([...kernel.units], []);
  assert.equal(kernel.cgroups.exists('/crisp.slice'), false);
});

test('pods of the other driver are ended in their own form', async () => {
  const { kernel, driver } = stand();
  const id = newSandboxId();
  const old: PodCgroup = { parent: '/kubepods/pod1', monitor: `/kubepods/pod1/${id}`, own: false };
  await kernel.cgroups.create(old.monitor);
  const container = newContainerId();
  assert.equal(driver.container(old, container).oci, `/kubepods/pod1/${container}`);
  await driver.remove(old, soon());
  assert.equal(kernel.cgroups.exists(old.monitor), false);
  assert.equal(kernel.cgroups.exists('/kubepods/pod1'), true);
  assert.equal(kernel.faults.calls.includes('systemd.stop'), false);
});
