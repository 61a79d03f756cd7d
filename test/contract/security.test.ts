/** Section 5 of the kubelet's contract, as far as other suites do not test it: privileged containers, profiles, sysctls. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { endsClean, NODE, POD, refused, TestNode, until } from '../harness/pods.ts';

const { RuntimeDefault, Localhost } = cri.SecurityProfile.ProfileType;
const node = await TestNode.start('security');
const pod = await node.runPod();
const none = async () => assert.deepEqual((await node.client.ListContainers({})).containers, []);

test('a privileged container has no seccomp filter, all devices of the node, and a writable /sys', async () => {
  const open = await node.runPod({
    linux: { securityContext: { privileged: true, namespaceOptions: { network: NODE } } },
  });
  const id = await node.run(open, {
    security: {
      privileged: true,
      seccomp: { profileType: RuntimeDefault },
      apparmor: { profileType: Localhost, localhostRef: 'localhost/no-such-profile' },
      capabilities: { dropCapabilities: ['ALL'] },
    },
  });
  const sh = async (script: string) => (await node.exec(id, ['sh', '-c', script])).out;
  assert.match(await sh('cat /proc/self/status'), /Seccomp:\t0\n/);
  assert.match(await sh('grep " /sys " /proc/mounts'), / \/sys sysfs rw,/);
  assert.equal(await sh('grep -c " /sys/fs/cgroup.* ro," /proc/mounts'), '0\n');
  const bounding = /CapBnd:\t([0-9a-f]+)/.exec(await sh('cat /proc/self/status'))?.[1] ?? '';
  assert.ok((BigInt(`0x${bounding}`) & (1n << 21n)) !== 0n, `CAP_SYS_ADMIN is not in ${bounding}`);
  for (const device of ['/dev/kmsg', '/dev/loop-control', '/dev/vda'].filter((path) => existsSync(path)))
    assert.equal(await sh(`test -e ${device} && echo there`), 'there\n', device);
  await node.remove(id);
  const plain = node.containerConfig({ security: { privileged: true } });
  const requested = node.client.CreateContainer({ podSandboxId: pod, config: plain, sandboxConfig: {} });
  await refused(requested, 'InvalidArgument', /privileged/);
  await none();
});

test('a missing or invalid seccomp profile is refused with its name and leaves nothing behind', async () => {
  const before = node.leftovers();
  const file = join(node.directory, 'profile.json');
  const create = (localhostRef: string) =>
    node.create(pod, { security: { seccomp: { profileType: Localhost, localhostRef } } });
  await refused(create('/no/such/profile.json'), 'InvalidArgument', /no\/such\/profile\.json/);
  await refused(create('profile.json'), 'InvalidArgument', /profile\.json/);
  await refused(create(''), 'InvalidArgument', /localhost_ref|seccomp/);
  for (const text of ['{', '[]', '{"defaultAction":"SCMP_ACT_DREAM"}']) {
    writeFileSync(file, text);
    await refused(create(file), 'InvalidArgument', /profile\.json/);
  }
  await none();
  await until('no leftovers', () => node.leftovers().every((leftover) => before.includes(leftover)));
});

test('cgroup files that are not limits, and invalid values, are refused with their names', async () => {
  const before = node.leftovers();
  const create = (resources: cri.LinuxContainerResourcesInit) => node.create(pod, { resources });
  const long = (value: bigint) => fromBigInt(value);
  await refused(create({ unified: { 'cgroup.kill': '1' } }), 'InvalidArgument', /cgroup\.kill/);
  await refused(create({ unified: { '../x.max': '1' } }), 'InvalidArgument', /\.\.\/x\.max/);
  await refused(create({ unified: { 'memory.high': '1\n2' } }), 'InvalidArgument', /memory\.high/);
  await refused(create({ cpuPeriod: long(-1n) }), 'InvalidArgument', /cpu_period/);
  await refused(create({ memoryLimitInBytes: long(-2n) }), 'InvalidArgument', /memory_limit/);
  const swap = { memoryLimitInBytes: long(64n << 20n), memorySwapLimitInBytes: long(1n << 20n) };
  await refused(create(swap), 'InvalidArgument', /swap/);
  await none();
  await until('no leftovers', () => node.leftovers().every((leftover) => before.includes(leftover)));
});

test('sysctls of namespaces that the pod shares with the node are refused, and no pod is created', async () => {
  const run = (sysctls: Record<string, string>, namespaceOptions: cri.NamespaceOptionInit) => {
    const { linux, ...config } = node.podConfig();
    const requested = { ...linux, sysctls, securityContext: { namespaceOptions } };
    return node.client.RunPodSandbox({ config: { ...config, linux: requested } });
  };
  await refused(run({ 'kernel.panic': '1' }, { network: POD }), 'InvalidArgument', /kernel\.panic/);
  await refused(run({ 'net.core.somaxconn': '1' }, { network: NODE }), 'InvalidArgument', /somaxconn/);
  await refused(run({ 'kernel.shmmax': '1' }, { network: NODE, ipc: NODE }), 'InvalidArgument', /shmmax/);
  assert.equal((await node.client.ListPodSandbox({})).items.length, 2);
});

test('sysctls of the pod are set before its containers start', async () => {
  const { linux, ...config } = node.podConfig({}, { network: POD });
  const sysctls = { 'kernel.shm_rmid_forced': '1', 'fs.mqueue.msg_max': '100' };
  const own = await node.runPod({ ...config, linux: { ...linux, sysctls } });
  const read = ['cat', '/proc/sys/kernel/shm_rmid_forced', '/proc/sys/fs/mqueue/msg_max'];
  assert.equal((await node.output(own, read)).out, '1\n100');
});

test('without a capability, a pod serves port 80 and may ping, unless its own sysctls say otherwise', async () => {
  const script =
    'grep ^CapEff: /proc/self/status; cat /proc/sys/net/ipv4/ping_group_range; timeout 1 nc -l -p 80; echo $?';
  const changes = {
    security: { runAsUser: { value: fromBigInt(1000n) }, capabilities: { dropCapabilities: ['ALL'] } },
  };
  const run = async (sysctls: Record<string, string>) => {
    const { linux, ...config } = node.podConfig({}, { network: POD });
    const own = await node.runPod({ ...config, linux: { ...linux, sysctls } });
    return (await node.output(own, ['sh', '-c', script], changes)).out.split('\n');
  };
  assert.deepEqual(await run({}), ['CapEff:\t0000000000000000', '0\t2147483647', '143']); // ended by timeout: it listened
  const [, ...refusals] = await run({
    'net.ipv4.ip_unprivileged_port_start': '1024',
    'net.ipv4.ping_group_range': '1 0',
  });
  assert.deepEqual(refusals, ['1\t0', '1']);
});

endsClean(node);
