/**
 * UpdatePodSandboxResources: what the containers of a pod may use together, and what the sandbox itself costs. The
 * kubelet calls it before it changes its own pod cgroup, and refuses the change after any error. A kubelet's cgroup is
 * never touched: the limits are recorded and shown; those of a cgroup of crisp's own are applied.
 */

import { CrispError, describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { Operation } from '#core/operation.ts';
import { changedLimits } from '../cgroup/limits.ts';
import type { SandboxLinux } from '../config.ts';
import type { Context } from '../context.ts';
import { type SandboxRecord, shortId } from '../sandbox.ts';
import { checkResources } from '../validation.ts';

/** What is undefined stays as it is. */
export interface SandboxLimits {
  readonly overhead: LinuxResources | undefined;
  readonly resources: LinuxResources | undefined;
}

/** The limits in force: those of the last update, else those that the pod was made with. */
export const effectiveLinux = ({
  config,
  limits,
}: Pick<SandboxRecord, 'config' | 'limits'>): SandboxLinux => ({
  ...config.linux,
  ...limits,
});

/**
 * All or nothing: after a failure the former limits are restored. Throws NotFound, InvalidArgument for limits that are not valid,
 * FailedPrecondition for a pod that is not ready and for a memory limit below what the pod uses.
 */
export async function updateSandbox(
  context: Context,
  id: SandboxId,
  wanted: SandboxLimits,
  op: Operation,
): Promise<void> {
  const { sandboxes } = context;
  const { record, limits } = checkedUpdate(context, id, wanted);
  const updated = { ...record, limits };
  if (record.cgroup.own) await op.stage('check use', () => refuseBelowUse(context, updated));
  // Written first: recovery applies what is recorded.
  await op.stage('record', () => sandboxes.commit(updated, { durable: false }));
  try {
    await op.stage('apply', () => applyLimits(context, record, updated));
  } catch (error) {
    await sandboxes.commit(record, { durable: false });
    throw error;
  }
}

/** The sandbox and its limits after the update. Throws what is wrong with the request, or the sandbox, as `updateSandbox` does. */
export function checkedUpdate(
  { sandboxes }: Pick<Context, 'sandboxes'>,
  id: SandboxId,
  wanted: SandboxLimits,
): { readonly record: SandboxRecord; readonly limits: SandboxLimits } {
  const record = sandboxes.get(id);
  if (!record) throw new CrispError('NotFound', `pod sandbox ${id}: no such sandbox`);
  checkResources('overhead', wanted.overhead);
  checkResources('resources', wanted.resources);
  if (record.state.name !== 'ready') {
    throw new CrispError(
      'FailedPrecondition',
      `pod sandbox ${shortId(id)} is not ready: it has no limits to change`,
      {
        hint: 'only a ready pod can be updated',
      },
    );
  }
  const { overhead, resources } = effectiveLinux(record);
  return {
    record,
    limits: { overhead: wanted.overhead ?? overhead, resources: wanted.resources ?? resources },
  };
}

/** Applies the recorded limits again, after a crash in the middle of an update. Failures are logged. */
export async function reapplyLimits(context: Context, id: SandboxId): Promise<void> {
  const record = context.sandboxes.get(id);
  if (!record?.limits || record.state.name !== 'ready') return;
  await applyLimits(context, record, record).catch((error: unknown) =>
    context.log.warn(
      { sandbox: id, error: describeError(error) },
      'limits of a pod could not be applied again',
    ),
  );
}

/** Writes the control files of a group of crisp's own; after a failure the former values are restored. */
async function applyLimits(
  { kernel }: Context,
  before: SandboxRecord,
  { cgroup, ...after }: SandboxRecord,
): Promise<void> {
  if (!cgroup.own) return;
  const { cgroups } = kernel;
  const changes = changedLimits(effectiveLinux(before), effectiveLinux(after), cgroups.version);
  const written: { readonly file: string; readonly value: string }[] = [];
  try {
    for (const { file, value } of changes) {
      const old = cgroups.read(cgroup.parent, file);
      if (old === undefined) {
        throw new CrispError(
          'InvalidArgument',
          `${file}: the pod's cgroup ${cgroup.parent} has no such file`,
          {
            hint: 'see which controllers the node has, and what their files are called',
          },
        );
      }
      await cgroups.write(cgroup.parent, file, value);
      written.unshift({ file, value: old });
    }
  } catch (error) {
    for (const { file, value } of written) await cgroups.write(cgroup.parent, file, value).catch(() => {});
    throw error;
  }
}

async function refuseBelowUse({ kernel }: Context, record: SandboxRecord): Promise<void> {
  const limits = changedLimits(undefined, effectiveLinux(record), kernel.cgroups.version);
  const text = limits.find(({ file }) => /^memory\.(max|limit_in_bytes)$/.test(file))?.value ?? '';
  if (!/^\d{1,18}$/.test(text)) return;
  const [usage] = await kernel.usage.groups([record.cgroup.parent], 'stats');
  const used = usage?.memory?.workingSet ?? 0n;
  if (BigInt(text) >= used) return;
  throw new CrispError(
    'FailedPrecondition',
    `memory limit ${text} of pod ${shortId(record.id)} is below the ${used} bytes that it uses`,
    { hint: 'let its containers free memory first, or choose a limit above their use' },
  );
}
