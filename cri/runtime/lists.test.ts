/** ListContainers and ListPodSandbox: decoded filters against fakes of the services. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cri } from '#api/cri/v1/index.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { PodSandboxes, Sandbox } from '#pod-sandbox/index.ts';
import type { ContainerRecord, RuntimeService } from '#runtime-service/index.ts';
import { sampleConfig } from '#test/fixtures/sandbox-config.ts';
import type { CriServices } from '../services.ts';
import { containerStatus } from './container-status.ts';
import { listContainers } from './list-containers.ts';
import { listPodSandbox } from './list-pod-sandbox.ts';

const id = (begin: string): string => begin.padEnd(64, '0');
const sandbox = (begin: string, state: Sandbox['state'], labels: Record<string, string>): Sandbox => ({
  id: id(begin) as SandboxId,
  config: sampleConfig({ labels }),
  runtimeHandler: '',
  state,
  reason: state === 'ready' ? undefined : 'stopped',
  detail: '',
  createdAt: 1n,
  network: { ip: '', additionalIps: [], namespace: undefined, result: undefined, attachments: [] },
  process: undefined,
  cgroup: '',
  limits: { overhead: undefined, resources: undefined },
  selinux: undefined,
});
const container = (
  begin: string,
  pod: string,
  state: ContainerRecord['state'],
  labels: Record<string, string>,
) =>
  ({
    id: id(begin) as ContainerId,
    sandboxId: id(pod) as SandboxId,
    metadata: { name: begin, attempt: 0 },
    state,
    image: { id: '', name: '', reference: '', requested: '', userSpecified: '' },
    labels,
    annotations: {},
    createdAt: 1n,
  }) as unknown as ContainerRecord;

/** In no list. */
const BEING_MADE: Sandbox = { ...sandbox('a3', 'notReady', { app: 'web' }), reason: undefined };
const PODS = [
  sandbox('a1', 'ready', { app: 'web' }),
  sandbox('a2', 'notReady', { app: 'db', tier: 'x' }),
  BEING_MADE,
];
const CONTAINERS = [
  container('c1', 'a1', 'running', { app: 'web' }),
  container('c2', 'a1', 'exited', { app: 'web', tier: 'x' }),
  container('d1', 'a2', 'created', { app: 'db' }),
];

/** A full id from a full id or a unique prefix, as the services do it. */
const resolved = <T extends string>(ids: readonly T[], wanted: string): T | undefined => {
  const found = ids.filter((one) => one.startsWith(wanted));
  return found.length === 1 ? found[0] : undefined;
};

const pods: Pick<PodSandboxes, 'list' | 'resolve'> = {
  list: () => PODS,
  resolve: (wanted) =>
    resolved(
      PODS.map((pod) => pod.id),
      wanted,
    ),
};
const containers: Pick<RuntimeService, 'list' | 'find'> = {
  list: () => CONTAINERS,
  find: (wanted) =>
    CONTAINERS.find(
      (record) =>
        record.id ===
        resolved(
          CONTAINERS.map((one) => one.id),
          wanted,
        ),
    ),
};
const services = { pods, containers } as unknown as CriServices;

async function podsOf(filter: cri.PodSandboxFilterInit | undefined): Promise<string[]> {
  const request = cri.ListPodSandboxRequest.encode(filter ? { filter } : {}).finish();
  const { items } = await listPodSandbox(services)(cri.ListPodSandboxRequest.decode(request));
  return (items ?? []).map((item) => String(item.id).slice(0, 2));
}

test('a pod that is being made is in no list, whatever is asked for', async () => {
  for (const filter of [undefined, { id: BEING_MADE.id }, { labelSelector: { app: 'web' } }])
    assert.ok(!(await podsOf(filter)).includes('a3'));
});

test('the status of a container that is being created is NotFound', async () => {
  const record = container('e1', 'a1', 'creating', {});
  const being = { containers: { resolve: () => record } } as unknown as CriServices;
  const request = cri.ContainerStatusRequest.decode(
    cri.ContainerStatusRequest.encode({ containerId: record.id }).finish(),
  );
  await assert.rejects(containerStatus(being)(request), { code: 'NotFound' });
});

async function containersOf(filter: cri.ContainerFilterInit | undefined): Promise<string[]> {
  const request = cri.ListContainersRequest.encode(filter ? { filter } : {}).finish();
  const reply = await listContainers(services)(cri.ListContainersRequest.decode(request));
  return (reply.containers ?? []).map((item) => String(item.id).slice(0, 2));
}

test('pods: no filter, an empty one, and one for each field', async () => {
  assert.deepEqual(await podsOf(undefined), ['a1', 'a2']);
  assert.deepEqual(await podsOf({}), ['a1', 'a2']);
  assert.deepEqual(await podsOf({ id: id('a2') }), ['a2']);
  assert.deepEqual(await podsOf({ id: 'a2' }), ['a2'], 'a short id');
  assert.deepEqual(await podsOf({ state: {} }), ['a1'], 'READY is zero: presence of the message counts');
  assert.deepEqual(await podsOf({ state: { state: cri.PodSandboxState.SANDBOX_NOTREADY } }), ['a2']);
  assert.deepEqual(await podsOf({ labelSelector: { app: 'web' } }), ['a1']);
});

test('pods: all fields must match; an unknown or ambiguous id gives an empty list', async () => {
  assert.deepEqual(await podsOf({ id: 'a1', labelSelector: { app: 'db' } }), []);
  assert.deepEqual(await podsOf({ id: 'a1', state: { state: 1 } }), []);
  assert.deepEqual(await podsOf({ id: 'a' }), []);
  assert.deepEqual(await podsOf({ id: 'none' }), []);
  assert.deepEqual(await podsOf({ state: { state: 9 } }), []);
});

test('containers: no filter, an empty one, and one for each field', async () => {
  assert.deepEqual(await containersOf(undefined), ['c1', 'c2', 'd1']);
  assert.deepEqual(await containersOf({}), ['c1', 'c2', 'd1']);
  assert.deepEqual(await containersOf({ id: 'd' }), ['d1'], 'a short id');
  assert.deepEqual(await containersOf({ podSandboxId: id('a1') }), ['c1', 'c2']);
  assert.deepEqual(await containersOf({ podSandboxId: 'a2' }), ['d1']);
  assert.deepEqual(
    await containersOf({ state: {} }),
    ['d1'],
    'CREATED is zero: presence of the message counts',
  );
  assert.deepEqual(await containersOf({ state: { state: cri.ContainerState.CONTAINER_EXITED } }), ['c2']);
  assert.deepEqual(await containersOf({ labelSelector: { app: 'web' } }), ['c1', 'c2']);
});

test('containers: all fields must match; an unknown or ambiguous id gives an empty list', async () => {
  assert.deepEqual(await containersOf({ podSandboxId: 'a1', labelSelector: { tier: 'x' } }), ['c2']);
  assert.deepEqual(await containersOf({ id: 'd1', podSandboxId: 'a1' }), []);
  assert.deepEqual(await containersOf({ id: 'c' }), []);
  assert.deepEqual(await containersOf({ id: 'none' }), []);
  assert.deepEqual(await containersOf({ podSandboxId: 'none' }), []);
  assert.deepEqual(await containersOf({ state: { state: 9 } }), []);
});

test('an item is the same object until its record is another, so that it is encoded once', async () => {
  const services = { pods, containers } as unknown as CriServices;
  const request = cri.ListContainersRequest.fromObject({});
  const [one] = (await listContainers(services)(request)).containers ?? [];
  const [again] = (await listContainers(services)(request)).containers ?? [];
  assert.ok(one && one === again);
  const [pod] = (await listPodSandbox(services)(cri.ListPodSandboxRequest.fromObject({}))).items ?? [];
  const [podAgain] = (await listPodSandbox(services)(cri.ListPodSandboxRequest.fromObject({}))).items ?? [];
  assert.ok(pod && pod === podAgain);
});
