/** What holds for any adjustments, whatever plugins send. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { ContainerAdjustment, EntryChanges } from '#core/model/adjustment.ts';
import { hookStages } from '#runtime-service/index.ts';
import { answer, received, record, spec } from '#test/fixtures/nri-messages.ts';
import { adjusted, adjustmentMessage, containerMessage } from '../messages/index.ts';
import { CreateCollector } from './index.ts';

/** Names with which nothing else begins: what two plugins change is then never the same. */
type Prefix = 'a' | 'b';

const int64 = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });
const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const text = fc.string({ maxLength: 12, unit: 'binary' }).map((value) => value.replaceAll(/[\0\n]/g, '_'));
const word = fc.stringMatching(/^[a-z0-9]{1,6}$/);

/** An object as any other: with a prototype. */
const whole = <T extends object>(shape: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> =>
  fc.record(shape, { noNullPrototype: true }) as unknown as fc.Arbitrary<T>;

/** Part of an object, present or not; empty ones are absent. */
const maybe = <T extends object>(shape: { [K in keyof T]-?: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> =>
  fc.record(shape, { requiredKeys: [], noNullPrototype: true }) as fc.Arbitrary<Partial<T>>;

function entries<T>(
  prefix: Prefix,
  value: fc.Arbitrary<T>,
  name: (text: string) => string = (one) => one,
): fc.Arbitrary<EntryChanges<T>> {
  const names = fc.uniqueArray(word, { minLength: 1, maxLength: 4 });
  return names.chain((some) =>
    fc
      .tuple(fc.nat(some.length), fc.array(value, { minLength: some.length, maxLength: some.length }))
      .map(([split, values]) => {
        const keys = some.map((one) => name(`${prefix}${one}`));
        const set = keys.slice(split).map((key, at): [string, T] => [key, values[at] as T]);
        return { set: Object.fromEntries(set), removed: keys.slice(0, split) };
      }),
  );
}

const listed = <T, U>(changes: fc.Arbitrary<EntryChanges<T>>, item: (name: string, value: T) => U) =>
  changes.map(({ set, removed }) => ({
    set: Object.entries(set).map(([name, value]) => item(name, value)),
    removed,
  }));

const hook = whole({
  path: word.map((name) => `/hooks/${name}`),
  args: fc.array(text, { maxLength: 2 }),
  env: fc.array(
    word.map((name) => `${name}=1`),
    { maxLength: 2 },
  ),
});

/** With entries that only this prefix has. */
const entryFields = (prefix: Prefix): fc.Arbitrary<ContainerAdjustment> =>
  maybe({
    annotations: entries(prefix, text),
    env: entries(prefix, text),
    sysctl: entries(prefix, text, (name) => `net.${name}`),
    netDevices: entries(
      prefix,
      word.map((name) => ({ name: `n${name}` })),
    ),
    mounts: listed(
      entries(
        prefix,
        fc.array(
          text.map((option) => `data=${option}`),
          { maxLength: 2 },
        ),
        (name) => `/mnt/${name}`,
      ),
      (destination, options) => ({ destination, type: 'tmpfs', source: 'tmpfs', options }),
    ),
    devices: listed(
      entries(prefix, fc.nat(1_048_575), (name) => `/dev/${name}`),
      (path, minor) => ({ path, type: 'c', major: 10, minor, fileMode: 0o600, uid: 0 }),
    ),
    hooks: fc
      .tuple(fc.constantFrom(...hookStages), fc.array(hook, { minLength: 1, maxLength: 3 }))
      .map(([stage, hooks]) => ({ [stage]: hooks })),
    cdiDevices: fc
      .uniqueArray(word, { minLength: 1, maxLength: 3 })
      .map((names) => names.map((name) => `vendor.com/class=${prefix}${name}`)),
  }) as fc.Arbitrary<ContainerAdjustment>;

const present = <T extends object>(part: fc.Arbitrary<T>) =>
  part.filter((one) => Object.keys(one).length > 0);

/** All others. */
const ownFields: fc.Arbitrary<ContainerAdjustment> = maybe({
  args: fc.tuple(fc.constant('/bin/web'), text).map((args) => [...args]),
  rlimits: fc
    .tuple(fc.constantFrom('RLIMIT_CORE', 'RLIMIT_AS'), uint64)
    .map(([type, hard]) => [{ type, soft: hard / 2n, hard }]),
  resources: present(
    maybe({
      memory: present(
        maybe({ limit: int64, swap: int64, swappiness: fc.constant(60n), useHierarchy: fc.boolean() }),
      ),
      cpu: present(
        maybe({
          shares: int64,
          quota: fc.constantFrom(-1n, 0n, 1000n, 2n ** 62n + 1n),
          cpus: fc.constant('0-3,8'),
        }),
      ),
      hugepageLimits: int64.map((limit) => ({ '2MB': limit })),
      unified: fc.constant({ 'memory.high': '1' }),
      blockioClass: fc.constantFrom('', 'slow'),
      pids: fc.constantFrom(-1n, 1n, 4_194_304n),
    }),
  ),
  deviceRules: fc.constant([{ allow: true, type: 'c', minor: 3, access: 'r' }]),
  cgroupsPath: fc.constantFrom('/group', 'kubepods.slice:crisp:web'),
  oomScoreAdj: fc.integer({ min: -1000, max: 1000 }),
  ioPriority: whole({
    class: fc.constantFrom('IOPRIO_CLASS_NONE', 'IOPRIO_CLASS_BE'),
    priority: fc.nat(7),
  }),
  seccompPolicy: whole({
    defaultAction: fc.constant('SCMP_ACT_ERRNO'),
    architectures: fc.constant(['SCMP_ARCH_X86_64']),
    flags: fc.constant([]),
    syscalls: fc.array(
      whole({
        names: fc.array(word, { minLength: 1, maxLength: 2 }),
        action: fc.constant('SCMP_ACT_ALLOW'),
        args: fc.array(
          whole({ index: fc.nat(5), value: uint64, valueTwo: uint64, op: fc.constant('SCMP_CMP_EQ') }),
          { maxLength: 2 },
        ),
      }),
      { maxLength: 3 },
    ),
  }),
  namespaces: fc.constantFrom(
    { set: { network: { path: '/ns/net' }, uts: { path: '' } }, removed: ['ipc'] },
    { set: {}, removed: ['cgroup'] },
  ),
  scheduler: fc.constantFrom(
    { policy: 'SCHED_NONE', nice: 0, priority: 0, flags: [], runtime: 0n, deadline: 0n, period: 0n },
    {
      policy: 'SCHED_DEADLINE',
      nice: 0,
      priority: 0,
      flags: ['SCHED_FLAG_RECLAIM'],
      runtime: 1024n,
      deadline: 2n ** 62n,
      period: 2n ** 62n + 1n,
    },
  ),
  rdt: fc.constantFrom({ remove: true }, { closID: 'gold', schemata: ['L3:0=f'], remove: false }),
  memoryPolicy: fc.constant({ mode: 'MPOL_BIND', nodes: '0-1', flags: ['MPOL_F_STATIC_NODES'] }),
}) as fc.Arbitrary<ContainerAdjustment>;

const ofOne = fc
  .tuple(entryFields('a'), ownFields)
  .map(([first, second]): ContainerAdjustment => ({ ...first, ...second }));

const pristine = containerMessage({ record, spec });

function collect(...sent: readonly ContainerAdjustment[]) {
  const collector = new CreateCollector(pristine);
  for (const [at, adjustment] of sent.entries())
    collector.add(`${at}0-p`, answer(adjustmentMessage(adjustment)));
  return { container: collector.container, ...collector.outcome() };
}

const unlessEmpty = (adjustment: ContainerAdjustment) =>
  Object.keys(adjustment).length > 0 ? adjustment : undefined;

test('one plugin: the outcome is what it has asked for, over the wire and back, to the last digit', () => {
  fc.assert(
    fc.property(ofOne, (wanted) => {
      assert.deepEqual(collect(wanted).adjustment, unlessEmpty(wanted));
    }),
  );
});

test('a plugin that asks for nothing changes nothing, wherever it is in the order', () => {
  fc.assert(
    fc.property(ofOne, (wanted) => {
      const alone = collect(wanted);
      for (const others of [collect({}, wanted), collect(wanted, {})]) {
        assert.deepEqual(others.adjustment, alone.adjustment);
        assert.deepEqual(others.container, alone.container);
      }
    }),
  );
});

/** Without the order of entries, which is that of the plugins. */
const unordered = (value: unknown): unknown => {
  if (Array.isArray(value))
    return value
      .map(unordered)
      .map((item) => encode(item))
      .toSorted();
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(fields.toSorted().map(([name, item]) => [name, unordered(item)]));
};
const encode = (value: unknown): string =>
  JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? `${item}n` : item));

test('plugins that change different entries: the same outcome in either order', () => {
  fc.assert(
    fc.property(entryFields('a'), entryFields('b'), ownFields, (a, b, own) => {
      const [one, other] = [collect({ ...a, ...own }, b), collect(b, { ...a, ...own })];
      assert.deepEqual(unordered(one.adjustment), unordered(other.adjustment));
      assert.deepEqual(unordered(one.container), unordered(other.container));
    }),
  );
});

test('what the next plugin sees is the container with the outcome so far, and can be sent', () => {
  fc.assert(
    fc.property(entryFields('a'), entryFields('b'), ownFields, (a, b, own) => {
      const { adjustment, container } = collect(a, { ...b, ...own });
      assert.deepEqual(container, adjustment ? adjusted(pristine, adjustment) : pristine);
      received('Container', container);
    }),
  );
});

test('the container that was given is never changed', () => {
  const before = encode(pristine);
  fc.assert(
    fc.property(ofOne, (wanted) => {
      collect(wanted);
      assert.equal(encode(pristine), before);
    }),
  );
});
