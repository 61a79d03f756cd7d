/** What plugins want of containers that are there. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { nri } from '#api/nri/index.ts';
import { hasCode } from '#core/errors.ts';
import { noResources } from '#core/model/resources.ts';
import { answer, CONTAINER_ID, otherId, received, record, spec } from '#test/fixtures/nri-messages.ts';
import { containerMessage, resourcesMessage } from '../messages/index.ts';
import { CreateCollector, UpdateCollector } from './index.ts';

const [A, B, C] = [otherId(10), otherId(11), otherId(12)];

const limits = (containerId: string, resources: nri.LinuxResourcesInit, ignoreFailure = false) => ({
  containerId,
  linux: { resources },
  ignoreFailure,
});
const shares = (value: number): nri.LinuxResourcesInit => ({ cpu: { shares: { value: BigInt(value) } } });
const limit = (value: bigint): nri.LinuxResourcesInit => ({ memory: { limit: { value } } });
const sent = (update: nri.ContainerUpdateInit[], evict: nri.ContainerEvictionInit[] = []) =>
  received('UpdateContainerResponse', { update, evict });

/** All fields of an update, each alone, with its place in the outcome. */
const FIELDS: readonly (readonly [field: string, resources: nri.LinuxResourcesInit, changes: object])[] = [
  ['memory.limit', limit(2n ** 62n + 1n), { memory: { limit: 2n ** 62n + 1n } }],
  ['memory.limit', limit(0n), { memory: { limit: 0n } }],
  ['memory.reservation', { memory: { reservation: { value: 1n } } }, { memory: { reservation: 1n } }],
  ['memory.swap', { memory: { swap: { value: -1n } } }, { memory: { swap: -1n } }],
  ['memory.kernel', { memory: { kernel: { value: 1n } } }, { memory: { kernel: 1n } }],
  ['memory.kernelTcp', { memory: { kernelTcp: { value: 1n } } }, { memory: { kernelTcp: 1n } }],
  ['memory.swappiness', { memory: { swappiness: { value: 0n } } }, { memory: { swappiness: 0n } }],
  [
    'memory.disableOomKiller',
    { memory: { disableOomKiller: { value: false } } },
    { memory: { disableOomKiller: false } },
  ],
  ['memory.useHierarchy', { memory: { useHierarchy: { value: true } } }, { memory: { useHierarchy: true } }],
  ['cpu.shares', shares(5), { cpu: { shares: 5n } }],
  ['cpu.quota', { cpu: { quota: { value: -1n } } }, { cpu: { quota: -1n } }],
  ['cpu.period', { cpu: { period: { value: 1000n } } }, { cpu: { period: 1000n } }],
  ['cpu.realtimeRuntime', { cpu: { realtimeRuntime: { value: 0n } } }, { cpu: { realtimeRuntime: 0n } }],
  ['cpu.realtimePeriod', { cpu: { realtimePeriod: { value: 1n } } }, { cpu: { realtimePeriod: 1n } }],
  ['cpu.cpus', { cpu: { cpus: '0-1' } }, { cpu: { cpus: '0-1' } }],
  ['cpu.mems', { cpu: { mems: '1' } }, { cpu: { mems: '1' } }],
  [
    'hugepageLimits 2MB',
    { hugepageLimits: [{ pageSize: '2MB', limit: 1n }] },
    { hugepageLimits: { '2MB': 1n } },
  ],
  ['unified memory.high', { unified: { 'memory.high': '1' } }, { unified: { 'memory.high': '1' } }],
  ['blockioClass', { blockioClass: { value: '' } }, { blockioClass: '' }],
  ['rdtClass', { rdtClass: { value: 'gold' } }, { rdtClass: 'gold' }],
  ['pids', { pids: { limit: -1n } }, { pids: -1n }],
];

test('each limit: as sent, with its owner; from a second plugin it is a conflict', () => {
  for (const [field, resources, changes] of FIELDS) {
    const collector = new UpdateCollector();
    collector.add('10-a', sent([limits(A, resources)]));
    const [name = '', entry] = field.split(' ');
    const owners =
      entry === undefined
        ? { fields: { [name]: '10-a' }, entries: {} }
        : { fields: {}, entries: { [name]: { [entry]: '10-a' } } };
    const expected = { id: A, changes, ignoreFailure: false, plugins: ['10-a'], owners };
    assert.deepEqual(collector.outcome().updates, [expected], field);
    assert.throws(
      () => collector.add('20-b', sent([limits(B, shares(1)), limits(A, resources)])),
      (error) =>
        hasCode(error, 'FailedPrecondition') &&
        error.message.startsWith(`NRI plugins 10-a and 20-b both change ${field} of container ${A}: `),
    );
    assert.deepEqual(collector.outcome().updates, [expected], field);
  }
});

test('different limits of one container come together', () => {
  const collector = new UpdateCollector();
  collector.add('10-a', sent([limits(A, shares(5)), limits(B, shares(6), true)]));
  collector.add('20-b', sent([limits(B, limit(7n)), limits(A, limit(8n), true)]));
  const [a, b] = collector.outcome().updates;
  assert.deepEqual([a?.id, a?.changes], [A, { memory: { limit: 8n }, cpu: { shares: 5n } }]);
  assert.deepEqual(b?.changes, { memory: { limit: 7n }, cpu: { shares: 6n } });
  assert.deepEqual(a?.plugins, ['10-a', '20-b']);
  assert.deepEqual(a?.owners.fields, { 'cpu.shares': '10-a', 'memory.limit': '20-b' });
  // Only what all can do without may fail.
  assert.deepEqual([a?.ignoreFailure, b?.ignoreFailure], [false, false]);
});

test('one plugin names a container twice: other limits are added, the same one is an error', () => {
  const collector = new UpdateCollector();
  collector.add('10-a', sent([limits(A, shares(5), true), limits(A, limit(6n), true)]));
  const [update] = collector.outcome().updates;
  assert.deepEqual(update?.changes, { memory: { limit: 6n }, cpu: { shares: 5n } });
  assert.equal(update?.ignoreFailure, true);
  assert.throws(
    () => collector.add('20-b', sent([limits(B, shares(5)), limits(B, shares(5))])),
    (error) =>
      hasCode(error, 'InvalidArgument') &&
      error.message === `NRI plugin 20-b changes cpu.shares of container ${B} twice`,
  );
});

test('what the plugin can do without is left out as a whole, and told', () => {
  const collector = new UpdateCollector();
  collector.add('10-a', sent([limits(A, shares(5))]));
  collector.add(
    '20-b',
    sent([
      limits(A, { ...shares(6), ...limit(7n) }, true),
      limits(B, { cpu: { cpus: 'all' } }, true),
      limits(C, shares(8), true),
    ]),
  );
  const { updates, ignored } = collector.outcome();
  assert.deepEqual(
    updates.map(({ id, changes }) => [id, changes]),
    [
      [A, { cpu: { shares: 5n } }],
      [C, { cpu: { shares: 8n } }],
    ],
  );
  assert.deepEqual(
    ignored.map(({ id, plugin, error }) => [id, plugin, error.code]),
    [
      [A, '20-b', 'FailedPrecondition'],
      [B, '20-b', 'InvalidArgument'],
    ],
  );
  // It has not become the owner of anything: another plugin may set it.
  collector.add('30-c', sent([limits(A, limit(9n))]));
  assert.deepEqual(collector.outcome().updates[0]?.changes, { memory: { limit: 9n }, cpu: { shares: 5n } });
});

test('the request’s own container: each plugin sees the limits with those before it', () => {
  const wanted = resourcesMessage({
    ...noResources,
    cpuShares: 100n,
    cpuQuota: 50_000n,
    memoryLimitBytes: 1000n,
  });
  const collector = new UpdateCollector({ id: A, resources: wanted });
  assert.deepEqual(collector.resources, wanted);
  assert.equal(collector.outcome().requested, undefined);
  collector.add('10-a', sent([limits(A, shares(5)), limits(B, shares(6))]));
  const seen = received('LinuxResources', collector.resources ?? {});
  assert.deepEqual(
    [seen.cpu?.shares?.value, seen.cpu?.quota?.value, seen.memory?.limit?.value],
    [5n, 50_000n, 1000n],
  );
  collector.add('20-b', sent([limits(A, limit(2000n))]));
  assert.equal(collector.resources?.memory?.limit?.value, 2000n);
  const { requested, updates } = collector.outcome();
  assert.deepEqual(requested, { memory: { limit: 2000n }, cpu: { shares: 5n } });
  assert.deepEqual(
    updates.map(({ id }) => id),
    [B],
  );
  assert.throws(
    () => collector.add('30-c', sent([limits(A, shares(7))])),
    /^CrispError: NRI plugins 10-a and 30-c both change cpu\.shares of container/,
  );
});

test('a request without any limits', () => {
  const collector = new UpdateCollector({ id: A, resources: undefined });
  assert.equal(collector.resources, undefined);
  collector.add('10-a', sent([limits(A, shares(5))]));
  assert.deepEqual(collector.resources, { cpu: { shares: { value: 5n } } });
});

test('an update without limits is none', () => {
  const collector = new UpdateCollector();
  collector.add('10-a', sent([{ containerId: A }, { containerId: B, linux: {} }, limits(C, { memory: {} })]));
  assert.deepEqual(collector.outcome(), { updates: [], evictions: [], ignored: [], requested: undefined });
});

test('StopContainer has updates and no evictions', () => {
  const collector = new UpdateCollector();
  collector.add('10-a', received('StopContainerResponse', { update: [limits(A, shares(5))] }));
  assert.equal(collector.outcome().updates.length, 1);
});

test('evictions: one for each container, for the first plugin’s reason, on one line', () => {
  const collector = new UpdateCollector();
  collector.add(
    '10-a',
    sent(
      [],
      [
        { containerId: B, reason: 'too\nloud\u2028 \0' },
        { containerId: A, reason: 'x'.repeat(5000) },
      ],
    ),
  );
  collector.add('20-b', sent([], [{ containerId: A, reason: 'late' }, { containerId: C }]));
  const { evictions } = collector.outcome();
  assert.deepEqual(evictions, [
    { id: B, reason: 'too loud', plugin: '10-a' },
    { id: A, reason: 'x'.repeat(1024), plugin: '10-a' },
    { id: C, reason: '', plugin: '20-b' },
  ]);
});

test('updates and evictions that come with a creation', () => {
  const collector = new CreateCollector(containerMessage({ record, spec }));
  collector.add('10-a', answer(undefined, { update: [limits(A, shares(5))] }));
  collector.add('20-b', answer({ args: ['/bin/x'] }, { evict: [{ containerId: B, reason: 'room' }] }));
  // The adjustment of the third is good, its update is not: neither is taken.
  assert.throws(() =>
    collector.add('30-c', answer({ linux: { cgroupsPath: '/x' } }, { update: [limits(A, shares(6))] })),
  );
  const { adjustment, updates, evictions, owners } = collector.outcome();
  assert.deepEqual(adjustment, { args: ['/bin/x'] });
  assert.deepEqual(owners, { fields: { args: '20-b' }, entries: {} });
  assert.deepEqual(
    updates.map(({ id, changes }) => [id, changes]),
    [[A, { cpu: { shares: 5n } }]],
  );
  assert.deepEqual(evictions, [{ id: B, reason: 'room', plugin: '20-b' }]);
  assert.equal(collector.container.id, CONTAINER_ID);
});

test('plugins that want nothing', () => {
  const collector = new CreateCollector(containerMessage({ record, spec }));
  const { container } = collector;
  for (const plugin of ['10-a', '20-b']) collector.add(plugin, answer(plugin === '10-a' ? undefined : {}));
  assert.deepEqual(collector.outcome(), {
    adjustment: undefined,
    owners: { fields: {}, entries: {} },
    updates: [],
    evictions: [],
    ignored: [],
  });
  assert.equal(collector.container, container);
});
