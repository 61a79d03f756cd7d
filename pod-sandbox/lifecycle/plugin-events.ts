/** When the plugins that follow pods (NRI) are asked and told; what they answer is in `nri/`. */
import type { SandboxId } from '#core/ids.ts';
import { noResources } from '#core/model/resources.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { pluginPod } from '../plugin-pod.ts';
import type { PluginPod } from '../ports.ts';
import type { SandboxRecord } from '../sandbox.ts';
import { checkedUpdate, type SandboxLimits } from './update.ts';

/** The pod as it is now. */
export function podOf({ kernel }: Pick<Context, 'kernel'>, record: SandboxRecord): PluginPod {
  const { process } = record;
  return pluginPod(record, process && kernel.processes.alive(process) ? process.pid : 0);
}

export function podById(context: Context, id: SandboxId): PluginPod | undefined {
  const record = context.sandboxes.get(id);
  return record && podOf(context, record);
}

const wasReady = ({ state }: SandboxRecord): boolean =>
  state.name === 'ready' || (state.name === 'notReady' && state.reason !== 'failed');

/** Those that have been ready, also what has ended but is not removed: its removal will be told. Oldest first. */
export const podsThatWereReady = (context: Context): readonly PluginPod[] =>
  context.sandboxes.list().flatMap((record) => (wasReady(record) ? [podOf(context, record)] : []));

/** Tells the plugins, where one listens: else the pod need not be looked at. */
export function tell(context: Context, event: 'stopped' | 'removed', record: SandboxRecord): void {
  if (context.plugins.listening) context.plugins[event](podOf(context, record));
}

/** Throws where a plugin refuses the pod. The wait ends when the pod is to be stopped, whatever the plugin does. */
export const askToRun = (context: Context, record: SandboxRecord, op: Operation): Promise<void> =>
  op.deadline('NRI', context.deadlines.join, (signal) =>
    context.plugins.run(podOf(context, record), op.under(signal)),
  );

/**
 * Before the pod's turn is taken: a plugin that takes its time must not hold up its stop. Throws what `updateSandbox` would
 * throw at once, and where a plugin refuses.
 */
export async function askToUpdate(
  context: Context,
  id: SandboxId,
  wanted: SandboxLimits,
  op: Operation,
): Promise<void> {
  if (!context.plugins.listening) return;
  const { record, limits } = checkedUpdate(context, id, wanted);
  const asked = { overhead: limits.overhead ?? noResources, resources: limits.resources ?? noResources };
  await op.deadline('NRI', context.deadlines.join, (signal) =>
    context.plugins.update(podOf(context, record), asked, op.under(signal)),
  );
}

export function tellUpdated(context: Context, id: SandboxId): void {
  const pod = context.plugins.listening ? podById(context, id) : undefined;
  if (pod) context.plugins.updated(pod);
}
