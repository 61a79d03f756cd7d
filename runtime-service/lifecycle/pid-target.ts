/** The container whose pid namespace another one joins (NamespaceMode TARGET: ephemeral containers of `kubectl debug`). */
import { readlinkSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import type { ContainerConfig } from '../config.ts';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';

/** Its first process; undefined where none is named. Throws NotFound, FailedPrecondition. */
export function pidTarget(
  context: Context,
  sandbox: SandboxId,
  { security }: ContainerConfig,
): ProcessRef | undefined {
  if (security.pid !== 'target') return undefined;
  const target = context.containers.resolve(security.targetId);
  if (target.sandboxId === sandbox && target.state === 'running' && target.process) return target.process;
  throw new CrispError(
    'FailedPrecondition',
    `target container ${security.targetId} is not running in this pod`,
    { hint: 'name a running container of the same pod' },
  );
}

/**
 * To be called between the OCI create and the OCI start: the OCI runtime has joined the namespace of whatever process had
 * the target's number then. Throws FailedPrecondition where that is not, or cannot be shown to be, the target itself.
 */
export function checkPidTarget(
  { kernel }: Pick<Context, 'kernel'>,
  { pidTarget: target }: Pick<ContainerRecord, 'pidTarget'>,
  container: ProcessRef,
): void {
  if (!target) return;
  const joined = namespaceOf(container);
  // The target is checked last: as long as it lives no other process has its pid.
  if (joined !== undefined && joined === namespaceOf(target) && kernel.processes.alive(target)) return;
  throw new CrispError(
    'FailedPrecondition',
    `the target of the pid namespace (process ${target.pid}) ended before the container was started`,
    { hint: 'name a running container of the same pod' },
  );
}

function namespaceOf({ pid }: ProcessRef): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined; // it has ended
  }
}
