/** What `crictl inspect` and `crictl inspectp` show of pods and containers, by the names that scripts know from the peers. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { endsClean, NODE, POD, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('verbose');

const infoOf = async (containerId: string) => {
  const { info } = await node.client.ContainerStatus({ containerId, verbose: true });
  return JSON.parse(info['info'] ?? '{}') as {
    pid: number;
    sandboxID: string;
    runtimeSpec?: { annotations: Record<string, string>; process: { args: string[]; env: string[] } };
  };
};

const cniResultOf = async (podSandboxId: string) => {
  const { info } = await node.client.PodSandboxStatus({ podSandboxId, verbose: true });
  return (JSON.parse(info['info'] ?? '{}') as { cniResult?: { ips: { address: string }[] } }).cniResult;
};

test('a container has the spec that its OCI runtime got, with the names of its pod', async () => {
  const pod = await node.runPod();
  const command = ['sh', '-c', 'sleep 1000'];
  const id = await node.run(pod, { command, envs: [{ key: 'A', value: Buffer.from('b') }] });
  const { pid, sandboxID, runtimeSpec } = await infoOf(id);
  assert.ok(pid > 0);
  assert.equal(sandboxID, pod);
  assert.deepEqual(runtimeSpec?.process.args, command);
  assert.ok(runtimeSpec?.process.env.includes('A=b'));
  assert.equal(runtimeSpec?.annotations['io.kubernetes.cri.sandbox-id'], pod);
  assert.equal(runtimeSpec?.annotations['io.kubernetes.cri.sandbox-namespace'], 'default');
  await node.restart('kill');
  assert.deepEqual((await infoOf(id)).runtimeSpec, runtimeSpec);
  await node.remove(id);
});

test('a pod has the result of its network, one on the network of the node has none', async () => {
  const config = node.podConfig({}, { network: POD });
  const { podSandboxId } = await node.client.RunPodSandbox({ config });
  const { status } = await node.client.PodSandboxStatus({ podSandboxId });
  const [first] = (await cniResultOf(podSandboxId))?.ips ?? [];
  assert.equal(first?.address.split('/')[0], status?.network?.ip);
  assert.equal(await cniResultOf(await node.runPod({}, { network: NODE })), undefined);
});

test('without verbose there is no info', async () => {
  const id = await node.create(await node.runPod());
  const { info } = await node.client.ContainerStatus({ containerId: id });
  assert.deepEqual(Object.keys(info), []);
});

endsClean(node);
