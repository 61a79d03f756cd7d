/** GetContainerEvents through the life of a pod. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cri, toBigInt } from '#api/cri/v1/index.ts';
import { CREATED, EXITED, endsClean, RUNNING, refused, TestNode, until } from '../harness/pods.ts';

const node = await TestNode.start('events');
const NAMES = new Map([
  [cri.ContainerEventType.CONTAINER_CREATED_EVENT, 'created'],
  [cri.ContainerEventType.CONTAINER_STARTED_EVENT, 'started'],
  [cri.ContainerEventType.CONTAINER_STOPPED_EVENT, 'stopped'],
  [cri.ContainerEventType.CONTAINER_DELETED_EVENT, 'deleted'],
]);

interface Subscription {
  readonly events: cri.ContainerEventResponse[];
  /** The events of one object so far, such as `created`. */
  of(id: string): string[];
  /** How it ended. */
  readonly ended: Promise<unknown>;
  stop(): void;
}

/** Resolves when the stream is open: pods are created and removed until an event arrives. */
async function subscribe(): Promise<Subscription> {
  const events: cri.ContainerEventResponse[] = [];
  const stopping = new AbortController();
  const ended = (async () => {
    for await (const event of node.client.GetContainerEvents({}, { signal: stopping.signal }))
      events.push(event);
  })().catch((error: unknown) => error);
  await until('the stream is open', async () => {
    const podSandboxId = await node.runPod();
    await node.client.RemovePodSandbox({ podSandboxId });
    return events.length > 0;
  });
  return {
    events,
    of: (id) =>
      events
        .filter(({ containerId }) => containerId === id)
        .map((event) => NAMES.get(event.containerEventType) ?? '?'),
    ended,
    stop: () => stopping.abort(),
  };
}

test('each change comes once, in order, with the pod and all its containers as they are then', async () => {
  const subscription = await subscribe();
  const pod = await node.runPod({ labels: { app: 'web' } });
  const id = await node.create(pod);
  await node.client.StartContainer({ containerId: id });
  const second = await node.run(pod, { command: ['true'] });
  await node.exited(second);
  await node.stop(id, 0);
  await node.remove(second);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  await until('the last event', () => subscription.of(pod).includes('deleted'));
  for (const each of [pod, id, second])
    assert.deepEqual(subscription.of(each), ['created', 'started', 'stopped', 'deleted'], each);

  const own = subscription.events.filter(({ podSandboxStatus }) => podSandboxStatus?.id === pod);
  for (const event of own) {
    assert.ok(toBigInt(event.createdAt) > 0n);
    assert.equal(event.podSandboxStatus?.metadata?.namespace, 'default');
    assert.deepEqual({ ...event.podSandboxStatus?.labels }, { app: 'web' });
  }
  const times = own.map(({ createdAt }) => toBigInt(createdAt));
  assert.deepEqual(
    times,
    times.toSorted((a, b) => Number(a - b)),
  );
  const at = (name: string, object: string) =>
    own.find((event) => event.containerId === object && NAMES.get(event.containerEventType) === name);
  const states = (name: string, object: string) =>
    new Map(at(name, object)?.containersStatuses.map((status) => [status.id, status.state]));
  assert.deepEqual([...states('started', pod)], []);
  assert.equal(at('started', pod)?.podSandboxStatus?.state, cri.PodSandboxState.SANDBOX_READY);
  assert.deepEqual([...states('created', id)], [[id, CREATED]]);
  assert.deepEqual(
    [...states('created', second)],
    [
      [id, RUNNING],
      [second, CREATED],
    ],
  );
  assert.equal(states('stopped', second).get(second), EXITED);
  assert.equal(states('deleted', second).has(second), false);
  assert.equal(at('stopped', pod)?.podSandboxStatus?.state, cri.PodSandboxState.SANDBOX_NOTREADY);
  assert.equal(at('deleted', pod)?.podSandboxStatus?.metadata?.name.startsWith('pod-'), true);
  subscription.stop();
});

test('a failed start is a stopped event', async () => {
  const subscription = await subscribe();
  const pod = await node.runPod();
  const id = await node.create(pod, { command: ['/no/such/program'] });
  await assert.rejects(node.client.StartContainer({ containerId: id }));
  await until('the stopped event', () => subscription.of(id).includes('stopped'));
  assert.deepEqual(subscription.of(id), ['created', 'stopped']);
  subscription.stop();
});

test('status of a pod has a time and all its containers', async () => {
  const pod = await node.runPod();
  const ids = [await node.create(pod), await node.run(pod)];
  const { timestamp, containersStatuses } = await node.client.PodSandboxStatus({ podSandboxId: pod });
  assert.ok(toBigInt(timestamp) > 1_700_000_000_000_000_000n);
  assert.deepEqual(containersStatuses.map(({ id }) => id).sort(), ids.sort());
});

test('an open event stream does not delay the exit of the daemon, and ends with Unavailable', async () => {
  const subscription = await subscribe();
  await node.restart('stop');
  await refused(
    subscription.ended.then((error) => Promise.reject(error)),
    'Unavailable',
  );
  const again = await subscribe();
  assert.ok(again.events.length > 0);
  again.stop();
});

endsClean(node);
