/**
 * UpdateContainerResources: all or nothing, also across a crash. The requested limits are recorded as an intent, made by the
 * OCI runtime's own update (only that updates a systemd scope) and by control files where the runtime has no field, and
 * then become the record's. A failure restores the previous limits.
 */

import { readFile } from 'node:fs/promises';
import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { ResourceChanges } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { unitAnnotations } from '../spec/annotations.ts';
import { encodeSpec, type OciSpec, parseSpec } from '../spec/oci.ts';
import {
  changedLimits,
  checkChanges,
  type LimitHost,
  type Limits,
  limitResources,
  type OtherLimits,
  otherFiles,
} from '../spec/other-limits.ts';
import { ociResources } from '../spec/resources.ts';
import {
  type ControlFile,
  checkUpdate,
  controlFiles,
  liftedQuota,
  mergeResources,
  type UpdateHost,
  updateDocument,
} from '../spec/update.ts';
import { askToUpdate, tellUpdated } from './plugin-events.ts';

/**
 * Changes the limits of a created or running container; what is 0 or empty stays as it is, and so does oom_score_adj,
 * which is set at the creation alone. The same limits again are success. Throws InvalidArgument for limits that make no
 * sense, FailedPrecondition for a memory limit below what is in use and for a container that has ended.
 */
export async function updateResources(
  context: Context,
  id: ContainerId,
  requested: LinuxResources,
  op: Operation,
): Promise<void> {
  // Also where plugins would change it: they get no numbers that no container can have.
  checkUpdate(requested);
  ociResources(requested, context.host);
  const changes = (await askToUpdate(context, id, requested, op)) ?? {};
  await changeLimits(context, id, op, changes, ({ resources, others }) => ({
    resources: mergeResources(resources, requested),
    others,
  }));
  tellUpdated(context, id);
}

/**
 * The same for what an NRI plugin wants of a container, by its own decision or in its answer for another one. What is absent
 * stays, 0 takes a limit away. Throws FailedPrecondition also for what this node or the OCI runtime cannot limit, by its name.
 */
export const adjustResources = (
  context: Context,
  id: ContainerId,
  changes: ResourceChanges,
  op: Operation,
): Promise<void> => changeLimits(context, id, op, changes, (limits) => limits);

/** `changes` come after `change`. */
async function changeLimits(
  context: Context,
  id: ContainerId,
  op: Operation,
  changes: ResourceChanges,
  change: (now: Limits) => Limits,
): Promise<void> {
  const { containers } = context;
  await containers.exclusive(id, async () => {
    // An update that an earlier daemon did not finish is finished first: this one builds upon its outcome.
    if (containers.get(id)?.update) await finishUpdate(context, id, op.detached('finish update'));
    const record = containers.resolve(id);
    if (record.state !== 'created' && record.state !== 'running') {
      throw new CrispError(
        'FailedPrecondition',
        `container ${id} is ${record.state}: it has no limits to change`,
        {
          hint: 'only a created or running container can be updated',
        },
      );
    }
    checkChanges(changes, limitHostOf(context, record));
    const now = limitsOf(record);
    refuseClasses(now.others, changes);
    const limits = changedLimits(change(now), changes);
    const { resources, others } = limits;
    checkUpdate(resources);
    ociResources(resources, context.host);
    if (record.state === 'running')
      await op.stage('check use', () => refuseBelowUsage(context, record, resources));
    op.checkpoint();
    const intended = await op.stage('record', () =>
      containers.commit({ ...record, update: resources, ...(isSet(others) ? { otherUpdate: others } : {}) }),
    );
    // From here on it is finished even if the client leaves.
    await applyUpdate(context, intended, limits, op.detached('update'));
  });
}

/** The limits in force. */
const limitsOf = ({ resources, otherLimits = {} }: ContainerRecord): Limits => ({
  resources,
  others: otherLimits,
});

const isSet = (others: OtherLimits): boolean => Object.keys(others).length > 0;

/** Tasks are put into a class when their container is made. */
function refuseClasses(now: OtherLimits, changes: ResourceChanges): void {
  for (const name of ['blockioClass', 'rdtClass'] as const) {
    if (changes[name] === undefined || changes[name] === now[name]) continue;
    throw new CrispError('FailedPrecondition', `NRI: ${name}: a container has its class from its creation`, {
      hint: 'have the plugin give it when the container is created',
    });
  }
}

/** Finishes an update that a crash interrupted, or restores the limits. To be called in the container's turn. */
export async function finishUpdate(context: Context, id: ContainerId, op: Operation): Promise<void> {
  const record = context.containers.get(id);
  if (!record?.update) return;
  try {
    if (record.state === 'created' || record.state === 'running')
      await applyUpdate(
        context,
        record,
        { resources: record.update, others: record.otherUpdate ?? record.otherLimits ?? {} },
        op,
      );
    else await commitLimits(context, record, limitsOf(record));
  } catch (error) {
    op.log.warn({ container: id, error: describeError(error) }, 'an interrupted update is undone');
  }
}

async function applyUpdate(
  context: Context,
  record: ContainerRecord,
  limits: Limits,
  op: Operation,
): Promise<void> {
  const former = limitsOf(record);
  const files = record.state === 'running' ? knownFiles(context, record, limits) : [];
  if (files instanceof CrispError) {
    await commitLimits(context, record, former);
    throw files;
  }
  try {
    await op.stage('apply', () => apply(context, record, limits, former, files, op));
  } catch (error) {
    if (hasEnded(context, record)) {
      await commitLimits(context, record, former);
      throw new CrispError(
        'FailedPrecondition',
        `container ${record.id} has ended: it has no limits to change`,
        {
          cause: error,
          hint: 'only a created or running container can be updated',
        },
      );
    }
    const before = files.map(({ file, before: value }) => ({ file, value }));
    await op
      .stage('restore limits', () => apply(context, record, former, limits, before, op))
      .catch((failure: unknown) =>
        op.log.error(
          { container: record.id, error: describeError(failure) },
          'limits could not be restored: they may differ from the record until the next update',
        ),
      );
    await commitLimits(context, record, former);
    throw error;
  }
  await op.stage('record', () => commitLimits(context, record, limits));
}

/** Its exit is recorded after the update, in the container's turn. */
const hasEnded = ({ kernel }: Context, { state, process }: ContainerRecord): boolean =>
  state === 'running' && process !== undefined && !kernel.processes.alive(process);

async function commitLimits(
  context: Context,
  record: ContainerRecord,
  { resources, others }: Limits,
): Promise<void> {
  const { update: _, otherUpdate: _others, ...rest } = context.containers.get(record.id) ?? record;
  await context.containers.commit({ ...rest, resources, ...(isSet(others) ? { otherLimits: others } : {}) });
}

/** `before`: the previous limits, so that one that is no longer set is lifted. */
async function apply(
  context: Context,
  record: ContainerRecord,
  limits: Limits,
  before: Limits,
  files: readonly ControlFile[],
  op: Operation,
): Promise<void> {
  if (record.state === 'created') return rewriteSpec(context, record, limits);
  const document = encodeSpec(updateDocument(limits.resources, before.resources, hostOf(context, record)));
  await context.handlers.get(record.handler).update(record.id, document, op);
  for (const { file, value } of files) await context.kernel.cgroups.write(record.cgroup.path, file, value);
}

/** There is no cgroup yet: the limits are written to the bundle, for the start. */
async function rewriteSpec(context: Context, record: ContainerRecord, limits: Limits): Promise<void> {
  const { config } = pathsOf(context.options, record.id);
  const spec = parseSpec(await readFile(config, 'utf8')) as OciSpec;
  const { memory: _m, cpu: _c, pids: _p, hugepageLimits: _h, unified: _u, ...more } = spec.linux.resources;
  spec.linux.resources = { ...limitResources(limits, context.host), ...more };
  Object.assign(spec.annotations, unitAnnotations(record.cgroup.oci, limits.resources, context.host));
  await context.kernel.files.writeAtomic(config, encodeSpec(spec), { mode: 0o600 });
}

const hostOf = ({ host, handlers }: Context, { handler }: ContainerRecord): UpdateHost => ({
  ...host,
  writesNoQuota: handlers.get(handler).isCrun && host.version === 1,
});

const limitHostOf = ({ host, handlers }: Context, { handler }: ContainerRecord): LimitHost => ({
  ...host,
  isCrun: handlers.get(handler).isCrun,
});

type KnownFile = ControlFile & { readonly before: string };

/** The files that are written besides the runtime's update, as they are now; an error where one does not exist. */
function knownFiles(
  context: Context,
  record: ContainerRecord,
  { resources, others }: Limits,
): readonly KnownFile[] | CrispError {
  const known: KnownFile[] = [];
  const wanted = [
    ...liftedQuota(resources, record.resources, hostOf(context, record)),
    ...otherFiles(others, context.host.version, record.otherLimits),
    ...controlFiles(resources, context.host),
  ];
  for (const { file, value } of wanted) {
    const before = context.kernel.cgroups.read(record.cgroup.path, file);
    if (before === undefined) {
      return new CrispError(
        'InvalidArgument',
        `${file}: the cgroup of container ${record.id} has no such file`,
        {
          hint: 'check which controllers the node has, and the names of their files',
        },
      );
    }
    known.push({ file, value, before: before === '' ? value : writtenValue(before) });
  }
  return known;
}

/** `memory.oom_control` reads as several lines, of which the first is what was written. */
const writtenValue = (content: string): string => /^oom_kill_disable (\d)/.exec(content)?.[1] ?? content;

/** On version 2 a limit below the memory that cannot be reclaimed makes the OOM killer run. */
async function refuseBelowUsage(
  context: Context,
  record: ContainerRecord,
  { memoryLimitBytes, unified }: LinuxResources,
): Promise<void> {
  const max = unified['memory.max'] ?? '';
  const limits = [memoryLimitBytes, /^\d{1,18}$/.test(max) ? BigInt(max) : 0n].filter((limit) => limit > 0n);
  if (limits.length === 0) return;
  const [usage] = await context.kernel.usage.groups([record.cgroup.path], 'stats');
  const used = usage?.memory?.workingSet ?? 0n;
  const limit = limits.find((bytes) => bytes < used);
  if (limit === undefined) return;
  throw new CrispError(
    'FailedPrecondition',
    `memory limit ${limit} of container ${record.id} is below the ${used} bytes that it uses`,
    { hint: 'let it free memory first, or choose a limit above its use' },
  );
}
