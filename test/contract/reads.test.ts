/** Section 11 of the kubelet's contract, as far as other suites do not test it: slow calls do not delay reads. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { EXITED, endsClean, RUNNING, refused, TestNode, until } from '../harness/pods.ts';
import { startFront } from '../image-service/front.ts';

const node = await TestNode.start('reads');
const pod = await node.runPod();
const stubborn = ['sh', '-c', 'trap "echo SIGTERM" TERM; while :; do sleep 0.1; done'];

test('a waiting stop, an exec, and a pull from a registry that does not reply delay no list and no status', async () => {
  const id = await node.run(pod, { command: stubborn });
  const busy = await node.run(pod);
  const cancel = new AbortController();
  await using silent = await startFront(node.registry.url, () => new Promise<boolean>(() => {}));
  const ended: string[] = [];
  const waiting = [
    ['stop', node.client.StopContainer({ containerId: id, timeout: fromBigInt(600n) })],
    ['exec', node.client.ExecSync({ containerId: busy, cmd: ['sleep', '600'] }, { signal: cancel.signal })],
    ['pull', node.client.PullImage({ image: { image: `${silent.host}/x:y` } }, { signal: cancel.signal })],
  ] as const;
  const all = waiting.map(([name, call]) =>
    (call as Promise<unknown>).then(
      () => ended.push(name),
      () => ended.push(`${name} failed`),
    ),
  );
  await until('SIGTERM was sent', async () => (await node.logLines(id)).length > 0);
  for (let round = 0; round < 20; round++) {
    assert.equal((await node.client.ListPodSandbox({})).items.length, 1);
    assert.equal((await node.client.ListContainers({})).containers.length, 2);
    assert.equal((await node.status(id)).state, RUNNING);
    assert.equal((await node.client.ListContainerStats({})).stats.length, 2);
    assert.equal((await node.client.ListImages({})).images.length, 1);
    await node.client.PodSandboxStatus({ podSandboxId: pod });
    await node.client.Status({});
  }
  assert.deepEqual(ended, [], 'all three still wait');
  cancel.abort();
  await node.stop(id, 0);
  await Promise.all(all);
  assert.equal((await node.status(id)).state, EXITED);
  await Promise.all([node.remove(id), node.remove(busy)]);
});

test('the exit of a container is detected without a call, and the list agrees with the status', async () => {
  const id = await node.run(pod, { command: ['sh', '-c', 'exit 5'] });
  const found = await until('the list has EXITED', async () => {
    const { containers } = await node.client.ListContainers({ filter: { id, state: { state: EXITED } } });
    return containers[0];
  });
  const status = await node.status(id);
  assert.deepEqual([status.state, status.exitCode], [found.state, 5]);
  await node.remove(id);
});

test('a status of a pod has the time and all containers; one of an unknown object is NotFound', async () => {
  const id = await node.run(pod);
  const reply = await node.client.PodSandboxStatus({ podSandboxId: pod });
  assert.deepEqual(
    reply.containersStatuses.map((one) => [one.id, one.state]),
    [[id, RUNNING]],
  );
  const unknown = 'd'.repeat(64);
  await refused(node.client.ContainerStats({ containerId: unknown }), 'NotFound');
  await refused(node.client.PodSandboxStats({ podSandboxId: unknown }), 'NotFound');
  await refused(node.client.ContainerStatus({ containerId: unknown }), 'NotFound');
  await refused(node.client.PodSandboxStatus({ podSandboxId: unknown }), 'NotFound');
});

endsClean(node);
