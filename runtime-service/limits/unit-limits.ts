/**
 * systemd's reload rewrites the limits of a scope that it knows, which do not include `memory.oom.group`, cpusets and limits
 * that were changed since the container's creation. So crisp writes the record's limits again.
 */
import { describeError, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Context } from '../context.ts';
import { isUnit } from '../spec/annotations.ts';
import { limitFiles } from '../spec/limit-files.ts';

const LISTEN_MS = 60_000;

/** Restores limits after each reload, from now on, until the returned function is called. Free where no container is a unit. */
export function restoreUnitLimits(context: Context): () => void {
  const { containers, kernel, log } = context;
  if (kernel.cgroups.version === 1) return () => {};
  const forget = kernel.systemd.onReload(() => {
    for (const { id } of runningUnits(context)) void restoreLimits(context, id);
  });
  if (containers.list().length > 0 && runningUnits(context).length > 0) {
    // A reload may have happened while no daemon ran: it is reported with the first connection.
    kernel.systemd.listen(AbortSignal.timeout(LISTEN_MS)).catch((error: unknown) => {
      log.warn({ error: describeError(error) }, 'cannot listen to systemd: limits may be lost at its reload');
    });
  }
  return forget;
}

const runningUnits = ({ containers }: Context) =>
  containers.list().filter(({ state, cgroup }) => state === 'running' && isUnit(cgroup.oci));

/** Never throws: the container runs on, and the limit that it lacks is logged. */
async function restoreLimits({ containers, kernel, host, log }: Context, id: ContainerId): Promise<void> {
  await containers.exclusive(id, async () => {
    const record = containers.get(id);
    if (record?.state !== 'running') return;
    const { path } = record.cgroup;
    for (const { file, value } of limitFiles(record.resources, host, record.otherLimits)) {
      try {
        if (kernel.cgroups.read(path, file) !== value) await kernel.cgroups.write(path, file, value);
      } catch (error) {
        if (hasCode(error, 'NotFound')) continue;
        log.warn(
          { container: id, file, value, error: describeError(error) },
          'a limit was lost at a reload of systemd and cannot be restored',
        );
      }
    }
  });
}
