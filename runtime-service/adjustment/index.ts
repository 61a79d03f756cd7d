/** Applies what NRI plugins change of a container that is being created: all of it, or nothing. */
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from '../container.ts';
import type { CreateVerdict } from '../ports.ts';
import type { OciSpec } from '../spec/oci.ts';
import type { Adjusting, AdjustmentHost } from './adjusting.ts';
import { adjustCgroup } from './cgroup-path.ts';
import { adjustCdiDevices, adjustDeviceRules, adjustDevices, adjustNetDevices } from './devices.ts';
import { adjustAnnotations, adjustHooks } from './hooks.ts';
import { adjustMounts, makeSources } from './mounts.ts';
import { adjustNamespaces, adjustSysctls } from './namespaces.ts';
import {
  adjustArgs,
  adjustEnv,
  adjustIoPriority,
  adjustOomScore,
  adjustRlimits,
  adjustScheduler,
} from './process.ts';
import { adjustMemoryPolicy, adjustRdt, adjustResources } from './resources.ts';
import { adjustSeccomp } from './seccomp.ts';

export interface AdjustedContainer {
  readonly spec: OciSpec;
  readonly record: ContainerRecord;
}

/** In the order in which the peers apply them; what rests on another part comes behind it. */
const PARTS: readonly ((adjusting: Adjusting) => void | Promise<void>)[] = [
  adjustAnnotations,
  adjustEnv,
  adjustArgs,
  adjustHooks,
  adjustCdiDevices,
  adjustDevices,
  adjustDeviceRules,
  adjustNetDevices,
  adjustOomScore,
  adjustIoPriority,
  adjustScheduler,
  adjustRlimits,
  adjustNamespaces,
  adjustSysctls,
  adjustSeccomp,
  adjustMounts,
  adjustCgroup,
  adjustResources,
  adjustRdt,
  adjustMemoryPolicy,
  makeSources,
];

/**
 * The spec and the record with the adjustment; those that are given stay as they are. Throws FailedPrecondition, naming
 * field and plugin, for what cannot be applied to this container, by its OCI runtime or on this node.
 */
export async function adjustContainer(
  context: AdjustmentHost,
  container: { readonly oci: Adjusting['oci']; readonly pod: PodView } & AdjustedContainer,
  { adjustment, owners }: CreateVerdict,
  op: Operation,
): Promise<AdjustedContainer> {
  const { oci, pod, record } = container;
  const spec = structuredClone(container.spec);
  const adjusting: Adjusting = { adjustment, owners, context, oci, pod, op, spec, record };
  for (const adjust of PARTS) await adjust(adjusting);
  return { spec, record: { ...adjusting.record, nri: { owners } } };
}
