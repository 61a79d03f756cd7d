/** What plugins have changed, as a message, and on the container that the next plugin sees. */
import type { nri } from '#api/nri/index.ts';
import type { ContainerAdjustment, EntryChanges } from '#core/model/adjustment.ts';
import { deviceMessage } from './container.ts';
import { hooksMessage, ioPriorityMessage, memoryPolicyMessage, schedulerMessage } from './process.ts';
import { deviceRuleMessage, optional, withChanges } from './resources.ts';
import { seccompMessage } from './seccomp.ts';

/** For plugins that validate: what is taken away is marked as a plugin marks it, with `-` before its name. */
export const adjustmentMessage = (adjustment: ContainerAdjustment): nri.ContainerAdjustmentInit => ({
  annotations: marked(adjustment.annotations, ''),
  mounts: [
    ...(adjustment.mounts?.removed ?? []).map((path) => ({ destination: `-${path}` })),
    ...(adjustment.mounts?.set ?? []),
  ],
  env: Object.entries(marked(adjustment.env, '') ?? {}).map(([key, value]) => ({ key, value })),
  hooks: adjustment.hooks && hooksMessage(adjustment.hooks),
  linux: linuxMessage(adjustment),
  rlimits: adjustment.rlimits,
  CDIDevices: adjustment.cdiDevices?.map((name) => ({ name })),
  args: adjustment.args,
});

const linuxMessage = (adjustment: ContainerAdjustment): nri.LinuxContainerAdjustmentInit => ({
  devices: [
    ...(adjustment.devices?.removed ?? []).map((path) => ({ path: `-${path}` })),
    ...(adjustment.devices?.set ?? []).map(deviceMessage),
  ],
  resources: resources(undefined, adjustment),
  cgroupsPath: adjustment.cgroupsPath,
  oomScoreAdj: optional(adjustment.oomScoreAdj === undefined ? undefined : BigInt(adjustment.oomScoreAdj)),
  ioPriority: adjustment.ioPriority && ioPriorityMessage(adjustment.ioPriority),
  seccompPolicy: adjustment.seccompPolicy && seccompMessage(adjustment.seccompPolicy),
  namespaces: Object.entries(marked(adjustment.namespaces, { path: '' }) ?? {}).map(([type, { path }]) => ({
    type,
    path,
  })),
  sysctl: marked(adjustment.sysctl, ''),
  netDevices: marked(adjustment.netDevices, { name: '' }),
  scheduler: adjustment.scheduler && schedulerMessage(adjustment.scheduler),
  rdt: adjustment.rdt && rdtMessage(adjustment.rdt),
  memoryPolicy: adjustment.memoryPolicy && memoryPolicyMessage(adjustment.memoryPolicy),
});

function marked<T>(changes: EntryChanges<T> | undefined, nothing: T): Record<string, T> | undefined {
  if (!changes) return undefined;
  const removed = changes.removed.map((name): [string, T] => [`-${name}`, nothing]);
  return Object.fromEntries([...removed, ...Object.entries(changes.set)]);
}

const rdtMessage = (rdt: NonNullable<ContainerAdjustment['rdt']>): nri.LinuxRdtInit => ({
  closId: optional(rdt.closID),
  schemata: optional(rdt.schemata),
  enableMonitoring: optional(rdt.enableMonitoring),
  remove: rdt.remove,
});

function resources(
  base: nri.LinuxResourcesInit | undefined,
  { resources: changes, deviceRules }: ContainerAdjustment,
): nri.LinuxResourcesInit | undefined {
  const changed = changes ? withChanges(base, changes) : base;
  if (!deviceRules) return changed;
  return { ...changed, devices: [...(changed?.devices ?? []), ...deviceRules.map(deviceRuleMessage)] };
}

/** The container as it is to be with the adjustment. `container` is as containerMessage gives it, and does not change. */
export function adjusted(container: nri.ContainerInit, adjustment: ContainerAdjustment): nri.ContainerInit {
  const { mounts, rlimits, cdiDevices } = adjustment;
  return {
    ...container,
    annotations: withEntries(container.annotations, adjustment.annotations),
    args: adjustment.args ?? container.args,
    env: withVariables(container.env ?? [], adjustment.env),
    mounts: mounts
      ? withNamed(container.mounts, ({ destination = '' }) => destination, mounts)
      : container.mounts,
    hooks: withHooks(container.hooks, adjustment.hooks),
    rlimits: rlimits
      ? withNamed(container.rlimits, ({ type = '' }) => type, { set: rlimits, removed: [] })
      : container.rlimits,
    CDIDevices: cdiDevices
      ? [...(container.CDIDevices ?? []), ...cdiDevices.map((name) => ({ name }))]
      : container.CDIDevices,
    linux: adjustedLinux(container.linux, adjustment),
  };
}

function adjustedLinux(
  linux: nri.LinuxContainerInit | undefined,
  adjustment: ContainerAdjustment,
): nri.LinuxContainerInit {
  const { devices, namespaces, ioPriority, scheduler } = adjustment;
  const message = linuxMessage(adjustment);
  return {
    ...linux,
    devices: devices
      ? withNamed(linux?.devices, ({ path = '' }) => path, {
          set: devices.set.map(deviceMessage),
          removed: devices.removed,
        })
      : linux?.devices,
    resources: resources(linux?.resources, adjustment),
    oomScoreAdj: message.oomScoreAdj ?? linux?.oomScoreAdj,
    cgroupsPath: message.cgroupsPath ?? linux?.cgroupsPath,
    ioPriority:
      ioPriority?.class === 'IOPRIO_CLASS_NONE' ? undefined : (message.ioPriority ?? linux?.ioPriority),
    seccompPolicy: message.seccompPolicy ?? linux?.seccompPolicy,
    namespaces: namespaces
      ? withNamed(linux?.namespaces, ({ type = '' }) => type, {
          set: Object.entries(namespaces.set).map(([type, { path }]) => ({ type, path })),
          removed: namespaces.removed,
        })
      : linux?.namespaces,
    sysctl: withEntries(linux?.sysctl, adjustment.sysctl),
    netDevices: withEntries(linux?.netDevices, adjustment.netDevices),
    scheduler: scheduler?.policy === 'SCHED_NONE' ? undefined : (message.scheduler ?? linux?.scheduler),
    rdt: adjustedRdt(linux?.rdt, adjustment.rdt),
  };
}

function adjustedRdt(
  rdt: nri.LinuxRdtInit | undefined,
  changes: ContainerAdjustment['rdt'],
): nri.LinuxRdtInit | undefined {
  if (!changes) return rdt;
  if (changes.remove) return undefined;
  const { closId, schemata, enableMonitoring } = rdtMessage(changes);
  return {
    closId: closId ?? rdt?.closId,
    schemata: schemata ?? rdt?.schemata,
    enableMonitoring: enableMonitoring ?? rdt?.enableMonitoring,
  };
}

function withEntries<T>(
  base: Readonly<Record<string, T>> | undefined,
  changes: EntryChanges<T> | undefined,
): Readonly<Record<string, T>> | undefined {
  if (!changes) return base;
  const removed = new Set(changes.removed);
  const kept = Object.entries(base ?? {}).filter(([name]) => !removed.has(name));
  return Object.fromEntries([...kept, ...Object.entries(changes.set)]);
}

/** What replaces another comes last, with what is new. */
function withNamed<T>(
  base: readonly T[] | undefined,
  name: (item: T) => string,
  { set, removed }: { readonly set: readonly T[]; readonly removed: readonly string[] },
): readonly T[] {
  const gone = new Set([...removed, ...set.map(name)]);
  return [...(base ?? []).filter((item) => !gone.has(name(item))), ...set];
}

/** A variable that is there keeps its place. */
function withVariables(env: readonly string[], changes: ContainerAdjustment['env']): readonly string[] {
  if (!changes) return env;
  const left = new Map(Object.entries(changes.set));
  const removed = new Set(changes.removed);
  const kept = env.flatMap((variable) => {
    const name = variable.split('=', 1)[0] ?? '';
    if (removed.has(name)) return [];
    if (!Object.hasOwn(changes.set, name)) return [variable];
    const value = left.get(name);
    left.delete(name);
    return value === undefined ? [] : [`${name}=${value}`];
  });
  return [...kept, ...[...left].map(([name, value]) => `${name}=${value}`)];
}

function withHooks(
  hooks: nri.HooksInit | undefined,
  added: ContainerAdjustment['hooks'],
): nri.HooksInit | undefined {
  if (!added) return hooks;
  const more = Object.entries(hooksMessage(added)) as [keyof nri.HooksInit, readonly nri.HookInit[]][];
  return {
    ...hooks,
    ...Object.fromEntries(more.map(([stage, list]) => [stage, [...(hooks?.[stage] ?? []), ...list]])),
  };
}
