/** Two and three plugins that change the same field or entry of a container that is being created: every pair, for every field. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { nri } from '#api/nri/index.ts';
import { hasCode } from '#core/errors.ts';
import type { ContainerAdjustment } from '#core/model/adjustment.ts';
import { answer, record, spec } from '#test/fixtures/nri-messages.ts';
import { containerMessage } from '../messages/index.ts';
import { fields } from './fields.ts';
import { CreateCollector } from './index.ts';

type Sent = nri.ContainerAdjustmentInit;
type Value = 1 | 2 | 3;

interface Row {
  /** As errors name it. */
  readonly name: string;
  readonly sets: (value: Value) => Sent;
  /** With the marker of removal alone. */
  readonly removes?: () => Sent;
  /** With the marker and a value. */
  readonly replaces?: (value: Value) => Sent;
  /** What of the outcome is the field's: the value, or whether it is taken away. */
  readonly value: (adjustment: ContainerAdjustment) => unknown;
  readonly removed?: (adjustment: ContainerAdjustment) => boolean;
  /** In the outcome, for the value. */
  readonly expected: (value: Value) => unknown;
  /** The marker does not let another plugin win. */
  readonly exclusive?: boolean;
}

const linux = (part: nri.LinuxContainerAdjustmentInit): Sent => ({ linux: part });
const resources = (part: nri.LinuxResourcesInit): Sent => linux({ resources: part });

/** A field of one number of `memory` or `cpu`. */
function integerRow(
  part: 'memory' | 'cpu',
  field: string,
  outcome: (adjustment: ContainerAdjustment) => unknown,
): Row {
  return {
    name: `${part}.${field}`,
    sets: (value) => resources({ [part]: { [field]: { value: BigInt(value) * 1000n } } }),
    value: outcome,
    expected: (value) => BigInt(value) * 1000n,
  };
}

const memory = (field: keyof NonNullable<NonNullable<ContainerAdjustment['resources']>['memory']>): Row =>
  integerRow('memory', field, ({ resources: changes }) => changes?.memory?.[field]);
const cpu = (field: keyof NonNullable<NonNullable<ContainerAdjustment['resources']>['cpu']>): Row =>
  integerRow('cpu', field, ({ resources: changes }) => changes?.cpu?.[field]);

/** A map of the message, by name. */
function mapRow(
  name: string,
  entry: string,
  put: (map: Record<string, string>) => Sent,
  of: (
    adjustment: ContainerAdjustment,
  ) => { set: Readonly<Record<string, unknown>>; removed: readonly string[] } | undefined,
): Row {
  return {
    name: `${name} ${entry}`,
    sets: (value) => put({ [entry]: `v${value}` }),
    removes: () => put({ [`-${entry}`]: '' }),
    replaces: (value) => put({ [entry]: `v${value}`, [`-${entry}`]: '' }),
    value: (adjustment) => of(adjustment)?.set[entry],
    removed: (adjustment) => of(adjustment)?.removed.includes(entry) ?? false,
    expected: (value) => `v${value}`,
  };
}

/** Entries of a list of the message, where `item` makes one from its name. */
function listRow<T>(
  name: string,
  entry: string,
  put: (items: T[]) => Sent,
  item: (name: string, value: Value) => T,
  outcome: Pick<Row, 'value' | 'removed' | 'expected'>,
): Row {
  return {
    name: `${name} ${entry}`,
    sets: (value) => put([item(entry, value)]),
    removes: () => put([item(`-${entry}`, 1)]),
    replaces: (value) => put([item(`-${entry}`, 1), item(entry, value)]),
    ...outcome,
  };
}

/** A field whose whole value is replaced by no marker. */
const plainRow = (
  name: string,
  sets: (value: Value) => Sent,
  value: Row['value'],
  expected: Row['expected'] = (number) => number,
): Row => ({ name, sets, value, expected });

const table: readonly Row[] = [
  mapRow(
    'annotations',
    'note',
    (annotations) => ({ annotations }),
    ({ annotations }) => annotations,
  ),
  mapRow(
    'sysctl',
    'net.core.somaxconn',
    (sysctl) => linux({ sysctl }),
    ({ sysctl }) => sysctl,
  ),
  {
    ...mapRow(
      'netDevices',
      'eth1',
      (map) =>
        linux({
          netDevices: Object.fromEntries(Object.entries(map).map(([host, name]) => [host, { name }])),
        }),
      ({ netDevices }) => netDevices,
    ),
    expected: (value) => ({ name: `v${value}` }),
  },
  listRow(
    'env',
    'MODE',
    (env: nri.KeyValueInit[]) => ({ env }),
    (key, value) => ({ key, value: `v${value}` }),
    {
      value: ({ env }) => env?.set['MODE'],
      removed: ({ env }) => env?.removed.includes('MODE') ?? false,
      expected: (value) => `v${value}`,
    },
  ),
  listRow(
    'mounts',
    '/data',
    (mounts: nri.MountInit[]) => ({ mounts }),
    (destination, value) => ({ destination, type: 'bind', source: `/src/${value}`, options: ['bind'] }),
    {
      value: ({ mounts }) => mounts?.set.find(({ destination }) => destination === '/data')?.source,
      removed: ({ mounts }) => mounts?.removed.includes('/data') ?? false,
      expected: (value) => `/src/${value}`,
    },
  ),
  listRow(
    'devices',
    '/dev/fuse',
    (devices: nri.LinuxDeviceInit[]) => linux({ devices }),
    (path, value) => ({ path, type: 'c', major: 10n, minor: BigInt(value) }),
    {
      value: ({ devices }) => devices?.set.find(({ path }) => path === '/dev/fuse')?.minor,
      removed: ({ devices }) => devices?.removed.includes('/dev/fuse') ?? false,
      expected: (value) => value,
    },
  ),
  {
    ...listRow(
      'namespaces',
      'network',
      (namespaces: nri.LinuxNamespaceInit[]) => linux({ namespaces }),
      (type, value) => ({ type, path: `/ns/${value}` }),
      {
        value: ({ namespaces }) => namespaces?.set['network'],
        removed: ({ namespaces }) => namespaces?.removed.includes('network') ?? false,
        expected: (value) => ({ path: `/ns/${value}` }),
      },
    ),
    exclusive: true,
  },
  {
    name: 'args',
    sets: (value) => ({ args: ['/bin/web', `v${value}`] }),
    replaces: (value) => ({ args: ['', '/bin/web', `v${value}`] }),
    value: ({ args }) => args,
    expected: (value) => ['/bin/web', `v${value}`],
  },
  ...(
    [
      ['rdt.closID', (value) => ({ closId: { value: `v${value}` } }), ({ rdt }) => rdt?.closID],
      ['rdt.schemata', (value) => ({ schemata: { value: [`v${value}`] } }), ({ rdt }) => rdt?.schemata?.[0]],
      [
        'rdt.enableMonitoring',
        (value) => ({ enableMonitoring: { value: value !== 2 } }),
        ({ rdt }) => (rdt?.enableMonitoring === undefined ? undefined : rdt.enableMonitoring ? 'v1' : 'v2'),
      ],
    ] as [string, (value: Value) => nri.LinuxRdtInit, Row['value']][]
  ).map(
    ([name, rdt, value]): Row => ({
      name,
      sets: (number) => linux({ rdt: rdt(number) }),
      removes: () => linux({ rdt: { remove: true } }),
      replaces: (number) => linux({ rdt: { ...rdt(number), remove: true } }),
      value,
      removed: ({ rdt }) => rdt?.remove === true,
      expected: (number) => `v${number}`,
    }),
  ),
  plainRow(
    'cdiDevices vendor.com/gpu=0',
    () => ({ CDIDevices: [{ name: 'vendor.com/gpu=0' }] }),
    ({ cdiDevices }) => cdiDevices?.[0],
    () => 'vendor.com/gpu=0',
  ),
  plainRow(
    'rlimits RLIMIT_NOFILE',
    (value) => ({ rlimits: [{ type: 'RLIMIT_NOFILE', soft: BigInt(value), hard: 10n }] }),
    ({ rlimits }) => rlimits?.[0]?.soft,
    (value) => BigInt(value),
  ),
  plainRow(
    'hugepageLimits 2MB',
    (value) => resources({ hugepageLimits: [{ pageSize: '2MB', limit: BigInt(value) }] }),
    ({ resources: changes }) => changes?.hugepageLimits?.['2MB'],
    (value) => BigInt(value),
  ),
  plainRow(
    'unified memory.high',
    (value) => resources({ unified: { 'memory.high': `${value}` } }),
    ({ resources: changes }) => changes?.unified?.['memory.high'],
    (value) => `${value}`,
  ),
  memory('limit'),
  memory('reservation'),
  memory('swap'),
  memory('kernel'),
  memory('kernelTcp'),
  plainRow(
    'memory.swappiness',
    (value) => resources({ memory: { swappiness: { value: BigInt(value) } } }),
    ({ resources: changes }) => changes?.memory?.swappiness,
    (value) => BigInt(value),
  ),
  plainRow(
    'memory.disableOomKiller',
    (value) => resources({ memory: { disableOomKiller: { value: value !== 2 } } }),
    ({ resources: changes }) => changes?.memory?.disableOomKiller,
    (value) => value !== 2,
  ),
  plainRow(
    'memory.useHierarchy',
    (value) => resources({ memory: { useHierarchy: { value: value !== 2 } } }),
    ({ resources: changes }) => changes?.memory?.useHierarchy,
    (value) => value !== 2,
  ),
  cpu('shares'),
  cpu('quota'),
  cpu('period'),
  cpu('realtimeRuntime'),
  cpu('realtimePeriod'),
  plainRow(
    'cpu.cpus',
    (value) => resources({ cpu: { cpus: `${value}` } }),
    ({ resources: changes }) => changes?.cpu?.cpus,
    (value) => `${value}`,
  ),
  plainRow(
    'cpu.mems',
    (value) => resources({ cpu: { mems: `${value}` } }),
    ({ resources: changes }) => changes?.cpu?.mems,
    (value) => `${value}`,
  ),
  plainRow(
    'pids',
    (value) => resources({ pids: { limit: BigInt(value) } }),
    ({ resources: changes }) => changes?.pids,
    (value) => BigInt(value),
  ),
  plainRow(
    'blockioClass',
    (value) => resources({ blockioClass: { value: `v${value}` } }),
    ({ resources: changes }) => changes?.blockioClass,
    (value) => `v${value}`,
  ),
  plainRow(
    'rdtClass',
    (value) => resources({ rdtClass: { value: `v${value}` } }),
    ({ resources: changes }) => changes?.rdtClass,
    (value) => `v${value}`,
  ),
  plainRow(
    'cgroupsPath',
    (value) => linux({ cgroupsPath: `/group/${value}` }),
    ({ cgroupsPath }) => cgroupsPath,
    (value) => `/group/${value}`,
  ),
  plainRow(
    'oomScoreAdj',
    (value) => linux({ oomScoreAdj: { value: BigInt(-value) } }),
    ({ oomScoreAdj }) => oomScoreAdj,
    (value) => -value,
  ),
  plainRow(
    'ioPriority',
    (value) => linux({ ioPriority: { class: 2, priority: value } }),
    ({ ioPriority }) => ioPriority?.priority,
  ),
  plainRow(
    'seccompPolicy',
    (value) => linux({ seccompPolicy: { defaultAction: 'SCMP_ACT_ERRNO', defaultErrno: { value } } }),
    ({ seccompPolicy }) => seccompPolicy?.defaultErrnoRet,
  ),
  plainRow(
    'scheduler',
    (value) => linux({ scheduler: { policy: 2, priority: value } }),
    ({ scheduler }) => scheduler?.priority,
  ),
  plainRow(
    'memoryPolicy',
    (value) => linux({ memoryPolicy: { mode: 2, nodes: `${value}` } }),
    ({ memoryPolicy }) => memoryPolicy?.nodes,
    (value) => `${value}`,
  ),
];

/** Plugins add to these; there is nothing to contradict. */
const ADDED = ['hooks', 'deviceRules'];

test('the table has every field', () => {
  const named = [...new Set(table.map(({ name }) => name.split(' ')[0]))];
  assert.deepEqual([...named, ...ADDED].toSorted(), Object.keys(fields).toSorted());
});

const PLUGINS = ['10-a', '20-b', '30-c'] as const;

/** The outcome of plugins that answer in this order. */
function collect(...sent: readonly Sent[]) {
  const collector = new CreateCollector(containerMessage({ record, spec }));
  for (const [at, adjust] of sent.entries()) collector.add(PLUGINS[at] ?? '', answer(adjust));
  const { adjustment = {}, owners } = collector.outcome();
  return { adjustment, owners };
}

/** The last of these is refused: naming the field, and the plugins with these numbers. Nothing of it is taken. */
function conflict(row: Row, plugins: readonly [number, number], ...sent: readonly Sent[]): void {
  const collector = new CreateCollector(containerMessage({ record, spec }));
  for (const [at, adjust] of sent.slice(0, -1).entries()) collector.add(PLUGINS[at] ?? '', answer(adjust));
  const before = [collector.outcome(), collector.container];
  const last = { ...sent.at(-1), annotations: { other: 'x', ...sent.at(-1)?.annotations } };
  assert.throws(
    () => collector.add(PLUGINS[sent.length - 1] ?? '', answer(last)),
    (error) => {
      assert.ok(hasCode(error, 'FailedPrecondition'), String(error));
      const [first, second] = plugins.map((at) => PLUGINS[at]);
      assert.ok(
        error.message.startsWith(`NRI plugins ${first} and ${second} both change ${row.name}: `),
        error.message,
      );
      assert.match(error.hint, /configure one of both/);
      return true;
    },
  );
  assert.deepEqual([collector.outcome(), collector.container], before);
}

function ownerOf(row: Row, owners: ReturnType<typeof collect>['owners']): string | undefined {
  const [field = '', entry] = row.name.split(' ');
  return entry === undefined ? owners.fields[field] : owners.entries[field]?.[entry];
}

function isSet(row: Row, value: Value, plugin: number, ...sent: readonly Sent[]): void {
  const { adjustment, owners } = collect(...sent);
  assert.deepEqual(row.value(adjustment), row.expected(value), row.name);
  assert.equal(row.removed?.(adjustment) ?? false, false, row.name);
  assert.equal(ownerOf(row, owners), PLUGINS[plugin], row.name);
}

function isGone(row: Row, plugin: number, ...sent: readonly Sent[]): void {
  const { adjustment, owners } = collect(...sent);
  assert.equal(row.value(adjustment), undefined, row.name);
  assert.equal(row.removed?.(adjustment), true, row.name);
  assert.equal(ownerOf(row, owners), PLUGINS[plugin], row.name);
}

for (const row of table) {
  const { sets, removes, replaces, exclusive } = row;
  test(`${row.name}: set by one plugin, then by another`, () => {
    isSet(row, 1, 0, sets(1));
    isSet(row, 1, 0, sets(1), {});
    isSet(row, 1, 1, {}, sets(1));
    conflict(row, [0, 1], sets(1), sets(2));
    // Also the same value: which of both is right is not for the order to decide.
    conflict(row, [0, 1], sets(1), sets(1));
    conflict(row, [0, 2], sets(1), {}, sets(2));
  });
  if (replaces && !exclusive)
    test(`${row.name}: set with the marker of removal`, () => {
      isSet(row, 1, 0, replaces(1));
      isSet(row, 2, 1, sets(1), replaces(2));
      isSet(row, 1, 2, sets(1), replaces(2), replaces(1));
      conflict(row, [1, 2], sets(1), replaces(2), sets(1));
      conflict(row, [0, 1], replaces(1), sets(2));
    });
  if (removes && replaces && !exclusive)
    test(`${row.name}: removed`, () => {
      isGone(row, 0, removes());
      isGone(row, 1, sets(1), removes());
      isGone(row, 1, removes(), removes());
      isGone(row, 2, sets(1), removes(), removes());
      conflict(row, [0, 1], removes(), sets(2));
      conflict(row, [1, 2], sets(1), removes(), sets(2));
      isSet(row, 2, 1, removes(), replaces(2));
      isSet(row, 2, 2, sets(1), removes(), replaces(2));
    });
  if (removes && replaces && exclusive)
    test(`${row.name}: what one plugin touches, no other may`, () => {
      isSet(row, 1, 0, replaces(1));
      isGone(row, 0, removes());
      conflict(row, [0, 1], sets(1), replaces(2));
      conflict(row, [0, 1], sets(1), removes());
      conflict(row, [0, 1], removes(), sets(2));
      conflict(row, [0, 1], removes(), replaces(2));
      conflict(row, [0, 1], removes(), removes());
    });
}

test('removal of rdt takes all of it; setting one part of it later is a conflict as well', () => {
  const { adjustment } = collect(
    linux({ rdt: { closId: { value: 'gold' }, schemata: { value: ['L3:0=f'] } } }),
    linux({ rdt: { remove: true, enableMonitoring: { value: true } } }),
  );
  assert.deepEqual(adjustment.rdt, { enableMonitoring: true, remove: false });
  assert.throws(
    () =>
      collect(
        linux({ rdt: { closId: { value: 'gold' } } }),
        linux({ rdt: { remove: true } }),
        linux({ rdt: { schemata: { value: ['L3:0=f'] } } }),
      ),
    /20-b and 30-c both change rdt\.schemata/,
  );
});

test('hooks and device rules: all of them, in the order of the plugins', () => {
  const hook = (path: string) => ({ hooks: { prestart: [{ path: `/${path}1` }, { path: `/${path}2` }] } });
  const { adjustment, owners } = collect(hook('a'), { hooks: { poststop: [{ path: '/stop' }] } }, hook('c'));
  assert.deepEqual(
    Object.entries(adjustment.hooks ?? {}).map(([stage, hooks]) => [stage, hooks.map(({ path }) => path)]),
    [
      ['prestart', ['/a1', '/a2', '/c1', '/c2']],
      ['poststop', ['/stop']],
    ],
  );
  assert.equal(owners.fields['hooks'], '10-a,20-b,30-c');
  const rule = (major: bigint) =>
    resources({ devices: [{ allow: true, type: 'c', major: { value: major }, access: 'rw' }] });
  const rules = collect(rule(1n), rule(2n));
  assert.deepEqual(rules.adjustment.deviceRules, [
    { allow: true, type: 'c', major: 1, access: 'rw' },
    { allow: true, type: 'c', major: 2, access: 'rw' },
  ]);
  assert.equal(rules.owners.fields['deviceRules'], '10-a,20-b');
});

test('different entries of a field are no conflict, and each has its owner', () => {
  const { adjustment, owners } = collect(
    { env: [{ key: 'A', value: '1' }], mounts: [{ destination: '/a', type: 'tmpfs', source: 'tmpfs' }] },
    { env: [{ key: 'B', value: '2' }, { key: '-MODE' }] },
    { mounts: [{ destination: '-/data' }, { destination: '/b', type: 'tmpfs', source: 'tmpfs' }] },
  );
  assert.deepEqual(adjustment.env, { set: { A: '1', B: '2' }, removed: ['MODE'] });
  assert.deepEqual(
    adjustment.mounts?.set.map(({ destination }) => destination),
    ['/a', '/b'],
  );
  assert.deepEqual(adjustment.mounts?.removed, ['/data']);
  assert.deepEqual(owners.entries, {
    env: { A: '10-a', B: '20-b', MODE: '20-b' },
    mounts: { '/a': '10-a', '/data': '30-c', '/b': '30-c' },
  });
});

test('what replaces a mount comes behind those that were set before', () => {
  const tmpfs = (...destinations: string[]): Sent => ({
    mounts: destinations.map((destination) => ({ destination, type: 'tmpfs', source: 'tmpfs' })),
  });
  const { adjustment } = collect(tmpfs('/a', '/b'), tmpfs('/c'), tmpfs('-/a', '/a'));
  assert.deepEqual(
    adjustment.mounts?.set.map(({ destination }) => destination),
    ['/b', '/c', '/a'],
  );
});

test('one name in several forms is one entry', () => {
  const tmpfs = (destination: string): Sent => ({
    mounts: [{ destination, type: 'tmpfs', source: 'tmpfs' }],
  });
  assert.throws(() => collect(tmpfs('/a/b'), tmpfs('//a/./b/')), /both change mounts \/a\/b:/);
  const sysctl = (name: string) => linux({ sysctl: { [name]: '1' } });
  assert.throws(
    () => collect(sysctl('net.ipv4.conf.eth0/100.mtu'), sysctl('net/ipv4/conf/eth0.100/mtu')),
    /both change sysctl net\.ipv4\.conf\.eth0\/100\.mtu:/,
  );
});

test('the names of objects are names of entries as others are', () => {
  const { adjustment, owners } = collect(
    { env: [{ key: '__proto__', value: 'x' }] },
    { annotations: { constructor: 'y' } },
  );
  assert.deepEqual(Object.entries(adjustment.env?.set ?? {}), [['__proto__', 'x']]);
  assert.deepEqual(Object.entries(owners.entries['env'] ?? {}), [['__proto__', '10-a']]);
  assert.deepEqual(Object.entries(adjustment.annotations?.set ?? {}), [['constructor', 'y']]);
  assert.throws(
    () => collect({ env: [{ key: '__proto__', value: 'x' }] }, { env: [{ key: '__proto__', value: 'y' }] }),
    /both change env __proto__:/,
  );
});
