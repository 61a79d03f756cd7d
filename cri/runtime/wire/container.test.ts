/** Statuses of containers as clients receive them: encoded and decoded. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cri, toBigInt } from '#api/cri/v1/index.ts';
import type { ImageId } from '#core/ids.ts';
import { newContainerId, newSandboxId } from '#core/ids.ts';
import type { ContainerRecord, ContainerState } from '#runtime-service/index.ts';
import { mountOf, resourcesOf } from '#test/fixtures/container-config.ts';
import { stateNumber, wireContainer, wireContainerStatus } from './container.ts';

const CREATED = 1_700_000_000_123_456_789n;

const recordOf = (changes: Partial<ContainerRecord> = {}): ContainerRecord => ({
  version: 1,
  id: newContainerId(),
  sandboxId: newSandboxId(),
  configHash: 'hash',
  metadata: { name: 'web', attempt: 7 },
  state: 'created',
  handler: 'runc',
  image: {
    id: `sha256:${'ab'.repeat(32)}` as ImageId,
    name: 'registry.example/web:1',
    reference: 'registry.example/web@sha256:cd',
    requested: `sha256:${'ab'.repeat(32)}`,
    userSpecified: 'web:1',
  },
  labels: { app: 'web' },
  annotations: { 'io.kubernetes.container.hash': '1' },
  mounts: [],
  user: { uid: 1000, gid: 4294967294, supplementalGroups: [6, 4294967294] },
  resources: resourcesOf(),
  stopSignal: 'SIGTERM',
  logPath: '/var/log/pods/x/web/0.log',
  tty: false,
  stdin: false,
  stdinOnce: false,
  sharedPid: false,
  cgroup: { oci: '/pod/ctr', path: '/pod/ctr' },
  createdAt: CREATED,
  startedAt: undefined,
  exit: undefined,
  process: undefined,
  monitor: undefined,
  intents: [],
  ...changes,
});

const seen = (record: ContainerRecord): cri.ContainerStatus =>
  cri.ContainerStatus.decode(cri.ContainerStatus.encode(wireContainerStatus(record)).finish());
const listed = (record: ContainerRecord): cri.Container =>
  cri.Container.decode(cri.Container.encode(wireContainer(record)).finish());

test('states: creating and starting are CREATED', () => {
  const number = (state: ContainerState) => stateNumber(recordOf({ state }));
  const { CONTAINER_CREATED, CONTAINER_RUNNING, CONTAINER_EXITED } = cri.ContainerState;
  assert.deepEqual(
    (['creating', 'created', 'starting'] as const).map(number),
    Array(3).fill(CONTAINER_CREATED),
  );
  assert.deepEqual([number('running'), number('exited')], [CONTAINER_RUNNING, CONTAINER_EXITED]);
});

test('times are exact nanoseconds, and zero until set', () => {
  const created = seen(recordOf());
  assert.deepEqual([created.createdAt, created.startedAt, created.finishedAt].map(toBigInt), [
    CREATED,
    0n,
    0n,
  ]);
  const exit = { code: 137, reason: 'OOMKilled', message: '', finishedAt: CREATED + 2n } as const;
  const ended = seen(recordOf({ state: 'exited', startedAt: CREATED + 1n, exit }));
  assert.deepEqual([ended.startedAt, ended.finishedAt].map(toBigInt), [CREATED + 1n, CREATED + 2n]);
  assert.deepEqual([ended.exitCode, ended.reason], [137, 'OOMKilled']);
});

test('status and list agree in identity, names and image', () => {
  const record = recordOf();
  const [status, item] = [seen(record), listed(record)];
  for (const view of [status, item]) {
    assert.equal(view.id, record.id);
    assert.deepEqual([view.metadata?.name, view.metadata?.attempt], ['web', 7]);
    assert.deepEqual([view.imageId, view.imageRef], [record.image.id, record.image.reference]);
    assert.equal(view.image?.userSpecifiedImage, 'web:1');
    assert.deepEqual({ ...view.labels }, record.labels);
    assert.deepEqual({ ...view.annotations }, record.annotations);
  }
  assert.equal(item.podSandboxId, record.sandboxId);
  assert.equal(item.image?.image, record.image.requested);
  assert.equal(status.image?.image, 'registry.example/web:1');
});

test('labels with keys of Object.prototype are returned unchanged', () => {
  const labels: Record<string, string> = Object.create(null);
  for (const key of ['__proto__', 'constructor', '']) labels[key] = `value of ${key}`;
  for (const view of [seen(recordOf({ labels })), listed(recordOf({ labels }))]) {
    assert.deepEqual(Object.entries(view.labels).toSorted(), Object.entries(labels).toSorted());
  }
});

test('mounts are echoed, an image volume with its image', () => {
  const ids = [{ containerId: 0, hostId: 100000, length: 65536 }];
  const mounts = [
    mountOf({
      readonly: true,
      selinuxRelabel: true,
      recursiveReadOnly: true,
      propagation: 'bidirectional',
      uidMappings: ids,
    }),
    mountOf({
      containerPath: '/m',
      hostPath: '',
      image: 'models:1',
      imageSubPath: 'a',
      options: ['noexec', 'nosuid'],
    }),
  ];
  const [bind, image] = seen(recordOf({ mounts })).mounts;
  assert.deepEqual(
    [bind?.containerPath, bind?.hostPath, bind?.readonly, bind?.selinuxRelabel],
    ['/data', '/srv/data', true, true],
  );
  assert.deepEqual([bind?.recursiveReadOnly, bind?.propagation, bind?.image], [true, 2, null]);
  assert.equal(bind?.uidMappings[0]?.hostId, 100000);
  assert.deepEqual([image?.image?.image, image?.imageSubPath, image?.hostPath], ['models:1', 'a', '']);
  assert.deepEqual([bind?.mountOptions, image?.mountOptions], [[], ['noexec', 'nosuid']]);
});

test('user and resources', () => {
  const resources = resourcesOf({
    memoryLimitBytes: 2n ** 53n + 1n,
    cpuQuota: -1n,
    unified: { 'memory.high': '5' },
  });
  const status = seen(recordOf({ resources }));
  const user = status.user?.linux;
  assert.deepEqual([user?.uid, user?.gid].map(toBigInt), [1000n, 4294967294n]);
  assert.deepEqual(user?.supplementalGroups.map(toBigInt), [6n, 4294967294n]);
  const linux = status.resources?.linux;
  assert.deepEqual([linux?.memoryLimitInBytes, linux?.cpuQuota].map(toBigInt), [2n ** 53n + 1n, -1n]);
  assert.deepEqual({ ...linux?.unified }, { 'memory.high': '5' });
});

test('the stop signal is the enum’s, in any spelling', () => {
  const number = (stopSignal: string) => seen(recordOf({ stopSignal })).stopSignal;
  const { Signal } = cri;
  for (const [name, value] of Object.entries(Signal)) {
    if (typeof value !== 'number' || value === 0) continue;
    const word = name.replace('SIGNAL_', '').replace('PLUS', '+').replace('MINUS', '-');
    assert.equal(number(word), value, name);
  }
  assert.equal(number('QUIT'), Signal.SIGNAL_SIGQUIT);
  assert.equal(number('sigquit'), Signal.SIGNAL_SIGQUIT);
  assert.equal(number('RTMIN+3'), Signal.SIGNAL_SIGRTMINPLUS3);
  for (const odd of ['', 'nonsense', 'constructor', '__proto__', 'RUNTIME_DEFAULT'])
    assert.equal(number(odd), Signal.SIGNAL_SIGTERM, odd);
});
