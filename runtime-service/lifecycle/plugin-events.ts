/** When the plugins that adjust containers (NRI) are asked and told; what they answer is in `nri/`. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ContainerId } from '#core/ids.ts';
import type { ResourceChanges } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import type { CreateVerdict, PluginContainer, PluginEvent } from '../ports.ts';
import type { OciSpec } from '../spec/oci.ts';
import { storedSpecNow } from '../spec/stored.ts';

/** For all plugins together; each has a nearer deadline of its own. A kubelet waits as long for a call. */
const PLUGINS_MS = 120_000;

/** Specs that are read at once. */
const SLICE = 20;

type Told = Exclude<PluginEvent, 'start' | 'update'>;

/** Which events a change of a record is. One that has never run stops before it is removed. */
export function eventsOf(
  after: ContainerRecord | undefined,
  before: ContainerRecord | undefined,
): readonly Told[] {
  if (!before) return [];
  if (!after) return before.state === 'exited' ? ['removed'] : ['stopped', 'removed'];
  if (before.state === after.state) return [];
  if (after.state === 'exited') return ['stopped'];
  if (after.state === 'running') return ['started'];
  return before.state === 'creating' ? ['created'] : [];
}

/** Tells the plugins of each change of a record, in the order of the changes. The spec is read only where a plugin wants to know of it. */
export function tellPlugins(
  context: Pick<Context, 'asked' | 'options' | 'plugins'> & {
    readonly containers: Pick<Context['containers'], 'onChange'>;
  },
): void {
  const { containers, plugins, asked } = context;
  containers.onChange((after, before) => {
    const record = after ?? before;
    if (!record || (!plugins.listening && asked.size === 0)) return;
    const events = eventsOf(after, before);
    if (events.length === 0) return;
    const isKnown = asked.delete(record.id) || before?.state !== 'creating';
    const wanted = isKnown ? events.filter((event) => plugins.wants(event)) : [];
    if (wanted.length === 0) return;
    const container = asSeen(context, record);
    for (const event of wanted) plugins[event](container);
  });
}

const asSeen = (context: Pick<Context, 'options'>, record: ContainerRecord): PluginContainer => ({
  record,
  spec: storedSpecNow(context, record.id),
});

/** Undefined: nothing to change. Throws where a plugin refuses the container. */
export async function askToCreate(
  context: Context,
  record: ContainerRecord,
  spec: OciSpec,
  op: Operation,
): Promise<CreateVerdict | undefined> {
  if (!context.plugins.listening) return undefined;
  context.asked.add(record.id);
  return op.deadline('NRI', PLUGINS_MS, (signal) =>
    context.plugins.create({ record, spec }, op.under(signal)),
  );
}

/** Before the container's turn is taken. Throws where a plugin refuses. */
export async function askToStart(context: Context, id: ContainerId, op: Operation): Promise<void> {
  const record = context.containers.get(id);
  if (!context.plugins.wants('start') || record?.state !== 'created') return;
  if (!context.pods.get(record.sandboxId)?.ready) return; // it will not be started
  await op.deadline('NRI', PLUGINS_MS, (signal) =>
    context.plugins.start(asSeen(context, record), op.under(signal)),
  );
}

/** The same before an update: the limits that plugins want in the place of those that are requested. */
export async function askToUpdate(
  context: Context,
  id: ContainerId,
  requested: LinuxResources,
  op: Operation,
): Promise<ResourceChanges | undefined> {
  const record = context.containers.get(id);
  const isPossible = record?.state === 'created' || record?.state === 'running';
  if (!context.plugins.wants('update') || !record || !isPossible) return undefined;
  return op.deadline('NRI', PLUGINS_MS, (signal) =>
    context.plugins.update(asSeen(context, record), requested, op.under(signal)),
  );
}

export function tellUpdated(context: Context, id: ContainerId): void {
  const record = context.containers.get(id);
  if (context.plugins.wants('updated') && record) context.plugins.updated(asSeen(context, record));
}

/** Those that are created, are being started or run, for a plugin that comes. In slices: a node may have hundreds. */
export async function seenByPlugins(context: Context): Promise<PluginContainer[]> {
  const seen: PluginContainer[] = [];
  for (const { id } of context.containers.list()) {
    const record = context.containers.get(id);
    if (!record || record.state === 'creating' || record.state === 'exited') continue;
    seen.push(asSeen(context, record));
    if (seen.length % SLICE === 0) await nextTurn();
  }
  return seen;
}
