/** The changes of all plugins as the runtime applies and records them. */
import type {
  AdjustmentOwners,
  ContainerAdjustment,
  EntryChanges,
  ResourceChanges,
} from '#core/model/adjustment.ts';
import { type Field, type FieldValues, fields } from './fields.ts';
import type { MergedChanges } from './merge.ts';

/** A field of an object, where there is a value for it. */
const given = <K extends string, T>(name: K, value: T | undefined): { readonly [N in K]?: T } =>
  (value === undefined ? {} : { [name]: value }) as { readonly [N in K]?: T };

/** The object, where it has fields. */
const unlessEmpty = <T extends object>(object: T): T | undefined =>
  Object.keys(object).length > 0 ? object : undefined;

/** What the container is to be given; undefined where nothing changes. */
export function adjustmentOf(changes: MergedChanges): ContainerAdjustment | undefined {
  const one = <F extends Field>(field: F) => changes.valueOf(field);
  return unlessEmpty({
    ...given('annotations', entriesOf(changes, 'annotations')),
    ...given('env', entriesOf(changes, 'env')),
    ...given('mounts', listOf(changes, 'mounts')),
    ...given('hooks', hooksOf(changes)),
    ...given('args', one('args')),
    ...given('rlimits', rlimitsOf(changes)),
    ...given('cdiDevices', namesOf(changes, 'cdiDevices')),
    ...given('devices', listOf(changes, 'devices')),
    ...given('deviceRules', valuesOf(changes, 'deviceRules')),
    ...given('resources', resourcesOf(changes)),
    ...given('cgroupsPath', one('cgroupsPath')),
    ...given('oomScoreAdj', one('oomScoreAdj')),
    ...given('ioPriority', one('ioPriority')),
    ...given('seccompPolicy', one('seccompPolicy')),
    ...given('namespaces', entriesOf(changes, 'namespaces')),
    ...given('sysctl', entriesOf(changes, 'sysctl')),
    ...given('netDevices', entriesOf(changes, 'netDevices')),
    ...given('scheduler', one('scheduler')),
    ...given('rdt', rdtOf(changes)),
    ...given('memoryPolicy', one('memoryPolicy')),
  });
}

/** The part of it that are limits; undefined where none changes. */
export function resourcesOf(changes: MergedChanges): ResourceChanges | undefined {
  const one = <F extends Field>(field: F) => changes.valueOf(field);
  return unlessEmpty({
    ...given('memory', memoryOf(changes)),
    ...given('cpu', cpuOf(changes)),
    ...given('hugepageLimits', recordOf(changes, 'hugepageLimits')),
    ...given('unified', recordOf(changes, 'unified')),
    ...given('blockioClass', one('blockioClass')),
    ...given('rdtClass', one('rdtClass')),
    ...given('pids', one('pids')),
  });
}

const memoryOf = (changes: MergedChanges): ResourceChanges['memory'] =>
  unlessEmpty({
    ...given('limit', changes.valueOf('memory.limit')),
    ...given('reservation', changes.valueOf('memory.reservation')),
    ...given('swap', changes.valueOf('memory.swap')),
    ...given('kernel', changes.valueOf('memory.kernel')),
    ...given('kernelTcp', changes.valueOf('memory.kernelTcp')),
    ...given('swappiness', changes.valueOf('memory.swappiness')),
    ...given('disableOomKiller', changes.valueOf('memory.disableOomKiller')),
    ...given('useHierarchy', changes.valueOf('memory.useHierarchy')),
  });

const cpuOf = (changes: MergedChanges): ResourceChanges['cpu'] =>
  unlessEmpty({
    ...given('shares', changes.valueOf('cpu.shares')),
    ...given('quota', changes.valueOf('cpu.quota')),
    ...given('period', changes.valueOf('cpu.period')),
    ...given('realtimeRuntime', changes.valueOf('cpu.realtimeRuntime')),
    ...given('realtimePeriod', changes.valueOf('cpu.realtimePeriod')),
    ...given('cpus', changes.valueOf('cpu.cpus')),
    ...given('mems', changes.valueOf('cpu.mems')),
  });

/** Values by entry; undefined where there are none. (Object.fromEntries: an entry may be named `__proto__`.) */
function recordOf<F extends Field>(
  changes: MergedChanges,
  field: F,
): Readonly<Record<string, FieldValues[F]>> | undefined {
  const set = [...changes.of(field)].flatMap(({ entry, value }): [string, FieldValues[F]][] =>
    value === undefined ? [] : [[entry, value]],
  );
  return set.length > 0 ? Object.fromEntries(set) : undefined;
}

function valuesOf<F extends Field>(changes: MergedChanges, field: F): FieldValues[F][] | undefined {
  const values = [...changes.of(field)].flatMap(({ value }) => (value === undefined ? [] : [value]));
  return values.length > 0 ? values : undefined;
}

function namesOf(changes: MergedChanges, field: Field): string[] | undefined {
  const names = [...changes.of(field)].map(({ entry }) => entry);
  return names.length > 0 ? names : undefined;
}

const removedOf = (changes: MergedChanges, field: Field): string[] =>
  [...changes.of(field)].flatMap(({ entry, value }) => (value === undefined ? [entry] : []));

function entriesOf<F extends Field>(
  changes: MergedChanges,
  field: F,
): EntryChanges<FieldValues[F]> | undefined {
  const set = recordOf(changes, field);
  const removed = removedOf(changes, field);
  return set || removed.length > 0 ? { set: set ?? {}, removed } : undefined;
}

function listOf<F extends 'mounts' | 'devices'>(changes: MergedChanges, field: F) {
  const set = valuesOf(changes, field);
  const removed = removedOf(changes, field);
  return set || removed.length > 0 ? { set: set ?? [], removed } : undefined;
}

function rlimitsOf(changes: MergedChanges): ContainerAdjustment['rlimits'] {
  const limits = [...changes.of('rlimits')].flatMap(({ entry, value }) =>
    value ? [{ type: entry, ...value }] : [],
  );
  return limits.length > 0 ? limits : undefined;
}

function hooksOf(changes: MergedChanges): ContainerAdjustment['hooks'] {
  const hooks = valuesOf(changes, 'hooks');
  if (!hooks) return undefined;
  const byStage = Object.groupBy(hooks, ({ stage }) => stage);
  return Object.fromEntries(
    Object.entries(byStage).map(([stage, group = []]) => [stage, group.map(({ hook }) => hook)]),
  );
}

const rdtFields = ['rdt.closID', 'rdt.schemata', 'rdt.enableMonitoring'] as const;

function rdtOf(changes: MergedChanges): ContainerAdjustment['rdt'] {
  if (!rdtFields.some((field) => [...changes.of(field)].length > 0)) return undefined;
  const set = {
    ...given('closID', changes.valueOf('rdt.closID')),
    ...given('schemata', changes.valueOf('rdt.schemata')),
    ...given('enableMonitoring', changes.valueOf('rdt.enableMonitoring')),
  };
  return { ...set, remove: Object.keys(set).length === 0 };
}

/** Whose each change is; also of what has been taken away. */
export function ownersOf(changes: MergedChanges): AdjustmentOwners {
  const simple = new Map<string, string>();
  const compound = new Map<string, Map<string, string>>();
  for (const { field, entry, plugin } of changes.all()) {
    if (fields[field].kind === 'entries') {
      const owners = compound.get(field) ?? new Map<string, string>();
      compound.set(field, owners.set(entry, plugin));
    } else if (fields[field].kind === 'added') {
      const before = simple.get(field)?.split(',') ?? [];
      simple.set(field, [...new Set([...before, plugin])].join(','));
    } else simple.set(field, plugin);
  }
  return {
    fields: Object.fromEntries(simple),
    entries: Object.fromEntries([...compound].map(([field, owners]) => [field, Object.fromEntries(owners)])),
  };
}
