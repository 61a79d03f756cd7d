/** Parts of a container's process as messages, by the names of the OCI runtime specification. */
import { nri } from '#api/nri/index.ts';
import type { AdjustedHook, AdjustedScheduler, ContainerAdjustment } from '#core/model/adjustment.ts';
import type { OciSpec } from '#runtime-service/index.ts';
import { optional } from './resources.ts';

/** A name that is in no table is the one of the number 0. */
const numberOf = (table: Readonly<Record<string, number>>, name: string): number =>
  Object.hasOwn(table, name) ? (table[name] ?? 0) : 0;

export const ioPriorityMessage = ({
  class: name,
  priority,
}: NonNullable<ContainerAdjustment['ioPriority']>): nri.LinuxIOPriorityInit => ({
  class: numberOf(nri.IOPrioClass, name),
  priority,
});

/** As in a specification, where each but the policy may be absent. */
export const schedulerMessage = (
  scheduler: AdjustedScheduler | NonNullable<OciSpec['process']['scheduler']>,
): nri.LinuxSchedulerInit => ({
  policy: numberOf(nri.LinuxSchedulerPolicy, scheduler.policy),
  nice: scheduler.nice,
  priority: scheduler.priority,
  flags: scheduler.flags?.map((name) => numberOf(nri.LinuxSchedulerFlag, name)),
  runtime: BigInt(scheduler.runtime ?? 0),
  deadline: BigInt(scheduler.deadline ?? 0),
  period: BigInt(scheduler.period ?? 0),
});

export const memoryPolicyMessage = ({
  mode,
  nodes,
  flags,
}: NonNullable<ContainerAdjustment['memoryPolicy']>): nri.LinuxMemoryPolicyInit => ({
  mode: numberOf(nri.MpolMode, mode),
  nodes,
  flags: flags.map((name) => numberOf(nri.MpolFlag, name)),
});

/** The stages of hooks by their names in the OCI runtime specification, which are those of the message's fields. */
export const hooksMessage = (
  stages: Readonly<Partial<Record<string, readonly (Pick<AdjustedHook, 'path'> & Partial<AdjustedHook>)[]>>>,
): nri.HooksInit =>
  Object.fromEntries(
    Object.entries(stages).map(([stage, hooks = []]) => [
      stage,
      hooks.map(
        ({ path, args, env, timeout }): nri.HookInit => ({
          path,
          args,
          env,
          timeout: optional(timeout === undefined ? undefined : BigInt(timeout)),
        }),
      ),
    ]),
  );
