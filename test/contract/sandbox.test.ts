/** Section 2 of the kubelet's contract, as far as other suites do not test it: the statuses of pods. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cri, toBigInt } from '#api/cri/v1/index.ts';
import { EXITED, endsClean, NODE, POD, refused, TestNode, until } from '../harness/pods.ts';

const { SANDBOX_READY: READY, SANDBOX_NOTREADY: NOT_READY } = cri.PodSandboxState;
const node = await TestNode.start('sandbox');

async function statusOf(podSandboxId: string): Promise<cri.PodSandboxStatus> {
  const { status } = await node.client.PodSandboxStatus({ podSandboxId });
  assert.ok(status);
  return status;
}
/** The fields whose change makes a kubelet recreate a pod. */
const observed = async (podSandboxId: string) => {
  const { state, metadata, network, linux, createdAt, labels, annotations, runtimeHandler } =
    await statusOf(podSandboxId);
  const options = linux?.namespaces?.options;
  const modes = [options?.network, options?.pid, options?.ipc];
  const addresses = [network?.ip, ...(network?.additionalIps ?? []).map(({ ip }) => ip)];
  const { attempt, name, namespace, uid } = metadata ?? {};
  const named = [name, namespace, uid, attempt, runtimeHandler];
  const created = toBigInt(createdAt);
  return { state, named, modes, addresses, created, labels: { ...labels }, annotations: { ...annotations } };
};

test('a pod is READY, listed and as requested, and is the same after a restart of the daemon', async () => {
  const labels = { 'io.kubernetes.pod.uid': 'u', app: 'a' };
  const annotations = { 'io.kubernetes.container.hash': 'abc' };
  const config = node.podConfig({ labels, annotations }, { network: POD });
  const { metadata } = config;
  const requested = { ...config, metadata: { ...metadata, attempt: 3 } };
  const { podSandboxId } = await node.client.RunPodSandbox({ config: requested, runtimeHandler: 'runc' });
  const before = await observed(podSandboxId);
  assert.deepEqual(
    [before.state, before.labels, before.annotations, before.named],
    [READY, labels, annotations, [metadata?.name, 'default', metadata?.uid, 3, 'runc']],
  );
  assert.deepEqual(before.modes, [POD, cri.NamespaceMode.CONTAINER, POD]);
  assert.match(before.addresses[0] ?? '', /^10\.234\./);
  assert.equal(new Set(before.addresses).size, before.addresses.length, 'no duplicate addresses');
  assert.ok(before.created > 1_600_000_000_000_000_000n);
  const { items } = await node.client.ListPodSandbox({ filter: { id: podSandboxId } });
  assert.deepEqual(
    items.map(({ state, createdAt, runtimeHandler }) => [state, toBigInt(createdAt), runtimeHandler]),
    [[READY, before.created, 'runc']],
  );
  await node.restart('kill');
  assert.deepEqual(await observed(podSandboxId), before);
  await node.client.StopPodSandbox({ podSandboxId });
  assert.deepEqual(
    [(await observed(podSandboxId)).state, (await observed(podSandboxId)).created],
    [NOT_READY, before.created],
  );
});

test('a pod on the network of the node has no address', async () => {
  const { addresses, modes } = await observed(await node.runPod({}, { network: NODE }));
  assert.deepEqual([addresses, modes[0]], [[''], NODE]);
});

test('a pod whose pause process dies is NOTREADY without a call, and its status is not an error', async () => {
  const pod = await node.runPod();
  const running = await node.run(pod);
  const reply = await node.client.PodSandboxStatus({ podSandboxId: pod, verbose: true });
  const { pid } = JSON.parse(reply.info['info'] ?? '{}') as { pid: number };
  process.kill(pid, 'SIGKILL');
  await until('NOTREADY', async () => (await statusOf(pod)).state === NOT_READY);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  assert.equal((await node.status(running)).state, EXITED);
});

test('RemovePodSandbox of a READY pod stops and removes its containers, and frees its name', async () => {
  const config = node.podConfig();
  const { podSandboxId } = await node.client.RunPodSandbox({ config });
  const [running, created] = [await node.run(podSandboxId), await node.create(podSandboxId)];
  await node.client.RemovePodSandbox({ podSandboxId });
  for (const id of [running, created]) await refused(node.status(id), 'NotFound');
  await refused(node.client.PodSandboxStatus({ podSandboxId }), 'NotFound');
  const again = await node.client.RunPodSandbox({ config: { ...config, hostname: 'another' } });
  assert.notEqual(again.podSandboxId, podSandboxId);
});

test('invalid pods are refused with the name of the field, and are not listed', async () => {
  await node.removePods();
  const run = (changes: cri.PodSandboxConfigInit, more: object = {}) =>
    node.client.RunPodSandbox({ config: node.podConfig(changes), ...more });
  await refused(node.client.RunPodSandbox({}), 'InvalidArgument', /config/);
  await refused(run({ metadata: { name: '', uid: 'u', namespace: 'n' } }), 'InvalidArgument', /metadata/);
  await refused(run({ hostname: 'two\nlines' }), 'InvalidArgument', /hostname/);
  await refused(run({}, { runtimeHandler: 'nope' }), 'InvalidArgument', /nope/);
  const modes = { network: cri.NamespaceMode.TARGET };
  await refused(
    run({ linux: { securityContext: { namespaceOptions: modes } } }),
    'InvalidArgument',
    /network TARGET/,
  );
  assert.deepEqual((await node.client.ListPodSandbox({})).items, []);
});

endsClean(node);
