/** Stats of containers and pods, metrics, and streamed lists. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { type cri, fromBigInt, toBigInt } from '#api/cri/v1/index.ts';
import { busy, endsClean, POD, refused, TestNode, until } from '../harness/pods.ts';

const node = await TestNode.start('stats');
const { client } = node;
const MIB = 1 << 20;
const limits = {
  cpuPeriod: fromBigInt(100_000n),
  cpuQuota: fromBigInt(20_000n),
  cpuShares: fromBigInt(512n),
  memoryLimitInBytes: fromBigInt(64n << 20n),
};
const work = ['sh', '-c', 'head -c 3000000 /dev/zero > /data; while :; do :; done'];
const pod = await node.runPod({ labels: { app: 'web' }, annotations: { note: 'x' } }, { network: POD });
const other = await node.runPod();
const working = await node.run(pod, { command: work, resources: limits, labels: { tier: 'a' } });
const idle = await node.run(pod, { command: busy, labels: { tier: 'b' } });
const elsewhere = await node.run(other, { command: busy });
const created = await node.create(pod);
const ended = await node.run(pod, { command: ['true'] });
await node.exited(ended);

const number = (value: cri.UInt64Value | null | undefined): number => Number(toBigInt(value?.value));
const stats = async (containerId: string): Promise<cri.ContainerStats> => {
  const reply = await client.ContainerStats({ containerId });
  assert.ok(reply.stats);
  return reply.stats;
};

test('a busy container: CPU time, memory with what remains of its limit, its writable layer', async () => {
  const { attributes, cpu, memory, swap, writableLayer } = await until('its layer is measured', async () => {
    const found = await stats(working);
    return number(found.writableLayer?.usedBytes) >= 3_000_000 ? found : undefined;
  });
  assert.equal(attributes?.id, working);
  assert.deepEqual({ ...attributes?.labels }, { tier: 'a' });
  assert.match(attributes?.metadata?.name ?? '', /^ctr-/);
  assert.ok(
    toBigInt(cpu?.timestamp) > 0n && toBigInt(memory?.timestamp) > 0n && toBigInt(swap?.timestamp) > 0n,
  );
  assert.ok(number(cpu?.usageCoreNanoSeconds) > 0);
  assert.ok(number(memory?.workingSetBytes) > 0);
  assert.ok(number(memory?.usageBytes) >= number(memory?.workingSetBytes));
  assert.equal(number(memory?.availableBytes) + number(memory?.workingSetBytes), 64 * MIB);
  assert.ok(number(memory?.pageFaults) > 0);
  assert.ok(toBigInt(writableLayer?.timestamp) > 0n);
  assert.equal(writableLayer?.fsId?.mountpoint, `${node.settings.directory}/root`);
  assert.ok(number(writableLayer?.usedBytes) < 10_000_000);
  assert.ok(number(writableLayer?.inodesUsed) >= 2);
});

test('pressure is reported where the kernel reports it for the container’s cgroup', async () => {
  const { cgroup } = await node.facts(working);
  const [file] = globSync([`/sys/fs/cgroup${cgroup}/cpu.pressure`, `/sys/fs/cgroup/*${cgroup}/cpu.pressure`]);
  const { cpu, memory, io } = await stats(working);
  if (!file) return assert.equal(cpu?.psi, null);
  const psi = await until('it has waited for its fifth of a core', async () => {
    const found = (await stats(working)).cpu?.psi;
    return toBigInt(found?.Some?.Total) > 0n ? found : undefined;
  });
  assert.ok(toBigInt(psi.Some?.Total) >= toBigInt(psi.Full?.Total));
  assert.ok(memory?.psi && io?.psi);
});

test('the rate of a container with a fifth of a core is near a fifth of a core, and of an idle one near none', async () => {
  await stats(working);
  const rate = await until('a rate is known', async () => {
    const { cpu } = await stats(working);
    return cpu?.usageNanoCores ? number(cpu.usageNanoCores) : undefined;
  });
  assert.ok(rate > 0.01e9 && rate < 0.6e9, `${rate}`);
  const quiet = await until('a rate is known', async () => {
    const { cpu } = await stats(idle);
    return cpu?.usageNanoCores ? { rate: number(cpu.usageNanoCores) } : undefined;
  });
  assert.ok(quiet.rate < 0.5e9, `${quiet.rate}`);
  const { memory } = await stats(idle);
  assert.equal(memory?.availableBytes, null, 'no limit, nothing available');
});

test('a container that is not running has only stats of its layer; an unknown one is NotFound', async () => {
  for (const id of [created, ended]) {
    const { attributes, cpu, memory, writableLayer } = await stats(id);
    assert.deepEqual([attributes?.id, cpu, memory], [id, null, null]);
    assert.ok(writableLayer?.fsId?.mountpoint);
  }
  await refused(client.ContainerStats({ containerId: 'f'.repeat(64) }), 'NotFound');
  await refused(client.ContainerStats({ containerId: '' }), 'NotFound');
  await refused(client.PodSandboxStats({ podSandboxId: 'f'.repeat(64) }), 'NotFound');
  await refused(client.PodSandboxStats({}), 'NotFound');
});

const listed = async (filter?: cri.ContainerStatsFilterInit) =>
  (await client.ListContainerStats(filter ? { filter } : {})).stats
    .map(({ attributes }) => attributes?.id)
    .sort();

test('ListContainerStats: all running ones, by id, by pod, by labels', async () => {
  assert.deepEqual(await listed(), [working, idle, elsewhere].sort());
  assert.deepEqual(await listed({ id: '' }), [working, idle, elsewhere].sort());
  assert.deepEqual(await listed({ id: idle.slice(0, 20) }), [idle]);
  assert.deepEqual(await listed({ id: ended }), []);
  assert.deepEqual(await listed({ podSandboxId: pod }), [working, idle].sort());
  assert.deepEqual(await listed({ podSandboxId: pod, labelSelector: { tier: 'b' } }), [idle]);
  assert.deepEqual(await listed({ labelSelector: { tier: 'c' } }), []);
  assert.deepEqual(await listed({ id: 'nonsense' }), []);
});

test('PodSandboxStats: sums, only the interfaces of the pod, processes, its containers', async () => {
  const { stats: found } = await client.PodSandboxStats({ podSandboxId: pod.slice(0, 16) });
  assert.equal(found?.attributes?.id, pod);
  assert.deepEqual({ ...found?.attributes?.annotations }, { note: 'x' });
  const linux = found?.linux;
  const ids = linux?.containers.map(({ attributes }) => attributes?.id).sort();
  assert.deepEqual(ids, [working, idle].sort());
  const own = linux?.containers.find(({ attributes }) => attributes?.id === working);
  assert.ok(number(linux?.cpu?.usageCoreNanoSeconds) > 0);
  assert.ok(number(linux?.memory?.usageBytes) >= number(own?.memory?.workingSetBytes));
  assert.equal(linux?.network?.defaultInterface?.name, 'eth0');
  assert.deepEqual(linux?.network?.interfaces, []);
  assert.equal(number(linux?.process?.processCount), 3, 'two containers and the pause process');
  const onHost = await client.PodSandboxStats({ podSandboxId: other });
  assert.equal(onHost.stats?.linux?.network, null);
  assert.equal(number(onHost.stats?.linux?.process?.processCount), 2);
});

test('bytes sent by the pod are counted', async () => {
  const sent = async () =>
    number(
      (await client.PodSandboxStats({ podSandboxId: pod })).stats?.linux?.network?.defaultInterface?.txBytes,
    );
  const before = await sent();
  await node.exec(idle, ['sh', '-c', 'for i in 1 2 3; do echo x | nc -w 1 10.234.7.1 9 ; done; true']);
  await until('bytes were sent', async () => (await sent()) > before);
});

test('ListPodSandboxStats by id and labels', async () => {
  const pods = async (filter: cri.PodSandboxStatsFilterInit) =>
    (await client.ListPodSandboxStats({ filter })).stats.map(({ attributes }) => attributes?.id).sort();
  assert.deepEqual(await pods({}), [pod, other].sort());
  assert.deepEqual(await pods({ labelSelector: { app: 'web' } }), [pod]);
  assert.deepEqual(await pods({ id: other }), [other]);
  assert.deepEqual(await pods({ id: other, labelSelector: { app: 'web' } }), []);
});

/** The reference list: name, tab, whether a value is required. */
const names = readFileSync(`${import.meta.dirname}/../fixtures/metric-names.txt`, 'utf8')
  .trim()
  .split('\n')
  .map((line) => line.split('\t') as [string, string]);

/** Why a value may be missing on this node; undefined where it is required. */
async function whyAbsent(): Promise<(name: string) => string | undefined> {
  const { cgroup } = await node.facts(working);
  const exists = (file: string) =>
    globSync([`/sys/fs/cgroup${cgroup}/${file}`, `/sys/fs/cgroup/*${cgroup}/${file}`]).length > 0;
  const disks = 'the kernel lists no device before the group has read from or written to one';
  const reasons: [RegExp, string | false][] = [
    [/^container_blkio_device_|^container_fs_(reads|writes)_/, disks],
    [/^container_hugetlb_usage_bytes$/, !exists('hugetlb.*') && 'no hugetlb controller'],
    [/^container_hugetlb_max_/, !exists('hugetlb.*.max_usage_in_bytes') && 'only in cgroup v1'],
    [/^container_pressure_cpu_/, !exists('cpu.pressure') && 'no PSI of groups (cgroup v1, or psi=0)'],
    [/^container_pressure_memory_/, !exists('memory.pressure') && 'no PSI of groups (cgroup v1, or psi=0)'],
    [/^container_pressure_io_/, !exists('io.pressure') && 'no PSI of groups (cgroup v1, or psi=0)'],
  ];
  return (name) => reasons.find(([pattern]) => pattern.test(name))?.[1] || undefined;
}

test('metrics: exactly the names of the list; each has a value, or a known reason to have none', async () => {
  const { descriptors } = await client.ListMetricDescriptors({});
  for (const { help, labelKeys } of descriptors) assert.ok(help !== '' && labelKeys.length > 0);
  const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
  assert.equal(keys.size, descriptors.length, 'no name twice');
  const { podMetrics } = await client.ListPodSandboxMetrics({});
  const own = podMetrics.find(({ podSandboxId }) => podSandboxId === pod);
  const all = [...(own?.metrics ?? []), ...(own?.containerMetrics ?? []).flatMap(({ metrics }) => metrics)];
  for (const { name, labelValues } of all) assert.equal(labelValues.length, keys.get(name)?.length, name);
  const valued = new Set(all.map(({ name }) => name));
  assert.equal(names.length, 56);
  assert.deepEqual([...keys.keys()].sort(), names.map(([name]) => name).sort());
  const reason = await whyAbsent();
  for (const [name, kind] of names) {
    if (valued.has(name)) continue;
    assert.notEqual(kind, 'required', `value of ${name}`);
    assert.ok(reason(name), `value of ${name}, which this node can report`);
  }
});

test('the limit of open files is that of the container’s init process', async () => {
  const { pid } = await node.facts(working);
  const { podMetrics } = await client.ListPodSandboxMetrics({});
  const metrics = podMetrics
    .flatMap(({ containerMetrics }) => containerMetrics)
    .find(({ containerId }) => containerId === working)?.metrics;
  const found = metrics?.find(({ name }) => name === 'container_ulimits_soft');
  assert.equal(found?.labelValues.at(-1), 'max_open_files');
  const [, soft] = /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8')) ?? [];
  assert.equal(number(found?.value), Number(soft));
});

test('metrics of a container have its labels and its limits', async () => {
  const { podMetrics } = await client.ListPodSandboxMetrics({});
  const { descriptors } = await client.ListMetricDescriptors({});
  const own = podMetrics.find(({ podSandboxId }) => podSandboxId === pod);
  const metrics = own?.containerMetrics.find(({ containerId }) => containerId === working)?.metrics ?? [];
  const value = (name: string) => number(metrics.find((metric) => metric.name === name)?.value);
  assert.deepEqual(
    ['container_spec_cpu_quota', 'container_spec_cpu_shares', 'container_spec_memory_limit_bytes'].map(value),
    [20_000, 512, 64 * MIB],
  );
  assert.ok(value('container_processes') >= 1);
  assert.ok(value('container_file_descriptors') >= 3);
  const keys = descriptors.find(({ name }) => name === 'container_processes')?.labelKeys ?? [];
  const values = metrics.find(({ name }) => name === 'container_processes')?.labelValues ?? [];
  const labels = Object.fromEntries(keys.map((key, at) => [key, values[at]]));
  assert.equal(labels['name'], working);
  assert.equal(labels['namespace'], 'default');
  assert.match(labels['pod'] ?? '', /^pod-/);
  assert.ok(labels['id']?.endsWith(working));
});

async function gathered<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const messages: T[] = [];
  for await (const message of stream) messages.push(message);
  return messages;
}

test('the streamed lists have the items of the lists, once', async () => {
  const images = (await gathered(client.StreamImages({}))).flatMap((message) => message.images);
  assert.deepEqual(images, (await client.ListImages({})).images);
  const pods = (await gathered(client.StreamPodSandboxes({}))).flatMap((message) => message.podSandboxes);
  assert.deepEqual(pods, (await client.ListPodSandbox({})).items);
  const all = (await gathered(client.StreamContainers({}))).flatMap((message) => message.containers);
  assert.deepEqual(all, (await client.ListContainers({})).containers);
  const usage = (await gathered(client.StreamContainerStats({}))).flatMap(
    (message) => message.containerStats,
  );
  assert.deepEqual(usage.map(({ attributes }) => attributes?.id).sort(), await listed());
  const podUsage = (await gathered(client.StreamPodSandboxStats({}))).flatMap((m) => m.podSandboxStats);
  assert.deepEqual(podUsage.map(({ attributes }) => attributes?.id).sort(), [pod, other].sort());
  const metrics = (await gathered(client.StreamPodSandboxMetrics({}))).flatMap((m) => m.podSandboxMetrics);
  assert.deepEqual(metrics.map(({ podSandboxId }) => podSandboxId).sort(), [pod, other].sort());
});

test('an empty stream has no messages; a long one has several, and no item twice', async () => {
  const filter = { id: 'none' };
  assert.deepEqual(await gathered(client.StreamPodSandboxes({ filter })), []);
  assert.deepEqual(await gathered(client.StreamContainers({ filter })), []);
  assert.deepEqual(await gathered(client.StreamContainerStats({ filter })), []);
  assert.deepEqual(await gathered(client.StreamPodSandboxStats({ filter })), []);
  assert.deepEqual(await gathered(client.StreamImages({ filter: { image: { image: 'none' } } })), []);
  const more: string[] = [];
  for (let n = 0; n < 70; n++) more.push(await node.create(other));
  const messages = await gathered(client.StreamContainers({}));
  assert.ok(messages.length > 1);
  const ids = messages.flatMap(({ containers }) => containers.map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length);
  assert.equal(ids.length, 75);
  for (const id of more) await node.remove(id);
});

test('stats requests while containers and pods are removed: none fails', async () => {
  const removed = await node.runPod();
  await Promise.all([1, 2, 3].map(() => node.run(removed, { command: busy })));
  let removing = true;
  const requests = (async () => {
    while (removing) {
      await Promise.all([
        client.ListContainerStats({}),
        client.ListPodSandboxStats({}),
        client.ListPodSandboxMetrics({}),
        gathered(client.StreamPodSandboxStats({})),
      ]);
    }
  })();
  await client.StopPodSandbox({ podSandboxId: removed });
  await client.RemovePodSandbox({ podSandboxId: removed });
  removing = false;
  await requests;
  assert.deepEqual(await listed({ podSandboxId: removed }), []);
});

test('after a restart of the daemon the stats are available', async () => {
  await node.restart('kill');
  const found = await until('the layer is measured', async () => {
    const { stats: all } = await node.client.ListContainerStats({ filter: { id: working } });
    return number(all[0]?.writableLayer?.usedBytes) >= 3_000_000 ? all[0] : undefined;
  });
  assert.ok(number(found.cpu?.usageCoreNanoSeconds) > 0);
});

endsClean(node);
