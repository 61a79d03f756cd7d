/**
 * UpdateContainerResources: all or nothing, also across a crash. The requested limits are recorded as an intent, made by the
 * OCI runtime's own update (only that updates a systemd scope) and by control files where the runtime has no field, and
 * then become the record's. A failure restores the previous limits.
 */

import { readFile } from 'node:fs/promises';
import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { unitAnnotations } from '../spec/annotations.ts';
import { encodeSpec, type OciSpec, parseSpec } from '../spec/oci.ts';
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
    const resources = mergeResources(record.resources, requested);
    checkUpdate(resources);
    ociResources(resources, context.host);
    if (record.state === 'running')
      await op.stage('check use', () => refuseBelowUsage(context, record, resources));
    op.checkpoint();
    const intended = await op.stage('record', () => containers.commit({ ...record, update: resources }));
    // From here on it is finished even if the client leaves.
    await applyUpdate(context, intended, resources, op.detached('update'));
  });
}

/** Finishes an update that a crash interrupted, or restores the limits. To be called in the container's turn. */
export async function finishUpdate(context: Context, id: ContainerId, op: Operation): Promise<void> {
  const record = context.containers.get(id);
  if (!record?.update) return;
  try {
    if (record.state === 'created' || record.state === 'running')
      await applyUpdate(context, record, record.update, op);
    else await commitResources(context, record, record.resources);
  } catch (error) {
    op.log.warn({ container: id, error: describeError(error) }, 'an interrupted update is undone');
  }
}

async function applyUpdate(
  context: Context,
  record: ContainerRecord,
  resources: LinuxResources,
  op: Operation,
): Promise<void> {
  const files = record.state === 'running' ? knownFiles(context, record, resources) : [];
  if (files instanceof CrispError) {
    await commitResources(context, record, record.resources);
    throw files;
  }
  try {
    await op.stage('apply', () => apply(context, record, resources, record.resources, files, op));
  } catch (error) {
    const before = files.map(({ file, before: value }) => ({ file, value }));
    await op
      .stage('restore limits', () => apply(context, record, record.resources, resources, before, op))
      .catch((failure: unknown) =>
        op.log.error(
          { container: record.id, error: describeError(failure) },
          'limits could not be restored: they may differ from the record until the next update',
        ),
      );
    await commitResources(context, record, record.resources);
    throw error;
  }
  await op.stage('record', () => commitResources(context, record, resources));
}

async function commitResources(
  context: Context,
  record: ContainerRecord,
  resources: LinuxResources,
): Promise<void> {
  const { update: _done, ...rest } = context.containers.get(record.id) ?? record;
  await context.containers.commit({ ...rest, resources });
}

/** `before`: the previous limits, so that one that is no longer set is lifted. */
async function apply(
  context: Context,
  record: ContainerRecord,
  resources: LinuxResources,
  before: LinuxResources,
  files: readonly ControlFile[],
  op: Operation,
): Promise<void> {
  if (record.state === 'created') return rewriteSpec(context, record, resources);
  const document = encodeSpec(updateDocument(resources, before, hostOf(context, record)));
  await context.handlers.get(record.handler).update(record.id, document, op);
  for (const { file, value } of files) await context.kernel.cgroups.write(record.cgroup.path, file, value);
}

/** There is no cgroup yet: the limits are written to the bundle, for the start. */
async function rewriteSpec(
  context: Context,
  record: ContainerRecord,
  resources: LinuxResources,
): Promise<void> {
  const { config } = pathsOf(context.options, record.id);
  const spec = parseSpec(await readFile(config, 'utf8')) as OciSpec;
  const { memory: _m, cpu: _c, hugepageLimits: _h, unified: _u, ...others } = spec.linux.resources;
  spec.linux.resources = { ...ociResources(resources, context.host), ...others };
  Object.assign(spec.annotations, unitAnnotations(record.cgroup.oci, resources, context.host));
  await context.kernel.files.writeAtomic(config, encodeSpec(spec), { mode: 0o600 });
}

const hostOf = ({ host, handlers }: Context, { handler }: ContainerRecord): UpdateHost => ({
  ...host,
  writesNoQuota: handlers.get(handler).isCrun && host.version === 1,
});

type KnownFile = ControlFile & { readonly before: string };

/** The files that are written besides the runtime's update, as they are now; an error where one does not exist. */
function knownFiles(
  context: Context,
  record: ContainerRecord,
  resources: LinuxResources,
): readonly KnownFile[] | CrispError {
  const known: KnownFile[] = [];
  const wanted = [
    ...liftedQuota(resources, record.resources, hostOf(context, record)),
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
    known.push({ file, value, before: before === '' ? value : before });
  }
  return known;
}

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
